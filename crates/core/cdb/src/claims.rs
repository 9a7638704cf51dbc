//! What declared objects hold alone, and whom they refer to.
//!
//! Hardware addresses are held in the whole cluster; networks, pools and images are of one node each, and so is what is held in
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use acp_base::{Name, Uid};
use acp_wire_model::{
    Kind,
    system::{DiskSpec, NicSpec, SystemSpec},
};

use crate::{mac::Mac, spec::Spec, subnet::Subnet};

/// An index over the specs of all declared objects; always what [`Claims::insert`] over all of them gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    macs: BTreeMap<Mac, Uid>,
    addresses: BTreeMap<(Place, u32), Uid>,
    volumes: BTreeMap<(Place, Name), Uid>,
    subnets: BTreeMap<Place, Subnet>,
    users: BTreeMap<Target, BTreeSet<Uid>>,
}

/// An object of one node: the node and the object's name.
pub(crate) type Place = (Name, Name);

/// An object that a spec names; with its node if it is of one.
type Target = (Kind, Option<Name>, Name);

impl Claims {
    /// Takes up what this object claims.
    pub(crate) fn insert(&mut self, uid: Uid, name: &Name, spec: &Spec) {
        match spec {
            Spec::System(system) => self.insert_system(uid, system),
            Spec::Network(network) => {
                let place = network.node.clone().map(|node| (node, name.clone()));
                self.subnets.extend(place.zip(network.address.parse().ok()));
            }
            Spec::Node(_) | Spec::Pool(_) | Spec::Image(_) => {}
        }
        for target in references(spec) {
            self.users.entry(target).or_default().insert(uid);
        }
    }

    /// Gives up what this object claims.
    pub(crate) fn remove(&mut self, uid: Uid, name: &Name, spec: &Spec) {
        match spec {
            Spec::System(system) => self.remove_system(system),
            Spec::Network(network) => {
                let place = network.node.clone().map(|node| (node, name.clone()));
                place.and_then(|place| self.subnets.remove(&place));
            }
            Spec::Node(_) | Spec::Pool(_) | Spec::Image(_) => {}
        }
        for target in references(spec) {
            if let Some(users) = self.users.get_mut(&target) {
                users.remove(&uid);
                if users.is_empty() {
                    self.users.remove(&target);
                }
            }
        }
    }

    /// Who has this hardware address.
    pub(crate) fn mac_holder(&self, mac: Mac) -> Option<Uid> {
        self.macs.get(&mac).copied()
    }

    /// Who has this address in this network.
    pub(crate) fn address_holder(&self, network: &Place, address: Ipv4Addr) -> Option<Uid> {
        self.addresses.get(&(network.clone(), address.into())).copied()
    }

    /// Who has this volume as a disk.
    pub(crate) fn volume_holder(&self, pool: &Place, volume: &Name) -> Option<Uid> {
        self.volumes.get(&(pool.clone(), volume.clone())).copied()
    }

    /// The addresses held in this network with their holders, ascending.
    pub(crate) fn addresses(&self, network: &Place) -> impl Iterator<Item = (u32, Uid)> + '_ {
        let range = (network.clone(), 0)..=(network.clone(), u32::MAX);
        self.addresses.range(range).map(|((_, address), uid)| (*address, *uid))
    }

    /// Every network's subnet.
    pub(crate) const fn subnets(&self) -> &BTreeMap<Place, Subnet> {
        &self.subnets
    }

    /// Who refers to this object; `node` is given for one that is of a node.
    pub(crate) fn users(&self, kind: Kind, node: Option<&Name>, name: &Name) -> impl Iterator<Item = Uid> + '_ {
        self.users.get(&(kind, node.cloned(), name.clone())).into_iter().flatten().copied()
    }

    fn insert_system(&mut self, uid: Uid, system: &SystemSpec) {
        for nic in &system.nics {
            self.macs.extend(mac(nic).map(|mac| (mac, uid)));
            self.addresses.extend(address(&system.node, nic).map(|address| (address, uid)));
        }
        let volumes = system.disks.iter().map(|disk| volume(&system.node, disk));
        self.volumes.extend(volumes.map(|volume| (volume, uid)));
    }

    fn remove_system(&mut self, system: &SystemSpec) {
        for nic in &system.nics {
            mac(nic).and_then(|mac| self.macs.remove(&mac));
            address(&system.node, nic).and_then(|address| self.addresses.remove(&address));
        }
        for disk in &system.disks {
            self.volumes.remove(&volume(&system.node, disk));
        }
    }
}

/// The objects a spec names.
fn references(spec: &Spec) -> BTreeSet<Target> {
    let node = spec.node().map(|node| (Kind::Node, None, node.clone()));
    let beside = |kind, name: &Name| (kind, spec.node().cloned(), name.clone());
    let mut named: BTreeSet<Target> = node.into_iter().collect();
    match spec {
        Spec::Node(_) | Spec::Network(_) | Spec::Pool(_) => {}
        Spec::Image(image) => drop(named.insert(beside(Kind::Pool, &image.pool))),
        Spec::System(system) => {
            named.extend(system.disks.iter().map(|disk| beside(Kind::Pool, &disk.pool)));
            named.extend(system.disks.iter().filter_map(|disk| Some(beside(Kind::Image, disk.image.as_ref()?))));
            named.extend(system.nics.iter().map(|nic| beside(Kind::Network, &nic.network)));
        }
    }
    named
}

fn mac(nic: &NicSpec) -> Option<Mac> {
    nic.mac.as_ref().and_then(|mac| mac.parse().ok())
}

fn address(node: &Name, nic: &NicSpec) -> Option<(Place, u32)> {
    let address: Option<Ipv4Addr> = nic.address.as_ref().and_then(|address| address.parse().ok());
    address.map(|address| ((node.clone(), nic.network.clone()), address.into()))
}

fn volume(node: &Name, disk: &DiskSpec) -> (Place, Name) {
    ((node.clone(), disk.pool.clone()), disk.volume.clone())
}
