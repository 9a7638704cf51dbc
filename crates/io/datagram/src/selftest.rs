//! Which members multicast reaches, and how well: a machine without I/O, and without a clock of its own.
//!
//! Each node multicasts a small probe that says whom it hears by multicast, and echoes with its peers by unicast, a bounded
//! number at a time. What a peer says decides how this node sends to it: by multicast while the peer confirms that it hears,
//! by unicast at the latest 5 s after it no longer does, and by multicast again when it has heard for a while ([`limits`]).
//! On the way it measures loss, round trips and clock offsets.
//!
//! Deliberately not here: relays to other domains, and any verdict on whether a peer lives: a peer that says nothing is sent
//! to by unicast, no more.
//!
//! **Invariants**: no peer is sent to by multicast that has not lately said that it hears; what a probe says counts only if
//! both nodes know the same members; memory and traffic are bounded by the number of members.
//!
//! Driven by the owner of an [`crate::Endpoint`]: inputs in, outputs performed in their order, a tick at
//! [`SelfTest::next_deadline`].

pub mod limits;
mod measure;
mod message;
mod peer;
mod roster;
mod sending;
mod size;

use std::{collections::BTreeMap, time::Duration};

use acp_base::{BootInstant, Uid, WallTime};

use crate::{limits::OVERHEAD_BYTES, path::Path};

pub use peer::PeerReport;
pub use sending::{Mode, Why};

use self::{
    limits::{ECHOES_PER_TICK, FIRST_ECHOES_PER_TICK, LATE_LIMIT, PROBE_TICKS, SIZES_PER_TICK, TICK},
    message::{Message, Probe},
    peer::Peer,
    roster::Roster,
};

/// Both clocks at one time.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The one that everything is timed by.
    pub boot: BootInstant,
    /// The one whose offset is measured.
    pub wall: WallTime,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The deadline has come, or any other time.
    Tick,
    /// These are the members of the domain now, this node among them or not.
    Members(&'a [Uid]),
    /// Something of another channel came by multicast: its sender is heard.
    Heard(Uid),
    /// A message of this channel.
    Message {
        /// Who sealed it.
        from: Uid,
        /// How it came.
        path: Path,
        /// What was sealed.
        payload: &'a [u8],
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Seal and send this to the group.
    Multicast(Vec<u8>),
    /// Seal and send this to one peer.
    Unicast(Uid, Vec<u8>),
    /// Seal and send this to one peer in one piece or not at all: what does not leave is as lost as in the network.
    Whole(Uid, Vec<u8>),
    /// Send to this peer in another way from now on, and say so.
    Changed {
        /// The peer.
        peer: Uid,
        /// How.
        mode: Mode,
        /// Why.
        why: Why,
    },
}

/// The self-test of one node.
#[derive(Debug)]
pub struct SelfTest {
    me: Uid,
    roster: Roster,
    peers: BTreeMap<Uid, Peer>,
    next_tick: BootInstant,
    ticks: u64,
    sequence: u64,
    token: u32,
}

impl SelfTest {
    /// A self-test that knows no peers. It ticks first after `phase`, which is drawn from below [`limits::TICK`] so that nodes do
    /// not all speak at once.
    pub fn new(me: Uid, now: BootInstant, phase: Duration) -> Self {
        let roster = Roster::new(me, []);
        Self { me, roster, peers: BTreeMap::new(), next_tick: now + phase, ticks: 0, sequence: 0, token: 0 }
    }

    /// When the next tick is due.
    pub const fn next_deadline(&self) -> BootInstant {
        self.next_tick
    }

    /// Takes an input and appends what is to be done.
    pub fn step(&mut self, now: Now, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Tick => {
                if now.boot >= self.next_tick {
                    self.tick(now, out);
                }
            }
            Input::Members(members) => self.set_members(now.boot, members),
            Input::Heard(peer) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.hear(now.boot);
                }
            }
            Input::Message { from, path, payload } => self.take(now, from, path, payload, out),
        }
    }

    /// How a member is sent to. Whoever is none is sent to by unicast.
    pub fn mode(&self, peer: Uid) -> Mode {
        self.peers.get(&peer).map_or(Mode::Unicast, |peer| peer.sending.mode())
    }

    /// Whom a datagram for all has to be sent to apart from the group.
    pub fn unicast_peers(&self) -> impl Iterator<Item = Uid> {
        self.peers.iter().filter(|(_, peer)| peer.sending.mode() == Mode::Unicast).map(|(uid, _)| *uid)
    }

    /// What is known of each peer.
    pub fn report(&self, now: BootInstant) -> impl Iterator<Item = PeerReport> {
        self.peers.iter().map(move |(uid, peer)| peer.report(*uid, now))
    }

    fn set_members(&mut self, now: BootInstant, members: &[Uid]) {
        self.roster = Roster::new(self.me, members.iter().copied());
        self.peers.retain(|uid, _| self.roster.has(*uid));
        for uid in self.roster.iter().filter(|uid| *uid != self.me) {
            self.peers.entry(uid).or_insert_with(|| Peer::new(now));
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        self.excuse_own_lateness(now.boot);
        self.next_tick = self.next_tick + TICK;
        if self.next_tick <= now.boot {
            self.next_tick = now.boot + TICK;
        }
        for (uid, peer) in &mut self.peers {
            let why = peer.sending.expire(now.boot);
            out.extend(changed(*uid, peer, why));
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(PROBE_TICKS) && !self.peers.is_empty() {
            self.probe(now.boot, out);
        }
        self.ask(now, out);
        self.try_sizes(now.boot, out);
    }

    fn excuse_own_lateness(&mut self, now: BootInstant) {
        let late = now.since(self.next_tick);
        if late > LATE_LIMIT {
            self.peers.values_mut().for_each(|peer| peer.excuse(now, late));
        }
    }

    fn probe(&mut self, now: BootInstant, out: &mut Vec<Output>) {
        self.sequence += 1;
        let is_heard = |uid| self.peers.get(&uid).is_some_and(|peer| peer.is_heard(now));
        let heard = self.roster.bitmap(is_heard);
        let probe = Probe { sequence: self.sequence, members: self.roster.digest, heard };
        out.push(Output::Multicast(Message::Probe(probe).to_bytes()));
    }

    /// Asks those that were not asked for longest; first, up to a bound, those who learn only by it that they are heard.
    fn ask(&mut self, now: Now, out: &mut Vec<Output>) {
        let mut due: Vec<(bool, BootInstant, Uid)> = self
            .peers
            .iter()
            .filter_map(|(uid, peer)| Some((!peer.depends_on_echoes(now.boot), peer.due(now.boot)?, *uid)))
            .collect();
        due.sort_unstable();
        let depending = due.iter().take_while(|(is_other, ..)| !is_other).count();
        let mut rest = due.split_off(depending.min(FIRST_ECHOES_PER_TICK));
        rest.sort_unstable_by_key(|(_, asked_at, uid)| (*asked_at, *uid));
        for (_, _, uid) in due.into_iter().chain(rest).take(ECHOES_PER_TICK) {
            if let Some(peer) = self.peers.get_mut(&uid) {
                self.token = self.token.wrapping_add(1);
                let message = Message::Ask { token: self.token, is_heard: peer.is_heard(now.boot) };
                peer.ask(now.boot, now.wall, self.token);
                out.push(Output::Unicast(uid, message.to_bytes()));
            }
        }
    }

    /// Asks a peer whose small echoes come back in a larger datagram.
    fn try_sizes(&mut self, now: BootInstant, out: &mut Vec<Output>) {
        let due = self.peers.iter().filter_map(|(uid, peer)| Some((peer.size_due(now)?, *uid)));
        let mut due: Vec<(BootInstant, Uid)> = due.collect();
        due.sort_unstable();
        for (_, uid) in due.into_iter().take(SIZES_PER_TICK) {
            if let Some(peer) = self.peers.get_mut(&uid) {
                self.token = self.token.wrapping_add(1);
                let message = Message::Ask { token: self.token, is_heard: peer.is_heard(now) };
                let mut bytes = message.to_bytes();
                // What is behind the message is passed over.
                bytes.resize(peer.sizes.ask(now, self.token).saturating_sub(OVERHEAD_BYTES), 0);
                out.push(Output::Whole(uid, bytes));
            }
        }
    }

    fn take(&mut self, now: Now, from: Uid, path: Path, payload: &[u8], out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if path == Path::Multicast {
            peer.hear(now.boot);
        }
        let why = match Message::read(payload) {
            Some(Message::Probe(probe)) if path == Path::Multicast => {
                peer.arrivals.push(probe.sequence);
                let place = self.roster.me.filter(|_| probe.members == self.roster.digest);
                place.and_then(|place| peer.sending.hear(now.boot, probe.hears(place)))
            }
            Some(Message::Ask { token, is_heard }) if path == Path::Unicast => {
                if peer.answer(now.boot) {
                    let answer = Message::Answer { token, is_heard: peer.is_heard(now.boot), at: now.wall };
                    out.push(Output::Unicast(from, answer.to_bytes()));
                }
                peer.sending.hear(now.boot, is_heard)
            }
            Some(Message::Answer { token, is_heard, at }) if path == Path::Unicast => {
                // Of a question that was given up, the answer is too old to say anything.
                let is_fresh = peer.sizes.answered(token) || peer.answered(now.boot, token, at);
                is_fresh.then(|| peer.sending.hear(now.boot, is_heard)).flatten()
            }
            _ => None,
        };
        out.extend(changed(from, peer, why));
    }
}

fn changed(uid: Uid, peer: &Peer, why: Option<Why>) -> Option<Output> {
    why.map(|why| Output::Changed { peer: uid, mode: peer.sending.mode(), why })
}

#[cfg(test)]
mod tests;
