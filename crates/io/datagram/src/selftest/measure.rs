//! Loss, round trips and clock offsets, from single samples.

use std::{collections::VecDeque, time::Duration};

use super::limits::{CLOCK_SAMPLES, SAMPLES_MAX};

/// Which of the last events were there, the newest in the lowest bit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcomes {
    bits: u64,
    count: u32,
}

impl Outcomes {
    pub(crate) const fn push(&mut self, is_there: bool) {
        self.bits = self.bits << 1 | is_there as u64;
        if self.count < SAMPLES_MAX {
            self.count += 1;
        }
    }

    /// How many of a thousand are missing; nothing before the first.
    pub(crate) fn loss_permille(self) -> Option<u32> {
        let missing = self.count - self.bits.count_ones();
        (self.count > 0).then(|| missing * 1_000 / self.count)
    }
}

/// Numbered datagrams of one sender: which of the last ones have arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrivals {
    outcomes: Outcomes,
    newest: u64,
}

impl Arrivals {
    pub(crate) fn push(&mut self, sequence: u64) {
        let behind = self.newest.saturating_sub(sequence);
        if self.outcomes.count == 0 || behind >= u64::from(SAMPLES_MAX) {
            // The first, or its sender has begun anew.
            *self = Self { newest: sequence, ..Self::default() };
            self.outcomes.push(true);
        } else if sequence > self.newest {
            let missing = (sequence - self.newest - 1).min(u64::from(SAMPLES_MAX));
            (0..missing).for_each(|_| self.outcomes.push(false));
            self.outcomes.push(true);
            self.newest = sequence;
        } else if behind < u64::from(self.outcomes.count) {
            self.outcomes.bits |= 1 << behind;
        }
    }

    pub(crate) fn loss_permille(self) -> Option<u32> {
        self.outcomes.loss_permille()
    }
}

/// The last round trips, each with the clock offset that it showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trips {
    samples: VecDeque<(Duration, i64)>,
    smoothed: Option<Duration>,
}

impl Trips {
    /// A round trip, and how far the peer's clock was ahead of ours in the middle of it, in milliseconds.
    pub(crate) fn push(&mut self, trip: Duration, offset_millis: i64) {
        if self.samples.len() == CLOCK_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((trip, offset_millis));
        // RFC 6298, 2.3.
        self.smoothed = Some(self.smoothed.map_or(trip, |smoothed| (smoothed * 7 + trip) / 8));
    }

    /// The round trip, smoothed.
    pub(crate) const fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// How far the peer's clock is ahead of ours, in milliseconds: as the shortest of the last trips showed it, because a queue
    /// on one way only pretends an offset.
    pub(crate) fn offset_millis(&self) -> Option<i64> {
        self.samples.iter().min_by_key(|(trip, _)| *trip).map(|(_, offset)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_what_is_missing_among_the_last() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.loss_permille(), None);
        [7, 8, 10].into_iter().for_each(|sequence| arrivals.push(sequence));
        assert_eq!(arrivals.loss_permille(), Some(250));
        arrivals.push(9);
        assert_eq!(arrivals.loss_permille(), Some(0), "one that is late is there");
        arrivals.push(5);
        assert_eq!(arrivals.loss_permille(), Some(0), "before the first");
        arrivals.push(1_000_000);
        assert_eq!(arrivals.loss_permille(), Some(63 * 1_000 / 64));
        arrivals.push(1);
        assert_eq!(arrivals.loss_permille(), Some(0), "it has begun anew");
        arrivals.push(u64::MAX);
        assert_eq!(arrivals.loss_permille(), Some(63 * 1_000 / 64));
    }

    #[test]
    fn the_shortest_of_the_last_trips_tells_the_clock() {
        let mut trips = Trips::default();
        assert_eq!((trips.smoothed(), trips.offset_millis()), (None, None));
        trips.push(Duration::from_millis(1), 40);
        trips.push(Duration::from_millis(81), 80);
        assert_eq!((trips.smoothed(), trips.offset_millis()), (Some(Duration::from_millis(11)), Some(40)));
        (0..CLOCK_SAMPLES).for_each(|_| trips.push(Duration::from_millis(2), -3));
        assert_eq!(trips.offset_millis(), Some(-3));
    }
}
