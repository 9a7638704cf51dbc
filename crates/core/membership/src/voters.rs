//! Who shall vote: the policy by which the control plane grows, shrinks and replaces what it has lost.
//!
//! [`plan`] is pure: it is asked again after every step and whenever somebody comes or goes, and says the next step. Going through
//! with it is the hub's.
//!
//! **Invariants**: a set of voters is only proposed while a majority of the present one is online, a majority of the proposed one
//! is online, too, and differs from it by one voter exchanged, or by some that only come or only go. Unless members are missing,
//! or one has lost its log and is on its way back, the number of voters is odd. Repeated, with everybody staying as they are, the
//! steps end.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::Uid;

/// How long a voter may be away before another member takes its place, in milliseconds: longer than a restart of its daemons.
pub const AWAY_MAX_MS: u64 = 10_000;

/// How many entries of the voters' log a learner may be behind when it becomes a voter: about one batch.
pub const LAG_MAX: u64 = 512;

/// How many voters come or go in one step at most: from one odd number to the next.
const STEP_MAX: usize = 2;

/// A member as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Whether it is set aside.
    pub parked: bool,
    /// Whether it is online. The leader itself is.
    pub online: bool,
    /// For how long that has been so, in milliseconds.
    pub for_ms: u64,
    /// Whether it has the authority's key: it is a controller.
    pub prepared: bool,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Everything is as it shall be, or something has to happen first.
    Nothing,
    /// This member gets the authority's key and says its checkpoint key.
    Prepare(Uid),
    /// This controller gets the log.
    AddLearner(Uid),
    /// These vote from now on.
    SetVoters(BTreeSet<Uid>),
    /// This one is neither voter nor learner nor controller any more.
    Dismiss(Uid),
}

/// What the leader knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// How many voters there shall be: 1, 3 or 5.
    pub wanted: u32,
    /// The leader itself: it stays a voter rather than others.
    pub leader: Uid,
    /// The members.
    pub members: BTreeMap<Uid, Candidate>,
    /// Who votes; also who is no member any more.
    pub voters: BTreeSet<Uid>,
    /// Voters that are there and have no log any more. Each has forgotten whom it voted for and what it acknowledged: it goes,
    /// and comes back as any other member does.
    pub forgetful: BTreeSet<Uid>,
    /// Who gets the log without a vote, and how many entries each is behind.
    pub learners: BTreeMap<Uid, u64>,
}

/// The next step.
pub fn plan(view: &View) -> Step {
    if !view.has_majority(&view.voters) {
        return Step::Nothing;
    }
    let next = view.next();
    if next == view.voters {
        let without = view.without_forgetful().map(Step::SetVoters);
        return without.or_else(|| view.superfluous().map(Step::Dismiss)).unwrap_or(Step::Nothing);
    }
    for uid in next.difference(&view.voters).copied() {
        if !view.members.get(&uid).is_some_and(|member| member.prepared) {
            return Step::Prepare(uid);
        }
        match view.learners.get(&uid) {
            None => return Step::AddLearner(uid),
            Some(behind) if *behind > LAG_MAX => return Step::Nothing,
            Some(_) => {}
        }
    }
    Step::SetVoters(next)
}

impl View {
    /// The voters after the next change: the present ones if none is due, or none is safe.
    fn next(&self) -> BTreeSet<Uid> {
        let target = self.target();
        let next = if target.is_empty() { self.voters.clone() } else { self.towards(&target) };
        if self.has_majority(&next) { next } else { self.voters.clone() }
    }

    /// One change from the present voters towards these.
    fn towards(&self, target: &BTreeSet<Uid>) -> BTreeSet<Uid> {
        let mut next = self.voters.clone();
        let mut going: Vec<Uid> = self.voters.difference(target).copied().collect();
        // Who is not there goes first: those that stay have to be a majority in the meantime.
        going.sort_by_key(|uid| (!self.is_online(*uid), self.rank(*uid)));
        let mut coming: Vec<Uid> = target.difference(&self.voters).copied().collect();
        coming.sort_by_key(|uid| self.rank(*uid));
        match self.voters.len().checked_sub(target.len()) {
            Some(fewer) if fewer > 0 => {
                for uid in going.iter().rev().take(fewer.min(STEP_MAX)) {
                    next.remove(uid);
                }
            }
            _ => match (going.last(), coming.first()) {
                (Some(gone), Some(come)) => {
                    next.remove(gone);
                    next.insert(*come);
                }
                _ => next.extend(coming.into_iter().take(STEP_MAX)),
            },
        }
        next
    }

    /// Who should vote in the end: an odd number of those that can, the best first.
    fn target(&self) -> BTreeSet<Uid> {
        let mut able: Vec<Uid> = self.members.keys().copied().filter(|uid| self.is_able(*uid)).collect();
        able.sort_by_key(|uid| self.rank(*uid));
        let members = self.members.values().filter(|member| !member.parked).count();
        let wanted = usize::try_from(self.wanted).unwrap_or(usize::MAX);
        able.truncate(odd(wanted.min(members).min(able.len())));
        able.into_iter().collect()
    }

    /// Whether it may be a voter: one that is away may only stay one.
    fn is_able(&self, uid: Uid) -> bool {
        let member = self.members.get(&uid);
        member.is_some_and(|member| !member.parked && (member.online || self.voters.contains(&uid)))
    }

    /// The lower, the rather it votes: the leader, voters that are there, others that are, those nearest to it first, and last
    /// voters that are lost.
    fn rank(&self, uid: Uid) -> (u8, u64, Uid) {
        let Some(member) = self.members.get(&uid) else { return (7, 0, uid) };
        let behind = self.learners.get(&uid);
        let class = if member.parked {
            6
        } else if uid == self.leader {
            0
        } else if self.voters.contains(&uid) {
            match (member.online, member.for_ms >= AWAY_MAX_MS) {
                (true, _) => 1,
                (false, false) => 2,
                (false, true) => 5,
            }
        } else if member.prepared {
            3
        } else {
            4
        };
        (class, behind.copied().unwrap_or(u64::MAX), uid)
    }

    fn is_online(&self, uid: Uid) -> bool {
        uid == self.leader || self.members.get(&uid).is_some_and(|member| member.online)
    }

    fn has_majority(&self, voters: &BTreeSet<Uid>) -> bool {
        voters.iter().filter(|uid| self.is_online(**uid)).count() * 2 > voters.len()
    }

    /// The present voters without one that has lost its log, if nobody can take its place.
    fn without_forgetful(&self) -> Option<BTreeSet<Uid>> {
        let lost = self.forgetful.iter().find(|uid| self.voters.contains(uid) && !self.is_online(**uid))?;
        let without: BTreeSet<Uid> = self.voters.iter().copied().filter(|uid| uid != lost).collect();
        self.has_majority(&without).then_some(without)
    }

    /// Somebody who got the log or the authority's key, and is not needed.
    fn superfluous(&self) -> Option<Uid> {
        let prepared = self.members.iter().filter(|(_, member)| member.prepared).map(|(uid, _)| *uid);
        let mut kept = prepared.chain(self.learners.keys().copied());
        kept.find(|uid| !self.voters.contains(uid))
    }
}

/// The highest odd number up to this one; 0 for 0.
const fn odd(number: usize) -> usize {
    if number == 0 || number % 2 == 1 { number } else { number - 1 }
}
