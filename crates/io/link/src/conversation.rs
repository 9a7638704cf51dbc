//! One conversation: the bytes of an HTTP/2 stream as those of a socket.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, mpsc},
};
use tokio_util::sync::PollSender;

use crate::limits::{CHUNK_BYTES, CHUNKS_MAX};

/// A stream of bytes each way. Ending it with `shutdown` says that all was said; dropping it before cuts it off, which the
/// other side sees as an error.
pub struct Conversation {
    incoming: Incoming,
    read: Bytes,
    outgoing: PollSender<Said>,
    answer: serde_json::Value,
    /// The place among the link's conversations.
    _place: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Conversation")
    }
}

/// What goes from a conversation to its link.
#[derive(Debug)]
pub(crate) enum Said {
    Bytes(Bytes),
    /// All was said.
    End,
}

/// The sending direction as the link takes it.
#[derive(Debug)]
pub(crate) struct Outgoing(mpsc::Receiver<Said>);

/// The two ends of a sending direction.
pub(crate) fn outgoing() -> (PollSender<Said>, Outgoing) {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    (PollSender::new(sender), Outgoing(receiver))
}

impl Outgoing {
    /// A direction in which nothing will be said.
    pub(crate) fn ended() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        // There is room for one.
        drop(sender.try_send(Said::End));
        Self(receiver)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match ready!(self.0.poll_recv(cx)) {
            Some(Said::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Said::End) => None,
            None => Some(Err(cut_off())),
        })
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the conversation was cut off")
}

impl Conversation {
    pub(crate) fn new(
        incoming: Incoming,
        outgoing: PollSender<Said>,
        place: Option<OwnedSemaphorePermit>,
        answer: serde_json::Value,
    ) -> Self {
        Self { incoming, read: Bytes::new(), outgoing, answer, _place: place }
    }

    /// What the side that took the conversation said of it; null on that side itself.
    pub const fn answer(&self) -> &serde_json::Value {
        &self.answer
    }
}

impl AsyncRead for Conversation {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.read.is_empty() {
            match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                None => return Poll::Ready(Ok(())),
                // Trailers say nothing here.
                Some(Ok(frame)) => self.read = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, error))),
            }
        }
        let count = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read[..count]);
        self.read.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Conversation {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let chunk = &bytes[..bytes.len().min(CHUNK_BYTES)];
        ready!(self.outgoing.poll_reserve(cx)).map_err(|_gone| cut_off())?;
        self.outgoing.send_item(Said::Bytes(Bytes::copy_from_slice(chunk))).map_err(|_gone| cut_off())?;
        Poll::Ready(Ok(chunk.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The link sends whatever it has; nothing is held back here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outgoing.is_closed() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.outgoing.poll_reserve(cx)).map_err(|_gone| cut_off())?;
        self.outgoing.send_item(Said::End).map_err(|_gone| cut_off())?;
        self.outgoing.close();
        Poll::Ready(Ok(()))
    }
}
