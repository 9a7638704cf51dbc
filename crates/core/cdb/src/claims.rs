//! What declared objects hold alone, and whom they refer to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use acp_base::{Name, Uid};
use acp_wire_model::{
    Kind,
    system::{NicSpec, SystemSpec},
};

use crate::{mac::Mac, spec::Spec, subnet::Subnet};

/// An index over the specs of all declared objects; always what [`Claims::insert`] over all of them gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    macs: BTreeMap<Mac, Uid>,
    addresses: BTreeMap<(Name, u32), Uid>,
    volumes: BTreeMap<(Name, Name), Uid>,
    subnets: BTreeMap<Name, Subnet>,
    users: BTreeMap<(Kind, Name), BTreeSet<Uid>>,
}

impl Claims {
    /// Takes up what this object claims.
    pub(crate) fn insert(&mut self, uid: Uid, name: &Name, spec: &Spec) {
        match spec {
            Spec::System(system) => self.insert_system(uid, system),
            Spec::Network(network) => {
                let subnet = network.address.parse().ok();
                self.subnets.extend(subnet.map(|subnet| (name.clone(), subnet)));
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
            Spec::Network(_) => drop(self.subnets.remove(name)),
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
    pub(crate) fn address_holder(&self, network: &Name, address: Ipv4Addr) -> Option<Uid> {
        self.addresses.get(&(network.clone(), address.into())).copied()
    }

    /// Who has this volume as a disk.
    pub(crate) fn volume_holder(&self, pool: &Name, volume: &Name) -> Option<Uid> {
        self.volumes.get(&(pool.clone(), volume.clone())).copied()
    }

    /// The addresses held in this network with their holders, ascending.
    pub(crate) fn addresses(&self, network: &Name) -> impl Iterator<Item = (u32, Uid)> + '_ {
        let range = (network.clone(), 0)..=(network.clone(), u32::MAX);
        self.addresses.range(range).map(|((_, address), uid)| (*address, *uid))
    }

    /// Every network's subnet.
    pub(crate) fn subnets(&self) -> &BTreeMap<Name, Subnet> {
        &self.subnets
    }

    /// Who refers to this object.
    pub(crate) fn users(&self, kind: Kind, name: &Name) -> impl Iterator<Item = Uid> + '_ {
        self.users.get(&(kind, name.clone())).into_iter().flatten().copied()
    }

    fn insert_system(&mut self, uid: Uid, system: &SystemSpec) {
        for nic in &system.nics {
            self.macs.extend(mac(nic).map(|mac| (mac, uid)));
            self.addresses.extend(address(nic).map(|address| (address, uid)));
        }
        self.volumes.extend(system.disks.iter().map(|disk| ((disk.pool.clone(), disk.volume.clone()), uid)));
    }

    fn remove_system(&mut self, system: &SystemSpec) {
        for nic in &system.nics {
            mac(nic).and_then(|mac| self.macs.remove(&mac));
            address(nic).and_then(|address| self.addresses.remove(&address));
        }
        for disk in &system.disks {
            self.volumes.remove(&(disk.pool.clone(), disk.volume.clone()));
        }
    }
}

/// The objects a spec names.
fn references(spec: &Spec) -> BTreeSet<(Kind, Name)> {
    match spec {
        Spec::Node(_) | Spec::Network(_) => BTreeSet::new(),
        Spec::Pool(pool) => BTreeSet::from([(Kind::Node, pool.node.clone())]),
        Spec::Image(image) => BTreeSet::from([(Kind::Pool, image.pool.clone())]),
        Spec::System(system) => {
            let node = (Kind::Node, system.node.clone());
            let pools = system.disks.iter().map(|disk| (Kind::Pool, disk.pool.clone()));
            let images = system.disks.iter().filter_map(|disk| disk.image.clone()).map(|image| (Kind::Image, image));
            let networks = system.nics.iter().map(|nic| (Kind::Network, nic.network.clone()));
            std::iter::once(node).chain(pools).chain(images).chain(networks).collect()
        }
    }
}

fn mac(nic: &NicSpec) -> Option<Mac> {
    nic.mac.as_ref().and_then(|mac| mac.parse().ok())
}

fn address(nic: &NicSpec) -> Option<(Name, u32)> {
    let address: Option<Ipv4Addr> = nic.address.as_ref().and_then(|address| address.parse().ok());
    address.map(|address| (nic.network.clone(), address.into()))
}
