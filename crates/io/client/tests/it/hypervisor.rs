//! A daemon that counts what it does.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use acp_base::Failure;
use acp_dev_nodes::{Nodes, only};
use acp_io_daemon::Router;
use acp_wire_api::{
    hypervisor::DeleteSystem,
    jobs::{Get, Started},
};

/// Starts a hypervisor that counts what it deletes, which takes forever for a system named `forever`, and that answers only
/// the second question about a job.
pub(crate) fn add(nodes: &mut Nodes, node: &str) -> Arc<AtomicU32> {
    let counted = Arc::new(AtomicU32::new(0));
    let mut router = Router::new();
    let count = Arc::clone(&counted);
    router.once::<DeleteSystem, _, _>(move |call| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            if call.request.name.as_str() == "forever" {
                std::future::pending::<()>().await;
            }
            Ok(Started { job: None })
        }
    });
    let count = Arc::clone(&counted);
    router.once::<Get, _, _>(move |_call| {
        let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if is_first {
                std::future::pending::<()>().await;
            }
            Err(Failure::not_found("no such job"))
        }
    });
    let interfaces =
        vec![only::<DeleteSystem>(acp_wire_api::hypervisor::interface()), only::<Get>(acp_wire_api::jobs::interface())];
    nodes.add(node, "hypervisor", interfaces, router);
    counted
}
