//! The client: services by name, connections kept for reuse.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use acp_base::{Change, Code, Failure};
use acp_io_varlink::{CallContext, Upgraded};
use acp_wire_api::{Method, Scope};
use tokio::time::{Instant, timeout_at};

use crate::{Conversation, conversation::CallError};

/// How long a call may take when its caller names no deadline.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);

/// Idle connections kept for one socket: as many as one caller commonly has in flight.
const IDLE_MAX: usize = 8;

/// Calls services by name. Cheap to clone; clones share their idle connections.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    request_id: Option<Arc<str>>,
}

#[derive(Debug)]
struct Shared {
    run_dir: PathBuf,
    idle: Mutex<BTreeMap<PathBuf, Vec<Conversation>>>,
    next_id: AtomicU64,
}

impl Client {
    /// A client of the sockets in `run_dir`. Connects when it is used.
    pub fn new(run_dir: impl Into<PathBuf>) -> Self {
        let shared = Shared { run_dir: run_dir.into(), idle: Mutex::new(BTreeMap::new()), next_id: AtomicU64::new(1) };
        Self { shared: Arc::new(shared), request_id: None }
    }

    /// The same client, whose calls carry this request id.
    #[must_use]
    pub fn with_request_id(&self, id: &str) -> Self {
        Self { shared: Arc::clone(&self.shared), request_id: Some(id.into()) }
    }

    /// The directory of the sockets.
    pub fn run_dir(&self) -> &Path {
        &self.shared.run_dir
    }

    /// The service at `<run>/<noun>.sock`.
    pub fn service(&self, noun: &str) -> ServiceClient {
        self.at(self.shared.run_dir.join(format!("{noun}.sock")), noun.to_owned())
    }

    /// One instance of a service that has many, at `<run>/<noun>/<instance>.sock`.
    pub fn instance(&self, noun: &str, instance: &str) -> ServiceClient {
        self.at(self.shared.run_dir.join(noun).join(format!("{instance}.sock")), format!("{noun}@{instance}"))
    }

    fn at(&self, path: PathBuf, peer: String) -> ServiceClient {
        ServiceClient { client: self.clone(), path, peer, deadline: DEADLINE_DEFAULT }
    }

    fn next_request_id(&self) -> String {
        match &self.request_id {
            Some(id) => id.to_string(),
            None => {
                let number = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
                format!("{:x}-{number:x}", std::process::id())
            }
        }
    }

    fn take_idle(&self, path: &Path) -> Option<Conversation> {
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(path)?.pop()
    }

    fn keep_idle(&self, path: &Path, conversation: Conversation) {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.entry(path.to_owned()).or_default();
        if kept.len() < IDLE_MAX {
            kept.push(conversation);
        }
    }
}

/// Calls one service.
#[derive(Clone, Debug)]
pub struct ServiceClient {
    client: Client,
    path: PathBuf,
    peer: String,
    deadline: Duration,
}

impl ServiceClient {
    /// The same service with another time limit for each call; connecting counts.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Calls a method and waits for its reply.
    pub async fn call<M: Method>(&self, request: M::Request) -> Result<M::Reply, Failure> {
        self.call_fds::<M>(request, Vec::new()).await.map(|(reply, _fds)| reply)
    }

    /// Calls a method with file descriptors and answers those that come back.
    pub async fn call_fds<M: Method>(
        &self,
        request: M::Request,
        fds: Vec<OwnedFd>,
    ) -> Result<(M::Reply, Vec<OwnedFd>), Failure> {
        let deadline = Instant::now() + self.deadline;
        match timeout_at(deadline, self.call_until::<M>(&request, &fds, deadline)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(self.too_late::<M>()),
        }
    }

    async fn call_until<M: Method>(
        &self,
        request: &M::Request,
        fds: &[OwnedFd],
        deadline: Instant,
    ) -> Result<(M::Reply, Vec<OwnedFd>), Failure> {
        loop {
            let reused = self.client.take_idle(&self.path);
            let is_fresh = reused.is_none();
            let mut conversation = match reused {
                Some(conversation) => conversation,
                None => Conversation::connect(&self.path, &self.peer, deadline).await?,
            };
            let error = match conversation.exchange::<M>(request, fds, self.context(deadline)).await {
                Ok(answer) => {
                    self.client.keep_idle(&self.path, conversation);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            match error {
                CallError::Answered(failure) => {
                    self.client.keep_idle(&self.path, conversation);
                    return Err(failure);
                }
                // The connection was closed while it was idle, or its service restarted before it took the call.
                CallError::NotSent(_) if !is_fresh => {}
                CallError::Lost(_) if M::ACCESS.scope == Scope::Read && !is_fresh => {}
                CallError::Lost(ref failure) if M::ACCESS.scope == Scope::Read && failure.code == Code::Unavailable => {
                    // The service went away while it answered a question: ask its successor.
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                other => return Err(other.into_failure()),
            }
        }
    }

    /// Calls a method that answers many times.
    pub async fn stream<M: Method>(&self, request: M::Request) -> Result<Replies<M>, Failure> {
        let deadline = Instant::now() + self.deadline;
        let mut conversation = Conversation::connect(&self.path, &self.peer, deadline).await?;
        let context = CallContext { id: self.client.next_request_id(), deadline_ms: None };
        conversation.send::<M>(&request, &[], context, true).await.map_err(CallError::into_failure)?;
        Ok(Replies { conversation, over: false, deadline, bound: None, method: std::marker::PhantomData })
    }

    /// Calls a streaming method with file descriptors.
    pub async fn stream_fds<M: Method>(&self, request: M::Request, fds: Vec<OwnedFd>) -> Result<Replies<M>, Failure> {
        let deadline = Instant::now() + self.deadline;
        let mut conversation = Conversation::connect(&self.path, &self.peer, deadline).await?;
        let context = CallContext { id: self.client.next_request_id(), deadline_ms: None };
        conversation.send::<M>(&request, &fds, context, true).await.map_err(CallError::into_failure)?;
        Ok(Replies { conversation, over: false, deadline, bound: None, method: std::marker::PhantomData })
    }

    /// Calls a method after which the connection carries raw bytes.
    pub async fn upgrade<M: Method>(&self, request: M::Request) -> Result<(M::Reply, Upgraded), Failure> {
        let deadline = Instant::now() + self.deadline;
        let attempt = async {
            let mut conversation = Conversation::connect(&self.path, &self.peer, deadline).await?;
            let answer = conversation.exchange::<M>(&request, &[], self.context(deadline)).await;
            let (reply, _fds) = answer.map_err(CallError::into_failure)?;
            Ok((reply, conversation.into_upgraded()))
        };
        match timeout_at(deadline, attempt).await {
            Ok(result) => result,
            Err(_elapsed) => Err(self.too_late::<M>()),
        }
    }

    /// A conversation of its own, for callers that want to know when the service goes away.
    pub async fn conversation(&self) -> Result<Conversation, Failure> {
        Conversation::connect(&self.path, &self.peer, Instant::now() + self.deadline).await
    }

    fn context(&self, deadline: Instant) -> CallContext {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        CallContext { id: self.client.next_request_id(), deadline_ms: Some(u64::try_from(left).unwrap_or(u64::MAX)) }
    }

    fn too_late<M: Method>(&self) -> Failure {
        let failure = Failure::new(
            Code::DeadlineExceeded,
            format!("{} did not answer {} within {:?}", self.peer, M::NAME, self.deadline),
        );
        if M::ACCESS.scope == Scope::Read { failure } else { failure.changed(Change::Unknown) }
    }
}

/// The pause before a question is asked again whose service went away.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The replies to a call that is answered many times.
#[derive(Debug)]
pub struct Replies<M> {
    conversation: Conversation,
    over: bool,
    deadline: Instant,
    /// When all replies have to be there, if that is so.
    bound: Option<Instant>,
    method: std::marker::PhantomData<fn() -> M>,
}

impl<M: Method> Replies<M> {
    /// All replies have to be there at the call's deadline: for those that come to an end, like lists. Without this a peer
    /// that stands still is waited for, as one is that has nothing new to say.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self { bound: Some(self.deadline), ..self }
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
        let received = match self.bound {
            Some(bound) => match timeout_at(bound, self.conversation.receive()).await {
                Ok(received) => received,
                Err(_elapsed) => {
                    self.over = true;
                    let text = format!("{} did not come to the end of {} in time", self.conversation.peer(), M::NAME);
                    return Some(Err(Failure::new(Code::DeadlineExceeded, text)));
                }
            },
            None => self.conversation.receive().await,
        };
        match received {
            Ok((reply, fds)) => {
                self.over = !reply.continues;
                let read = self.conversation.read::<M>(&reply);
                self.over |= read.is_err();
                Some(read.map(|reply| (reply, fds)))
            }
            Err(error) => {
                self.over = true;
                Some(Err(error.into_failure()))
            }
        }
    }
}
