//! Carrying a conversation between two streams until it is over, its ground is gone, or the agent ends.
//!
//! With the drain a conversation goes on to its end as long as somebody waits for an answer; which bytes are a question and
//! which an answer is nobody's business here but who spoke last.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use acp_io_link::splice;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::{
    authority::Ground,
    limits::{CLOCK_LOOK, FIRST_WORD, QUIET},
    member::Member,
};

/// Carries bytes between a caller and a service. The ground is looked at with each new directory.
pub(crate) async fn carry<C, S>(caller: C, service: S, member: &Member, ground: &Ground, drain: &CancellationToken)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let pace = Arc::new(Pace::default());
    let caller = Paced { stream: caller, pace: Arc::clone(&pace) };
    tokio::select! {
        spliced = splice(caller, service) => {
            if let Err(error) = spliced {
                tracing::debug!(%error, "a conversation was cut off");
            }
        }
        () = lapsed(member, ground) => {
            metrics::counter!("acp_agent_conversations_cut_total").increment(1);
            tracing::info!(cluster = %member.cluster.name, "a conversation was cut: its key or its node does not count any more");
        }
        () = drained(&pace, drain) => {}
    }
}

/// Returns when the ground is gone, or this node has left the cluster.
async fn lapsed(member: &Member, ground: &Ground) {
    let mut directories = member.watch();
    loop {
        if !ground.holds(&directories.borrow_and_update()) {
            return;
        }
        let can_expire = ground.key.as_ref().is_some_and(|key| key.expires_ms.is_some());
        tokio::select! {
            changed = directories.changed() => if changed.is_err() { return },
            () = member.left.cancelled() => return,
            () = tokio::time::sleep(ground.left().min(CLOCK_LOOK)), if can_expire => {}
        }
    }
}

/// Returns when the drain has begun and nobody waits for an answer.
async fn drained(pace: &Pace, drain: &CancellationToken) {
    drain.cancelled().await;
    loop {
        let seen = pace.moves.load(Ordering::Relaxed);
        // Whoever has just opened it is about to say something.
        tokio::time::sleep(if seen == 0 { FIRST_WORD } else { QUIET }).await;
        if !pace.is_asked.load(Ordering::Relaxed) && pace.moves.load(Ordering::Relaxed) == seen {
            return;
        }
    }
}

/// Who spoke last, and how often anybody did.
#[derive(Debug, Default)]
struct Pace {
    is_asked: AtomicBool,
    moves: AtomicU64,
}

impl Pace {
    fn moved(&self, is_asked: bool) {
        self.is_asked.store(is_asked, Ordering::Relaxed);
        self.moves.fetch_add(1, Ordering::Relaxed);
    }
}

/// The caller's stream with its pace.
struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.pace.moved(true);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if matches!(written, Poll::Ready(Ok(_))) {
            self.pace.moved(false);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
