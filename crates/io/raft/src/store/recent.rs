//! What is known of the log without asking the disk.

use std::collections::BTreeMap;

use openraft::EntryPayload;

use super::Recovered;
use crate::types::{Entry, LogId, Vote, Voter};

/// Bytes of entries kept in memory, for the machine and for peers that are up to date: some full batches. Others' are read from
/// the disk.
const RECENT_BYTES_MAX: usize = 2 << 20;

/// What an entry costs beside its command.
const ENTRY_BYTES: usize = 128;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The newest entries, without gap up to the last.
    pub(super) entries: BTreeMap<u64, Entry>,
    bytes: usize,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
}

impl Recent {
    /// What was found on disk when the log was opened.
    pub(super) fn new(recovered: &Recovered, me: Voter) -> Self {
        Self {
            purged: recovered.purged,
            last: recovered.last,
            vote: recovered.vote.map(|vote| resigned(vote, me)),
            committed: recovered.committed,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += cost(&entry);
        self.last = Some(entry.log_id);
        if let Some(replaced) = self.entries.insert(entry.log_id.index, entry) {
            self.bytes -= cost(&replaced);
        }
    }

    /// Forgets the oldest entries of those that are on disk, up to this one, as far as there are too many.
    pub(super) fn trim(&mut self, stored: u64) {
        while self.bytes > RECENT_BYTES_MAX
            && let Some(oldest) = self.entries.first_entry()
            && *oldest.key() <= stored
        {
            self.bytes -= cost(&oldest.remove());
        }
    }

    pub(super) fn remove(&mut self, gone: BTreeMap<u64, Entry>) {
        self.bytes -= gone.values().map(cost).sum::<usize>();
    }
}

pub(super) fn cost(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(command) => ENTRY_BYTES + command.bytes.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => ENTRY_BYTES,
    }
}

/// The vote as it is when the log is opened: whoever led by it leads no more, and nobody else is voted for in its term.
fn resigned(vote: Vote, me: Voter) -> Vote {
    if vote.leader_id().voted_for() == Some(me) { Vote { committed: false, ..vote } } else { vote }
}
