//! How much is lost, and how often each datagram is sent for it.
//!
//! Each datagram carries a number per receiver and how many copies were sent; the receiver counts what is missing and says back
//! what it sees. Not here: sending. The copies must be sealed one by one, or the replay window of the receiver hides them.

/// How often each datagram is sent at most: three at 30 % loss are one at 2.7 %.
pub const COPIES_MAX: u8 = 3;

/// A share in parts per million.
const WHOLE: i32 = 1_000_000;

/// From which loss on datagrams are sent twice, and thrice: above it, 1.5 s of suspicion were seen to fail.
const RISES: [i32; 2] = [30_000, 180_000];

/// Below which loss one copy less is sent: far enough below [`RISES`] that the noise of the estimate does not swing it.
const FALLS: [i32; 2] = [12_000, 110_000];

/// How much of what is new enters the estimate of the whole ring: one in 2^6, which settles within some 200 datagrams.
const RING_SHIFT: u32 = 6;

/// The same for what comes from one peer, of whom less is heard: one in 2^3.
const PEER_SHIFT: u32 = 3;

/// The share of datagrams that is lost, smoothed, and the number of copies that follows from it with hysteresis.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    share: i32,
    shift: u32,
    copies: u8,
}

impl Loss {
    /// The estimate of a ring.
    pub const fn of_ring() -> Self {
        Self { share: 0, shift: RING_SHIFT, copies: 1 }
    }

    /// The estimate of one peer.
    pub const fn of_peer() -> Self {
        Self { share: 0, shift: PEER_SHIFT, copies: 1 }
    }

    /// Takes into account that one copy came, or did not.
    pub fn record(&mut self, lost: bool) {
        self.record_share(if lost { WHOLE } else { 0 });
    }

    /// Takes into account what another says it misses, as [`Loss::as_byte`] wrote it.
    pub fn record_byte(&mut self, byte: u8) {
        self.record_share(i32::from(byte) * (WHOLE / 255));
    }

    /// The share lost, 0 to 255.
    pub fn as_byte(&self) -> u8 {
        u8::try_from(self.share / (WHOLE / 255)).unwrap_or(u8::MAX)
    }

    /// The share lost in parts per million.
    pub const fn parts_per_million(&self) -> i32 {
        self.share
    }

    /// How often each datagram is to be sent, 1 to [`COPIES_MAX`].
    pub const fn copies(&self) -> u8 {
        self.copies
    }

    fn record_share(&mut self, share: i32) {
        // Rounded towards the sample, or the estimate would stop short of 0.
        let step = (share - self.share) / (1 << self.shift);
        self.share += if step == 0 { (share - self.share).signum() } else { step };
        let level = usize::from(self.copies) - 1;
        if RISES.get(level).is_some_and(|limit| self.share >= *limit) {
            self.copies += 1;
        } else if level > 0 && self.share < FALLS[level - 1] {
            self.copies -= 1;
        }
    }
}

/// A gap larger than this is a peer that was away, or started anew, and is no measure of the way to it.
const GAP_MAX: u32 = 64;

/// What has come from one peer: tells second copies from first ones and counts what is missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    newest: u32,
    /// Copies that were sent of the newest datagram, and those that came.
    sent: u8,
    came: u8,
    /// Which of the 64 up to the newest have come.
    mask: u64,
}

impl Window {
    pub(crate) const fn empty() -> Self {
        Self { newest: 0, sent: 0, came: 0, mask: 0 }
    }

    /// Takes a copy of datagram `number`, of which `copies` were sent. True: it is the first one. `record` is told of each copy
    /// whether it is lost.
    pub(crate) fn take(&mut self, number: u32, copies: u8, mut record: impl FnMut(bool)) -> bool {
        record(false);
        if number > self.newest {
            self.advance(number, copies, record);
            return true;
        }
        if number == self.newest {
            self.came = self.came.saturating_add(1);
            return false;
        }
        let bit = 1_u64.checked_shl(self.newest - number).unwrap_or(0);
        let first = self.mask & bit == 0;
        self.mask |= bit;
        // Older than the window is as good as seen: it comes 64 datagrams late.
        first && bit != 0
    }

    fn advance(&mut self, number: u32, copies: u8, mut record: impl FnMut(bool)) {
        let gap = number - self.newest;
        if self.newest > 0 && gap <= GAP_MAX {
            let missing = u32::from(self.sent.saturating_sub(self.came)) + (gap - 1) * u32::from(copies);
            (0..missing).for_each(|_copy| record(true));
        }
        self.mask = self.mask.checked_shl(gap).unwrap_or(0) | 1;
        (self.newest, self.sent, self.came) = (number, copies, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(loss: &mut Loss, percent: u32, rounds: u32) {
        (0..rounds * 100).for_each(|round| loss.record(round * 37 % 100 < percent));
    }

    #[test]
    fn copies_follow_the_loss_both_ways() {
        let mut loss = Loss::of_ring();
        for (percent, copies) in [(0, 1), (1, 1), (10, 2), (30, 3), (14, 3), (5, 2), (0, 1)] {
            settle(&mut loss, percent, 5);
            assert_eq!(loss.copies(), copies, "{percent} %: {} ppm", loss.parts_per_million());
        }
        assert_eq!(loss.as_byte(), 0, "nothing is lost any more");
    }

    #[test]
    fn between_rise_and_fall_nothing_swings() {
        let mut loss = Loss::of_ring();
        settle(&mut loss, 30, 5);
        let mut changes = 0;
        for round in 0..10_000_u32 {
            let before = loss.copies();
            loss.record(round * 37 % 100 < 15);
            changes += u32::from(loss.copies() != before);
        }
        assert_eq!((changes, loss.copies()), (0, 3));
    }

    #[test]
    fn a_report_is_what_the_other_measured() {
        let (mut measured, mut told) = (Loss::of_peer(), Loss::of_ring());
        settle(&mut measured, 50, 5);
        (0..1_000).for_each(|_| told.record_byte(measured.as_byte()));
        assert!((told.parts_per_million() - measured.parts_per_million()).abs() < 10_000);
    }

    fn lost(numbers: &[(u32, u8)]) -> (Vec<bool>, usize) {
        let (mut window, mut missing) = (Window::empty(), 0);
        let first = numbers
            .iter()
            .map(|(number, copies)| window.take(*number, *copies, |lost| missing += usize::from(lost)))
            .collect();
        (first, missing)
    }

    #[test]
    fn copies_are_told_apart_and_the_missing_ones_counted() {
        assert_eq!(lost(&[(1, 2), (1, 2), (2, 2), (2, 2), (3, 2)]), (vec![true, false, true, false, true], 0));
        assert_eq!(lost(&[(1, 2), (2, 2), (4, 2)]).1, 4, "one of 1, one of 2, both of 3");
        assert_eq!(lost(&[(1, 1), (3, 1), (2, 1), (2, 1)]).0, vec![true, true, true, false], "late is not twice");
        assert_eq!(lost(&[(1, 1), (1_000, 1), (5, 1)]), (vec![true, true, false], 0), "a peer that was away");
        assert_eq!(lost(&[(5, 1), (u32::MAX, 3), (u32::MAX, 3)]).0, vec![true, true, false]);
    }
}
