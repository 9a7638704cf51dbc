//! The rules of networks.

use std::net::Ipv4Addr;

use acp_base::Code;
use acp_wire_model::network::NetworkSpec;

use super::Subject;
use crate::{claims::Place, refusal::Refusal, state::State, subnet::Subnet};

pub(super) fn admit(state: &State, subject: Subject<'_>, spec: NetworkSpec) -> Result<NetworkSpec, Refusal> {
    let subnet: Subnet = spec.address.parse().map_err(|error| Refusal::invalid(format!("address: {error}")))?;
    let node = spec.node.as_ref().ok_or_else(|| Refusal::invalid("node: it is missing"))?;
    let place = (node.clone(), subject.name.clone());
    apart_from_others(state, &place, &subnet)?;
    if subject.old.is_some() {
        keeps_its_guests(state, &place, &subnet)?;
    }
    Ok(spec)
}

/// Networks of one node; those of different nodes are bridges of their own.
fn apart_from_others(state: &State, place: &Place, subnet: &Subnet) -> Result<(), Refusal> {
    let mut others = state.claims().subnets().iter().filter(|(other, _)| other.0 == place.0 && *other != place);
    match others.find(|(_, other)| other.overlaps(subnet)) {
        None => Ok(()),
        Some(((_, name), other)) => Err(Refusal::new(
            Code::AlreadyExists,
            format!("address: the subnet of {subnet} overlaps that of network {:?} ({other})", name.as_str()),
        )),
    }
}

fn keeps_its_guests(state: &State, place: &Place, subnet: &Subnet) -> Result<(), Refusal> {
    let held = state.claims().addresses(place).map(|(address, uid)| (Ipv4Addr::from(address), uid));
    match held.into_iter().find(|(address, _)| !subnet.admits(*address)) {
        None => Ok(()),
        Some((address, uid)) => Err(Refusal::precondition(format!(
            "address: {} has {address}, which guests cannot have in {subnet}; change or delete it first",
            state.describe(uid)
        ))),
    }
}
