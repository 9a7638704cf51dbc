//! What this node says of itself and of the others.

use std::time::Duration;

use acp_wire_api::{
    agent::{AgentStatus, ListMembersReply},
    hub,
};

use crate::{member::Member, node::Node};

/// What this node is in which cluster.
pub(crate) fn status(node: &Node) -> AgentStatus {
    let member = node.member();
    let links = |member: &Member| {
        let name = |uid| member.name_of(uid);
        let mut links = member.pool.report(name);
        links.extend(member.peers.report(name));
        links
    };
    AgentStatus {
        node: member.as_ref().map_or_else(|| node.uid(), |member| member.me),
        name: node.name(),
        cluster: member.as_ref().map(|member| member.cluster.clone()),
        address: member
            .as_ref()
            .map(|member| member.of(member.me).map_or_else(|| member.address.clone(), |own| own.address)),
        certificate_until_ms: member.as_ref().map(|member| member.held.certificate().not_after.as_secs() * 1_000),
        revision: member.as_ref().map_or(0, |member| member.directory().revision),
        hub_heard_ms: member.as_ref().and_then(|member| age(member)),
        root_key_path: node.context.paths.state_root.join("root.key").display().to_string(),
        links: member.as_deref().map(links).unwrap_or_default(),
    }
}

/// The members, whether or not the control plane answers.
pub(crate) fn members(node: &Node) -> ListMembersReply {
    match node.member() {
        Some(member) => {
            let directory = member.directory();
            let mut nodes = directory.nodes.clone();
            nodes.sort_by(|one, other| one.name.cmp(&other.name));
            ListMembersReply {
                nodes,
                revision: directory.revision,
                epoch: directory.epoch.clone(),
                age_ms: age(&member),
            }
        }
        None => ListMembersReply { nodes: vec![alone(node)], revision: 0, epoch: String::new(), age_ms: None },
    }
}

fn alone(node: &Node) -> hub::Member {
    hub::Member {
        uid: node.uid(),
        name: node.context.node.clone(),
        address: String::new(),
        fingerprint: node.identity.key.fingerprint().to_string(),
        controller: false,
        checkpoint_key: String::new(),
        parked: false,
        roles: Vec::new(),
        metadata: hub::Metadata::default(),
        domain: None,
        joined_ms: 0,
    }
}

fn age(member: &Member) -> Option<u64> {
    member.heard().map(|heard| millis(heard.elapsed()))
}

/// A time in whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
