//! One line in the log for each change: who, and what. Never a secret, and no digest of one either.

use acp_base::Uid;
use acp_core_membership::{Command, State};

/// Logs a command that was carried out and kept; `before` is the state that it changed.
pub(crate) fn changed(actor: &str, command: &Command, before: &State) {
    match command {
        Command::Init { cluster, name, node, .. } if before.founded().is_none() => {
            tracing::info!(actor, %cluster, %name, node = %node.name, address = %node.address, "cluster made");
        }
        Command::Join { node, .. } if !before.members().contains_key(&node.uid) => {
            tracing::info!(actor, node = %node.name, uid = %node.uid, address = %node.address, "node joined");
        }
        Command::Init { node, .. } | Command::Join { node, .. } => {
            tracing::info!(actor, node = %node.name, uid = %node.uid, "the key of a node's root was replaced");
        }
        Command::Rejoin { node, .. } => {
            tracing::info!(actor, node = %node.name, uid = %node.uid, address = %node.address, "node came back");
        }
        Command::Ask { node, request, .. } => {
            tracing::info!(actor, node = %node.name, uid = %node.uid, %request, address = %node.address, "node asks to join");
        }
        Command::Approve { request } => tracing::info!(actor, %request, "request to join approved"),
        Command::Reject { request } => tracing::info!(actor, %request, "request to join rejected"),
        Command::Rename { node, to } => {
            tracing::info!(actor, node = name_of(before, *node), uid = %node, %to, "node renamed");
        }
        Command::Readdress { node, address } => {
            tracing::info!(actor, node = name_of(before, *node), uid = %node, %address, "node readdressed");
        }
        Command::AssignDomain { node, domain } => {
            tracing::info!(actor, node = name_of(before, *node), uid = %node, %domain, "domain assigned");
        }
        Command::Park { node } => tracing::info!(actor, node = name_of(before, *node), uid = %node, "node parked"),
        Command::Unpark { node } => tracing::info!(actor, node = name_of(before, *node), uid = %node, "node unparked"),
        Command::SetController { node, checkpoint_key } => {
            let is_controller = checkpoint_key.is_some();
            tracing::info!(actor, node = name_of(before, *node), uid = %node, is_controller, "controller set");
        }
        Command::SetVoters { wanted } => tracing::info!(actor, wanted, "number of voters set"),
        Command::SetRole { name, units, nodes } => {
            tracing::info!(actor, role = %name, ?units, ?nodes, "role set");
        }
        Command::SetMetadata { node, set, unset } => {
            tracing::info!(actor, node = name_of(before, *node), uid = %node, %set, ?unset, "metadata set");
        }
        Command::Leave { node } => {
            tracing::info!(actor, node = name_of(before, *node), uid = %node, "node left");
        }
        Command::Remove { name } => tracing::info!(actor, node = %name, "node removed"),
        Command::CreateToken(token) => {
            let (uid, uses, lifetime_ms) = (token.uid, token.uses, token.lifetime_ms);
            tracing::info!(actor, %uid, uses, lifetime_ms, no_root_key = token.no_root_key, "token made");
        }
        Command::RevokeToken { uid } => tracing::info!(actor, %uid, "token revoked"),
        Command::CreateKey(key) => {
            tracing::info!(actor, key = %key.name, uid = %key.uid, scope = ?key.scope, "key made");
        }
        Command::RevokeKey { name } => tracing::info!(actor, key = name, "key revoked"),
        Command::Prune => tracing::info!(actor, "what had ended was forgotten"),
    }
}

fn name_of(state: &State, node: Uid) -> String {
    state.members().get(&node).map(|member| member.name.to_string()).unwrap_or_default()
}
