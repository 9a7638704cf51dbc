//! Where one message ends and the next begins: bytes and descriptors go in as they arrive, whole messages come out.
//!
//! **Invariant**: never more than one message's bound is held, and memory that a large message took is given back once it
//! is taken.

use std::{collections::VecDeque, ffi::CStr, ops::Range, os::fd::OwnedFd};

/// How much is read at first, in bytes: most calls and replies fit, and so little is held for each idle connection.
const FIRST_BYTES: usize = 1024;
/// How much memory stays with a connection between messages, in bytes. It is not counted as held.
const KEPT_BYTES_MAX: usize = 4 * 1024;
/// How much memory a descriptor counts as: about what an open file takes in the kernel, in bytes.
const DESCRIPTOR_BYTES: usize = 4 * 1024;
/// Descriptors that come with one message at most: as many as the kernel passes at once (`SCM_MAX_FD`).
pub(crate) const DESCRIPTORS_MAX: usize = 253;

/// What a message of this size with so many descriptors counts as when it is held, in bytes: small ones without descriptors
/// count nothing.
pub const fn weight(bytes: usize, descriptors: usize) -> usize {
    let counted = if bytes > KEPT_BYTES_MAX { bytes } else { 0 };
    counted + descriptors * DESCRIPTOR_BYTES
}

/// What goes beyond a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Overflow {
    #[error("a message is larger than {0} bytes")]
    Bytes(usize),
    #[error("more than {DESCRIPTORS_MAX} descriptors came with one message")]
    Descriptors,
}

/// A message without its end, and the descriptors that came with it.
pub(crate) type Message = (Range<usize>, Vec<OwnedFd>);

/// What has arrived and is not taken yet.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Its end beyond `filled` is room for what arrives next.
    buffer: Vec<u8>,
    taken: usize,
    /// Between `taken` and here lies no end of a message.
    searched: usize,
    filled: usize,
    /// With the position of the last byte that arrived together with them: they belong to that byte's message.
    descriptors: VecDeque<(usize, OwnedFd)>,
    bytes_max: usize,
}

impl Frames {
    /// For messages of at most `bytes_max` bytes, their ends not counted.
    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self { buffer: Vec::new(), taken: 0, searched: 0, filled: 0, descriptors: VecDeque::new(), bytes_max }
    }

    /// Where to put what arrives next; never empty.
    pub(crate) fn room(&mut self) -> Result<&mut [u8], Overflow> {
        if self.filled == self.buffer.len() {
            self.make_room()?;
        }
        Ok(&mut self.buffer[self.filled..])
    }

    fn make_room(&mut self) -> Result<(), Overflow> {
        if self.taken > 0 {
            self.buffer.copy_within(self.taken..self.filled, 0);
            for (position, _) in &mut self.descriptors {
                *position -= self.taken;
            }
            self.filled -= self.taken;
            self.searched -= self.taken;
            self.taken = 0;
            return Ok(());
        }
        // One byte more than the bound: the end of the largest message.
        if self.buffer.len() > self.bytes_max {
            return Err(Overflow::Bytes(self.bytes_max));
        }
        let length = (self.buffer.len() * 2).max(FIRST_BYTES).min(self.bytes_max + 1);
        self.buffer.resize(length, 0);
        Ok(())
    }

    /// The first `count` bytes of the room were filled, and these descriptors came with them.
    pub(crate) fn arrived(&mut self, count: usize, descriptors: Vec<OwnedFd>) -> Result<(), Overflow> {
        self.filled += count;
        let position = self.filled.saturating_sub(1);
        self.descriptors.extend(descriptors.into_iter().map(|descriptor| (position, descriptor)));
        if self.descriptors.len() > DESCRIPTORS_MAX { Err(Overflow::Descriptors) } else { Ok(()) }
    }

    /// The end of the first message, if that is whole.
    fn end(&mut self) -> Option<usize> {
        // The standard library's fast search for a zero byte.
        match CStr::from_bytes_until_nul(&self.buffer[self.searched..self.filled]) {
            Ok(text) => {
                self.searched += text.count_bytes();
                Some(self.searched)
            }
            Err(_none) => {
                self.searched = self.filled;
                None
            }
        }
    }

    /// Whether a whole message is there.
    pub(crate) fn has_message(&mut self) -> bool {
        self.end().is_some()
    }

    /// Whether a message has begun to arrive and is not whole.
    pub(crate) fn is_midway(&mut self) -> bool {
        self.taken < self.filled && !self.has_message()
    }

    /// Takes the first message, if it is whole; its bytes stay readable until [`Self::settle`].
    pub(crate) fn take(&mut self) -> Option<Message> {
        let end = self.end()?;
        let mut descriptors = Vec::new();
        while self.descriptors.front().is_some_and(|(position, _)| *position <= end) {
            descriptors.extend(self.descriptors.pop_front().map(|(_, descriptor)| descriptor));
        }
        let message = self.taken..end;
        self.taken = end + 1;
        self.searched = self.taken;
        Some((message, descriptors))
    }

    pub(crate) fn bytes(&self, message: Range<usize>) -> &[u8] {
        &self.buffer[message]
    }

    /// Gives back what a message took, as soon as nothing is left to take.
    pub(crate) fn settle(&mut self) {
        if self.taken < self.filled {
            return;
        }
        (self.taken, self.searched, self.filled) = (0, 0, 0);
        if self.buffer.len() > KEPT_BYTES_MAX {
            self.buffer = Vec::new();
        }
    }

    /// What is held, as it counts.
    pub(crate) fn held(&self) -> usize {
        weight(self.buffer.len(), self.descriptors.len())
    }

    /// What arrived and was not taken.
    pub(crate) fn into_rest(mut self) -> Vec<u8> {
        self.buffer.truncate(self.filled);
        self.buffer.drain(..self.taken);
        self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 64 * 1024;

    fn put(frames: &mut Frames, mut bytes: &[u8]) -> Result<(), Overflow> {
        while !bytes.is_empty() {
            let room = frames.room()?;
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            frames.arrived(count, Vec::new())?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    fn descriptor() -> OwnedFd {
        std::fs::File::open("/dev/null").expect("there is one").into()
    }

    fn next(frames: &mut Frames) -> Option<(Vec<u8>, usize)> {
        let (range, descriptors) = frames.take()?;
        let bytes = frames.bytes(range).to_vec();
        frames.settle();
        Some((bytes, descriptors.len()))
    }

    #[test]
    fn messages_come_out_as_they_were_sent_however_they_arrive() {
        let messages: Vec<Vec<u8>> = [0, 1, 5, 1023, 1024, 5000, 40_000, 3].map(|length| vec![b'x'; length]).into();
        let sent: Vec<u8> = messages.iter().flat_map(|message| message.iter().copied().chain([0])).collect();
        for step in [1, 7, 1000, 4096, sent.len()] {
            let mut frames = Frames::new(MAX);
            let mut received = Vec::new();
            for chunk in sent.chunks(step) {
                let mut rest = chunk;
                while !rest.is_empty() {
                    let room = frames.room().expect("each is within the bound");
                    let count = room.len().min(rest.len());
                    room[..count].copy_from_slice(&rest[..count]);
                    frames.arrived(count, Vec::new()).expect("no descriptors");
                    rest = &rest[count..];
                    received.extend(std::iter::from_fn(|| next(&mut frames)).map(|(bytes, _)| bytes));
                }
            }
            assert!(received == messages, "in steps of {step}");
            assert_eq!(frames.held(), 0, "what large messages took is given back");
        }
    }

    #[test]
    fn the_bound_is_exact() {
        let mut frames = Frames::new(MAX);
        put(&mut frames, &vec![b'x'; MAX]).expect("as much as may be");
        put(&mut frames, b"\0").expect("its end");
        assert_eq!(next(&mut frames).map(|(bytes, _)| bytes.len()), Some(MAX));
        assert_eq!(put(&mut frames, &vec![b'x'; MAX + 2]), Err(Overflow::Bytes(MAX)));
        assert!(frames.held() <= MAX + 1 && frames.is_midway());
    }

    #[test]
    fn descriptors_belong_to_the_message_they_came_with_and_are_bounded() {
        let mut frames = Frames::new(MAX);
        let room = frames.room().expect("empty");
        room[..6].copy_from_slice(b"a\0bb\0c");
        frames.arrived(5, vec![descriptor(), descriptor()]).expect("few");
        frames.arrived(1, vec![descriptor()]).expect("few");
        assert_eq!(frames.held(), 3 * DESCRIPTOR_BYTES);
        assert_eq!(next(&mut frames), Some((b"a".to_vec(), 0)));
        assert_eq!(next(&mut frames), Some((b"bb".to_vec(), 2)));
        assert_eq!(next(&mut frames), None);
        put(&mut frames, b"\0").expect("the end");
        assert_eq!(next(&mut frames), Some((b"c".to_vec(), 1)));
        let one_at_a_time = (0..=DESCRIPTORS_MAX).map(|_| {
            frames.room().expect("within the bound")[0] = b'x';
            frames.arrived(1, vec![descriptor()])
        });
        assert_eq!(one_at_a_time.last(), Some(Err(Overflow::Descriptors)));
    }

    #[test]
    fn what_follows_the_last_message_taken_is_the_rest() {
        let mut frames = Frames::new(MAX);
        put(&mut frames, b"call\0raw\0bytes").expect("small");
        assert_eq!(next(&mut frames), Some((b"call".to_vec(), 0)));
        assert_eq!(frames.into_rest(), b"raw\0bytes");
    }

    /// The first byte says how large the pieces are in which the rest arrives.
    #[test]
    fn any_stream_in_any_pieces_comes_out_as_what_lies_between_its_ends() {
        acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "stream", |input| {
            let Some((step, stream)) = input.split_first() else { return };
            let expected: Vec<&[u8]> = stream.split(|byte| *byte == 0).collect();
            let (last, whole) = expected.split_last().expect("a split has a part");
            let mut frames = Frames::new(MAX);
            let mut received = Vec::new();
            for mut piece in stream.chunks(usize::from(*step) + 1) {
                while !piece.is_empty() {
                    let room = frames.room().expect("the input is smaller than the bound");
                    let count = room.len().min(piece.len());
                    room[..count].copy_from_slice(&piece[..count]);
                    frames.arrived(count, Vec::new()).expect("no descriptors");
                    piece = &piece[count..];
                    received.extend(std::iter::from_fn(|| next(&mut frames)).map(|(bytes, _)| bytes));
                    assert!(frames.held() <= 2 * (stream.len() + FIRST_BYTES));
                }
            }
            assert!(received == whole);
            assert_eq!(frames.is_midway(), !last.is_empty());
            assert_eq!(frames.into_rest(), *last);
        });
    }
}
