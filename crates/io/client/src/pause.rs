//! Pauses between attempts.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Pauses that double up to a bound.
#[derive(Debug)]
pub(crate) struct Pause {
    next: Duration,
    max: Duration,
}

impl Pause {
    /// The first pause, and the longest.
    pub(crate) const fn new(first: Duration, max: Duration) -> Self {
        Self { next: first, max }
    }

    /// Pauses. Answers `false`, and at once, if the pause would not end before the deadline.
    pub(crate) async fn until(&mut self, deadline: Instant) -> bool {
        if Instant::now() + self.next >= deadline {
            return false;
        }
        sleep(self.next).await;
        self.next = (self.next * 2).min(self.max);
        true
    }
}
