//! One closed group of nodes that watch each other: an instance of foca, and what foca leaves to its driver.
//!
//! foca decides whom to probe, what to gossip and who is dead. Added here: a set of members that is given from outside, copies
//! of each datagram under loss, local health, and calling again those with whom contact was lost. Not here: sockets, sealing,
//! the ring's id (it is in the sealed header), and belief: what a ring says is evidence for [`Verdicts`](crate::Verdicts).
//!
//! **Invariants**: whoever is not in the set given is never a member and is never sent anything. Each datagram is handled once,
//! however many copies come. A node that stood still declares nobody dead for what it missed.
//!
//! A datagram: format 1 byte, copies 1, loss that the sender sees of the receiver 1, number 4, then foca's bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use acp_base::{BootInstant, Uid};
use foca::{Foca, Member, NoCustomBroadcast, State, Timer};
use rand::{SeedableRng, rngs::SmallRng};

use crate::{
    Identity,
    codec::{self, Codec},
    health::Health,
    loss::{COPIES_MAX, Loss},
    timing::{
        ANNOUNCE_GAP, ANNOUNCE_MEMBERS_MAX, ANNOUNCE_PERIOD, DATAGRAM_BYTES_MAX, PROBE_PERIOD, PROBE_RTT,
        RING_MEMBERS_MAX, STANDSTILL,
    },
};

mod filter;
mod output;
mod peer;
mod runtime;
mod timers;

pub use output::{Evidence, MembersError, Output, RefusedError, Source};
use peer::Peer;
use runtime::{Asked, config};
use timers::{Set, Timers};

const FORMAT: u8 = 1;
const ENVELOPE_BYTES: usize = 7;

/// This node's part in one ring.
pub struct Ring {
    foca: Foca<Identity, Codec, SmallRng, NoCustomBroadcast>,
    peers: BTreeMap<Uid, Peer>,
    /// What foca held when it was last compared.
    held: Vec<Member<Identity>>,
    timers: Timers,
    health: Health,
    /// What is lost of what comes, and what others say is lost of what this node sends.
    inbound: Loss,
    outbound: Loss,
    announce_at: BootInstant,
    announced_at: Option<BootInstant>,
    /// The last lost member that was called; the next one has its turn.
    announced: Option<Uid>,
    heard_in_period: bool,
    refutations: u16,
    strangers: u64,
    faults: u64,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("identity", self.foca.identity())
            .field("peers", &self.peers)
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

impl Ring {
    /// A ring in which this node is alone. `incarnation` is larger than at any earlier start; `seed` is drawn anew for each.
    pub fn new(now: BootInstant, node: Uid, incarnation: u64, seed: u64) -> Self {
        let identity = Identity::born(node, incarnation);
        Self {
            foca: Foca::new(identity, config(), SmallRng::seed_from_u64(seed), Codec),
            peers: BTreeMap::new(),
            held: Vec::new(),
            timers: Timers::default(),
            health: Health::default(),
            inbound: Loss::of_ring(),
            outbound: Loss::of_ring(),
            announce_at: now,
            announced_at: None,
            announced: None,
            heard_in_period: false,
            refutations: 0,
            strangers: 0,
            faults: 0,
        }
    }

    /// Who this node is in the ring now.
    pub fn identity(&self) -> Identity {
        *self.foca.identity()
    }

    /// The health of this node.
    pub const fn health(&self) -> Health {
        self.health
    }

    /// What is lost on the way to this node; on the way from it, as others say.
    pub const fn loss(&self) -> (Loss, Loss) {
        (self.inbound, self.outbound)
    }

    /// How often each datagram is sent now: as the worse of the two ways asks for.
    pub fn copies(&self) -> u8 {
        self.inbound.copies().max(self.outbound.copies())
    }

    /// Pieces of news about nodes outside the ring, cut out so far.
    pub const fn strangers(&self) -> u64 {
        self.strangers
    }

    /// Calls that foca answered with an error after the datagram had been found good; it recovers by itself.
    pub const fn faults(&self) -> u64 {
        self.faults
    }

    /// What this node holds of another member; none: no contact yet, or no member.
    pub fn state(&self, node: Uid) -> Option<State> {
        self.peers.get(&node).and_then(|peer| peer.state)
    }

    /// When [`Ring::wake`] is to be called.
    pub fn next_deadline(&self) -> Option<BootInstant> {
        let announce = (!self.peers.is_empty()).then_some(self.announce_at);
        self.timers.first().into_iter().chain(announce).min()
    }

    /// Says who is in the ring, this node among them. Who is no longer is forgotten; who is new is called at once.
    pub fn set_members(
        &mut self,
        now: BootInstant,
        members: &BTreeSet<Uid>,
        out: &mut Vec<Output>,
    ) -> Result<(), MembersError> {
        let mine = self.identity().node;
        if members.len() > RING_MEMBERS_MAX {
            return Err(MembersError::TooMany(members.len()));
        }
        if !members.contains(&mine) {
            return Err(MembersError::NotMine);
        }
        self.peers.retain(|node, _peer| members.contains(node));
        self.forget_strangers(now, out);
        for node in members.iter().filter(|node| **node != mine) {
            self.peers.entry(*node).or_insert_with(Peer::new);
        }
        self.announce_soon(now);
        Ok(())
    }

    /// Takes a datagram that `from` has sealed.
    pub fn receive(
        &mut self,
        now: BootInstant,
        from: Uid,
        bytes: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), RefusedError> {
        self.notice_standstill(now);
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(RefusedError::TooLong);
        }
        let Some((&[format, copies, loss, n0, n1, n2, n3], rest)) = bytes.split_first_chunk() else {
            return Err(RefusedError::Malformed);
        };
        if format != FORMAT {
            return Err(RefusedError::Format(format));
        }
        let mine = (&self.identity(), self.refutations);
        let passed = filter::filter(rest, from, mine, |node| self.peers.contains_key(&node))?;
        if let Some(later) = passed.later {
            self.outlive(now, &later, out);
        }
        if let Some(known) = self.known(from).filter(|known| *known > passed.sender) {
            // From an earlier life or renewal, or from a clock that went back: called by its later name, the node takes the next.
            self.with_foca(now, None, out, |foca, asked| foca.announce(known, asked));
            return Ok(());
        }
        let peer = self.peers.get_mut(&from).ok_or(RefusedError::Stranger)?;
        (peer.heard, self.heard_in_period) = (Some(now), true);
        let number = u32::from_be_bytes([n0, n1, n2, n3]);
        if !peer.take(&passed.sender, number, copies.min(COPIES_MAX), &mut self.inbound) {
            return Ok(());
        }
        self.outbound.record_byte(loss);
        self.strangers += passed.strangers as u64;
        if passed.outdated {
            self.gossip(passed.sender, None, out);
        }
        self.with_foca(now, Some(from), out, |foca, asked| foca.handle_data(&passed.bytes, asked));
        Ok(())
    }

    /// Does what is due.
    pub fn wake(&mut self, now: BootInstant, out: &mut Vec<Output>) {
        self.notice_standstill(now);
        for set in self.timers.take(now) {
            self.fire(now, set, out);
        }
        if now >= self.announce_at {
            self.announce(now, out);
        }
    }

    /// What was due long ago says that this node stood still: its clock starts again where it stopped, and what has arrived
    /// meanwhile is read before anything is concluded from its absence.
    fn notice_standstill(&mut self, now: BootInstant) {
        let late = self.timers.first().map_or(Duration::ZERO, |first| now.since(first));
        if late > STANDSTILL {
            self.health.stood_still(late);
            self.timers.put_off(late + PROBE_RTT);
        }
    }

    fn fire(&mut self, now: BootInstant, set: Set, out: &mut Vec<Output>) {
        match set.event {
            Timer::ChangeSuspectToDown { member_id, .. } if now < self.condemns_at(member_id.node, set.since) => {
                let at = self.condemns_at(member_id.node, set.since).min(now + PROBE_PERIOD);
                self.timers.set(at, set);
                return;
            }
            Timer::ProbeRandomMember(_) => {
                self.health.period(self.heard_in_period, self.foca.num_members());
                self.heard_in_period = false;
                self.warn_suspects(out);
            }
            _ => {}
        }
        self.with_foca(now, None, out, |foca, asked| foca.handle_timer(set.event, asked));
    }

    /// Tells those whom this node accuses, once a period: what it gossiped while it was cut off itself has reached nobody, and the
    /// accused is the one who can refute.
    fn warn_suspects(&mut self, out: &mut Vec<Output>) {
        let is_accused =
            |member: &&Member<Identity>| member.state() == State::Suspect && self.timers.accuses(member.id());
        let accused: Vec<Member<Identity>> = self.foca.iter_members().filter(is_accused).cloned().collect();
        for suspect in accused {
            self.gossip(*suspect.id(), Some(&suspect), out);
        }
    }

    fn gossip(&mut self, to: Identity, news: Option<&Member<Identity>>, out: &mut Vec<Output>) {
        match codec::gossip((self.identity(), self.refutations), to, news) {
            Ok(written) => self.send(to.node, &written, out),
            Err(_full) => self.faults += 1,
        }
    }

    /// When this node declares a suspect down: the suspicion, as long as its own health makes it, after the last sign of life.
    fn condemns_at(&self, suspect: Uid, since: BootInstant) -> BootInstant {
        let heard = self.peers.get(&suspect).and_then(|peer| peer.heard);
        since.max(heard.unwrap_or(since)) + self.health.suspicion()
    }

    /// Others know a later identity of this node, from a life with a higher incarnation: it takes the next one.
    fn outlive(&mut self, now: BootInstant, later: &Identity, out: &mut Vec<Output>) {
        if let Some(next) = later.successor() {
            self.with_foca(now, None, out, |foca, asked| foca.change_identity(next, asked));
            self.refutations = 0;
            self.announce_soon(now);
        }
    }

    /// foca forgets a member only when it is down, and takes that off its list by a timer of its own.
    fn forget_strangers(&mut self, now: BootInstant, out: &mut Vec<Output>) {
        let known = self.foca.iter_membership_state();
        let gone: Vec<Identity> =
            known.map(|member| *member.id()).filter(|id| !self.peers.contains_key(&id.node)).collect();
        for identity in gone {
            let down = Member::new(identity, u16::MAX, State::Down);
            self.with_foca(now, None, out, |foca, asked| foca.apply_many([down].into_iter(), false, asked));
            self.with_foca(now, None, out, |foca, asked| foca.handle_timer(Timer::RemoveDown(identity), asked));
        }
    }

    fn known(&self, node: Uid) -> Option<Identity> {
        self.foca.iter_membership_state().map(|member| *member.id()).find(|identity| identity.node == node)
    }

    fn announce_soon(&mut self, now: BootInstant) {
        let earliest = self.announced_at.map_or(now, |last| last + ANNOUNCE_GAP);
        self.announce_at = self.announce_at.min(earliest.max(now));
    }

    /// Calls some of those with whom there is no contact, each in turn.
    fn announce(&mut self, now: BootInstant, out: &mut Vec<Output>) {
        (self.announced_at, self.announce_at) = (Some(now), now + ANNOUNCE_PERIOD);
        let is_lost = |peer: &Peer| matches!(peer.state, None | Some(State::Down));
        let lost: Vec<Uid> = self.peers.iter().filter(|(_, peer)| is_lost(peer)).map(|(node, _)| *node).collect();
        let first = lost.partition_point(|node| Some(*node) <= self.announced);
        let turn = lost.iter().cycle().skip(first).take(lost.len().min(ANNOUNCE_MEMBERS_MAX));
        for node in turn.copied() {
            let identity = self.known(node).unwrap_or(Identity::unknown(node));
            self.announced = Some(node);
            self.with_foca(now, None, out, |foca, asked| foca.announce(identity, asked));
        }
    }

    /// Lets foca do something, sends what it sends and says what has changed.
    fn with_foca(
        &mut self,
        now: BootInstant,
        from: Option<Uid>,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Foca<Identity, Codec, SmallRng, NoCustomBroadcast>, &mut Asked) -> Result<(), foca::Error>,
    ) {
        let mut asked = Asked::default();
        self.faults += u64::from(act(&mut self.foca, &mut asked).is_err());
        for (event, after) in asked.timers {
            self.timers.set(now + after, Set { event, since: now });
        }
        for (to, mut bytes) in asked.sends {
            let is_receiver = |member: &&Member<Identity>| member.id().node == to && member.state() == State::Suspect;
            if let Some(suspect) = self.foca.iter_members().find(is_receiver) {
                codec::tell_suspect(&mut bytes, suspect, DATAGRAM_BYTES_MAX - ENVELOPE_BYTES);
            }
            self.send(to, &bytes, out);
        }
        if asked.rejoined {
            self.refutations = 0;
            self.health.accused();
            self.announce_soon(now);
        }
        self.compare(now, from, out);
    }

    fn send(&mut self, to: Uid, written: &[u8], out: &mut Vec<Output>) {
        if let Some(refutations) = codec::refutations(written).filter(|count| *count > self.refutations) {
            self.refutations = refutations;
            self.health.accused();
        }
        let copies = self.copies();
        let Some(peer) = self.peers.get_mut(&to) else { return };
        peer.sent = peer.sent.wrapping_add(1);
        let mut bytes = Vec::with_capacity(ENVELOPE_BYTES + written.len());
        bytes.extend([FORMAT, copies, peer.loss.as_byte()]);
        bytes.extend(peer.sent.to_be_bytes());
        bytes.extend(written);
        out.push(Output::Send { to, bytes, copies });
    }

    /// foca tells of death but not of suspicion, so what it holds is compared with what it held.
    fn compare(&mut self, now: BootInstant, from: Option<Uid>, out: &mut Vec<Output>) {
        let health = self.health.score();
        if self.foca.iter_membership_state().eq(&self.held) {
            return;
        }
        self.held = self.foca.iter_membership_state().cloned().collect();
        for member in &self.held {
            let node = member.id().node;
            let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.state != Some(member.state())) else {
                continue;
            };
            peer.state = Some(member.state());
            let source = from.map_or(Source::Probe, |by| if by == node { Source::Contact } else { Source::Told(by) });
            let evidence = Evidence { source, health, heard: peer.heard.map(|heard| now.since(heard)) };
            out.push(match member.state() {
                State::Alive => Output::Up { node, evidence },
                State::Suspect => Output::Suspected { node, evidence },
                State::Down => Output::Down { node, evidence },
            });
        }
    }
}
