//! The members of the domain, as this node's datagrams need them: where each is, what it is called, and who watches whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use acp_base::{Name, Uid};
use acp_core_swim::rings::{DOMAIN, RingId, assign};

use crate::peers::{Peer, Peers};

/// The other members, and this node's ring.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Roster {
    /// This node's own address; none: it is no member of a cluster with others.
    pub(super) address: Option<SocketAddr>,
    pub(super) peers: BTreeMap<Uid, Peer>,
    pub(super) ring: RingId,
    /// This node among them.
    pub(super) ring_members: BTreeSet<Uid>,
}

/// What became of the members.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Difference {
    pub(super) gone: Vec<Peer>,
    pub(super) new: Vec<Uid>,
    /// With the names from before.
    pub(super) renamed: Vec<Peer>,
}

impl Roster {
    /// As this replica has it.
    pub(super) fn of(peers: &Peers) -> Self {
        let others = peers.all().map(|peer| (peer.uid, peer.clone())).collect();
        let awake: Vec<Uid> = peers.all().chain(&peers.me).filter(|peer| !peer.parked).map(|peer| peer.uid).collect();
        let mine = assign(DOMAIN, &awake).into_iter().find(|ring| ring.members.contains(&peers.node));
        let (ring, ring_members) = match mine {
            Some(ring) => (ring.id, ring.members.into_iter().collect()),
            // Who is set aside watches nobody and is watched by nobody.
            None => (RingId(1), BTreeSet::from([peers.node])),
        };
        let address = peers.me.as_ref().filter(|_| !peers.is_alone()).map(|me| me.address);
        Self { address, peers: others, ring, ring_members }
    }

    /// What has become of the members since `before`.
    pub(super) fn since(&self, before: &Self) -> Difference {
        let gone = before.peers.values().filter(|peer| !self.peers.contains_key(&peer.uid)).cloned().collect();
        let new = self.peers.keys().filter(|uid| !before.peers.contains_key(uid)).copied().collect();
        let is_renamed = |peer: &&Peer| self.peers.get(&peer.uid).is_some_and(|now| now.name != peer.name);
        let renamed = before.peers.values().filter(is_renamed).cloned().collect();
        Difference { gone, new, renamed }
    }

    /// What a node is called.
    pub(super) fn name(&self, node: Uid) -> Option<&Name> {
        self.peers.get(&node).map(|peer| &peer.name)
    }
}
