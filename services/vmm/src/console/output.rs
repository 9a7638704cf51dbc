//! One output out of two sources: the log that QEMU writes and the connection that tells when it did.
//!
//! The log is the truth: it also holds what was said while nobody was connected, and its offsets give the positions.
//! Bytes of the connection only wait until the log has them; if it does not take them in time (its disk is full), they
//! are shown all the same.
//!
//! **Invariant**: positions never go back, and a byte that both sources bring is shown once.

use super::ring::{Ring, length};

/// Bytes of the connection that may wait for the log; more than QEMU sends before it writes its log.
const WAITING_BYTES_MAX: usize = 64 << 10;

/// The output of a console so far.
#[derive(Debug)]
pub(super) struct Output {
    ring: Ring,
    /// Position of a byte of the log minus its offset, for offsets from `mapped_from`.
    base: u64,
    mapped_from: u64,
    /// Where the log is read next.
    offset: u64,
    /// From the connection, not yet seen in the log; the newest [`WAITING_BYTES_MAX`].
    waiting: Vec<u8>,
    /// Bytes that the log held before the connection brought them: QEMU writes the connection first, but it is not always
    /// read first.
    ahead: usize,
    /// Shown from the connection because the log did not have it.
    shown: Vec<u8>,
}

impl Output {
    /// The output whose log holds `size` bytes now, the first of which has position `base`. The ring is to be filled by
    /// reading the log from [`Self::offset`].
    pub(super) fn new(capacity: usize, base: u64, size: u64) -> Self {
        let offset = size.saturating_sub(length(capacity));
        let ring = Ring::new(capacity, base + offset);
        Self { ring, base, mapped_from: 0, offset, waiting: Vec::new(), ahead: 0, shown: Vec::new() }
    }

    /// The newest bytes.
    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Where the log is to be read next, in bytes from its beginning.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Position of the log's first byte.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Offset in the log of the byte at `position`, if the log surely has it there.
    pub(super) fn log_offset(&self, position: u64) -> Option<u64> {
        position.checked_sub(self.base).filter(|offset| (self.mapped_from..self.offset).contains(offset))
    }

    /// The first position that [`Self::log_offset`] knows.
    pub(super) fn log_start(&self) -> u64 {
        self.base + self.mapped_from
    }

    /// Whether bytes of the connection still wait for the log.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The connection brought these bytes.
    pub(super) fn received(&mut self, bytes: &[u8]) {
        let known = self.ahead.min(bytes.len());
        self.ahead -= known;
        self.waiting.extend_from_slice(&bytes[known..]);
        let surplus = self.waiting.len().saturating_sub(WAITING_BYTES_MAX);
        self.waiting.drain(..surplus);
    }

    /// The connection has brought all that the log held when it was last read; what did not come was said before QEMU
    /// accepted the connection.
    pub(super) fn settled(&mut self) {
        self.ahead = 0;
    }

    /// The log holds these bytes at [`Self::offset`].
    pub(super) fn logged(&mut self, bytes: &[u8]) {
        let known = self.already_shown(bytes);
        self.offset += length(known);
        self.base -= length(known);
        let fresh = &bytes[known..];
        self.offset += length(fresh.len());
        let awaited = fresh.len().min(self.waiting.len());
        self.waiting.drain(..awaited);
        self.ahead += fresh.len() - awaited;
        self.ring.push(fresh);
    }

    /// How many of these bytes of the log were shown before it had them.
    fn already_shown(&mut self, bytes: &[u8]) -> usize {
        let common = self.shown.len().min(bytes.len());
        if self.shown[..common] == bytes[..common] {
            self.shown.drain(..common);
            return common;
        }
        // The log lost what was shown and goes on with something else.
        self.shown.clear();
        self.mapped_from = self.offset;
        0
    }

    /// The log did not take what waits: shows it from the connection.
    pub(super) fn show_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.ring.push(&waiting);
        self.base += length(waiting.len());
        self.mapped_from = self.offset;
        self.shown.extend_from_slice(&waiting);
        if self.shown.len() > WAITING_BYTES_MAX {
            self.shown.clear();
        }
    }

    /// The log begins anew: it was trimmed here, or emptied by somebody else.
    pub(super) fn restarted(&mut self) {
        self.base += self.offset;
        self.offset = 0;
        self.mapped_from = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(output: &Output) -> String {
        String::from_utf8(output.ring().copy(0, usize::MAX)).expect("tests speak ASCII")
    }

    #[test]
    fn a_long_log_fills_the_ring_with_its_tail() {
        let mut output = Output::new(4, 1000, 10);
        assert_eq!(output.offset(), 6);
        output.logged(b"6789");
        assert_eq!((text(&output).as_str(), output.ring().start(), output.ring().end()), ("6789", 1006, 1010));
        assert_eq!(output.log_offset(1007), Some(7));
        assert_eq!(output.log_offset(1010), None, "not written yet");
    }

    #[test]
    fn the_connection_alone_shows_nothing_before_the_log_has_it() {
        let mut output = Output::new(100, 0, 0);
        output.received(b"hello");
        assert!(output.is_waiting());
        assert_eq!(text(&output), "");
        output.logged(b"hel");
        assert!(output.is_waiting());
        output.logged(b"lo");
        assert!(!output.is_waiting());
        assert_eq!(text(&output), "hello");
    }

    #[test]
    fn a_log_that_is_read_first_is_not_waited_for() {
        let mut output = Output::new(100, 0, 0);
        output.logged(b"early hello");
        output.received(b"hello");
        assert!(!output.is_waiting());
        output.settled();
        output.received(b" world");
        assert!(output.is_waiting(), "what was said before the connection stood does not count for it");
        output.logged(b" world");
        assert!(!output.is_waiting());
        assert_eq!(text(&output), "early hello world");
    }

    #[test]
    fn a_log_that_catches_up_shows_nothing_twice() {
        let mut output = Output::new(100, 0, 0);
        output.logged(b"one ");
        output.settled();
        output.received(b"two ");
        output.show_waiting();
        assert_eq!((text(&output).as_str(), output.ring().end()), ("one two ", 8));
        output.logged(b"tw");
        output.logged(b"o three");
        assert_eq!((text(&output).as_str(), output.ring().end()), ("one two three", 13));
        assert_eq!(output.log_offset(9), Some(9));
    }

    #[test]
    fn a_log_that_lost_bytes_goes_on_with_the_next() {
        let mut output = Output::new(100, 0, 0);
        output.logged(b"one ");
        output.settled();
        output.received(b"lost ");
        output.show_waiting();
        output.logged(b"two");
        assert_eq!((text(&output).as_str(), output.ring().end()), ("one lost two", 12));
        assert_eq!(output.log_offset(9), Some(4), "two is at 4 in the log and at 9 in the output");
        assert_eq!(output.log_offset(5), None, "the log does not have it");
    }

    #[test]
    fn a_trimmed_log_keeps_positions() {
        let mut output = Output::new(100, 0, 0);
        output.logged(b"before");
        output.restarted();
        output.logged(b"after");
        assert_eq!((text(&output).as_str(), output.ring().end(), output.base()), ("beforeafter", 11, 6));
        assert_eq!(output.log_offset(6), Some(0));
        assert_eq!(output.log_offset(5), None);
        assert_eq!(output.log_start(), 6);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut output = Output::new(10, 0, 0);
        output.received(&vec![b'x'; 3 * WAITING_BYTES_MAX]);
        assert_eq!(output.waiting.len(), WAITING_BYTES_MAX);
        output.show_waiting();
        output.received(&vec![b'y'; WAITING_BYTES_MAX]);
        output.show_waiting();
        assert!(output.shown.len() <= WAITING_BYTES_MAX);
    }
}
