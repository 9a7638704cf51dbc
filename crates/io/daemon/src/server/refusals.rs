//! How often refusals are logged: a caller who is refused a million times does not get a million lines.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lines in one period: enough to see who does what wrong.
const LINES_MAX: u32 = 20;
/// The period.
const PERIOD: Duration = Duration::from_secs(1);

/// Counts refusals. For daemons, too, that refuse by themselves.
#[derive(Debug, Default)]
pub struct Refusals {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    lines: u32,
    unsaid: u64,
}

impl Refusals {
    /// Counts one more. If it is to be logged, answers how many before it were not.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.began.is_none_or(|began| now.duration_since(began) >= PERIOD) {
            (state.began, state.lines) = (Some(now), 0);
        }
        if state.lines == LINES_MAX {
            state.unsaid += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_a_few_lines_and_a_count() {
        let refusals = Refusals::default();
        let now = Instant::now();
        let said = (0..1_000).filter(|_| refusals.admit_at(now) == Some(0)).count();
        assert_eq!(said, 20);
        assert_eq!(refusals.admit_at(now + PERIOD), Some(980));
        assert_eq!(refusals.admit_at(now + PERIOD), Some(0));
    }
}
