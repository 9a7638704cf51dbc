//! Where a system is at home: the node whose services act on it.
//!
//! Every node's replica knows every system, so any node can be asked. Whoever acts on a system by its name alone asks here first
//! and then calls that node.

use acp_base::{Failure, Name};
use acp_io_client::{ServiceClient, find_declared};
use acp_wire_api::cluster::GetRequest;
use acp_wire_model::Kind;

/// The service that is asked.
pub const CLUSTER: &str = "cluster";

/// The node that the system's spec names, as the replica behind this cluster service has it. One that it does not have is looked
/// for with everything that was acknowledged before.
///
/// # Errors
/// As of [`find_declared`]: `NotFound` if there is no such system. `DataLoss` if its spec names no node.
pub async fn of_system(cluster: &ServiceClient, name: &Name) -> Result<Name, Failure> {
    let (kind, by_name) = (Kind::System, Some(name.to_string()));
    let request =
        GetRequest { kind, name: by_name, uid: None, node: None, min_index: None, linearizable: false, here: None };
    let object = find_declared(cluster, request).await?.object;
    let node = object.spec["node"].as_str().and_then(|node| node.parse().ok());
    node.ok_or_else(|| Failure::new(acp_base::Code::DataLoss, format!("the spec of system {name} names no node")))
}
