//! What is there: the links of the node and the sysctls that matter, as the driver read them.

use std::collections::BTreeMap;

use acp_base::Uid;

use crate::{
    cidr::Cidr,
    link::{Alias, Mac, NIC_COUNT_MAX, bridge_link, bridge_mac, tap_link},
};

/// What sort of link it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A bridge.
    Bridge,
    /// A tap (or tun).
    Tap,
    /// Something else, by the kernel's word; `physical` for links without one.
    Other(String),
    /// The kernel's description could not be read.
    Unknown,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedLink {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name; empty if the description could not be read that far.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// Its alias.
    pub alias: Option<String>,
    /// Its MAC address.
    pub mac: Option<Mac>,
    /// The bridge (or bond) it is a port of, by index.
    pub master: Option<u32>,
    /// Whether it is set up.
    pub up: bool,
    /// Its IPv4 addresses.
    pub addresses: Vec<Cidr>,
}

impl ObservedLink {
    /// The network whose bridge this is: kind, name and alias all say so. A bridge that was made a moment ago has no alias
    /// yet; then name and MAC address say it.
    pub fn bridge_of(&self) -> Option<Uid> {
        let uid = Alias::parse(self.alias.as_deref()?)?.0;
        (self.kind == LinkKind::Bridge && self.name == bridge_link(uid)).then_some(uid)
    }

    /// Whether this is the bridge of `network`, complete or made a moment ago.
    pub fn is_bridge_of(&self, network: Uid) -> bool {
        self.bridge_of() == Some(network) || self.is_newborn_bridge_of(network)
    }

    /// The system and NIC whose tap this is: kind, name and alias all say so.
    pub fn tap_of(&self) -> Option<(Uid, u32)> {
        let uid = Alias::parse(self.alias.as_deref()?)?.0;
        let nic = (0..NIC_COUNT_MAX).find(|nic| tap_link(uid, *nic).as_deref() == Some(&self.name))?;
        (self.kind == LinkKind::Tap).then_some((uid, nic))
    }

    /// Whether ACP made this link and may change it.
    pub fn is_ours(&self) -> bool {
        self.bridge_of().is_some() || self.tap_of().is_some()
    }

    /// The network whose bridge this is, also when it was made a moment ago; then the uid has nothing but its tail, all that
    /// name and MAC address say of it. For bridges whose network nobody names any more.
    pub fn bridge_of_somebody(&self) -> Option<Uid> {
        let tail = || {
            self.mac.map(|Mac(mac)| Uid::from_u128(mac[1..].iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte))))
        };
        self.bridge_of().or_else(|| tail().filter(|tail| self.is_newborn_bridge_of(*tail)))
    }

    fn is_newborn_bridge_of(&self, network: Uid) -> bool {
        self.kind == LinkKind::Bridge
            && self.name == bridge_link(network)
            && self.mac == Some(bridge_mac(network))
            && self.alias.is_none()
    }
}

/// Everything the driver read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Every link of the network namespace.
    pub links: Vec<ObservedLink>,
    /// The sysctls asked for that exist, by their path below `/proc/sys`, without line end.
    pub sysctls: BTreeMap<String, String>,
}

impl Observed {
    /// The link of this name.
    pub fn link(&self, name: &str) -> Option<&ObservedLink> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The ports of the link with this index, in the order observed.
    pub fn ports(&self, master: u32) -> impl Iterator<Item = &ObservedLink> {
        self.links.iter().filter(move |link| link.master == Some(master))
    }

    /// A link that is not ours and whose subnet shares addresses with `cidr`: a bridge with that address would take
    /// traffic away from it.
    pub fn overlapping(&self, cidr: &Cidr) -> Option<(&ObservedLink, Cidr)> {
        let foreign = self.links.iter().filter(|link| !link.is_ours());
        foreign
            .flat_map(|link| link.addresses.iter().map(move |found| (link, *found)))
            .find(|(_, found)| cidr.overlaps(found))
    }
}
