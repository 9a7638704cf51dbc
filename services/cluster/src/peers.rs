//! Who is who in the cluster, as this replica knows it.

use std::net::SocketAddr;

use acp_base::{EpochId, Name, Uid};
use acp_core_cdb::State;

use crate::keys::Keys;

/// Another member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Peer {
    pub(crate) uid: Uid,
    pub(crate) name: Name,
    /// Where its agent is dialled, and where its datagrams come from.
    pub(crate) address: SocketAddr,
    /// Whether it is set aside.
    pub(crate) parked: bool,
    /// Its domain.
    pub(crate) domain: String,
}

/// Who is who, seen from this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peers {
    /// This node.
    pub(crate) node: Uid,
    /// What the cluster calls this node.
    pub(crate) here: Name,
    /// This node as a member; none: it is none.
    pub(crate) me: Option<Peer>,
    /// Which cluster, and in which epoch; none before the first entry.
    pub(crate) cluster: Option<(Uid, EpochId)>,
    /// How often this life went on from another state: what was told of objects before is to be told again.
    pub(crate) replaced: u64,
    /// Whether this node runs the control plane, alone or with others.
    pub(crate) is_controller: bool,
    /// The other controllers.
    pub(crate) controllers: Vec<Peer>,
    /// The other members that are no controllers.
    pub(crate) others: Vec<Peer>,
    /// The controllers' keys.
    pub(crate) keys: Keys,
}

impl Peers {
    /// As this state has it; before there is one, a node alone.
    pub(crate) fn of(state: &State, node: Uid, name: &Name, replaced: u64) -> Self {
        let members = state.members();
        let here = state.get(node).map_or_else(|| name.clone(), |record| record.name.clone());
        let (mut controllers, mut others, mut keys, mut me) = (Vec::new(), Vec::new(), Keys::default(), None);
        for (uid, member) in members.members() {
            if member.controller {
                keys.add(*uid, &member.checkpoint_key);
            }
            let (address, parked, domain) = (member.address, member.parked, member.domain().to_owned());
            let peer = Peer { uid: *uid, name: member.name.clone(), address, parked, domain };
            match (*uid == node, member.controller) {
                (true, _) => me = Some(peer),
                (false, true) => controllers.push(peer),
                (false, false) => others.push(peer),
            }
        }
        let is_alone = controllers.is_empty() && others.is_empty();
        let is_controller = is_alone || members.members().get(&node).is_some_and(|member| member.controller);
        let cluster = state.identity().map(|identity| (identity.cluster, identity.epoch));
        Self { node, here, me, cluster, replaced, is_controller, controllers, others, keys }
    }

    /// The other members.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Peer> {
        self.controllers.iter().chain(&self.others)
    }

    /// Whether there is no other member.
    pub(crate) fn is_alone(&self) -> bool {
        self.controllers.is_empty() && self.others.is_empty()
    }
}

/// The peers in the order in which this node asks them: each node has its own, so that their load is spread.
pub(crate) fn ranked(node: Uid, peers: &[Peer]) -> Vec<&Peer> {
    let mut ranked: Vec<_> = peers.iter().collect();
    ranked.sort_by_key(|peer| std::cmp::Reverse(weight(node, peer.uid)));
    ranked
}

/// A rendezvous hash: splitmix64 over both ids.
fn weight(node: Uid, peer: Uid) -> u64 {
    let mix = |seed: u64, part: u64| {
        let mut mixed = (seed ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let halves = |uid: Uid| {
        let bytes = uid.as_u128().to_be_bytes();
        let half =
            |range: std::ops::Range<usize>| bytes[range].iter().fold(0, |half, byte| half << 8 | u64::from(*byte));
        [half(0..8), half(8..16)]
    };
    halves(node).into_iter().chain(halves(peer)).fold(0, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_its_own_order_and_keeps_it() {
        let peer = |number| Peer {
            uid: Uid::from_u128(number),
            name: format!("n{number}").parse().expect("valid"),
            address: ([10, 0, 0, 1], 9_932).into(),
            parked: false,
            domain: "default".to_owned(),
        };
        let peers: Vec<_> = (1..=5).map(peer).collect();
        let first = |node: u128| ranked(Uid::from_u128(node), &peers)[0].uid;
        let mut chosen = std::collections::BTreeMap::new();
        for node in 100..600 {
            *chosen.entry(first(node)).or_insert(0) += 1;
            assert_eq!(first(node), first(node));
        }
        assert!(chosen.len() == 5 && chosen.values().all(|nodes| (60..=140).contains(nodes)), "{chosen:?}");
        let without = ranked(Uid::from_u128(100), &peers[1..]);
        let with = ranked(Uid::from_u128(100), &peers);
        let kept: Vec<_> = with.into_iter().filter(|peer| peer.uid != peers[0].uid).collect();
        assert_eq!(without, kept, "who goes leaves the order of the others");
    }
}
