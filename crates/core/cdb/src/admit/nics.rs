//! Hardware and IPv4 addresses of network interfaces: checked when given, allocated when left out.

use std::{collections::BTreeSet, net::Ipv4Addr};

use acp_base::{Code, Name, Uid};
use acp_wire_model::system::NicSpec;

use crate::{claims::Place, mac::Mac, refusal::Refusal, state::State};

/// What the interfaces of one system take, given addresses before allocated ones.
struct Allocation<'a> {
    state: &'a State,
    system: Uid,
    node: &'a Name,
    macs: BTreeSet<Mac>,
    addresses: BTreeSet<(Name, u32)>,
}

/// Checks the given addresses of all interfaces, then fills in the others; `old` are the interfaces so far, whose addresses
/// are kept where place and network stay the same. Networks are those of the system's node.
pub(super) fn admit(
    state: &State,
    (system, node): (Uid, &Name),
    old: &[NicSpec],
    nics: &mut [NicSpec],
) -> Result<(), Refusal> {
    let mut allocation = Allocation { state, system, node, macs: BTreeSet::new(), addresses: BTreeSet::new() };
    for (position, nic) in nics.iter_mut().enumerate() {
        allocation.take_given(nic).map_err(|refusal| refusal.at(format!("nics[{position}]")))?;
    }
    for (position, nic) in nics.iter_mut().enumerate() {
        let old = old.get(position).filter(|old| old.network == nic.network);
        allocation.fill_mac(position, old, nic).map_err(|refusal| refusal.at(format!("nics[{position}]")))?;
        allocation.fill_address(old, nic).map_err(|refusal| refusal.at(format!("nics[{position}]")))?;
    }
    Ok(())
}

impl Allocation<'_> {
    fn take_given(&mut self, nic: &mut NicSpec) -> Result<(), Refusal> {
        self.state.network_spec(self.node, &nic.network)?;
        if let Some(text) = &nic.mac {
            let mac: Mac = text.parse().map_err(|error| Refusal::invalid(format!("mac: {error}")))?;
            self.check_mac(mac)?;
            self.macs.insert(mac);
            nic.mac = Some(mac.to_string());
        }
        if let Some(text) = &nic.address {
            let address =
                text.parse().map_err(|_source| Refusal::invalid(format!("address: {text:?} is no IPv4 address")))?;
            self.check_address(&nic.network, address)?;
            self.addresses.insert((nic.network.clone(), address.into()));
        }
        Ok(())
    }

    fn place(&self, network: &Name) -> Place {
        (self.node.clone(), network.clone())
    }

    fn check_mac(&self, mac: Mac) -> Result<(), Refusal> {
        let holder = match self.state.claims().mac_holder(mac).filter(|holder| *holder != self.system) {
            Some(holder) => self.state.describe(holder),
            None if self.macs.contains(&mac) => "another interface of this system".to_owned(),
            None => return Ok(()),
        };
        Err(Refusal::new(Code::AlreadyExists, format!("mac: {mac} belongs to {holder}")))
    }

    fn check_address(&self, network: &Name, address: Ipv4Addr) -> Result<(), Refusal> {
        let subnet = self.state.subnet(&self.place(network))?;
        if !subnet.admits(address) {
            return Err(Refusal::invalid(format!(
                "address: {address} cannot be a guest's in {subnet} of network {network}"
            )));
        }
        let holder =
            self.state.claims().address_holder(&self.place(network), address).filter(|holder| *holder != self.system);
        let holder = match holder {
            Some(holder) => self.state.describe(holder),
            None if self.addresses.contains(&(network.clone(), address.into())) => {
                "another interface of this system".to_owned()
            }
            None => return Ok(()),
        };
        Err(Refusal::new(Code::AlreadyExists, format!("address: {address} belongs to {holder}")))
    }

    fn fill_mac(&mut self, position: usize, old: Option<&NicSpec>, nic: &mut NicSpec) -> Result<(), Refusal> {
        if nic.mac.is_some() {
            return Ok(());
        }
        let kept = old.and_then(|old| old.mac.as_ref()).and_then(|mac| mac.parse().ok());
        let mac = match kept.filter(|mac| self.check_mac(*mac).is_ok()) {
            Some(mac) => mac,
            None => Mac::allocate(self.state.cluster(), self.system, position, |mac| self.check_mac(mac).is_ok())
                .ok_or_else(|| Refusal::exhausted("mac: every hardware address below 52:54:00 is taken"))?,
        };
        self.macs.insert(mac);
        nic.mac = Some(mac.to_string());
        Ok(())
    }

    fn fill_address(&mut self, old: Option<&NicSpec>, nic: &mut NicSpec) -> Result<(), Refusal> {
        if nic.address.is_some() || !self.state.network_spec(self.node, &nic.network)?.dhcp {
            return Ok(());
        }
        let kept = old.and_then(|old| old.address.as_ref()).and_then(|address| address.parse().ok());
        let address = match kept.filter(|address| self.check_address(&nic.network, *address).is_ok()) {
            Some(address) => address,
            None => self.lowest_free(&nic.network)?,
        };
        self.addresses.insert((nic.network.clone(), address.into()));
        nic.address = Some(address.to_string());
        Ok(())
    }

    fn lowest_free(&self, network: &Name) -> Result<Ipv4Addr, Refusal> {
        let subnet = self.state.subnet(&self.place(network))?;
        let place = self.place(network);
        let others = self.state.claims().addresses(&place).filter(|(_, holder)| *holder != self.system);
        let own = self.addresses.iter().filter(|(name, _)| name == network).map(|(_, address)| *address).collect();
        subnet.lowest_free(others.map(|(address, _)| address), &own).ok_or_else(|| {
            Refusal::exhausted(format!("address: every address of {subnet} of network {network} is taken"))
        })
    }
}
