//! Calls to one service.

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use acp_base::{Change, Code, Failure};
use acp_io_varlink::{CallContext, Upgraded};
use acp_wire_api::{Method, Scope};
use tokio::time::{Instant, timeout_at};

use crate::{CallTrace, Client, Conversation, Replies, conversation::CallError, pause::Pause, route::Route};

/// How long a call may take when its caller names no deadline.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);

/// The pauses before a call is sent again whose service or agent went away.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Calls one service.
#[derive(Clone, Debug)]
pub struct ServiceClient {
    pub(crate) client: Client,
    pub(crate) route: Arc<Route>,
    /// The service's socket, if it is on this node.
    pub(crate) socket: PathBuf,
    peer: String,
    deadline: Duration,
}

/// A call that has begun: it keeps its id and its deadline however often it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    number: u64,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
}

impl ServiceClient {
    pub(crate) fn new(client: Client, route: Route) -> Self {
        let socket = route.socket(client.run_dir());
        let peer = route.peer(route.node.as_ref().map(acp_base::Name::as_str));
        Self { client, route: Arc::new(route), socket, peer, deadline: DEADLINE_DEFAULT }
    }

    /// The same service with another time limit for each call; reaching it counts.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same service for conversations that carry much: on the way to another node each has a connection of its own, so
    /// that it delays no others.
    #[must_use]
    pub fn bulk(mut self) -> Self {
        self.route = Arc::new(Route { bulk: true, ..Route::clone(&self.route) });
        self
    }

    /// Calls a method and waits for its reply.
    pub async fn call<M: Method>(&self, request: M::Request) -> Result<M::Reply, Failure> {
        self.call_fds::<M>(request, Vec::new()).await.map(|(reply, _fds)| reply)
    }

    /// Calls a method with file descriptors, which do not reach other nodes, and answers those that come back.
    pub async fn call_fds<M: Method>(
        &self,
        request: M::Request,
        fds: Vec<OwnedFd>,
    ) -> Result<(M::Reply, Vec<OwnedFd>), Failure> {
        let begun = self.begin();
        let mut pause = Pause::new(RETRY_PAUSE_MIN, RETRY_PAUSE_MAX);
        loop {
            let (mut conversation, is_reused) = self.obtain(begun).await?;
            let exchange = conversation.exchange::<M>(&request, &fds, self.context(begun));
            let Ok(result) = timeout_at(begun.deadline, exchange).await else { return Err(self.too_late::<M>()) };
            let is_question = M::ACCESS.scope == Scope::Read;
            let error = match result {
                Ok(answer) => {
                    self.answered::<M>(begun, conversation, is_reused);
                    return Ok(answer);
                }
                Err(CallError::Answered(failure)) => {
                    self.answered::<M>(begun, conversation, is_reused);
                    return Err(failure);
                }
                Err(error) => error,
            };
            let may_repeat = match &error {
                // The connection was closed while it was idle, or its service restarted before it took the call.
                CallError::NotSent(_) if is_reused => continue,
                CallError::Lost(_) if is_question && is_reused => continue,
                CallError::NotSent(_) => error.is_unheard(),
                // The service went away while it answered a question: its successor is asked.
                CallError::Lost(failure) => is_question && failure.code == Code::Unavailable,
                CallError::Answered(_) => false,
            };
            if !may_repeat || !pause.until(begun.deadline).await {
                return Err(error.into_failure::<M>());
            }
        }
    }

    /// Calls a method that answers many times.
    pub async fn stream<M: Method>(&self, request: M::Request) -> Result<Replies<M>, Failure> {
        self.stream_fds::<M>(request, Vec::new()).await
    }

    /// Calls a streaming method with file descriptors, which do not reach other nodes.
    pub async fn stream_fds<M: Method>(&self, request: M::Request, fds: Vec<OwnedFd>) -> Result<Replies<M>, Failure> {
        let begun = self.begin();
        let mut pause = Pause::new(RETRY_PAUSE_MIN, RETRY_PAUSE_MAX);
        loop {
            let mut conversation = self.reach(begun).await?;
            let context = CallContext { deadline_ms: None, ..self.context(begun) };
            match conversation.send::<M>(&request, &fds, context, true).await {
                Ok(()) => return Ok(Replies::new(conversation, begun, self.client.sink.clone())),
                Err(error) if error.is_unheard() && pause.until(begun.deadline).await => {}
                Err(error) => return Err(error.into_failure::<M>()),
            }
        }
    }

    /// Calls a method after which the connection carries raw bytes.
    pub async fn upgrade<M: Method>(&self, request: M::Request) -> Result<(M::Reply, Upgraded), Failure> {
        let begun = self.begin();
        let mut pause = Pause::new(RETRY_PAUSE_MIN, RETRY_PAUSE_MAX);
        loop {
            let mut conversation = self.reach(begun).await?;
            let exchange = conversation.exchange::<M>(&request, &[], self.context(begun));
            let Ok(result) = timeout_at(begun.deadline, exchange).await else { return Err(self.too_late::<M>()) };
            let error = match result {
                Ok((reply, _fds)) => {
                    self.trace::<M>(begun, &mut conversation, false);
                    return Ok((reply, conversation.into_upgraded()));
                }
                Err(error) => error,
            };
            if matches!(error, CallError::Answered(_)) {
                self.trace::<M>(begun, &mut conversation, false);
            }
            if !error.is_unheard() || !pause.until(begun.deadline).await {
                return Err(error.into_failure::<M>());
            }
        }
    }

    /// A conversation of its own, for callers that want to know when the service goes away.
    pub async fn conversation(&self) -> Result<Conversation, Failure> {
        self.reach(self.begin()).await
    }

    fn begin(&self) -> Begun {
        let started = Instant::now();
        Begun { number: self.client.next_number(), started, deadline: started + self.deadline }
    }

    /// A conversation for one call: an idle one, or a new one. With whether it is an idle one.
    async fn obtain(&self, begun: Begun) -> Result<(Conversation, bool), Failure> {
        while let Some(mut idle) = self.client.shared.idle.take(&self.route) {
            // Of a carried one that its far end has closed, nothing is said to whoever sends.
            if !idle.is_carried() || idle.is_idle() {
                return Ok((idle, true));
            }
        }
        self.reach(begun).await.map(|conversation| (conversation, false))
    }

    async fn reach(&self, begun: Begun) -> Result<Conversation, Failure> {
        timeout_at(begun.deadline, self.connect(begun)).await.unwrap_or_else(|_elapsed| {
            let text = format!("{} could not be reached within {:?}", self.peer, self.deadline);
            Err(Failure::new(Code::DeadlineExceeded, text))
        })
    }

    async fn connect(&self, begun: Begun) -> Result<Conversation, Failure> {
        if self.route.needs_agent(self.client.shared.here()) {
            return self.open(begun).await;
        }
        Conversation::connect(&self.socket, &self.peer, begun.deadline).await
    }

    /// A call was answered: it is told of, and the conversation waits for the next one.
    fn answered<M: Method>(&self, begun: Begun, mut conversation: Conversation, is_reused: bool) {
        self.trace::<M>(begun, &mut conversation, is_reused);
        self.client.shared.idle.keep(&self.route, conversation);
    }

    fn trace<M: Method>(&self, begun: Begun, conversation: &mut Conversation, is_reused: bool) {
        if let Some(sink) = &self.client.sink {
            sink.tell(CallTrace::of::<M>(begun, conversation, is_reused));
        }
    }

    pub(crate) fn context(&self, begun: Begun) -> CallContext {
        let left = begun.deadline.saturating_duration_since(Instant::now()).as_millis();
        CallContext {
            id: self.client.request_id(begun.number),
            deadline_ms: Some(u64::try_from(left).unwrap_or(u64::MAX)),
            trace: self.client.sink.is_some(),
        }
    }

    fn too_late<M: Method>(&self) -> Failure {
        let text = format!("{} did not answer {} within {:?}", self.peer, M::NAME, self.deadline);
        let failure = Failure::new(Code::DeadlineExceeded, text);
        if M::ACCESS.scope == Scope::Read { failure } else { failure.changed(Change::Unknown) }
    }
}
