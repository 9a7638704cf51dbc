//! What others of this service ask the driver.

use std::{net::SocketAddr, sync::Arc};

use acp_base::{BootInstant, Failure, Name, Uid};
use acp_core_swim::State;
use acp_core_sync::OriginState;
use acp_io_daemon::boot_now;
use acp_io_datagram::{limits::MTU_BYTES, selftest};
use acp_wire_api::{
    cluster::{Domain as View, DomainPeer, Refused, RelayRequest, Way},
    hub::RingStateKind,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Domain,
    abroad::{Asked, Words},
};
use crate::peers::Peer;

/// What is asked.
#[derive(Debug)]
pub(super) enum Question {
    View(oneshot::Sender<View>),
    Abroad(Asked),
}

/// Asks the driver. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Questions(mpsc::Sender<Question>);

impl Questions {
    pub(super) const fn new(asked: mpsc::Sender<Question>) -> Self {
        Self(asked)
    }

    /// How this node and the others of its domain hear each other.
    pub(crate) async fn view(&self) -> Result<View, Failure> {
        self.ask(Question::View).await
    }

    /// What this domain says, for a relay of another one.
    pub(crate) async fn relay(&self, request: RelayRequest) -> Result<Words, Failure> {
        self.ask(|answer| Question::Abroad(Asked::Open(request, answer))).await?
    }

    /// What a relay of another domain lacks of this one.
    pub(crate) async fn answer(&self, message: Vec<u8>) -> Result<Vec<Arc<[u8]>>, Failure> {
        self.ask(|answer| Question::Abroad(Asked::Question(message, answer))).await?
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, Failure> {
        let ending = || Failure::unavailable("the cluster service is ending");
        let (answer, answered) = oneshot::channel();
        self.0.send(question(answer)).await.map_err(|_unsent| ending())?;
        answered.await.map_err(|_ended| ending())
    }
}

impl Domain {
    /// An asker that stopped waiting needs no answer.
    pub(super) fn answer(&mut self, question: Question) {
        match question {
            Question::View(answer) => drop(answer.send(self.view(boot_now()))),
            Question::Abroad(Asked::Open(request, answer)) => {
                drop(answer.send(self.abroad.open(&mut self.sync, &self.roster.domain, request)));
            }
            Question::Abroad(Asked::Question(message, answer)) => {
                let answered = self.sync.answer(boot_now(), &message);
                drop(answer.send(answered.map_err(|refused| Failure::invalid(refused.to_string()))));
            }
        }
    }

    fn view(&self, now: BootInstant) -> View {
        let (used, bytes) = self.sync.used();
        let refused =
            self.sockets.refused().into_iter().map(|(reason, count)| Refused { reason: reason.to_owned(), count });
        let here = self.peers.borrow().here.clone();
        let (relays, links) = self.abroad.view(now);
        let relays = relays.iter().filter_map(|node| self.name_of(*node)).collect();
        View {
            name: self.roster.domain.to_string(),
            node: here,
            address: self.sockets.address().map(|address| address.to_string()),
            trouble: self.sockets.trouble().unwrap_or_default(),
            key: self.sockets.key(),
            mtu_bytes: self.sockets.address().map(|address| packet(MTU_BYTES, address)),
            ring: self.roster.ring.0,
            own_slots: wide(self.sync.own_slots().count()),
            heard_slots: wide(used),
            heard_bytes: wide(bytes),
            health: self.ring.health().score(),
            refused: refused.collect(),
            relays,
            links,
            peers: self.peer_views(now),
        }
    }

    fn peer_views(&self, now: BootInstant) -> Vec<DomainPeer> {
        let origins: std::collections::BTreeMap<Uid, _> =
            self.sync.origins(now).map(|state| (state.origin.node, state)).collect();
        let of = |report: selftest::PeerReport| {
            let peer = self.roster.peers.get(&report.peer)?;
            let origin = origins.get(&report.peer);
            Some(DomainPeer {
                node: peer.name.clone(),
                domain: None,
                via: None,
                address: peer.address.to_string(),
                way: match report.mode {
                    selftest::Mode::Multicast => Way::Multicast,
                    selftest::Mode::Unicast => Way::Unicast,
                },
                way_for_ms: millis(now.since(report.mode_since)),
                hears: report.hears,
                is_heard: report.is_heard,
                multicast_loss_permille: report.multicast_loss_permille,
                unicast_loss_permille: report.unicast_loss_permille,
                round_trip_us: report.round_trip.map(|trip| u64::try_from(trip.as_micros()).unwrap_or(u64::MAX)),
                clock_offset_ms: report.clock_offset_millis,
                mtu_bytes: report.datagram_bytes.map(|bytes| packet(bytes, peer.address)),
                silent_for_ms: origin.and_then(|state| state.silence).map(millis),
                is_whole: origin.is_some_and(|state| state.is_whole),
                slots: origin.map_or(0, |state| wide(state.slots)),
                ring: self.ring.state(report.peer).map(|state| match state {
                    State::Alive => RingStateKind::Alive,
                    State::Suspect => RingStateKind::Suspect,
                    State::Down => RingStateKind::Down,
                }),
            })
        };
        let abroad = self.roster.peers.values().filter(|peer| !self.roster.is_near(peer.uid));
        let abroad = abroad.map(|peer| self.peer_abroad(peer, origins.get(&peer.uid)));
        let mut peers: Vec<DomainPeer> = self.test.report(now).filter_map(of).chain(abroad).collect();
        peers.sort_by(|one, other| Name::cmp(&one.node, &other.node));
        peers
    }
}

/// How large the packet of a datagram is: with the headers of UDP and IP.
fn packet(datagram: usize, address: SocketAddr) -> u32 {
    let headers = if address.is_ipv4() { 28 } else { 48 };
    u32::try_from(datagram + headers).unwrap_or(u32::MAX)
}

impl Domain {
    /// What a node is called, this one included.
    fn name_of(&self, node: Uid) -> Option<Name> {
        if node == self.node { Some(self.peers.borrow().here.clone()) } else { self.roster.name(node).cloned() }
    }

    /// A node of another domain. A relay hears it itself.
    fn peer_abroad(&self, peer: &Peer, origin: Option<&OriginState>) -> DomainPeer {
        let via = origin.filter(|origin| origin.silence.is_some()).map(|origin| origin.via.unwrap_or(self.node));
        DomainPeer {
            node: peer.name.clone(),
            domain: Some(peer.domain.clone()),
            via: via.and_then(|via| self.name_of(via)),
            address: peer.address.to_string(),
            way: Way::Relay,
            way_for_ms: 0,
            hears: false,
            is_heard: false,
            multicast_loss_permille: None,
            unicast_loss_permille: None,
            round_trip_us: None,
            clock_offset_ms: None,
            mtu_bytes: None,
            silent_for_ms: origin.and_then(|state| state.silence).map(millis),
            is_whole: origin.is_some_and(|state| state.is_whole),
            slots: origin.map_or(0, |state| wide(state.slots)),
            ring: None,
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
