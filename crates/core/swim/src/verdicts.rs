//! The hub's verdicts on all nodes, kept up to date.
//!
//! Belongs to one term of the leadership; a successor makes a new one and hears everything again. Its driver tells it of members,
//! sessions, reports of rings and answers, sends the confirmations that it asks for, and calls [`Verdicts::wake`] at
//! [`Verdicts::next_deadline`].
//!
//! **Invariants**: a verdict is what [`judge`] says of what is known; each change is told once, with its evidence; at most
//! [`CONFIRMATIONS_MAX`] confirmations are on their way, at most one to a node.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::{BootInstant, Uid};
use foca::State;

use crate::{
    timing::{CONFIRMATIONS_MAX, NODES_MAX},
    verdict::{Facts, Swim, Verdict, judge, wants_confirmation},
};

mod known;

use known::Known;

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask this node over the agent link whether it lives, and say what came of it by [`Verdicts::confirmed`]. Without an answer
    /// after [`CONFIRMATION`](crate::timing::CONFIRMATION) it has failed.
    Confirm(Uid),
    /// The verdict on a node has changed: an event.
    Changed {
        /// Which node.
        node: Uid,
        /// What was said before; none: nothing.
        from: Option<Verdict>,
        /// What is said now.
        to: Verdict,
        /// Why.
        evidence: Facts,
    },
}

/// The verdicts of a hub.
#[derive(Debug)]
pub struct Verdicts {
    nodes: BTreeMap<Uid, Known>,
    /// Those who are being asked, and those who shall be.
    asked: BTreeSet<Uid>,
    wanted: BTreeSet<Uid>,
    quorum: bool,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self { nodes: BTreeMap::new(), asked: BTreeSet::new(), wanted: BTreeSet::new(), quorum: true }
    }
}

impl Verdicts {
    /// Says which nodes there are, at most [`NODES_MAX`], and who else is in the ring of each. Others are forgotten.
    pub fn set_rings<'a>(
        &mut self,
        now: BootInstant,
        rings: impl IntoIterator<Item = &'a [Uid]>,
        effects: &mut Vec<Effect>,
    ) {
        let mut before = std::mem::take(&mut self.nodes);
        for ring in rings {
            for node in ring.iter().take(NODES_MAX.saturating_sub(self.nodes.len())) {
                let mut known = before.remove(node).unwrap_or_else(|| Known::new(now));
                known.ring = ring.iter().copied().filter(|other| other != node).collect();
                known.reports.retain(|by, _state| known.ring.contains(by));
                self.nodes.insert(*node, known);
            }
        }
        self.asked.retain(|node| self.nodes.contains_key(node));
        self.wanted.retain(|node| self.nodes.contains_key(node));
        self.settle(now, effects);
    }

    /// A session with the node has begun or ended.
    pub fn session(&mut self, now: BootInstant, node: Uid, connected: bool, effects: &mut Vec<Effect>) {
        if let Some(known) = self.nodes.get_mut(&node).filter(|known| known.connected != connected) {
            (known.connected, known.connected_since, known.keeps_alive) = (connected, now, false);
            if connected {
                known.hear(now, now);
            }
            // Who has no session is not believed about others.
            self.settle(now, effects);
        }
    }

    /// Something has come over the node's session at `at`: keep-alives twice a second let no pause of 2 s pass for death. A session
    /// of which this was never said is never mute.
    pub fn heard(&mut self, now: BootInstant, node: Uid, at: BootInstant, effects: &mut Vec<Effect>) {
        let is_news = |known: &&mut Known| known.connected && (!known.keeps_alive || known.heard < at);
        if let Some(known) = self.nodes.get_mut(&node).filter(is_news) {
            known.keeps_alive = true;
            known.hear(now, at);
            self.settle_one(now, node, effects);
            self.ask(now, effects);
        }
    }

    /// What `by` holds of `node`, both of one ring; anything else is ignored.
    pub fn report(&mut self, now: BootInstant, by: Uid, node: Uid, state: State, effects: &mut Vec<Effect>) {
        if let Some(known) = self.nodes.get_mut(&node).filter(|known| known.ring.contains(&by)) {
            known.reports.insert(by, state);
            self.settle_one(now, node, effects);
            self.ask(now, effects);
        }
    }

    /// All that `by` holds of the others of its ring: what it said before of those who are not named is forgotten.
    pub fn reported(&mut self, now: BootInstant, by: Uid, states: &[(Uid, State)], effects: &mut Vec<Effect>) {
        let named: BTreeMap<Uid, State> = states.iter().copied().collect();
        let mut concerned = Vec::new();
        for (node, known) in self.nodes.iter_mut().filter(|(_node, known)| known.ring.contains(&by)) {
            let before = match named.get(node) {
                Some(state) => known.reports.insert(by, *state),
                None => known.reports.remove(&by),
            };
            if before != named.get(node).copied() {
                concerned.push(*node);
            }
        }
        concerned.into_iter().for_each(|node| self.settle_one(now, node, effects));
        self.ask(now, effects);
    }

    /// The node has answered a confirmation, or certainly will not. Late answers count for nothing.
    pub fn confirmed(&mut self, now: BootInstant, node: Uid, answered: bool, effects: &mut Vec<Effect>) {
        if let Some(known) = self.nodes.get_mut(&node).filter(|known| known.asked.is_some()) {
            known.conclude(now, answered);
            self.settle_one(now, node, effects);
            self.ask(now, effects);
        }
    }

    /// This hub leads a majority, or does so no longer.
    pub fn quorum(&mut self, now: BootInstant, quorum: bool, effects: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.quorum, quorum) != quorum {
            self.settle(now, effects);
        }
    }

    /// Does what is due.
    pub fn wake(&mut self, now: BootInstant, effects: &mut Vec<Effect>) {
        self.settle(now, effects);
    }

    /// When [`Verdicts::wake`] is to be called.
    pub fn next_deadline(&self) -> Option<BootInstant> {
        // Without room for another question, the end of one that is on its way makes room.
        let has_room = self.asked.len() < CONFIRMATIONS_MAX;
        self.nodes.values().filter_map(|known| known.deadline(has_room)).min()
    }

    /// The verdict on a node and why; none: it is no member.
    pub fn verdict(&self, now: BootInstant, node: Uid) -> Option<(Verdict, Facts)> {
        let facts = self.facts(now, self.nodes.get(&node)?);
        Some((judge(&facts), facts))
    }

    fn facts(&self, now: BootInstant, known: &Known) -> Facts {
        let (session, since) = known.session(now);
        Facts {
            session,
            session_for: now.since(since),
            swim: known.swim.clone(),
            swim_for: now.since(known.swim_since),
            confirmation: known.confirmation(),
            quorum: self.quorum,
            last: known.last,
            age: now.since(known.last_at),
        }
    }

    fn settle(&mut self, now: BootInstant, effects: &mut Vec<Effect>) {
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.settle_one(now, node, effects);
        }
        self.ask(now, effects);
    }

    /// Draws the conclusion about one node.
    fn settle_one(&mut self, now: BootInstant, node: Uid, effects: &mut Vec<Effect>) {
        let Some(known) = self.nodes.get(&node) else { return };
        let swim = self.opinion(known);
        let Some(known) = self.nodes.get_mut(&node) else { return };
        known.hold(now, swim);
        if known.is_unanswered(now) {
            known.conclude(now, false);
        }
        let Some((to, evidence)) = self.verdict(now, node) else { return };
        let Some(known) = self.nodes.get_mut(&node) else { return };
        let wants = wants_confirmation(&evidence);
        if !wants {
            (known.asked, known.outcome) = (None, None);
        }
        set(&mut self.asked, node, known.asked.is_some());
        set(&mut self.wanted, node, wants && known.asked.is_none() && known.is_stale(now));
        if let Some(standing) = to.standing() {
            (known.last, known.last_at) = (Some(standing), now);
        }
        let is_news = known.told.is_none_or(|told| told.standing() != to.standing());
        if is_news {
            effects.push(Effect::Changed { node, from: known.told.replace(to), to, evidence });
        }
    }

    /// What the ring says of the node: those of its members who have a session themselves.
    fn opinion(&self, known: &Known) -> Swim {
        if known.ring.is_empty() {
            return Swim::Alone;
        }
        let is_online = |by: &Uid| self.nodes.get(by).is_some_and(|known| known.connected);
        let heard: Vec<(Uid, State)> =
            known.reports.iter().filter(|(by, _)| is_online(by)).map(|(by, state)| (*by, *state)).collect();
        let who = |is: fn(State) -> bool| heard.iter().filter(|(_, state)| is(*state)).map(|(by, _)| *by).collect();
        let down: Vec<Uid> = who(|state| state == State::Down);
        let suspects: Vec<Uid> = who(|state| state == State::Suspect);
        if heard.is_empty() {
            Swim::Unheard
        } else if 2 * down.len() >= heard.len() {
            Swim::Down(down)
        } else if !down.is_empty() {
            Swim::Accused(down)
        } else if suspects.is_empty() {
            Swim::Alive
        } else {
            Swim::Suspect(suspects)
        }
    }

    /// Asks those whose verdict depends on it as far as there is room: first those who never were, the longest accused first.
    fn ask(&mut self, now: BootInstant, effects: &mut Vec<Effect>) {
        let room = CONFIRMATIONS_MAX.saturating_sub(self.asked.len());
        if room == 0 || self.wanted.is_empty() {
            return;
        }
        let order = |node: &Uid| self.nodes.get(node).map(|known| (known.outcome.is_some(), known.swim_since));
        let mut wanted: Vec<Uid> = self.wanted.iter().copied().collect();
        wanted.sort_by_key(order);
        for node in wanted.into_iter().take(room) {
            self.wanted.remove(&node);
            if let Some(known) = self.nodes.get_mut(&node) {
                known.asked = Some(now);
                self.asked.insert(node);
                effects.push(Effect::Confirm(node));
            }
        }
    }
}

fn set(nodes: &mut BTreeSet<Uid>, node: Uid, contained: bool) {
    if contained {
        nodes.insert(node);
    } else {
        nodes.remove(&node);
    }
}
