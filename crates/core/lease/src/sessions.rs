//! The leader's table: from whom it heard when, and which leases were named then.
//!
//! A table belongs to one term of the leadership: whoever is elected makes a new one, also when it was the leader before. Its
//! driver, the hub:
//!
//! 1. makes [`Sessions::new_leader`] once it leads and has applied its first entry of this term: from then on what earlier leaders
//!    proposed stands or never will. The acts of a table are ordered by this very leadership or not at all: passed on to a
//!    successor, a revocation would end what the successor has renewed;
//! 2. for each `RenewSession` calls [`Sessions::renew`], has [`Renewal::acts`] ordered (if there are any; for at most
//!    [`Timing::renewal`], since the node counts on meanwhile), and answers [`Renewal::reply`] from the state then applied;
//! 3. a few times in each [`Timing::renewal`] has ordered what [`Sessions::expired`] says.

use std::{collections::BTreeMap, time::Duration};

use acp_base::{BootInstant, Code, Failure, Uid};
use acp_wire_api::hub::{HeldLease, LeaseAnswer, RenewSessionReply, RenewSessionRequest};
use acp_wire_model::entry::LeaseAct;

use crate::Timing;

/// Systems that a node can name in one request, of each sort.
pub const LEASES_MAX: usize = 10_000;

/// Nodes whose sessions are kept: as many as the largest cluster has members, and some that have just left.
const SESSIONS_MAX: usize = 2_000;

/// What the log says of the right to run a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Who has it; absent: nobody.
    pub holder: Option<Uid>,
    /// The last term given; 0: none was.
    pub term: u64,
}

/// Why a session is not renewed. Nothing was changed; the node's time runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenewError {
    /// The leader may have been deposed since.
    #[error("this hub last knew {age:?} ago that it leads the control plane: ask again")]
    Unconfirmed {
        /// How old the knowledge is.
        age: Duration,
    },
    /// A later life of the node's hypervisor has asked already.
    #[error(
        "life {given} of the node's hypervisor asks after life {known} did: an earlier one is still at work, or a call was late"
    )]
    Overtaken {
        /// Who asks.
        given: u64,
        /// Who asked before.
        known: u64,
    },
    /// The request names too much.
    #[error("the request names more than {LEASES_MAX} systems of one sort")]
    TooMany,
    /// There are too many sessions.
    #[error("{SESSIONS_MAX} nodes have sessions: there is no room for another")]
    NoRoom,
}

impl From<RenewError> for Failure {
    fn from(error: RenewError) -> Self {
        let code = match error {
            RenewError::Unconfirmed { .. } => Code::Unavailable,
            RenewError::Overtaken { .. } => Code::Conflict,
            RenewError::TooMany => Code::InvalidArgument,
            RenewError::NoRoom => Code::ResourceExhausted,
        };
        Self::new(code, error.to_string())
    }
}

/// The table.
#[derive(Debug)]
pub struct Sessions {
    timing: Timing,
    began: BootInstant,
    withholds: bool,
    sessions: BTreeMap<Uid, Session>,
    /// Terms whose revocation has been handed out, by system, until the log has decided.
    revoking: BTreeMap<Uid, u64>,
}

#[derive(Debug)]
struct Session {
    incarnation: u64,
    until: BootInstant,
    /// Until when each lease lives that the node has named.
    named: BTreeMap<Uid, BootInstant>,
}

impl Sessions {
    /// The table of whoever has just become the leader: until a full time to live is over, every lease counts as renewed now.
    pub const fn new_leader(now: BootInstant, timing: Timing) -> Self {
        Self { timing, began: now, withholds: false, sessions: BTreeMap::new(), revoking: BTreeMap::new() }
    }

    /// Grants nothing anew for a full time to live. For an epoch that began by `recover` or `restore` and in which no lease has
    /// been granted yet: grants that were lost with the last epoch are not in the log, and their holders run on until then.
    #[must_use]
    pub const fn withholding(mut self) -> Self {
        self.withholds = true;
        self
    }

    /// How long is what.
    pub const fn timing(&self) -> Timing {
        self.timing
    }

    /// Takes a node's renewal at `now`.
    ///
    /// `confirmed` is an instant at which this hub was the leader for certain: when a round to a majority was *begun* that has
    /// succeeded since, best one begun for this very request (then `now` may be given). It must be an instant of
    /// `CLOCK_BOOTTIME`, noted when the round was begun: an age on a clock that stands still while the host is suspended hides
    /// how long this hub was away.
    ///
    /// `log` is the state that this hub has applied.
    pub fn renew(
        &mut self,
        node: Uid,
        request: &RenewSessionRequest,
        now: BootInstant,
        confirmed: BootInstant,
        log: impl Fn(Uid) -> Option<Fact>,
    ) -> Result<Renewal, RenewError> {
        self.check(node, request, now, confirmed)?;
        let mut renewal =
            Renewal { node, timing: self.timing, acts: Vec::new(), asks: BTreeMap::new(), released: Vec::new() };
        for released in &request.released {
            renewal.release(*released, log(released.system));
        }
        let asked = request.held.iter().map(|held| (held.system, true));
        for (system, is_held) in asked.chain(request.wanted.iter().map(|system| (*system, false))) {
            if !renewal.asks.contains_key(&system) {
                let answer = self.decide(node, system, is_held, now, log(system));
                renewal.ask(system, answer);
            }
        }
        self.note(node, request.incarnation, now, &renewal);
        Ok(renewal)
    }

    /// Leases whose time is over, to be revoked; each again until the log says so. `leases` are all that the log knows.
    pub fn expired(&mut self, now: BootInstant, leases: impl IntoIterator<Item = (Uid, Fact)>) -> Vec<(Uid, LeaseAct)> {
        self.sessions.retain(|_node, session| session.until + self.timing.ttl() > now);
        let first = self.began + self.timing.ttl();
        let mut acts = Vec::new();
        self.revoking.clear();
        for (system, fact) in leases {
            let Some(node) = fact.holder else { continue };
            let named = self.sessions.get(&node).and_then(|session| session.named.get(&system));
            if now >= named.map_or(first, |until| first.max(*until)) {
                self.revoking.insert(system, fact.term);
                acts.push((system, LeaseAct::Revoke { node, term: fact.term }));
            }
        }
        acts
    }

    /// Whether a node's session lives. In a new leader's first time to live it is not known of nodes that have not been heard:
    /// nobody is declared down before.
    pub fn is_alive(&self, node: Uid, now: BootInstant) -> Option<bool> {
        match self.sessions.get(&node).map(|session| session.until) {
            Some(until) => Some(now < until),
            None => (now >= self.began + self.timing.ttl()).then_some(false),
        }
    }

    fn check(
        &self,
        node: Uid,
        request: &RenewSessionRequest,
        now: BootInstant,
        confirmed: BootInstant,
    ) -> Result<(), RenewError> {
        let age = now.since(confirmed);
        if age > self.timing.proof_age_max() {
            return Err(RenewError::Unconfirmed { age });
        }
        if [request.held.len(), request.wanted.len(), request.released.len()]
            .into_iter()
            .any(|count| count > LEASES_MAX)
        {
            return Err(RenewError::TooMany);
        }
        match self.sessions.get(&node) {
            Some(session) if request.incarnation < session.incarnation => {
                Err(RenewError::Overtaken { given: request.incarnation, known: session.incarnation })
            }
            None if self.sessions.len() >= SESSIONS_MAX => Err(RenewError::NoRoom),
            Some(_) | None => Ok(()),
        }
    }

    fn decide(&self, node: Uid, system: Uid, is_held: bool, now: BootInstant, fact: Option<Fact>) -> Decision {
        let Fact { holder, term } = fact.unwrap_or(Fact { holder: None, term: 0 });
        match holder {
            Some(holder) if holder != node => Decision::Refuse(String::new()),
            Some(_) if self.revoking.get(&system) == Some(&term) => {
                Decision::Refuse("it is being taken back, since it was not renewed in time: ask again".to_owned())
            }
            Some(_) if is_held => Decision::Keep { above: term.saturating_sub(1) },
            Some(_) => Decision::Grant { above: term },
            // Who holds it within its time was the last to get it, whatever the log has lost.
            None if is_held || !self.is_withholding(now) => Decision::Grant { above: term },
            None => Decision::Refuse(
                "the control plane began anew a moment ago, and another node may still run it: wait some seconds"
                    .to_owned(),
            ),
        }
    }

    fn is_withholding(&self, now: BootInstant) -> bool {
        self.withholds && now < self.began + self.timing.ttl()
    }

    /// Writes down that the node was heard, and until when what it may run lives.
    fn note(&mut self, node: Uid, incarnation: u64, now: BootInstant, renewal: &Renewal) {
        let until = now + self.timing.ttl();
        let session = self.sessions.entry(node).or_insert(Session { incarnation, until, named: BTreeMap::new() });
        session.incarnation = incarnation;
        session.until = until;
        // What this request does not name ends as the last one said.
        session.named.retain(|_system, until| *until > now);
        let granted = renewal.asks.iter().filter(|(_system, decision)| decision.above().is_some());
        for (system, _decision) in granted {
            if session.named.len() < 2 * LEASES_MAX || session.named.contains_key(system) {
                session.named.insert(*system, until);
            }
        }
    }
}

/// What becomes of one system asked for.
#[derive(Debug)]
enum Decision {
    /// The node has it: under any term above this one.
    Keep { above: u64 },
    /// A grant was proposed: under any term above this one.
    Grant { above: u64 },
    /// It is not given, for this reason; empty: another node has it.
    Refuse(String),
}

impl Decision {
    const fn above(&self) -> Option<u64> {
        match self {
            Self::Keep { above } | Self::Grant { above } => Some(*above),
            Self::Refuse(_) => None,
        }
    }
}

/// A renewal that was taken, before what it asks for is ordered.
#[derive(Debug)]
pub struct Renewal {
    node: Uid,
    timing: Timing,
    acts: Vec<(Uid, LeaseAct)>,
    asks: BTreeMap<Uid, Decision>,
    released: Vec<HeldLease>,
}

impl Renewal {
    /// What is to be ordered, in this order; empty for a renewal of what the node has.
    pub fn acts(&self) -> &[(Uid, LeaseAct)] {
        &self.acts
    }

    /// The answer, from the state that this hub has applied after the acts were ordered. Those that were not, in time or at
    /// all, are refused in it; what the node had before stays renewed. `name` says who a node is, for people.
    pub fn reply(&self, log: impl Fn(Uid) -> Option<Fact>, name: impl Fn(Uid) -> String) -> RenewSessionReply {
        let asked = self.asks.iter().map(|(system, decision)| self.answer(*system, decision, log(*system), &name));
        let kept = self.released.iter().filter(|released| self.has(log(released.system), released.term));
        let kept = kept.filter(|released| !self.asks.contains_key(&released.system)).map(|released| LeaseAnswer {
            system: released.system,
            term: Some(released.term),
            reason: String::new(),
        });
        RenewSessionReply {
            ttl_ms: millis(self.timing.ttl()),
            pause_ms: millis(self.timing.pause()),
            kill_ms: millis(self.timing.kill()),
            leases: asked.chain(kept).collect(),
        }
    }

    fn answer(
        &self,
        system: Uid,
        decision: &Decision,
        fact: Option<Fact>,
        name: impl Fn(Uid) -> String,
    ) -> LeaseAnswer {
        let refused = |reason: String| LeaseAnswer { system, term: None, reason };
        match (fact.unwrap_or(Fact { holder: None, term: 0 }), decision) {
            (Fact { holder: Some(holder), .. }, _) if holder != self.node => {
                refused(format!("node {} has its lease", name(holder)))
            }
            (_, Decision::Refuse(reason)) if !reason.is_empty() => refused(reason.clone()),
            (Fact { holder: Some(_), term }, Decision::Keep { above } | Decision::Grant { above }) if term > *above => {
                LeaseAnswer { system, term: Some(term), reason: String::new() }
            }
            _ => refused("the control plane did not grant it in time: ask again".to_owned()),
        }
    }

    fn ask(&mut self, system: Uid, decision: Decision) {
        if matches!(decision, Decision::Grant { .. }) {
            self.acts.push((system, LeaseAct::Grant { node: self.node }));
        }
        self.asks.insert(system, decision);
    }

    fn release(&mut self, released: HeldLease, fact: Option<Fact>) {
        if self.has(fact, released.term) {
            self.acts.push((released.system, LeaseAct::Release { node: self.node, term: released.term }));
            self.released.push(released);
        }
    }

    fn has(&self, fact: Option<Fact>, term: u64) -> bool {
        fact == Some(Fact { holder: Some(self.node), term })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
