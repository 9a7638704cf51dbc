//! A node's leases: what it wants to run, what it may run until when, what it gives back.
//!
//! Its driver sends [`Claims::request`] to the leader every [`Timing::renewal`](crate::Timing::renewal), one at a time: a reply
//! that comes after the next request was made is thrown away. It hands replies to [`Claims::answered`], wakes at
//! [`Claims::next_deadline`] for [`Claims::due`], and does what the [`News`] say. A driver that begins anew remembers nothing:
//! it wants what it runs, and gets a new term for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use acp_base::{BootInstant, Uid};
use acp_wire_api::hub::{HeldLease, LeaseAnswer, RenewSessionReply, RenewSessionRequest};

use crate::{Deadlines, Due, LEASES_MAX, Timing, TimingError};

/// What has become of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The system may run until then; it may not have been allowed before.
    Extended {
        /// The system.
        system: Uid,
        /// Until when.
        deadlines: Deadlines,
    },
    /// It may not run, or not go on: it is paused at once, and killed in time unless it is extended again.
    Refused {
        /// The system.
        system: Uid,
        /// Why, in a sentence.
        reason: String,
        /// What remains of its time; absent: it had none.
        deadlines: Option<Deadlines>,
    },
    /// Its time is over: it must be gone. It is asked for again, as if it had never been held.
    Lost {
        /// The system.
        system: Uid,
        /// The term that has ended.
        term: u64,
    },
}

#[derive(Debug)]
enum Claim {
    /// Asked for; only a term above this one counts.
    Wanted { above: u64 },
    /// Held until then.
    Held { deadlines: Deadlines },
    /// Given back; the leader does not know yet.
    Released { term: u64 },
}

/// The leases of a node.
#[derive(Debug, Default)]
pub struct Claims {
    claims: BTreeMap<Uid, Claim>,
    /// What the request on its way has asked for.
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    sent: BootInstant,
    systems: BTreeSet<Uid>,
    released: Vec<HeldLease>,
}

impl Claims {
    /// The node wants to run a system, or runs it: it is asked for until it is released. Refused if it asks for too many.
    pub fn want(&mut self, system: Uid) -> bool {
        match self.claims.get(&system) {
            None if self.claims.len() >= LEASES_MAX => return false,
            None => self.insert(system, Claim::Wanted { above: 0 }),
            Some(Claim::Released { term }) => {
                let above = *term;
                self.insert(system, Claim::Wanted { above });
            }
            Some(Claim::Wanted { .. } | Claim::Held { .. }) => {}
        }
        true
    }

    /// The system does not run here any more, and shall not.
    pub fn release(&mut self, system: Uid) {
        match self.claims.get(&system) {
            Some(Claim::Held { deadlines }) => {
                let term = deadlines.term;
                self.insert(system, Claim::Released { term });
            }
            // A grant may be on its way: the answer to it is taken for something to be released.
            Some(Claim::Wanted { .. }) => drop(self.claims.remove(&system)),
            Some(Claim::Released { .. }) | None => {}
        }
    }

    /// Whether a system is asked for or held.
    pub fn has(&self, system: Uid) -> bool {
        matches!(self.claims.get(&system), Some(Claim::Wanted { .. } | Claim::Held { .. }))
    }

    /// Whether there is nothing to say to the leader.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// Until when a system may run; absent: it may not.
    pub fn deadlines(&self, system: Uid, now: BootInstant) -> Option<Deadlines> {
        match self.claims.get(&system) {
            Some(Claim::Held { deadlines }) if deadlines.due(now) == Due::Run => Some(*deadlines),
            _ => None,
        }
    }

    /// The next request, sent at `now`; the reply to the one before does not count any more.
    pub fn request(&mut self, incarnation: u64, now: BootInstant) -> RenewSessionRequest {
        let mut request =
            RenewSessionRequest { incarnation, held: Vec::new(), wanted: Vec::new(), released: Vec::new() };
        for (system, claim) in &self.claims {
            let system = *system;
            match claim {
                Claim::Wanted { .. } => request.wanted.push(system),
                Claim::Held { deadlines } => request.held.push(HeldLease { system, term: deadlines.term }),
                Claim::Released { term } => request.released.push(HeldLease { system, term: *term }),
            }
        }
        let systems = self.claims.keys().copied().collect();
        self.asked = Some(Asked { sent: now, systems, released: request.released.clone() });
        request
    }

    /// Takes the reply to the last request. One whose numbers cannot be is as if none had come.
    pub fn answered(&mut self, reply: &RenewSessionReply, now: BootInstant) -> Result<Vec<News>, TimingError> {
        let timing = Timing::of_reply(reply)?;
        let Some(Asked { sent, systems, released }) = self.asked.take() else { return Ok(Vec::new()) };
        for released in released {
            if matches!(self.claims.get(&released.system), Some(Claim::Released { term }) if *term == released.term) {
                self.claims.remove(&released.system);
            }
        }
        let answers = reply.leases.iter().filter(|answer| systems.contains(&answer.system));
        Ok(answers.filter_map(|answer| self.take(answer, sent, &timing, now)).collect())
    }

    /// What has ended because nothing came.
    pub fn due(&mut self, now: BootInstant) -> Vec<News> {
        let mut news = Vec::new();
        for (system, claim) in &mut self.claims {
            if let Claim::Held { deadlines } = *claim
                && deadlines.due(now) == Due::Kill
            {
                *claim = Claim::Wanted { above: deadlines.term };
                news.push(News::Lost { system: *system, term: deadlines.term });
            }
        }
        news
    }

    /// How long until something ends.
    pub fn next_deadline(&self, now: BootInstant) -> Option<Duration> {
        let held = self.claims.values().filter_map(|claim| match claim {
            Claim::Held { deadlines } => Some(deadlines.kill_at),
            Claim::Wanted { .. } | Claim::Released { .. } => None,
        });
        held.min().map(|at| at.since(now))
    }

    fn take(&mut self, answer: &LeaseAnswer, sent: BootInstant, timing: &Timing, now: BootInstant) -> Option<News> {
        let system = answer.system;
        let (above, held) = match self.claims.get(&system) {
            Some(Claim::Wanted { above }) => (*above, None),
            Some(Claim::Held { deadlines }) => (deadlines.term - 1, Some(*deadlines)),
            Some(Claim::Released { .. }) => return None,
            None => {
                // It was released while the grant, or its release, was on its way.
                if let Some(term) = answer.term {
                    self.insert(system, Claim::Released { term });
                }
                return None;
            }
        };
        let Some(term) = answer.term else { return Some(self.refused(answer, held, now)) };
        let deadlines = Deadlines::counted_from(sent, term, timing);
        // A late reply gives nothing; an older term is another claim's.
        if term <= above || deadlines.due(now) != Due::Run {
            return None;
        }
        self.insert(system, Claim::Held { deadlines });
        Some(News::Extended { system, deadlines })
    }

    fn refused(&mut self, answer: &LeaseAnswer, held: Option<Deadlines>, now: BootInstant) -> News {
        let deadlines = held.map(|held| Deadlines { pause_at: held.pause_at.min(now), ..held });
        if let Some(deadlines) = deadlines {
            self.insert(answer.system, Claim::Held { deadlines });
        }
        News::Refused { system: answer.system, reason: answer.reason.clone(), deadlines }
    }

    fn insert(&mut self, system: Uid, claim: Claim) {
        self.claims.insert(system, claim);
    }
}
