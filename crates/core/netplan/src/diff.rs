//! From what is there to what should be there.

use std::fmt;

use acp_base::Uid;

use crate::{
    FORWARDING_SYSCTL,
    cidr::Cidr,
    desired::{Desired, DesiredNetwork, DesiredTap},
    link::{Mac, bridge_mac},
    no_ipv6_sysctl,
    observed::{LinkKind, Observed, ObservedLink},
};

/// One change of the node. Repeating a step that was performed is harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes a bridge, down, with this MAC address.
    CreateBridge {
        /// The network it is for.
        network: Uid,
        /// Its name.
        link: String,
        /// Its address on the wire.
        mac: Mac,
    },
    /// Marks a bridge that was just made as ours.
    MarkBridge {
        /// The network it is for.
        network: Uid,
        /// Its name.
        link: String,
    },
    /// Writes a sysctl. One that does not exist is no error: the kernel then lacks what it would switch off.
    SetSysctl {
        /// The network that needs it; absent if several do.
        network: Option<Uid>,
        /// Path below `/proc/sys`.
        key: String,
        /// What it shall be.
        value: String,
    },
    /// Takes an address off a bridge.
    RemoveAddress {
        /// The network.
        network: Uid,
        /// The bridge.
        link: String,
        /// The address.
        address: Cidr,
    },
    /// Gives a bridge its address.
    AddAddress {
        /// The network.
        network: Uid,
        /// The bridge.
        link: String,
        /// The address.
        address: Cidr,
    },
    /// Sets a link up.
    SetUp {
        /// The network.
        network: Uid,
        /// The bridge or tap.
        link: String,
    },
    /// Makes a tap a port of its network's bridge.
    Attach {
        /// The network.
        network: Uid,
        /// The tap.
        link: String,
        /// The bridge.
        bridge: String,
    },
    /// Deletes the bridge of a network that no spec names any more.
    DeleteBridge {
        /// The network it was for.
        network: Uid,
        /// Its name.
        link: String,
    },
}

impl Step {
    /// The network that stays incomplete if the step fails; absent if several do.
    pub fn network(&self) -> Option<Uid> {
        match self {
            Self::CreateBridge { network, .. }
            | Self::MarkBridge { network, .. }
            | Self::RemoveAddress { network, .. }
            | Self::AddAddress { network, .. }
            | Self::SetUp { network, .. }
            | Self::Attach { network, .. }
            | Self::DeleteBridge { network, .. } => Some(*network),
            Self::SetSysctl { network, .. } => *network,
        }
    }

    /// The link that the step changes, if any.
    pub fn link(&self) -> Option<&str> {
        match self {
            Self::CreateBridge { link, .. }
            | Self::MarkBridge { link, .. }
            | Self::RemoveAddress { link, .. }
            | Self::AddAddress { link, .. }
            | Self::SetUp { link, .. }
            | Self::Attach { link, .. }
            | Self::DeleteBridge { link, .. } => Some(link),
            Self::SetSysctl { .. } => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateBridge { link, .. } => write!(f, "create bridge {link}"),
            Self::MarkBridge { link, .. } => write!(f, "mark bridge {link}"),
            Self::SetSysctl { key, value, .. } => write!(f, "set {key} to {value}"),
            Self::RemoveAddress { link, address, .. } => write!(f, "remove {address} from {link}"),
            Self::AddAddress { link, address, .. } => write!(f, "add {address} to {link}"),
            Self::SetUp { link, .. } => write!(f, "set {link} up"),
            Self::Attach { link, bridge, .. } => write!(f, "attach {link} to {bridge}"),
            Self::DeleteBridge { link, .. } => write!(f, "delete bridge {link}"),
        }
    }
}

/// What stands in the way and no step of ours may change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The spec cannot be built.
    #[error("{reason}")]
    Rejected {
        /// The network.
        network: Uid,
        /// Why.
        reason: String,
    },
    /// A link of the name we need is there and is not ours.
    #[error(
        "a link {link} exists ({found}) that ACP did not make and leaves alone; delete it with: ip link delete {link}"
    )]
    Clash {
        /// The network that needs the name.
        network: Uid,
        /// The name.
        link: String,
        /// What it is.
        found: String,
    },
    /// The bridge of an ended network still has ports.
    #[error("bridge {link} of an ended network stays as long as {port} is attached to it")]
    StillUsed {
        /// The network it was for.
        network: Uid,
        /// The bridge.
        link: String,
        /// One of its ports.
        port: String,
    },
}

impl Problem {
    /// The network it concerns.
    pub fn network(&self) -> Uid {
        match self {
            Self::Rejected { network, .. } | Self::Clash { network, .. } | Self::StillUsed { network, .. } => *network,
        }
    }
}

/// The way from observed to desired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be performed in this order. A failed step makes the later ones of the same link pointless, not harmful.
    pub steps: Vec<Step>,
    /// What the steps leave undone.
    pub problems: Vec<Problem>,
}

/// The way from `observed` to `desired`.
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    for rejected in &desired.rejected {
        plan.problems.push(Problem::Rejected { network: rejected.uid, reason: rejected.reason.clone() });
    }
    plan.remove_ended(desired, observed);
    for network in desired.networks.values() {
        match observed.link(&network.link) {
            None => plan.create(network),
            Some(link) if link.is_bridge_of(network.uid) => plan.repair(network, link, observed),
            Some(link) => plan.problems.push(clash(network, link)),
        }
    }
    for tap in desired.taps.values() {
        plan.keep_attached(tap, desired, observed);
    }
    if desired.networks.values().any(|network| network.nat) {
        plan.sysctl(None, FORWARDING_SYSCTL.to_owned(), observed);
    }
    plan
}

fn clash(network: &DesiredNetwork, link: &ObservedLink) -> Problem {
    let kind = match &link.kind {
        LinkKind::Bridge => "a bridge".to_owned(),
        LinkKind::Tap => "a tap".to_owned(),
        LinkKind::Other(kind) => format!("kind {kind}"),
        LinkKind::Unknown => "the kernel's description of it cannot be read".to_owned(),
    };
    let alias = link.alias.as_ref().map(|alias| format!(", alias {alias:?}")).unwrap_or_default();
    Problem::Clash { network: network.uid, link: network.link.clone(), found: format!("{kind}{alias}") }
}

impl Plan {
    fn create(&mut self, network: &DesiredNetwork) {
        let (uid, link) = (network.uid, || network.link.clone());
        self.steps.extend([
            Step::CreateBridge { network: uid, link: link(), mac: bridge_mac(uid) },
            Step::MarkBridge { network: uid, link: link() },
            Step::SetSysctl { network: Some(uid), key: no_ipv6_sysctl(&network.link), value: "1".to_owned() },
            Step::AddAddress { network: uid, link: link(), address: network.address },
            Step::SetUp { network: uid, link: link() },
        ]);
    }

    fn repair(&mut self, network: &DesiredNetwork, found: &ObservedLink, observed: &Observed) {
        let (uid, link) = (network.uid, || network.link.clone());
        if found.alias.is_none() {
            self.steps.push(Step::MarkBridge { network: uid, link: link() });
        }
        self.sysctl(Some(uid), no_ipv6_sysctl(&network.link), observed);
        for address in found.addresses.iter().filter(|address| **address != network.address) {
            self.steps.push(Step::RemoveAddress { network: uid, link: link(), address: *address });
        }
        if !found.addresses.contains(&network.address) {
            self.steps.push(Step::AddAddress { network: uid, link: link(), address: network.address });
        }
        if !found.up {
            self.steps.push(Step::SetUp { network: uid, link: link() });
        }
    }

    /// A sysctl that exists and is not 1.
    fn sysctl(&mut self, network: Option<Uid>, key: String, observed: &Observed) {
        if observed.sysctls.get(&key).is_some_and(|value| value != "1") {
            self.steps.push(Step::SetSysctl { network, key, value: "1".to_owned() });
        }
    }

    fn keep_attached(&mut self, tap: &DesiredTap, desired: &Desired, observed: &Observed) {
        let found = observed.link(&tap.link).filter(|link| link.tap_of() == Some((tap.system, tap.nic)));
        let (Some(found), Some(network)) = (found, desired.networks.get(&tap.network)) else { return };
        let bridge = observed.link(&network.link);
        if bridge.is_some_and(|bridge| !bridge.is_bridge_of(network.uid)) {
            return;
        }
        if bridge.is_none_or(|bridge| found.master != Some(bridge.index)) {
            let (link, bridge) = (tap.link.clone(), network.link.clone());
            self.steps.push(Step::Attach { network: network.uid, link, bridge });
        }
        if !found.up {
            self.steps.push(Step::SetUp { network: network.uid, link: tap.link.clone() });
        }
    }

    /// Bridges that carry our marks, if only that of the first moment, and that no spec names. One with ports stays: a guest may still be on its way down.
    fn remove_ended(&mut self, desired: &Desired, observed: &Observed) {
        for link in &observed.links {
            let Some(network) = link.bridge_of_somebody().filter(|_network| !desired.names_bridge(&link.name)) else {
                continue;
            };
            match observed.ports(link.index).next() {
                None => self.steps.push(Step::DeleteBridge { network, link: link.name.clone() }),
                Some(port) => {
                    let (link, port) = (link.name.clone(), port.name.clone());
                    self.problems.push(Problem::StillUsed { network, link, port });
                }
            }
        }
    }
}
