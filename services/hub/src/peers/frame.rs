//! What goes over a conversation between two hubs: frames, each with its length in front.

use std::io;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest frame. The largest is a piece of a snapshot, or some batches of entries.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// Its length (big endian, of what follows), what it is, and which one.
const LENGTH_BYTES: usize = 4;
const HEAD_BYTES: usize = LENGTH_BYTES + 1 + 8;

/// Room for reading: most frames come whole, and some at once.
const READ_BYTES: usize = 8 << 10;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of the log's replication; answered.
    Raft,
    /// A question to the leader; answered.
    Ask,
    /// An answer to the frame with the same number.
    Answer,
    /// How far the sender has applied the log and who watches there; not answered.
    Report,
    /// A position that a majority has applied; not answered.
    Checkpoint,
    /// Whether the other end is there, while an answer takes long; answered at once.
    Ping,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Raft, Self::Ask, Self::Answer, Self::Report, Self::Checkpoint, Self::Ping];

    const fn byte(self) -> u8 {
        match self {
            Self::Raft => 1,
            Self::Ask => 2,
            Self::Answer => 3,
            Self::Report => 4,
            Self::Checkpoint => 5,
            Self::Ping => 6,
        }
    }
}

/// A frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// Ties an answer to its question; 0 for what is not answered.
    pub(crate) number: u64,
    pub(crate) body: Vec<u8>,
}

/// Reads frames.
#[derive(Debug)]
pub(super) struct Frames<R> {
    reader: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: BytesMut::new() }
    }

    /// The next frame. Cancel-safe.
    pub(super) async fn next(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            self.buffer.reserve(READ_BYTES);
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The first frame of what was read, if it is whole.
    fn take(&mut self) -> io::Result<Option<Frame>> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if !(HEAD_BYTES - LENGTH_BYTES..=FRAME_BYTES_MAX).contains(&length) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        let mut frame = self.buffer.split_to(length);
        let (byte, number) = (frame.get_u8(), frame.get_u64());
        let unknown = || io::Error::new(io::ErrorKind::InvalidData, "a frame of no known kind");
        let kind = Kind::ALL.into_iter().find(|kind| kind.byte() == byte).ok_or_else(unknown)?;
        Ok(Some(Frame { kind, number, body: frame.to_vec() }))
    }
}

/// Writes a frame.
pub(super) async fn write<W: AsyncWrite + Unpin>(writer: &mut W, frame: &Frame) -> io::Result<()> {
    let length = HEAD_BYTES - LENGTH_BYTES + frame.body.len();
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + length);
    bytes.extend_from_slice(&u32::try_from(length).map_err(io::Error::other)?.to_be_bytes());
    bytes.push(frame.kind.byte());
    bytes.extend_from_slice(&frame.number.to_be_bytes());
    bytes.extend_from_slice(&frame.body);
    writer.write_all(&bytes).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_as_they_were_sent_however_they_are_cut() {
        let sent = [
            Frame { kind: Kind::Raft, number: 7, body: vec![1; 100] },
            Frame { kind: Kind::Answer, number: u64::MAX, body: Vec::new() },
        ];
        let mut bytes = Vec::new();
        for frame in &sent {
            write(&mut bytes, frame).await.expect("written");
        }
        let (mut writer, reader) = tokio::io::duplex(3);
        let write = async { writer.write_all(&bytes).await.expect("written") };
        let read = async {
            let mut frames = Frames::new(reader);
            [frames.next().await.expect("a frame"), frames.next().await.expect("a frame")]
        };
        let ((), received) = tokio::join!(write, read);
        assert_eq!(received, sent);
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_the_conversation() {
        let too_long = [&17_000_000_u32.to_be_bytes()[..], &[1; 20]].concat();
        let too_short = [&8_u32.to_be_bytes()[..], &[1; 20]].concat();
        let unknown = [&9_u32.to_be_bytes()[..], &[9; 9]].concat();
        for bytes in [too_long, too_short, unknown] {
            let error = Frames::new(&bytes[..]).next().await.expect_err("it is no frame");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
        let cut = [&9_u32.to_be_bytes()[..], &[1; 5]].concat();
        assert_eq!(Frames::new(&cut[..]).next().await.expect_err("cut").kind(), io::ErrorKind::UnexpectedEof);
    }
}
