//! The stream under a link, noting how the peer began.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};

use crate::{LinkError, Unwelcome};

/// What was read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// Nothing so far.
    Nothing,
    /// The peer speaks: it has accepted us.
    Words,
    /// The peer ended it; if it said so, why it does not accept us.
    End(Option<Unwelcome>),
}

/// A stream whose first read is told.
pub(crate) struct Noted<S> {
    stream: S,
    first: watch::Sender<First>,
}

impl<S> Noted<S> {
    pub(crate) fn new(stream: S) -> (Self, watch::Receiver<First>) {
        let (first, seen) = watch::channel(First::Nothing);
        (Self { stream, first }, seen)
    }

    fn note(&self, read: Result<usize, &io::Error>) {
        let seen = match read {
            Ok(0) => First::End(None),
            Ok(_) => First::Words,
            Err(error) => match LinkError::of_ended(error) {
                LinkError::Unwelcome(unwelcome) => First::End(Some(unwelcome)),
                _ => First::End(None),
            },
        };
        self.first.send_if_modified(|first| {
            let is_first = *first == First::Nothing;
            if is_first {
                *first = seen;
            }
            is_first
        });
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(read) = &read
            && !self.first.is_closed()
        {
            let count = buffer.filled().len() - before;
            self.note(read.as_ref().map(|()| count));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
