//! The services around the API, as far as it sees them.

mod agent;
mod control;
mod history;
mod node;

pub(crate) use agent::Agent;
pub(crate) use node::Node;

use acp_wire_api::Interface;

/// The part of an interface that a peer plays.
fn part(interface: Interface, played: &[&str]) -> Interface {
    let methods = interface.methods.into_iter().filter(|method| played.contains(&method.short_name())).collect();
    Interface { methods, ..interface }
}
