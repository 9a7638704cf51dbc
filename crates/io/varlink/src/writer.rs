//! The sending half of a connection.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::BorrowedFd,
    sync::Arc,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::Serialize;
use tokio::{io::Interest, net::UnixStream};

use crate::{frames::DESCRIPTORS_MAX, socket::Held};

/// Sends messages.
#[derive(Debug)]
pub struct Writer {
    stream: Arc<UnixStream>,
    buffer: Vec<u8>,
    /// Whether a message was begun and given up: nothing can follow it.
    is_midway: bool,
    held: Held,
}

/// How large the writer's buffer may stay between messages, in bytes: small messages reuse it, a large one is given back.
const WRITE_BUFFER_KEPT_MAX: usize = 4 * 1024;

/// What a peer that does not read occupies in the kernel's buffer, beside the message that does not fit any more, in bytes.
/// [`limit_send_buffer`] makes it so.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Bounds what the kernel keeps for a peer that does not read. Its usual bound is several times as much, and is paid by the
/// sender.
pub fn limit_send_buffer(stream: &UnixStream) -> io::Result<()> {
    // The kernel doubles it, for its own bookkeeping.
    Ok(rustix::net::sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER_BYTES / 2)?)
}

impl Writer {
    pub(crate) fn new(stream: Arc<UnixStream>, held: Held) -> Self {
        Self { stream, buffer: Vec::new(), is_midway: false, held }
    }

    /// Sends one message with the given file descriptors. Not cancel-safe: after a message whose sending was given up,
    /// sending fails.
    pub async fn send<T: Serialize>(&mut self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if self.is_midway {
            return Err(io::Error::other("the message before was given up"));
        }
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, message).map_err(io::Error::other)?;
        self.buffer.push(0);
        self.is_midway = true;
        let mut sent = 0;
        while sent < self.buffer.len() {
            let passed = if sent == 0 { fds } else { &[] };
            let rest = &self.buffer[sent..];
            match self.stream.try_io(Interest::WRITABLE, || send_from(&self.stream, rest, passed)) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Whoever sends it has it, too.
                    self.held.set(2 * self.buffer.capacity() + SEND_BUFFER_BYTES);
                    self.stream.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        self.is_midway = false;
        if self.buffer.capacity() > WRITE_BUFFER_KEPT_MAX {
            self.buffer = Vec::new();
        }
        self.held.set(0);
        Ok(())
    }
}

fn send_from(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        let text = format!("a message carries at most {DESCRIPTORS_MAX} descriptors, not {}", fds.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}
