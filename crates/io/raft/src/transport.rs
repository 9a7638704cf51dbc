//! The way to other voters.

use std::{future::Future, pin::Pin, time::Duration};

use acp_base::Uid;

/// Why a voter gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(
    /// A sentence for logs.
    pub String,
);

/// Carries a frame to another voter and brings its answer, which [`Raft::serve`](crate::Raft::serve) made there. Frames are
/// opaque; who sends one is known to the receiver from the connection. Loss, delay and reordering are expected.
pub trait Transport: Send + Sync + 'static {
    /// Sends a frame and waits at most `limit` for the answer. May be dropped at any time.
    ///
    /// # Errors
    /// [`Unreachable`]: there is no answer. Whether the frame arrived is not known.
    fn call(
        &self,
        to: Uid,
        frame: Vec<u8>,
        limit: Duration,
    ) -> impl Future<Output = Result<Vec<u8>, Unreachable>> + Send;
}

type Called<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, Unreachable>> + Send + 'a>>;

/// A transport whose type is forgotten.
pub(crate) trait AnyTransport: Send + Sync + 'static {
    fn call(&self, to: Uid, frame: Vec<u8>, limit: Duration) -> Called<'_>;
}

impl<T: Transport> AnyTransport for T {
    fn call(&self, to: Uid, frame: Vec<u8>, limit: Duration) -> Called<'_> {
        Box::pin(Transport::call(self, to, frame, limit))
    }
}
