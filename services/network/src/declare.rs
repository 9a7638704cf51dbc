//! Networks come and go: the order of declaration and building.
//!
//! A declaration stands only when its network came up: if it cannot, it is taken back. The other way round, the
//! declaration goes first, because the log decides whether a network is in use; then its links go.

use std::time::Duration;

use acp_base::{Blame, Change, Code, Failure, Name, Uid};
use acp_core_netplan::{Cidr, Observed, bridge_link};
use acp_io_client::{Client, find_declared};
use acp_io_failpoint::point;
use acp_io_netlink::Netlink;
use acp_wire_api::{cluster, network::CreateNetworkRequest};
use acp_wire_model::{
    Kind,
    network::{NetworkSpec, NetworkState},
};
use tokio::time::Instant;

use crate::{
    error::chain,
    observe,
    snapshot::{Snapshot, Snapshots, before_answer, first, wait},
};

/// How long a network may take to come up before its declaration is taken back: a bridge takes milliseconds, a DHCP unit
/// tenths of a second, on a busy machine ten times that.
const BRING_UP_MAX: Duration = Duration::from_secs(15);

/// How long the cluster service may take to take a declaration back; not bounded by the caller's deadline, because a
/// half-made network must not stay.
const UNDO_MAX: Duration = Duration::from_secs(10);

/// Declares networks and takes them back.
#[derive(Clone, Debug)]
pub(crate) struct Declarations {
    pub(crate) client: Client,
    /// Whose networks these are.
    pub(crate) node: Name,
    pub(crate) netlink: Netlink,
    pub(crate) snapshots: Snapshots,
}

impl Declarations {
    /// Declares a network and waits until it is up.
    pub(crate) async fn create(mut self, request: CreateNetworkRequest, deadline: Instant) -> Result<(), Failure> {
        let name = request.name;
        let address: Cidr = request.address.parse().map_err(|error| Failure::invalid(format!("address: {error}")))?;
        first(&mut self.snapshots, before_answer(deadline)).await?;
        refuse_overlap(&self.links().await?, &address)?;
        let spec = NetworkSpec {
            node: Some(self.node.clone()),
            address: address.to_string(),
            dhcp: request.dhcp.unwrap_or(true),
            nat: request.nat.unwrap_or(true),
        };
        let spec =
            serde_json::to_value(spec).map_err(|error| Failure::internal(format!("cannot write the spec: {error}")))?;
        let create = cluster::CreateRequest { kind: Kind::Network, name: name.clone(), uid: None, spec };
        let uid = self.client.service("cluster").call::<cluster::Create>(create).await?.uid;
        let up = match point("network.create.declared") {
            Ok(()) => self.come_up(uid, deadline).await,
            Err(injected) => Err(final_reason(injected.to_string())),
        };
        match up {
            Ok(()) => {
                tracing::info!(%name, %uid, %address, "network created");
                Ok(())
            }
            Err(why) => Err(self.take_back(&name, uid, why).await),
        }
    }

    /// Ends a network and waits until nothing is left of it.
    pub(crate) async fn delete(mut self, name: Name, deadline: Instant) -> Result<(), Failure> {
        let get = cluster::GetRequest {
            kind: Kind::Network,
            name: Some(name.to_string()),
            uid: None,
            node: Some(self.node.clone()),
            min_index: None,
            linearizable: false,
            here: Some(true),
        };
        let uid = find_declared(&self.client.service("cluster"), get).await?.object.uid;
        first(&mut self.snapshots, before_answer(deadline)).await?;
        refuse_foreign_port(&self.links().await?, &name, uid)?;
        let delete = cluster::DeleteRequest { kind: Kind::Network, uid };
        self.client.service("cluster").call::<cluster::Delete>(delete).await?;
        point("network.delete.undeclared")?;
        tracing::info!(%name, %uid, "network deleted");
        let gone = |snapshot: &Snapshot| snapshot.is_gone(uid).then_some(());
        wait(&mut self.snapshots, before_answer(deadline), gone).await.map_err(|_last| {
            let message = format!(
                "network {name} is no longer declared, but bridge {} or its DHCP unit is still there; they go as soon as \
                 nothing is attached and the framework answers",
                bridge_link(uid)
            );
            Failure::new(Code::DeadlineExceeded, message).changed(Change::Partial)
        })
    }

    /// The links as they are now, not as they were when the owner last looked.
    async fn links(&self) -> Result<Observed, Failure> {
        let observed = observe::links(&self.netlink).await;
        observed.map_err(|error| Failure::unavailable(format!("cannot list this node's links: {}", chain(&error))))
    }

    async fn come_up(&mut self, uid: Uid, deadline: Instant) -> Result<(), Failure> {
        let deadline = before_answer(deadline).min(Instant::now() + BRING_UP_MAX);
        let decided = |snapshot: &Snapshot| {
            let status = snapshot.networks.get(&uid)?;
            match status.state {
                NetworkState::Up => Some(Ok(())),
                NetworkState::Degraded if status.is_final => Some(Err(final_reason(status.reason.clone()))),
                NetworkState::Degraded => None,
            }
        };
        wait(&mut self.snapshots, deadline, decided).await.unwrap_or_else(|last| {
            // Time is up, which is nobody's mistake: a retry can help.
            let status = last.as_ref().and_then(|snapshot| snapshot.networks.get(&uid));
            let reason = status.map_or("it was not brought up in time", |status| status.reason.as_str());
            Err(Failure::new(Code::DeadlineExceeded, reason))
        })
    }

    /// Takes a declaration back that did not come up; the failure is as why it did not.
    async fn take_back(&self, name: &Name, uid: Uid, why: Failure) -> Failure {
        let delete = cluster::DeleteRequest { kind: Kind::Network, uid };
        let undone = self.client.service("cluster").deadline(UNDO_MAX).call::<cluster::Delete>(delete).await;
        let reason = &why.message;
        tracing::warn!(%name, %uid, reason, undone = undone.is_ok(), "network could not be brought up");
        match undone {
            Ok(_index) => Failure { message: format!("network {name} was not created: {reason}"), ..why },
            Err(failure) => {
                let message = format!(
                    "network {name} could not be brought up ({reason}) and its declaration stays, because it could not be taken \
                     back ({failure}): delete the network"
                );
                Failure { message, ..why }.blame(Blame::Operator).changed(Change::Partial)
            }
        }
    }
}

/// Why a network cannot come up as it is declared.
fn final_reason(reason: String) -> Failure {
    Failure::precondition(reason).blame(Blame::Operator)
}

fn refuse_overlap(observed: &Observed, address: &Cidr) -> Result<(), Failure> {
    match observed.overlapping(address) {
        None => Ok(()),
        Some((link, found)) => Err(Failure::precondition(format!(
            "address: {address} overlaps {found} of this node's link {}; take another subnet",
            link.name
        ))),
    }
}

/// A port that ACP did not attach would keep the bridge alive.
fn refuse_foreign_port(observed: &Observed, name: &Name, uid: Uid) -> Result<(), Failure> {
    let link = bridge_link(uid);
    let Some(bridge) = observed.link(&link).filter(|link| link.is_bridge_of(uid)) else { return Ok(()) };
    match observed.ports(bridge.index).find(|port| port.tap_of().is_none()) {
        None => Ok(()),
        Some(port) => Err(Failure::precondition(format!(
            "network {name} cannot go: link {port} is attached to its bridge {link}, and ACP did not attach it; detach it \
             with: ip link set {port} nomaster",
            port = port.name
        ))),
    }
}
