//! What handlers may know of the owner's state.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use acp_base::{Code, Failure, Uid};
use acp_core_netplan::Observed;
use acp_wire_model::network::NetworkState;
use tokio::{sync::watch, time::Instant};

/// How a declared network is on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkStatus {
    pub(crate) state: NetworkState,
    /// Why it is not up; empty when it is.
    pub(crate) reason: String,
    /// Whether only somebody else can change that.
    pub(crate) is_final: bool,
}

/// The node after a reconcile.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) observed: Observed,
    pub(crate) networks: BTreeMap<Uid, NetworkStatus>,
    /// Networks whose DHCP unit is there or on its way out.
    pub(crate) served: Vec<Uid>,
}

impl Snapshot {
    /// Whether nothing is left of a network.
    pub(crate) fn is_gone(&self, network: Uid) -> bool {
        let has_bridge = self.observed.links.iter().any(|link| link.bridge_of() == Some(network));
        !has_bridge && !self.networks.contains_key(&network) && !self.served.contains(&network)
    }
}

/// The newest snapshot; absent until the specs are known.
pub(crate) type Snapshots = watch::Receiver<Option<Arc<Snapshot>>>;

/// The time kept for answering when a call's deadline bounds a wait.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// When a wait has to end so that a call with this deadline can still be answered.
pub(crate) fn before_answer(deadline: Instant) -> Instant {
    deadline.checked_sub(ANSWER_TIME).unwrap_or(deadline)
}

/// Waits for a snapshot of which `condition` makes an answer, until `deadline`; then answers the last snapshot as error.
pub(crate) async fn wait<T>(
    snapshots: &mut Snapshots,
    deadline: Instant,
    condition: impl Fn(&Snapshot) -> Option<T>,
) -> Result<T, Option<Arc<Snapshot>>> {
    let search = async {
        loop {
            let current = snapshots.borrow_and_update().clone();
            if let Some(answer) = current.and_then(|snapshot| condition(&snapshot)) {
                return Some(answer);
            }
            if snapshots.changed().await.is_err() {
                return None;
            }
        }
    };
    match tokio::time::timeout_at(deadline, search).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) | Err(_) => Err(snapshots.borrow().clone()),
    }
}

/// The newest snapshot as soon as there is one.
pub(crate) async fn first(snapshots: &mut Snapshots, deadline: Instant) -> Result<Arc<Snapshot>, Failure> {
    let unknown = "the cluster service has not told this node's networks yet; is it running?";
    match tokio::time::timeout_at(deadline, snapshots.wait_for(Option::is_some)).await {
        Ok(Ok(snapshot)) => snapshot.clone().ok_or_else(|| Failure::unavailable(unknown)),
        Ok(Err(_closed)) => Err(Failure::unavailable("the network service is ending")),
        Err(_elapsed) => Err(Failure::new(Code::Unavailable, unknown)),
    }
}
