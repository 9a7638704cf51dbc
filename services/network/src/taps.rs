//! Making taps.

use std::os::fd::OwnedFd;

use acp_base::{Failure, Name};
use acp_core_netplan::{Alias, NetworkInput, ObservedLink, SystemInput, bridge_link, no_ipv6_sysctl, tap_link};
use acp_io_failpoint::point;
use acp_io_netlink::{Netlink, open_tap};
use acp_wire_api::network::{OpenTapReply, OpenTapRequest};
use acp_wire_model::{Object, system::NicSpec};

use crate::{
    effects::set_sysctl,
    error::{OpenError, StepError},
    metrics,
    observe::find,
    specs::{self, Specs},
};

/// The largest packet of a network: what every Ethernet carries.
const MTU: u32 = 1500;

/// A tap as its NIC's spec wants it.
#[derive(Debug)]
pub(crate) struct TapPlan {
    system: SystemInput,
    link: String,
    network: NetworkInput,
    mac: String,
}

impl TapPlan {
    /// Finds the NIC and its network. `read` is the system as just read, else what the specs say counts.
    pub(crate) fn new(
        node: &Name,
        specs: &Specs,
        request: &OpenTapRequest,
        read: Option<&Object>,
    ) -> Result<Self, OpenError> {
        let asked = OpenError::Asked;
        let system = match read {
            Some(object) => specs::system(object)
                .map_err(|reason| asked(Failure::internal(format!("system {}: {reason}", object.name))))?,
            None => specs.system(request.system).cloned().ok_or_else(|| {
                asked(Failure::unavailable(format!(
                    "this node does not know a system {} and the cluster service does not answer",
                    request.system
                )))
            })?,
        };
        if system.spec.node != *node {
            let message = format!("system {} is pinned to node {}, this is {node}", system.name, system.spec.node);
            return Err(asked(Failure::precondition(message)));
        }
        let (nic, link) = nic(&system, request.nic).map_err(asked)?;
        let network = specs.network(&nic.network).cloned().ok_or_else(|| {
            asked(Failure::not_found(format!(
                "there is no network {} for NIC {} of system {}",
                nic.network, request.nic, system.name
            )))
        })?;
        let mac = nic.mac.clone().ok_or_else(|| {
            asked(Failure::internal(format!(
                "NIC {} of system {} has no MAC address in its spec",
                request.nic, system.name
            )))
        })?;
        Ok(Self { link, network, mac, system })
    }

    /// The network's bridge if it stands.
    pub(crate) async fn bridge(&self, netlink: &Netlink) -> Result<Option<ObservedLink>, OpenError> {
        let found = find(netlink, &bridge_link(self.network.uid)).await.map_err(StepError::from)?;
        Ok(found.filter(|link| link.bridge_of() == Some(self.network.uid)))
    }

    /// The network that the tap belongs to.
    pub(crate) fn network(&self) -> &NetworkInput {
        &self.network
    }

    /// Makes the tap and attaches it to the bridge. If any of it fails, the tap goes with its descriptor.
    pub(crate) async fn open(
        &self,
        netlink: &Netlink,
        bridge: &ObservedLink,
    ) -> Result<(OpenTapReply, OwnedFd), OpenError> {
        let before = find(netlink, &self.link).await.map_err(StepError::from)?;
        if before.is_some_and(|link| link.tap_of().is_none_or(|(system, _)| system != self.system.uid)) {
            return Err(OpenError::Clash(self.link.clone()));
        }
        let tap = open_tap(&self.link)?;
        self.attach(netlink, bridge).await?;
        metrics::tap_opened();
        tracing::info!(link = self.link, system = %self.system.name, network = %self.network.name, "tap opened");
        Ok((OpenTapReply { link: self.link.clone(), mac: self.mac.clone(), mtu: MTU }, tap))
    }

    async fn attach(&self, netlink: &Netlink, bridge: &ObservedLink) -> Result<(), StepError> {
        let missing = || StepError::Missing(self.link.clone());
        let index = find(netlink, &self.link).await?.ok_or_else(missing)?.index;
        point("network.tap.opened")?;
        netlink.set_alias(index, &Alias(self.system.uid).to_string()).await?;
        point("network.tap.marked")?;
        set_sysctl(&no_ipv6_sysctl(&self.link), "1")?;
        point("network.tap.silenced")?;
        netlink.set_master(index, bridge.index).await?;
        point("network.tap.attached")?;
        netlink.set_up(index).await?;
        Ok(point("network.tap.up")?)
    }
}

fn nic(system: &SystemInput, position: u32) -> Result<(&NicSpec, String), Failure> {
    let index = usize::try_from(position).ok();
    let nic = index.and_then(|index| system.spec.nics.get(index)).zip(tap_link(system.uid, position));
    nic.ok_or_else(|| {
        let count = system.spec.nics.len();
        Failure::not_found(format!(
            "system {} has {count} network interfaces, counted from 0; there is no {position}",
            system.name
        ))
    })
}
