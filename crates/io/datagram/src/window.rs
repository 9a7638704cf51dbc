//! Which counters of a sender were seen (RFC 6479): the newest one and a bit for each of those behind it.

use crate::{
    Refusal,
    limits::{WINDOW_COUNTERS, WINDOW_WORDS},
};

/// Counters begin at 1; what no sealer makes, 0, is never new.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    newest: u64,
    seen: [u64; WINDOW_WORDS],
}

impl Window {
    /// Whether this counter is new.
    pub(crate) fn check(&self, counter: u64) -> Result<(), Refusal> {
        if counter > self.newest {
            return Ok(());
        }
        if self.newest - counter >= WINDOW_COUNTERS || counter == 0 {
            return Err(Refusal::Late);
        }
        let (word, bit) = place(counter);
        if self.seen[word] & bit == 0 { Ok(()) } else { Err(Refusal::Replayed) }
    }

    /// Remembers a counter that is new and whose datagram was authentic.
    pub(crate) fn mark(&mut self, counter: u64) {
        let words = (counter / 64).saturating_sub(self.newest / 64).min(WINDOW_WORDS as u64);
        for ahead in 1..=words {
            let (word, _) = place((self.newest / 64 + ahead).wrapping_mul(64));
            self.seen[word] = 0;
        }
        self.newest = self.newest.max(counter);
        let (word, bit) = place(counter);
        self.seen[word] |= bit;
    }
}

/// The word of a counter and its bit there. Words are used in turn.
fn place(counter: u64) -> (usize, u64) {
    let word = usize::try_from(counter / 64 % WINDOW_WORDS as u64).unwrap_or_default();
    (word, 1 << (counter % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{Strategy as _, any, prop_oneof, proptest};

    use super::*;

    proptest! {
        /// Against a set of everything that was ever seen.
        #[test]
        fn it_says_what_a_set_of_all_counters_would(
            start in prop_oneof![0..3_u64, any::<u64>().prop_map(|start| start / 2)],
            steps in proptest::collection::vec(prop_oneof![0..70_u64, 0..2_000_u64, any::<u64>()], 1..200),
            backs in proptest::collection::vec(0..1_200_u64, 200),
        ) {
            let (mut window, mut all, mut newest) = (Window::default(), BTreeSet::new(), 0_u64);
            for (step, back) in steps.into_iter().zip(backs) {
                let ahead = if newest == 0 { start } else { newest.saturating_add(step) };
                for counter in [ahead, ahead.saturating_sub(back), ahead] {
                    let expected = match counter {
                        _ if counter > newest => Ok(()),
                        _ if newest - counter >= WINDOW_COUNTERS || counter == 0 => Err(Refusal::Late),
                        _ if all.contains(&counter) => Err(Refusal::Replayed),
                        _ => Ok(()),
                    };
                    assert_eq!(window.check(counter), expected, "{counter} after {newest}");
                    if expected.is_ok() {
                        window.mark(counter);
                        all.insert(counter);
                        newest = newest.max(counter);
                    }
                }
            }
        }
    }
}
