//! What changed, in order: a bounded memory from which watches are served.
//!
//! A watch keeps a position and asks for what came after it. Nothing is queued per watch: a slow one falls behind, and when
//! its position has left the memory it is told so and starts from the state again.

use std::{collections::VecDeque, sync::Arc};

use acp_base::Uid;
use acp_wire_model::Kind;

use crate::{
    limits::{JOURNAL_CHANGES_MAX, JOURNAL_GONE_BYTES_MAX},
    view::View,
};

/// One change of one object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) uid: Uid,
    /// Nothing but measurements changed.
    pub(crate) stats_only: bool,
    /// Nothing but what other nodes say changed.
    pub(crate) is_heard: bool,
    /// The object as it was last, if it ended.
    pub(crate) gone: Option<Arc<View>>,
}

/// The newest changes, numbered from 1 in the order they happened.
#[derive(Clone, Debug)]
pub struct Journal {
    changes: VecDeque<Change>,
    head: u64,
    gone_bytes: usize,
    changes_max: usize,
}

impl Default for Journal {
    fn default() -> Self {
        Self::with_capacity(JOURNAL_CHANGES_MAX)
    }
}

impl Journal {
    /// An empty journal that remembers this many changes.
    pub fn with_capacity(changes_max: usize) -> Self {
        Self { changes: VecDeque::new(), head: 0, gone_bytes: 0, changes_max }
    }

    /// The number of the newest change; 0 before the first.
    pub const fn head(&self) -> u64 {
        self.head
    }

    /// Whether every change after `position` is remembered, and `position` is not in the future.
    pub fn reaches(&self, position: u64) -> bool {
        (self.forgotten()..=self.head).contains(&position)
    }

    pub(crate) fn push(&mut self, change: Change) {
        self.gone_bytes += gone_bytes(&change);
        self.changes.push_back(change);
        self.head += 1;
        while self.changes.len() > self.changes_max || self.gone_bytes > JOURNAL_GONE_BYTES_MAX {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.gone_bytes -= gone_bytes(&oldest);
        }
    }

    /// Forgets every change: whoever follows starts from the state again.
    pub(crate) fn forget(&mut self) {
        self.changes.clear();
        self.gone_bytes = 0;
        self.head += 1;
    }

    /// The changes after `position` with their numbers; none if they are not all remembered.
    pub(crate) fn after(&self, position: u64) -> Option<impl Iterator<Item = (u64, &Change)>> {
        let skip = self.reaches(position).then(|| position - self.forgotten())?;
        let skip = usize::try_from(skip).ok()?;
        Some((position + 1..).zip(self.changes.iter().skip(skip)))
    }

    /// The number of the newest change that is remembered no more.
    fn forgotten(&self) -> u64 {
        self.head - u64::try_from(self.changes.len()).unwrap_or(self.head)
    }
}

fn gone_bytes(change: &Change) -> usize {
    change.gone.as_ref().map_or(0, |view| view.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(uid: u128) -> Change {
        Change { kind: Kind::Job, uid: Uid::from_u128(uid), stats_only: false, is_heard: false, gone: None }
    }

    #[test]
    fn what_is_forgotten_is_said() {
        let mut journal = Journal::with_capacity(3);
        assert!(journal.reaches(0) && !journal.reaches(1));
        for uid in 1..=5 {
            journal.push(change(uid));
        }
        assert_eq!(journal.head(), 5);
        assert!(journal.after(1).is_none() && journal.after(6).is_none());
        let after =
            |position| -> Vec<u64> { journal.after(position).expect("remembered").map(|(number, _)| number).collect() };
        assert_eq!(after(2), [3, 4, 5]);
        assert_eq!(after(5), [] as [u64; 0]);
    }

    #[test]
    fn ended_objects_are_bounded_by_their_bytes() {
        let mut journal = Journal::default();
        let view = View { kind: Kind::Job, name: "j".into(), uid: Uid::from_u128(1), record: None, slots: Vec::new() };
        let each = view.bytes();
        let gone = Some(Arc::new(view));
        for uid in 0..u128::try_from(JOURNAL_GONE_BYTES_MAX / each + 10).expect("small") {
            journal.push(Change { gone: gone.clone(), ..change(uid) });
        }
        assert!(!journal.reaches(0) && journal.reaches(journal.head() - 5));
    }
}
