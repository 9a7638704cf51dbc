//! Connections that others have opened to this node: how many, of what class, and the end of those of a removed node.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use acp_base::{Code, Failure, Uid};
use acp_io_link::{Class, Link};
use acp_wire_api::agent::LinkStatus;
use tokio_util::sync::CancellationToken;

use crate::{
    dial,
    limits::{
        BULKS_MAX, BULKS_PER_PEER_MAX, CONVERSATIONS_MAX, CONVERSATIONS_PER_PEER_MAX, JOINS_MAX, LINKS_MAX,
        LINKS_PER_PEER_MAX,
    },
};

/// Everybody who is connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    number: u64,
    visits: BTreeMap<u64, Visit>,
    conversations: BTreeMap<Option<Uid>, usize>,
    total: usize,
}

#[derive(Debug)]
struct Visit {
    /// Nobody for newcomers.
    node: Option<Uid>,
    class: Class,
    since: Instant,
    over: CancellationToken,
    conversations: usize,
    /// On a reverse link: where this node opens conversations.
    reverse: Option<Link>,
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    peers: Peers,
    number: u64,
    /// Cancelled when the connection has to end.
    pub(crate) over: CancellationToken,
}

/// A conversation's place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    peers: Peers,
    number: u64,
    node: Option<Uid>,
}

fn full(text: String) -> Failure {
    Failure::new(Code::ResourceExhausted, text)
}

impl Peers {
    /// A place for a connection. Where one more is too many, the oldest of its kind goes, except for bulk.
    pub(crate) fn enter(&self, node: Option<Uid>, class: Class) -> Result<Place, Failure> {
        let mut inner = self.lock();
        if inner.visits.len() >= LINKS_MAX {
            return Err(full(format!(
                "{LINKS_MAX} connections of other nodes are open, the most that this node takes"
            )));
        }
        if class == Class::Bulk {
            inner.admit_bulk(node)?;
        } else {
            inner.displace(node, class);
        }
        inner.number += 1;
        let (number, over) = (inner.number, CancellationToken::new());
        let visit = Visit { node, class, since: Instant::now(), over: over.clone(), conversations: 0, reverse: None };
        inner.visits.insert(number, visit);
        Ok(Place { peers: self.clone(), number, over })
    }

    /// Ends the connections of these nodes.
    pub(crate) fn cut(&self, is_removed: impl Fn(Uid) -> bool) {
        let inner = self.lock();
        inner.visits.values().filter(|visit| visit.node.is_some_and(&is_removed)).for_each(|visit| visit.over.cancel());
    }

    /// The link that this node has opened to us, on which we open conversations.
    pub(crate) fn reverse(&self, node: Uid) -> Option<Link> {
        let inner = self.lock();
        let mut links = inner.visits.values().rev().filter(|visit| visit.node == Some(node));
        links.find_map(|visit| visit.reverse.clone().filter(Link::is_open))
    }

    /// Every connection but those of newcomers and renewals.
    pub(crate) fn report(&self, name: impl Fn(Uid) -> String) -> Vec<LinkStatus> {
        let of = |visit: &Visit| {
            let node = visit.node.filter(|_node| !matches!(visit.class, Class::Join | Class::Renewal))?;
            let conversations = visit.reverse.as_ref().map_or(visit.conversations, Link::conversations);
            Some(LinkStatus {
                node,
                name: name(node),
                class: dial::word(visit.class).to_owned(),
                dialled: false,
                conversations: u64::try_from(conversations).unwrap_or(u64::MAX),
                for_ms: crate::millis(visit.since.elapsed()),
            })
        };
        self.lock().visits.values().filter_map(of).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn admit_bulk(&self, node: Option<Uid>) -> Result<(), Failure> {
        let bulks = || self.visits.values().filter(|visit| visit.class == Class::Bulk);
        if bulks().filter(|visit| visit.node == node).count() >= BULKS_PER_PEER_MAX {
            return Err(full(format!(
                "{BULKS_PER_PEER_MAX} bulk streams of this node are open, the most that one may have"
            )));
        }
        if bulks().count() >= BULKS_MAX {
            return Err(full(format!("{BULKS_MAX} bulk streams are open, the most that this node takes")));
        }
        Ok(())
    }

    /// Ends the oldest connection of a kind if there are as many as may be.
    fn displace(&self, node: Option<Uid>, class: Class) {
        let max = if class == Class::Join { JOINS_MAX } else { LINKS_PER_PEER_MAX };
        let is_open = |visit: &&Visit| !visit.over.is_cancelled();
        let of_kind =
            || self.visits.values().filter(is_open).filter(|visit| visit.class == class && visit.node == node);
        if of_kind().count() >= max
            && let Some(oldest) = of_kind().next()
        {
            oldest.over.cancel();
        }
    }
}

impl Place {
    /// A seat for a conversation on this connection.
    pub(crate) fn seat(&self) -> Result<Seat, Failure> {
        let mut inner = self.peers.lock();
        let node = inner.visits.get(&self.number).and_then(|visit| visit.node);
        let of_peer = inner.conversations.get(&node).copied().unwrap_or(0);
        if of_peer >= CONVERSATIONS_PER_PEER_MAX {
            let text = format!("{of_peer} conversations of the calling node are open, the most that one node may have");
            return Err(full(text));
        }
        if inner.total >= CONVERSATIONS_MAX {
            return Err(full(format!("{CONVERSATIONS_MAX} conversations are open, the most that this node takes")));
        }
        inner.total += 1;
        *inner.conversations.entry(node).or_default() += 1;
        if let Some(visit) = inner.visits.get_mut(&self.number) {
            visit.conversations += 1;
        }
        Ok(Seat { peers: self.peers.clone(), number: self.number, node })
    }

    /// Conversations on this connection now.
    pub(crate) fn conversations(&self) -> usize {
        self.peers.lock().visits.get(&self.number).map_or(0, |visit| visit.conversations)
    }

    /// Conversations with this peer are opened here from now on.
    pub(crate) fn offer(&self, link: Link) {
        if let Some(visit) = self.peers.lock().visits.get_mut(&self.number) {
            visit.reverse = Some(link);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.peers.lock().visits.remove(&self.number);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.peers.lock();
        inner.total -= 1;
        if let Some(visit) = inner.visits.get_mut(&self.number) {
            visit.conversations -= 1;
        }
        if let Some(own) = inner.conversations.get_mut(&self.node) {
            *own -= 1;
            if *own == 0 {
                inner.conversations.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_says_so_and_a_peer_that_comes_again_gets_in() {
        let peers = Peers::default();
        let node = |number| Some(Uid::from_u128(number));
        let calls: Vec<Place> =
            (0..=LINKS_PER_PEER_MAX).map(|_| peers.enter(node(1), Class::Calls).expect("the newest gets in")).collect();
        assert!(calls[0].over.is_cancelled() && !calls[1].over.is_cancelled(), "the oldest goes, and no other");
        let joins: Vec<Place> = (0..=JOINS_MAX).map(|_| peers.enter(None, Class::Join).expect("in")).collect();
        assert!(joins[0].over.is_cancelled() && !joins[1].over.is_cancelled());
        let bulks: Vec<Place> =
            (0..BULKS_PER_PEER_MAX).map(|_| peers.enter(node(1), Class::Bulk).expect("in")).collect();
        let refused = peers.enter(node(1), Class::Bulk).expect_err("too many");
        assert_eq!(refused.code, Code::ResourceExhausted);
        peers.enter(node(2), Class::Bulk).expect("another node");
        drop(bulks);
        peers.enter(node(1), Class::Bulk).expect("again");

        let seats: Vec<Seat> = (0..CONVERSATIONS_PER_PEER_MAX).map(|_| calls[2].seat().expect("a seat")).collect();
        assert_eq!(calls[1].seat().expect_err("too many").code, Code::ResourceExhausted);
        joins[3].seat().expect("somebody else");
        drop(seats);
        calls[1].seat().expect("again");
        peers.cut(|node| node == Uid::from_u128(1));
        assert!(calls.iter().all(|place| place.over.is_cancelled()) && !joins[1].over.is_cancelled());
        drop((calls, joins));
        assert!(peers.lock().visits.is_empty() && peers.lock().conversations.is_empty() && peers.lock().total == 0);
    }
}
