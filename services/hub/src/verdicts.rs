//! The verdicts of one leadership, fed with what this hub knows: sessions and when they were heard, reports of rings, answers.
//!
//! Deliberately not here: what follows from the facts (`acp_core_swim`), who asks a node whether it lives, and who is told
//! (`handlers/verdicts.rs`).
//!
//! **Invariants**: a leader that has just begun says nothing until it can have heard of every session; a node that changes
//! the hub it watches at has a session all the while; the word of a node that repeats it no more counts for nothing.

use std::{collections::BTreeMap, time::Duration};

use acp_base::{BootInstant, Uid};
use acp_core_swim::{
    Effect, State, Verdict, Verdicts,
    rings::{Assigned, RingId, assign},
    verdict::Standing,
};
use acp_wire_api::hub::{self as api, ReportRingRequest, RingStateKind};

use crate::{presence::Sighting, sight::DOUBT};

/// How long a new leader says nothing: the other voters tell who watches at their hubs twice a second, and whoever watched at the
/// one that led finds another hub within its patience.
const LEARNING: Duration = Duration::from_secs(3);

/// How long a report counts that is not repeated. Nodes repeat theirs every few seconds.
const REPORT_MAX: Duration = Duration::from_secs(15);

/// Who has reported.
#[derive(Clone, Copy, Debug)]
struct Reporter {
    incarnation: u64,
    at: BootInstant,
}

/// A node's session as the verdicts were told of it.
#[derive(Clone, Copy, Debug, Default)]
struct Session {
    connected: bool,
    /// Since when it is not seen although it is held for connected.
    doubted: Option<BootInstant>,
}

/// The verdicts of one leadership.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) term: u64,
    began: BootInstant,
    verdicts: Verdicts,
    /// The ring of each node.
    members: BTreeMap<Uid, String>,
    rings: BTreeMap<Uid, RingId>,
    reporters: BTreeMap<Uid, Reporter>,
    sessions: BTreeMap<Uid, Session>,
    /// Since when the verdict on each node is as it is.
    since: BTreeMap<Uid, BootInstant>,
    lapses: Option<BootInstant>,
    effects: Vec<Effect>,
}

/// What the leader sees.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    /// The members that are expected, and of which domain each is.
    pub(crate) members: &'a BTreeMap<Uid, String>,
    pub(crate) sightings: &'a BTreeMap<Uid, Sighting>,
    /// When one of the sightings lapses if nothing is heard meanwhile.
    pub(crate) lapses: Option<BootInstant>,
    /// Whether a majority of the voters is heard.
    pub(crate) quorum: bool,
}

impl Table {
    pub(crate) fn new(now: BootInstant, term: u64) -> Self {
        Self {
            term,
            began: now,
            verdicts: Verdicts::default(),
            members: BTreeMap::new(),
            rings: BTreeMap::new(),
            reporters: BTreeMap::new(),
            sessions: BTreeMap::new(),
            since: BTreeMap::new(),
            lapses: None,
            effects: Vec::new(),
        }
    }

    /// Whether it has not heard enough yet.
    pub(crate) fn is_learning(&self, now: BootInstant) -> bool {
        now.since(self.began) < LEARNING
    }

    /// Takes in how everything is now, and does what is due.
    pub(crate) fn see(&mut self, now: BootInstant, seen: &Seen<'_>) {
        self.lapses = seen.lapses;
        // First, so that nobody is asked about nodes whose sessions were not heard of yet.
        self.verdicts.quorum(now, seen.quorum && !self.is_learning(now), &mut self.effects);
        self.assign(now, seen.members);
        for node in seen.members.keys() {
            self.look(now, *node, seen.sightings.get(node));
        }
        let silent = |reporter: &Reporter| now.since(reporter.at) >= REPORT_MAX;
        let silent: Vec<Uid> =
            self.reporters.iter().filter(|(_, reporter)| silent(reporter)).map(|(by, _)| *by).collect();
        for by in silent {
            self.reporters.remove(&by);
            self.verdicts.reported(now, by, &[], &mut self.effects);
        }
        self.verdicts.wake(now, &mut self.effects);
        self.date(now);
    }

    fn assign(&mut self, now: BootInstant, members: &BTreeMap<Uid, String>) {
        if *members == self.members {
            return;
        }
        self.members.clone_from(members);
        let mut domains: BTreeMap<&str, Vec<Uid>> = BTreeMap::new();
        for (node, domain) in members {
            domains.entry(domain).or_default().push(*node);
        }
        let rings: Vec<Assigned> = domains.iter().flat_map(|(domain, nodes)| assign(domain, nodes)).collect();
        self.rings = rings.iter().flat_map(|ring| ring.members.iter().map(|node| (*node, ring.id))).collect();
        self.verdicts.set_rings(now, rings.iter().map(|ring| &ring.members[..]), &mut self.effects);
        self.sessions.retain(|node, _| self.rings.contains_key(node));
        self.reporters.retain(|node, _| self.rings.contains_key(node));
        self.since.retain(|node, _| self.rings.contains_key(node));
    }

    fn look(&mut self, now: BootInstant, node: Uid, sighting: Option<&Sighting>) {
        let session = self.sessions.entry(node).or_default();
        match sighting.filter(|sighting| sighting.online) {
            Some(sighting) => {
                *session = Session { connected: true, doubted: None };
                self.verdicts.session(now, node, true, &mut self.effects);
                if let Some(at) = sighting.heard {
                    self.verdicts.heard(now, node, at, &mut self.effects);
                }
            }
            None if session.connected => {
                let doubted = *session.doubted.get_or_insert(now);
                if now.since(doubted) >= DOUBT {
                    *session = Session::default();
                    self.verdicts.session(now, node, false, &mut self.effects);
                }
            }
            None => {}
        }
    }

    /// A node says what it holds of the others of its ring. What an earlier life of its service says, or is said of a ring that
    /// this hub has it not in, does not count.
    pub(crate) fn report(&mut self, now: BootInstant, by: Uid, report: &ReportRingRequest) {
        let is_of_now = self.reporters.get(&by).is_none_or(|known| known.incarnation <= report.incarnation);
        if !is_of_now || self.rings.get(&by) != Some(&RingId(report.ring)) {
            return;
        }
        self.reporters.insert(by, Reporter { incarnation: report.incarnation, at: now });
        let states: Vec<(Uid, State)> = report.states.iter().map(|held| (held.node, state(held.state))).collect();
        self.verdicts.reported(now, by, &states, &mut self.effects);
        self.date(now);
    }

    /// A node has answered the hub's question, or has not.
    pub(crate) fn confirmed(&mut self, now: BootInstant, node: Uid, answered: bool) {
        self.verdicts.confirmed(now, node, answered, &mut self.effects);
        self.date(now);
    }

    /// What is to be done since.
    pub(crate) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When [`Self::see`] is due whatever else happens.
    pub(crate) fn deadline(&self, now: BootInstant) -> Option<BootInstant> {
        let learned = self.is_learning(now).then_some(self.began + LEARNING);
        let doubts = self.sessions.values().filter_map(|session| session.doubted).map(|doubted| doubted + DOUBT);
        let reports = self.reporters.values().map(|reporter| reporter.at + REPORT_MAX);
        doubts.chain(reports).chain(learned).chain(self.lapses).chain(self.verdicts.next_deadline()).min()
    }

    /// The verdict on a node; none: it is not expected, or the leader has not heard enough yet.
    pub(crate) fn judgement(
        &self,
        now: BootInstant,
        node: Uid,
        called: impl Fn(Uid) -> String,
    ) -> Option<api::Judgement> {
        if self.is_learning(now) {
            return None;
        }
        let (verdict, facts) = self.verdicts.verdict(now, node)?;
        let since = self.since.get(&node).copied().unwrap_or(self.began);
        let for_ms = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
        Some(api::Judgement {
            standing: standing(verdict),
            for_ms,
            evidence: evidence(&verdict, &facts.sentence(called)),
        })
    }

    /// Notes when verdicts have changed.
    fn date(&mut self, now: BootInstant) {
        for effect in &self.effects {
            if let Effect::Changed { node, .. } = effect {
                self.since.insert(*node, now);
            }
        }
    }
}

/// Why a verdict was come to, with what it was before if it is that nobody can tell.
pub(crate) fn evidence(verdict: &Verdict, sentence: &str) -> String {
    match verdict {
        Verdict::Unknown { last: Some(last), age } => format!("{sentence}; last {last}, {} s ago", age.as_secs()),
        _ => sentence.to_owned(),
    }
}

pub(crate) const fn standing(verdict: Verdict) -> api::Standing {
    match verdict.standing() {
        Some(Standing::Online) => api::Standing::Online,
        Some(Standing::Isolated) => api::Standing::Isolated,
        Some(Standing::Unmanaged) => api::Standing::Unmanaged,
        Some(Standing::Down) => api::Standing::Down,
        None => api::Standing::Unknown,
    }
}

const fn state(kind: RingStateKind) -> State {
    match kind {
        RingStateKind::Alive => State::Alive,
        RingStateKind::Suspect => State::Suspect,
        RingStateKind::Down => State::Down,
    }
}

#[cfg(test)]
mod tests;
