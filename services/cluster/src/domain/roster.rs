//! The members of the cluster, as this node's datagrams need them: where each is, what it is called, of which domain it is, and
//! who watches whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use acp_base::{Name, Uid};
use acp_core_swim::{
    relays::ranked,
    rings::{RingId, assign},
};
use acp_wire_api::hub::DEFAULT_DOMAIN;

use crate::peers::{Peer, Peers};

/// The other members, and this node's place among them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Roster {
    /// This node's own address; none: it is no member of a cluster with others.
    pub(super) address: Option<SocketAddr>,
    /// This node's domain.
    pub(super) domain: Arc<str>,
    /// Of all domains.
    pub(super) peers: BTreeMap<Uid, Peer>,
    pub(super) ring: RingId,
    /// This node among them.
    pub(super) ring_members: BTreeSet<Uid>,
    /// Those of this domain that are expected, this node among them.
    pub(super) awake: Vec<Uid>,
}

/// What became of the members.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Difference {
    pub(super) gone: Vec<Peer>,
    pub(super) new: Vec<Uid>,
    /// With the names from before.
    pub(super) renamed: Vec<Peer>,
    /// Those that are of this node's domain now and were not.
    pub(super) near: Vec<Uid>,
}

impl Roster {
    /// As this replica has it.
    pub(super) fn of(peers: &Peers) -> Self {
        let others = peers.all().map(|peer| (peer.uid, peer.clone())).collect();
        let domain: Arc<str> = Arc::from(peers.me.as_ref().map_or(DEFAULT_DOMAIN, |me| &*me.domain));
        let near = peers.all().chain(&peers.me).filter(|peer| *peer.domain == *domain && !peer.parked);
        let awake: Vec<Uid> = near.map(|peer| peer.uid).collect();
        let mine = assign(&domain, &awake).into_iter().find(|ring| ring.members.contains(&peers.node));
        let (ring, ring_members) = match mine {
            Some(ring) => (ring.id, ring.members.into_iter().collect()),
            // Who is set aside watches nobody and is watched by nobody.
            None => (RingId(1), BTreeSet::from([peers.node])),
        };
        let address = peers.me.as_ref().filter(|_| !peers.is_alone()).map(|me| me.address);
        Self { address, domain, peers: others, ring, ring_members, awake }
    }

    /// What has become of the members since `before`.
    pub(super) fn since(&self, before: &Self) -> Difference {
        let gone = before.peers.values().filter(|peer| !self.peers.contains_key(&peer.uid)).cloned().collect();
        let new = self.peers.keys().filter(|uid| !before.peers.contains_key(uid)).copied().collect();
        let is_renamed = |peer: &&Peer| self.peers.get(&peer.uid).is_some_and(|now| now.name != peer.name);
        let renamed = before.peers.values().filter(is_renamed).cloned().collect();
        let near = self.near().map(|peer| peer.uid).filter(|uid| !before.is_near(*uid)).collect();
        Difference { gone, new, renamed, near }
    }

    /// What a node is called.
    pub(super) fn name(&self, node: Uid) -> Option<&Name> {
        self.peers.get(&node).map(|peer| &peer.name)
    }

    /// Whether another node is of this domain.
    pub(super) fn is_near(&self, node: Uid) -> bool {
        self.peers.get(&node).is_some_and(|peer| *peer.domain == *self.domain)
    }

    /// The others of this domain.
    pub(super) fn near(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().filter(|peer| *peer.domain == *self.domain)
    }

    /// Of which other domain a node is.
    pub(super) fn abroad(&self, peer: &Peer) -> Option<Arc<str>> {
        (*peer.domain != *self.domain).then(|| Arc::from(&*peer.domain))
    }

    /// The other domains, each with those of its nodes that are expected, in the order in which they are asked.
    pub(super) fn others(&self) -> BTreeMap<Arc<str>, Vec<Name>> {
        let mut others: BTreeMap<Arc<str>, Vec<Uid>> = BTreeMap::new();
        for peer in self.peers.values().filter(|peer| !peer.parked) {
            if let Some(domain) = self.abroad(peer) {
                others.entry(domain).or_default().push(peer.uid);
            }
        }
        let named = |nodes: Vec<Uid>| nodes.into_iter().filter_map(|node| self.name(node).cloned()).collect();
        others.into_iter().map(|(domain, nodes)| (Arc::clone(&domain), named(ranked(&domain, nodes)))).collect()
    }
}
