//! HTTP/2 written byte by byte (RFC 9113): what a peer sends that wants to do harm, and no library of ours would.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

/// What a client begins with, and its settings: none.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The largest frame that every peer takes.
pub(super) const FRAME_BYTES: usize = 16_384;

/// Types of frames.
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// The flag of a header block that is whole.
const END_HEADERS: u8 = 4;

/// A connection on which frames are written.
pub(super) struct Frames<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    pub(super) async fn begin(mut stream: S) -> Result<Self> {
        stream.write_all(PREFACE).await.context("the preface")?;
        Ok(Self(stream))
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await
    }

    /// Opens a conversation, whole.
    pub(super) async fn open(&mut self, stream: u32, opening: &str) -> std::io::Result<()> {
        self.send(HEADERS, END_HEADERS, stream, &block(opening)).await
    }

    /// Takes it back at once.
    pub(super) async fn reset(&mut self, stream: u32) -> std::io::Result<()> {
        self.send(RESET, 0, stream, &8_u32.to_be_bytes()).await
    }

    /// Begins a header block that has no end yet.
    pub(super) async fn begin_block(&mut self, stream: u32, opening: &str) -> std::io::Result<()> {
        self.send(HEADERS, 0, stream, &block(opening)).await
    }

    /// Goes on with it: as many headers as fit into a frame.
    pub(super) async fn go_on(&mut self, stream: u32) -> std::io::Result<()> {
        let header = literal("a", "b");
        self.send(CONTINUATION, 0, stream, &header.repeat(FRAME_BYTES / header.len())).await
    }

    /// Reads until the other side has hung up or said that it goes away; fails if it does neither in time.
    pub(super) async fn wait_end(&mut self, limit: Duration) -> Result<()> {
        let reading = async {
            let mut head = [0; 9];
            while self.0.read_exact(&mut head).await.is_ok() {
                let length = u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
                let taken = tokio::io::copy(&mut (&mut self.0).take(length), &mut tokio::io::sink()).await;
                if head[3] == GO_AWAY || taken.is_err() {
                    return;
                }
            }
        };
        if timeout(limit, reading).await.is_err() {
            bail!("the other side goes on listening");
        }
        Ok(())
    }
}

/// The headers of a conversation's request, in HPACK (RFC 7541) without its tables of one's own.
fn block(opening: &str) -> Vec<u8> {
    // `:method: POST` and `:scheme: https` stand in the static table, `:authority` and `:path` by name.
    let mut block = vec![0x83, 0x87];
    block.extend([0x01]);
    block.extend(text("acp"));
    block.extend([0x04]);
    block.extend(text("/conversation"));
    block.extend(literal("acp-opening", opening));
    block
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    [vec![0], text(name), text(value)].concat()
}

/// A text with its length, which fits into seven bits.
fn text(text: &str) -> Vec<u8> {
    assert!(text.len() < 127, "a longer text has a longer length");
    let length = u8::try_from(text.len()).expect("it is short");
    [&[length], text.as_bytes()].concat()
}
