//! The dead-man timer of one machine: it ends what nobody extends.
//!
//! **Invariant**: from `pause_at` on the processors stand still, from `kill_at` on the machine is gone, unless an extension of
//! the same or a newer term came before. A kill is final.

use std::time::Duration;

use acp_base::BootInstant;

use crate::Timing;

/// Until when a machine may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Under which term.
    pub term: u64,
    /// When the processors are stopped.
    pub pause_at: BootInstant,
    /// When the machine is killed.
    pub kill_at: BootInstant,
}

impl Deadlines {
    /// What a renewal gives that was sent at this instant.
    pub fn counted_from(sent: BootInstant, term: u64, timing: &Timing) -> Self {
        Self { term, pause_at: sent + timing.pause(), kill_at: sent + timing.kill() }
    }

    /// What is due at this instant.
    pub fn due(&self, now: BootInstant) -> Due {
        match () {
            () if now >= self.kill_at => Due::Kill,
            () if now >= self.pause_at => Due::Pause,
            () => Due::Run,
        }
    }
}

/// What the machine has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// It may run.
    Run,
    /// Its processors have to stand still.
    Pause,
    /// It has to be gone.
    Kill,
}

/// An extension of an earlier term than is known: its sender has been overtaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("term {given} is older than {known}, under which the machine runs")]
pub struct OldTerm {
    /// The extension's term.
    pub given: u64,
    /// The term known.
    pub known: u64,
}

/// The timer. Its driver asks [`DeadMan::due`] whenever it wakes and wakes at [`DeadMan::next_deadline`].
#[derive(Clone, Copy, Debug, Default)]
pub struct DeadMan {
    deadlines: Option<Deadlines>,
    has_killed: bool,
}

impl DeadMan {
    /// The timer as it is known from an earlier life of its driver.
    pub const fn resumed(deadlines: Deadlines) -> Self {
        Self { deadlines: Some(deadlines), has_killed: false }
    }

    /// Takes new deadlines. They may lie earlier than those before: then the lease is about to be lost.
    pub fn extend(&mut self, deadlines: Deadlines) -> Result<(), OldTerm> {
        if let Some(known) = self.deadlines.map(|known| known.term).filter(|known| deadlines.term < *known) {
            return Err(OldTerm { given: deadlines.term, known });
        }
        self.deadlines = Some(deadlines);
        Ok(())
    }

    /// What is due. Without deadlines a machine runs without a lease.
    pub fn due(&mut self, now: BootInstant) -> Due {
        let due = self.deadlines.map_or(Due::Run, |deadlines| deadlines.due(now));
        self.has_killed |= due == Due::Kill;
        if self.has_killed { Due::Kill } else { due }
    }

    /// What is known.
    pub const fn deadlines(&self) -> Option<Deadlines> {
        self.deadlines
    }

    /// How long until something else is due.
    pub fn next_deadline(&self, now: BootInstant) -> Option<Duration> {
        let deadlines = self.deadlines.filter(|_| !self.has_killed)?;
        let next = [deadlines.pause_at, deadlines.kill_at].into_iter().find(|at| *at > now)?;
        Some(next.since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> BootInstant {
        BootInstant::from_millis(millis)
    }

    fn deadlines(term: u64, sent: u64) -> Deadlines {
        Deadlines::counted_from(at(sent), term, &Timing::DEFAULT)
    }

    #[test]
    fn runs_pauses_and_kills_at_its_instants() {
        let mut timer = DeadMan::default();
        assert_eq!((timer.due(at(1 << 40)), timer.next_deadline(at(0))), (Due::Run, None), "no lease, no end");
        timer.extend(deadlines(1, 1_000)).expect("the first");
        assert_eq!(timer.due(at(4_999)), Due::Run);
        assert_eq!(timer.next_deadline(at(4_999)), Some(Duration::from_millis(1)));
        assert_eq!(timer.due(at(5_000)), Due::Pause);
        assert_eq!(timer.next_deadline(at(5_000)), Some(Duration::from_millis(1_500)));
        assert_eq!(timer.due(at(6_499)), Due::Pause);
        assert_eq!(timer.due(at(6_500)), Due::Kill);
        assert_eq!(timer.next_deadline(at(6_500)), None);
    }

    #[test]
    fn an_extension_before_the_kill_lets_it_run_and_none_after_it() {
        let mut timer = DeadMan::resumed(deadlines(1, 0));
        assert_eq!(timer.due(at(5_000)), Due::Pause);
        timer.extend(deadlines(1, 4_800)).expect("the same term");
        assert_eq!(timer.due(at(5_000)), Due::Run);
        assert_eq!(timer.due(at(60_000)), Due::Kill, "a suspended machine is late for both");
        timer.extend(deadlines(2, 60_000)).expect("a newer term");
        assert_eq!(timer.due(at(60_000)), Due::Kill, "what was killed stays killed");
    }

    #[test]
    fn an_older_term_is_refused_and_changes_nothing() {
        let mut timer = DeadMan::resumed(deadlines(3, 0));
        assert_eq!(timer.extend(deadlines(2, 3_000)), Err(OldTerm { given: 2, known: 3 }));
        assert_eq!(timer.due(at(4_000)), Due::Pause);
    }
}
