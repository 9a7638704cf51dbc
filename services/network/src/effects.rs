//! Performing steps.
//!
//! **Invariant**: right before a link is changed it is looked up again and must be ours; between the look and the change
//! it is addressed by its index, which the kernel does not give to another link soon.

use std::io;

use acp_base::Uid;
use acp_core_netplan::{Alias, ObservedLink, Step};
use acp_io_failpoint::point;
use acp_io_netlink::{Netlink, NetlinkError};
use rustix::io::Errno;

use crate::{
    error::StepError,
    observe::{find, sysctl_path},
};

/// Performs one step. What is done already is no error.
pub(crate) async fn perform(netlink: &Netlink, step: &Step) -> Result<(), StepError> {
    act(netlink, step).await?;
    Ok(point(name(step))?)
}

/// The failpoint after a step.
const fn name(step: &Step) -> &'static str {
    match step {
        Step::CreateBridge { .. } => "network.step.bridge-created",
        Step::MarkBridge { .. } => "network.step.bridge-marked",
        Step::SetSysctl { .. } => "network.step.sysctl-set",
        Step::RemoveAddress { .. } => "network.step.address-removed",
        Step::AddAddress { .. } => "network.step.address-added",
        Step::SetUp { .. } => "network.step.up",
        Step::Attach { .. } => "network.step.attached",
        Step::DeleteBridge { .. } => "network.step.bridge-deleted",
    }
}

async fn act(netlink: &Netlink, step: &Step) -> Result<(), StepError> {
    match step {
        Step::CreateBridge { network, link, mac } => create_bridge(netlink, *network, link, mac.0).await,
        Step::MarkBridge { network, link } => {
            let bridge = bridge(netlink, *network, link).await?;
            Ok(netlink.set_alias(bridge.index, &Alias(*network).to_string()).await?)
        }
        Step::SetSysctl { key, value, .. } => set_sysctl(key, value),
        Step::RemoveAddress { network, link, address } => {
            let bridge = bridge(netlink, *network, link).await?;
            done_if(
                netlink.remove_address(bridge.index, address.address(), address.prefix()).await,
                NetlinkError::is_missing,
            )
        }
        Step::AddAddress { network, link, address } => {
            let bridge = bridge(netlink, *network, link).await?;
            let added = netlink.add_address(bridge.index, address.address(), address.prefix()).await;
            done_if(added, |error| error.is(Errno::EXIST))
        }
        Step::SetUp { link, .. } => Ok(netlink.set_up(ours(netlink, link).await?.index).await?),
        Step::Attach { network, link, bridge: name } => {
            let bridge = bridge(netlink, *network, name).await?;
            Ok(netlink.set_master(ours(netlink, link).await?.index, bridge.index).await?)
        }
        Step::DeleteBridge { network, link } => match bridge(netlink, *network, link).await {
            Ok(bridge) => done_if(netlink.delete(bridge.index).await, NetlinkError::is_missing),
            Err(StepError::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        },
    }
}

/// Writes a sysctl; one that does not exist is left out.
pub(crate) fn set_sysctl(key: &str, value: &str) -> Result<(), StepError> {
    match std::fs::write(sysctl_path(key), value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StepError::Sysctl { key: key.to_owned(), source: error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

async fn create_bridge(netlink: &Netlink, network: Uid, link: &str, mac: [u8; 6]) -> Result<(), StepError> {
    match netlink.create_bridge(link, mac).await {
        Err(error) if error.is(Errno::EXIST) => bridge(netlink, network, link).await.map(drop),
        result => Ok(result?),
    }
}

async fn bridge(netlink: &Netlink, network: Uid, name: &str) -> Result<ObservedLink, StepError> {
    let found = find(netlink, name).await?.ok_or_else(|| StepError::Missing(name.to_owned()))?;
    if found.is_bridge_of(network) { Ok(found) } else { Err(StepError::NotOurs(name.to_owned())) }
}

async fn ours(netlink: &Netlink, name: &str) -> Result<ObservedLink, StepError> {
    let found = find(netlink, name).await?.ok_or_else(|| StepError::Missing(name.to_owned()))?;
    if found.is_ours() { Ok(found) } else { Err(StepError::NotOurs(name.to_owned())) }
}

fn done_if(result: Result<(), NetlinkError>, is_done: impl Fn(&NetlinkError) -> bool) -> Result<(), StepError> {
    match result {
        Err(error) if !is_done(&error) => Err(StepError::Netlink(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
