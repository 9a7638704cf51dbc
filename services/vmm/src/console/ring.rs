//! The last bytes of an endless output, by absolute position.

use std::collections::VecDeque;

/// Keeps the newest `capacity` bytes. Memory grows with what is written, up to the capacity.
#[derive(Debug)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    capacity: usize,
    start: u64,
}

impl Ring {
    /// An empty ring whose first byte will have this position.
    pub(super) fn new(capacity: usize, start: u64) -> Self {
        Self { bytes: VecDeque::new(), capacity, start }
    }

    /// The most it holds, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Position of the oldest byte held.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Position after the newest byte.
    pub(super) fn end(&self) -> u64 {
        self.start + length(self.bytes.len())
    }

    /// Takes in new output; the oldest gives way.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let skipped = bytes.len().saturating_sub(self.capacity);
        let fresh = &bytes[skipped..];
        let surplus = (self.bytes.len() + fresh.len()).saturating_sub(self.capacity);
        let end = self.end() + length(bytes.len());
        self.bytes.drain(..surplus);
        self.bytes.extend(fresh);
        self.start = end - length(self.bytes.len());
    }

    /// At most `limit` bytes beginning at `from`, which counts as the start if it lies before it.
    pub(super) fn copy(&self, from: u64, limit: usize) -> Vec<u8> {
        let skip = usize::try_from(from.saturating_sub(self.start)).unwrap_or(usize::MAX).min(self.bytes.len());
        self.bytes.range(skip..).take(limit).copied().collect()
    }
}

/// A length as a number of positions; both have 64 bits wherever this runs.
pub(crate) fn length(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_stay_while_the_oldest_bytes_give_way() {
        let mut ring = Ring::new(4, 100);
        assert_eq!((ring.start(), ring.end()), (100, 100));
        ring.push(b"abc");
        assert_eq!((ring.start(), ring.end(), ring.copy(101, 10)), (100, 103, b"bc".to_vec()));
        ring.push(b"de");
        assert_eq!((ring.start(), ring.end(), ring.copy(0, 10)), (101, 105, b"bcde".to_vec()));
        ring.push(b"0123456789");
        assert_eq!((ring.start(), ring.end(), ring.copy(112, 2)), (111, 115, b"78".to_vec()));
        assert_eq!(ring.copy(115, 10), b"");
        assert_eq!(ring.copy(999, 10), b"");
    }

    proptest::proptest! {
        #[test]
        fn the_ring_is_the_tail_of_all_that_was_pushed(
            pieces in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..30), 0..20),
            capacity in 1_usize..40,
        ) {
            let mut ring = Ring::new(capacity, 7);
            let mut all = Vec::new();
            for piece in pieces {
                ring.push(&piece);
                all.extend(piece);
                let tail = &all[all.len().saturating_sub(capacity)..];
                proptest::prop_assert_eq!(ring.copy(0, usize::MAX), tail);
                proptest::prop_assert_eq!(ring.end(), 7 + length(all.len()));
            }
        }
    }
}
