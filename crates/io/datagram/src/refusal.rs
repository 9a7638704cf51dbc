//! Why a datagram does not open, counted by reason and logged now and then.

use std::{collections::BTreeMap, net::SocketAddr};

use acp_base::{BootInstant, Uid};

use crate::limits::{LOG_WINDOW, LOGGED_MAX};

/// Why a datagram was dropped. All but [`Self::Forged`] are told from the header, which anybody can write: they say what the
/// datagram claims, not who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// Shorter than a header and a tag.
    #[error("it is shorter than a sealed datagram")]
    Truncated,
    /// Longer than any that is sent.
    #[error("it is longer than a sealed datagram may be")]
    Oversized,
    /// Of a layout that is not known here: a newer version of ACP, or no ACP.
    #[error("its layout is unknown")]
    Version,
    /// Of another cluster on the same group and port.
    #[error("it is of another cluster")]
    Cluster,
    /// For a receiver that is not known here.
    #[error("it is for a channel that is unknown")]
    Channel,
    /// Sealed for the group and arrived alone, or the other way round: somebody has sent it on.
    #[error("it came another way than it was sent")]
    Path,
    /// This node's own, as multicast brings it back.
    #[error("it is this node's own")]
    Own,
    /// Sealed with a key newer than all here: this node has missed a rotation and must fetch the key.
    #[error("it is sealed with a key that this node does not have yet")]
    NewerKey,
    /// Sealed with a key that is valid no more: the sender has missed two rotations.
    #[error("it is sealed with a key that is valid no more")]
    OlderKey,
    /// Of an earlier life of its sender than one that was heard: a recorded datagram, a late one, or two nodes that were copied
    /// from one another.
    #[error("its sender has begun anew since")]
    Superseded,
    /// Opened before: a repeated datagram, or one that was sent twice because of loss.
    #[error("it was opened before")]
    Replayed,
    /// Too far behind the newest of its sender to tell whether it was opened before.
    #[error("it is too late to tell whether it is new")]
    Late,
    /// Not sealed with the key that it names, or changed on its way.
    #[error("it is forged or damaged")]
    Forged,
}

/// How many reasons there are.
const REASONS: usize = 13;

impl Refusal {
    /// All of them.
    pub const ALL: [Self; REASONS] = [
        Self::Truncated,
        Self::Oversized,
        Self::Version,
        Self::Cluster,
        Self::Channel,
        Self::Path,
        Self::Own,
        Self::NewerKey,
        Self::OlderKey,
        Self::Superseded,
        Self::Replayed,
        Self::Late,
        Self::Forged,
    ];

    /// The word for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Oversized => "oversized",
            Self::Version => "version",
            Self::Cluster => "cluster",
            Self::Channel => "channel",
            Self::Path => "path",
            Self::Own => "own",
            Self::NewerKey => "newer-key",
            Self::OlderKey => "older-key",
            Self::Superseded => "superseded",
            Self::Replayed => "replayed",
            Self::Late => "late",
            Self::Forged => "forged",
        }
    }

    /// Whether networks and receivers that work as they should cause it, so that nobody needs to be told.
    const fn is_usual(self) -> bool {
        matches!(self, Self::Own | Self::Replayed | Self::Late)
    }
}

/// What was refused so far.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counts: [u64; REASONS],
    /// When the refusals of the present window were logged first.
    logged: BTreeMap<(Refusal, Option<Uid>), BootInstant>,
}

impl Refusals {
    /// Counts a refusal, and logs it unless that was done lately. `sender` is who the datagram says it is of.
    pub(crate) fn note(&mut self, now: BootInstant, refusal: Refusal, sender: Option<Uid>, from: SocketAddr) {
        self.counts[refusal as usize] += 1;
        metrics::counter!("acp_datagrams_refused_total", "reason" => refusal.name()).increment(1);
        if !refusal.is_usual() && self.is_to_be_logged(now, refusal, sender) {
            let sender = sender.map(|sender| sender.to_string());
            tracing::warn!(reason = refusal.name(), sender, %from, "a datagram was refused: {refusal}");
        }
    }

    pub(crate) const fn count(&self, refusal: Refusal) -> u64 {
        self.counts[refusal as usize]
    }

    fn is_to_be_logged(&mut self, now: BootInstant, refusal: Refusal, sender: Option<Uid>) -> bool {
        let what = (refusal, sender);
        if self.logged.get(&what).is_some_and(|at| now.since(*at) < LOG_WINDOW) {
            return false;
        }
        if self.logged.len() >= LOGGED_MAX {
            self.logged.retain(|_, at| now.since(*at) < LOG_WINDOW);
        }
        let has_room = self.logged.len() < LOGGED_MAX || self.logged.contains_key(&what);
        if has_room {
            self.logged.insert(what, now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_reason_has_its_place_and_its_word() {
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, place);
        }
        let words: std::collections::BTreeSet<_> = Refusal::ALL.map(Refusal::name).into();
        assert_eq!(words.len(), REASONS);
    }

    #[test]
    fn one_line_for_each_reason_and_sender_in_a_window() {
        let (mut refusals, start) = (Refusals::default(), BootInstant::from_millis(5));
        let (one, other) = (Some(Uid::from_u128(1)), Some(Uid::from_u128(2)));
        assert!(refusals.is_to_be_logged(start, Refusal::Forged, one));
        assert!(refusals.is_to_be_logged(start, Refusal::Forged, other));
        assert!(refusals.is_to_be_logged(start, Refusal::OlderKey, one));
        let later = start + (LOG_WINDOW - Duration::from_millis(1));
        assert!(!refusals.is_to_be_logged(later, Refusal::Forged, one));
        assert!(refusals.is_to_be_logged(start + LOG_WINDOW, Refusal::Forged, one));
    }

    #[test]
    fn invented_senders_get_no_more_lines_than_the_bound() {
        let (mut refusals, start) = (Refusals::default(), BootInstant::from_millis(5));
        let mut lines = |at: BootInstant, first: u128| {
            let senders = (first..first + 1_000).map(|sender| Some(Uid::from_u128(sender)));
            senders.filter(|sender| refusals.is_to_be_logged(at, Refusal::Forged, *sender)).count()
        };
        assert_eq!(lines(start, 0), LOGGED_MAX);
        assert_eq!(lines(start, 5_000), 0);
        assert_eq!(lines(start + LOG_WINDOW, 0), LOGGED_MAX);
    }
}
