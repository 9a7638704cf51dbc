//! The replies to a call that is answered many times.

use std::{marker::PhantomData, os::fd::OwnedFd};

use acp_base::{Code, Failure};
use acp_io_varlink::IncomingReply;
use acp_wire_api::Method;
use tokio::time::{Instant, timeout_at};

use crate::{CallTrace, Conversation, conversation::CallError, service::Begun, trace::Sink};

/// The replies to a call that is answered many times.
#[derive(Debug)]
pub struct Replies<M> {
    conversation: Conversation,
    over: bool,
    begun: Begun,
    /// When all replies have to be there, if that is so.
    bound: Option<Instant>,
    /// Who is told when the first reply is there.
    sink: Option<Sink>,
    method: PhantomData<fn() -> M>,
}

impl<M: Method> Replies<M> {
    pub(crate) const fn new(conversation: Conversation, begun: Begun, sink: Option<Sink>) -> Self {
        Self { conversation, over: false, begun, bound: None, sink, method: PhantomData }
    }

    /// All replies have to be there at the call's deadline: for those that come to an end, like lists. Without this a peer
    /// that stands still is waited for, as one is that has nothing new to say.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self { bound: Some(self.begun.deadline), ..self }
    }

    /// The next reply; `None` after the last one or an error. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<M::Reply, Failure>> {
        self.next_fds().await.map(|result| result.map(|(reply, _fds)| reply))
    }

    /// The next reply with the file descriptors that came with it. Cancel-safe.
    pub async fn next_fds(&mut self) -> Option<Result<(M::Reply, Vec<OwnedFd>), Failure>> {
        if self.over {
            return None;
        }
        let read = self.receive().await.and_then(|(reply, fds)| {
            self.over = !reply.continues;
            self.conversation.read::<M>(&reply).map(|reply| (reply, fds))
        });
        self.over |= read.is_err();
        Some(read)
    }

    async fn receive(&mut self) -> Result<(IncomingReply, Vec<OwnedFd>), Failure> {
        let received = match self.bound {
            None => self.conversation.receive().await,
            Some(bound) => timeout_at(bound, self.conversation.receive()).await.unwrap_or_else(|_elapsed| {
                let text = format!("{} did not come to the end of {} in time", self.conversation.peer(), M::NAME);
                Err(CallError::Answered(Failure::new(Code::DeadlineExceeded, text)))
            }),
        };
        let received = received.map_err(CallError::into_failure::<M>)?;
        if let Some(sink) = self.sink.take() {
            sink.tell(CallTrace::of::<M>(self.begun, &mut self.conversation, false));
        }
        Ok(received)
    }
}
