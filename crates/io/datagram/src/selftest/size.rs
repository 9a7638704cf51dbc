//! How large a datagram may be to reach a peer in one piece.
//!
//! Questions of several sizes, which must not be cut into fragments, beside the small ones: where these come back and a larger one
//! again and again does not, whether a link refuses it or somebody on the way drops it without a word, a smaller one is tried.
//!
//! Deliberately not here: sizes beyond [`MTU_BYTES`], which no datagram has.

use acp_base::BootInstant;

use super::limits::{ECHO_PERIOD, SIZE_FAILURES_MAX, SIZE_PERIOD};
use crate::limits::MTU_BYTES;

/// The sizes that are tried, in bytes as UDP carries them: the largest that is sent, and what fits with the longer headers of IPv6 into
/// packets of 1,280, which are the least that its links carry, of 1,000, and of 576.
const SIZES: [usize; 4] = [MTU_BYTES, 1_232, 952, 528];

/// What is known of one way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    /// Which is tried.
    at: usize,
    /// How often in a row it did not come back.
    failures: u8,
    passes: Option<usize>,
    asked_at: Option<BootInstant>,
    /// The token of the question that is open.
    pending: Option<u32>,
}

impl Sizes {
    /// When it was asked last, if it may be asked again: soon while a size is in doubt.
    pub(crate) fn due(&self, now: BootInstant) -> Option<BootInstant> {
        let is_in_doubt = self.failures > 0 || self.pending.is_some() || self.at > 0 || self.passes.is_none();
        let period = if is_in_doubt { ECHO_PERIOD } else { SIZE_PERIOD };
        match self.asked_at {
            None => Some(BootInstant::default()),
            Some(at) => (now.since(at) >= period).then_some(at),
        }
    }

    /// Notes that it is asked now, and answers in how large a datagram. A question that was still open is lost.
    pub(crate) fn ask(&mut self, now: BootInstant, token: u32) -> usize {
        if self.pending.replace(token).is_some() {
            self.fail();
        }
        self.asked_at = Some(now);
        SIZES[self.at]
    }

    /// An answer to the open question; answers whether it is one.
    pub(crate) fn answered(&mut self, token: u32) -> bool {
        if self.pending.take_if(|pending| *pending == token).is_none() {
            return false;
        }
        self.passes = Some(SIZES[self.at]);
        (self.at, self.failures) = (0, 0);
        true
    }

    /// Nothing is known of the open question: this node did not run.
    pub(crate) const fn excuse(&mut self) {
        self.pending = None;
    }

    /// The largest that has passed when it was tried last; none: none has.
    pub(crate) const fn passes(&self) -> Option<usize> {
        self.passes
    }

    const fn fail(&mut self) {
        self.failures += 1;
        if self.failures >= SIZE_FAILURES_MAX {
            self.failures = 0;
            self.at = (self.at + 1) % SIZES.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks once a second on a way that carries so many bytes and loses every so manieth; answers what is known, each second.
    fn seconds(sizes: &mut Sizes, from: u64, count: u64, carries: usize, lost_every: u64) -> Vec<Option<usize>> {
        let mut known = Vec::new();
        for second in from..from + count {
            let (now, token) = (BootInstant::from_millis(second * 1_000), u32::try_from(second).expect("small"));
            if sizes.due(now).is_some() && sizes.ask(now, token) <= carries && !second.is_multiple_of(lost_every) {
                assert!(sizes.answered(token) && !sizes.answered(token), "once");
            }
            known.push(sizes.passes());
        }
        known
    }

    #[test]
    fn a_narrow_way_is_found_within_seconds_and_a_wide_one_again() {
        let mut sizes = Sizes::default();
        let known = seconds(&mut sizes, 1, 20, 1_272, u64::MAX);
        assert_eq!(known.iter().position(|known| *known == Some(1_232)), Some(5), "{known:?}");
        assert!(known[6..].iter().all(|known| *known == Some(1_232)), "it stays so: {known:?}");
        let known = seconds(&mut sizes, 21, 20, 1_400, u64::MAX);
        assert!(known.iter().position(|known| *known == Some(1_400)) < Some(7), "{known:?}");
        assert_eq!(known.last(), Some(&Some(1_400)));
    }

    #[test]
    fn loss_is_no_narrow_way() {
        let mut sizes = Sizes::default();
        let known = seconds(&mut sizes, 1, 300, 9_000, 2);
        assert!(known.iter().all(|known| known.is_none_or(|known| known == MTU_BYTES)), "{known:?}");
    }

    #[test]
    fn a_way_that_carries_nothing_has_no_size() {
        let mut sizes = Sizes::default();
        assert_eq!(seconds(&mut sizes, 1, 60, 0, u64::MAX), [None; 60]);
    }
}
