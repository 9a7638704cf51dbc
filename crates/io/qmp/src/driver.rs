//! The one owner of the socket: sends commands, sorts answers and events.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::{OwnedSemaphorePermit, broadcast, mpsc, oneshot},
};
use tracing::debug;

use crate::{
    client::{Answer, Request},
    codec::{self, Decoder, Event, Message},
    connect::{HANDSHAKE_ID, READ_BYTES},
    error::CloseReason,
};

/// A command that waits for its answer.
#[derive(Debug)]
struct Pending {
    answer: oneshot::Sender<Answer>,
    _permit: OwnedSemaphorePermit,
}

/// A command that is being written.
#[derive(Debug)]
struct Outgoing {
    line: Vec<u8>,
    written: usize,
    fd: Option<OwnedFd>,
}

/// Moves bytes between the socket and the handles; see [`Driver::run`].
#[derive(Debug)]
pub struct Driver {
    stream: UnixStream,
    decoder: Decoder,
    requests: mpsc::Receiver<Request>,
    events: broadcast::Sender<Event>,
    /// Bounded by the permits, which the entries hold.
    pending: BTreeMap<u64, Pending>,
    outgoing: Option<Outgoing>,
    last_id: u64,
}

impl Driver {
    pub(crate) fn new(
        stream: UnixStream,
        decoder: Decoder,
        requests: mpsc::Receiver<Request>,
        events: broadcast::Sender<Event>,
    ) -> Self {
        Self { stream, decoder, requests, events, pending: BTreeMap::new(), outgoing: None, last_id: HANDSHAKE_ID }
    }

    /// Works until the connection ends or every [`crate::Client`] is dropped. Commands without an answer then fail with
    /// `Closed`, and [`crate::Events`] ends.
    pub async fn run(mut self) -> CloseReason {
        loop {
            if let Err(reason) = self.turn().await {
                return reason;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), CloseReason> {
        self.deliver()?;
        let idle = self.outgoing.is_none();
        tokio::select! {
            ready = self.stream.readable() => ready.map_err(CloseReason::Io).and_then(|()| self.read()),
            ready = self.stream.writable(), if !idle => ready.map_err(CloseReason::Io).and_then(|()| self.write()),
            request = self.requests.recv(), if idle => {
                self.take(request.ok_or(CloseReason::ByUs)?);
                Ok(())
            }
        }
    }

    fn take(&mut self, request: Request) {
        self.last_id += 1;
        let line = codec::encode(&request.command, &request.arguments, self.last_id);
        self.pending.insert(self.last_id, Pending { answer: request.answer, _permit: request.permit });
        self.outgoing = Some(Outgoing { line, written: 0, fd: request.fd });
    }

    fn read(&mut self) -> Result<(), CloseReason> {
        let mut chunk = [0; READ_BYTES];
        match self.stream.try_read(&mut chunk) {
            Ok(0) => Err(CloseReason::ByPeer),
            Ok(count) => {
                self.decoder.push(&chunk[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(CloseReason::ByPeer),
            Err(error) => Err(CloseReason::Io(error)),
        }
    }

    fn write(&mut self) -> Result<(), CloseReason> {
        let Some(outgoing) = &mut self.outgoing else { return Ok(()) };
        let sent = self.stream.try_io(Interest::WRITABLE, || outgoing.send(&self.stream));
        match sent {
            Ok(count) => outgoing.written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(CloseReason::ByPeer),
            Err(error) => return Err(CloseReason::Io(error)),
        }
        // The descriptor travels with the first byte; keeping our copy longer would keep its file open.
        outgoing.fd = None;
        if outgoing.written == outgoing.line.len() {
            self.outgoing = None;
        }
        Ok(())
    }

    fn deliver(&mut self) -> Result<(), CloseReason> {
        while let Some(message) = self.decoder.next_message().map_err(CloseReason::Decode)? {
            match message {
                Message::Return { id, value } => self.answer(id, Ok(value)),
                Message::Error { id, class, desc } => self.answer(id, Err((class, desc))),
                // Without a listener there is nothing to tell.
                Message::Event(event) => drop(self.events.send(event)),
                Message::Greeting(_) | Message::Unknown => debug!("ignored a message of QEMU that nobody asked for"),
            }
        }
        Ok(())
    }

    fn answer(&mut self, id: Option<u64>, answer: Answer) {
        match id.and_then(|id| self.pending.remove(&id)) {
            // The caller may have given up; then nobody needs the answer.
            Some(pending) => drop(pending.answer.send(answer)),
            None => debug!(?id, "ignored an answer of QEMU to no command of ours"),
        }
    }
}

impl Outgoing {
    fn send(&self, stream: &UnixStream) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<_> = self.fd.iter().map(AsFd::as_fd).collect();
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("no room for the file descriptor"));
        }
        let rest = [IoSlice::new(&self.line[self.written..])];
        Ok(rustix::net::sendmsg(stream, &rest, &mut control, SendFlags::NOSIGNAL)?)
    }
}
