//! Where other nodes dial this one: the control plane is told when the configuration has come to say something else.

use std::{sync::Arc, time::Duration};

use acp_base::Failure;
use acp_wire_api::hub::{self, Readdress, ReaddressRequest};

use crate::{cluster::with_port, hub_session::speak_to, limits::HUB_LIMIT, member::Member, node::Node};

/// Tells the controller with which a session has just begun, if the configuration names an address that is not the known one.
/// What does not succeed is tried again with the next session.
pub(crate) async fn run(node: &Node, member: &Arc<Member>, controller: &hub::Member) {
    let Some(address) = wanted(node, member) else { return };
    let trouble = match address {
        Ok(address) => tell(node, member, controller, address).await.err(),
        Err(failure) => Some(failure),
    };
    let trouble = trouble.map(|failure| format!("the address in agent.toml does not count in the cluster: {failure}"));
    if let Some(trouble) = &trouble {
        tracing::warn!(trouble, "no new address");
    }
    node.troubles.set("address", trouble);
}

/// The address that the configuration names, unless the directory has it.
fn wanted(node: &Node, member: &Member) -> Option<Result<String, Failure>> {
    let text = node.config.address.as_ref()?;
    let known = member.of(member.me)?.address;
    let address = with_port(text, node.config.listen.port()).map(|address| address.to_string());
    (address.as_ref().ok() != Some(&known)).then_some(address)
}

async fn tell(node: &Node, member: &Arc<Member>, controller: &hub::Member, address: String) -> Result<(), Failure> {
    let limit: Duration = HUB_LIMIT.min(crate::hub_session::limit(member));
    let late = || Failure::unavailable(format!("the hub on {} does not answer", controller.name));
    let speaking = tokio::time::timeout(limit, speak_to(node, member, controller));
    let mut hub = speaking.await.map_err(|_late| late())??;
    tracing::info!(address, "this node is dialled at another address from now on");
    hub.call::<Readdress>(&ReaddressRequest { name: None, address }, "readdress", limit).await.map(drop)
}
