//! What was refused and why, and what was saved: for metrics.

use crate::{sync::Refused, wire::DecodeError};

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that are none, or break a rule.
    pub unreadable: u64,
    /// Messages of a feature level that is not known here.
    pub feature_level: u64,
    /// Messages of another epoch.
    pub epoch: u64,
    /// Messages of or about a node that is no member any more.
    pub forgotten: u64,
    /// Messages in which a node speaks for another as if it were that one.
    pub not_its_own: u64,
    /// Messages that came by a way which is not theirs: a relay's from within the domain, or of another domain than the link's.
    pub astray: u64,
    /// Messages of a lower incarnation than is known.
    pub stale_incarnation: u64,
    /// Origins and values for which there was no room.
    pub no_room: u64,
    /// Deltas left to be repeated, because there are too many gaps.
    pub deferred: u64,
    /// NACKs sent.
    pub nacks: u64,
    /// NACKs not sent because another node had asked.
    pub suppressed: u64,
    /// Deltas repeated or relayed.
    pub repeats: u64,
    /// Fetched values that had another hash than was announced.
    pub bad_parts: u64,
}

impl Counters {
    pub(crate) const fn refuse(&mut self, refused: &Refused) {
        let count = match refused {
            Refused::Decode(DecodeError::Level(_)) => &mut self.feature_level,
            Refused::Decode(_) => &mut self.unreadable,
            Refused::Epoch { .. } => &mut self.epoch,
            Refused::Forgotten(_) => &mut self.forgotten,
            Refused::NotItsOwn { .. } => &mut self.not_its_own,
            Refused::Astray(_) => &mut self.astray,
        };
        *count += 1;
    }
}
