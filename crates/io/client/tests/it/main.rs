//! Calls through an agent, over real sockets, with the chassis at every end. The agent stands in for the product's.

mod declared;
mod hypervisor;
mod retries;
mod ways;

use acp_dev_nodes::Nodes;
use acp_io_client::Client;

/// A client on `n1`.
fn client(nodes: &Nodes) -> Client {
    Client::new(nodes.run("n1"))
}
