//! A stream whose peer has to read what is written to it, and is given the time to.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// How long the rest of a refused request is taken after the answer: closed with bytes unread, the kernel would throw away
/// the answer, too.
const LINGER: Duration = Duration::from_secs(1);
/// How much of it is taken, in bytes: what is in flight, not what somebody goes on sending.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// Fails when nothing could be written for too long. Ends when the peer has had time to read the last of it.
#[derive(Debug)]
pub(super) struct Impatient<S> {
    stream: S,
    patience: Duration,
    stalled: Pin<Box<Sleep>>,
    is_stalled: bool,
    /// How much was taken since our direction was closed.
    lingered: Option<usize>,
}

impl<S> Impatient<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, stalled: Box::pin(tokio::time::sleep(patience)), is_stalled: false, lingered: None }
    }

    /// What came of writing: nothing for too long is an error.
    fn judge<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_stalled = false;
            return written;
        }
        if !self.is_stalled {
            self.is_stalled = true;
            let until = Instant::now() + self.patience;
            self.stalled.as_mut().reset(until);
        }
        self.stalled.as_mut().poll(context).map(|()| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}

impl<S: AsyncRead + Unpin> Impatient<S> {
    /// Takes what is in flight until the peer has closed its direction, too, or the time or the measure is full.
    fn linger(&mut self, context: &mut Context<'_>, mut taken: usize) -> Poll<()> {
        let mut scratch = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && taken < LINGER_BYTES_MAX => {
                    taken += buffer.filled().len();
                    self.lingered = Some(taken);
                }
                Poll::Ready(_over) => return Poll::Ready(()),
                Poll::Pending => return self.stalled.as_mut().poll(context),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(written, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let taken = match self.lingered {
            Some(taken) => taken,
            None => {
                let closed = Pin::new(&mut self.stream).poll_shutdown(context);
                std::task::ready!(self.judge(closed, context))?;
                let until = Instant::now() + LINGER;
                self.stalled.as_mut().reset(until);
                *self.lingered.insert(0)
            }
        };
        self.linger(context, taken).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_cut_and_who_reads_slowly_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut ours = Impatient::new(ours, Duration::from_secs(30));
        let slowly = async {
            let mut part = [0; 16];
            for _ in 0..4 {
                tokio::time::advance(Duration::from_secs(20)).await;
                theirs.read_exact(&mut part).await.expect("it is there");
            }
        };
        let (written, ()) = tokio::join!(ours.write_all(&[7; 64]), slowly);
        written.expect("it is read");
        let begun = Instant::now();
        let error = ours.write_all(&[7; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= Duration::from_secs(30) && begun.elapsed() < Duration::from_secs(31));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_takes_what_is_in_flight_and_no_more() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut ours = Impatient::new(ours, Duration::from_secs(30));
        let begun = Instant::now();
        let (closed, sent) = tokio::join!(ours.shutdown(), async {
            theirs.write_all(&[7; 1000]).await?;
            theirs.shutdown().await
        });
        assert!(closed.is_ok() && sent.is_ok() && begun.elapsed() < LINGER, "{:?}", begun.elapsed());
        let (ours, _silent) = tokio::io::duplex(16);
        Impatient::new(ours, Duration::from_secs(30)).shutdown().await.expect("it ends by itself");
        assert!(begun.elapsed() >= LINGER && begun.elapsed() < 2 * LINGER, "{:?}", begun.elapsed());
    }
}
