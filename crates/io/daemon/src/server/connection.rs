//! One connection: its calls, one after the other.

use std::{
    borrow::Cow,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use acp_base::{Code, Failure};
use acp_io_varlink::{Account, IncomingCall, OutgoingReply, Peer, Purpose, ReadError, Reader, Trace, Writer};
use acp_wire_api::{Empty, Flavor, Method as _, daemon::ActFor, error};
use serde_json::Value;
use tokio::{
    net::UnixStream,
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{
    CALL_BYTES_MAX, Shared,
    farewell::{self, REFUSAL_TIMEOUT},
    varlink_service,
};
use crate::{
    Caller,
    router::{self, CallContext, Encoded, Handler, Outgoing, RawRequest, Route},
};

/// How long a call may take whose caller names no deadline.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(60);
/// The longest deadline taken from a caller: longer work is a job.
const DEADLINE_MAX: Duration = Duration::from_secs(3600);
/// How long a caller may leave a reply unread before it is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a connection ends; nothing is owed to anybody then.
#[derive(Debug)]
struct Ended;

#[derive(Debug)]
pub(super) struct Connection {
    reader: Reader,
    writer: Writer,
    caller: Caller,
    account: Arc<Account>,
    /// When the call was read that is being answered, if it asked for a trace.
    traced: Option<Instant>,
    shared: Arc<Shared>,
}

/// Holds a conversation until either side ends it.
pub(super) async fn converse(mut connection: Connection) {
    let account = Arc::clone(&connection.account);
    let upgrade = tokio::select! {
        biased;
        upgrade = connection.serve() => upgrade,
        () = account.evicted() => return connection.leave().await,
    };
    if let Some(upgrade) = upgrade {
        connection.hand_over(upgrade).await;
    }
}

impl Connection {
    pub(super) fn new(stream: UnixStream, peer: Peer, shared: Arc<Shared>) -> Self {
        let account = shared.budget.open(peer.uid);
        let (reader, writer) = acp_io_varlink::split(stream, CALL_BYTES_MAX, Some(Arc::clone(&account)));
        let caller = Caller::new(peer, &shared.context.identities);
        Self { reader, writer, caller, account, traced: None, shared }
    }

    /// Answers calls until one asks for the raw connection, or the connection ends.
    async fn serve(&mut self) -> Option<Upgrade> {
        loop {
            let (call, fds) = match self.next_call().await {
                Ok(next) => next,
                Err(error) => {
                    self.say_goodbye(&error).await;
                    return None;
                }
            };
            match self.answer_counted(call, fds).await {
                Ok(None) => {}
                Ok(upgrade) => return upgrade,
                Err(Ended) => return None,
            }
            if self.reader.has_message() {
                // Whoever sends calls ahead of their replies waits its turn among the other connections.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Answers a call; as long as that takes, its parameters and descriptors count as held.
    async fn answer_counted(&mut self, call: IncomingCall, fds: Vec<OwnedFd>) -> Result<Option<Upgrade>, Ended> {
        let bytes = call.parameters.as_ref().map_or(0, |parameters| parameters.get().len());
        let held = acp_io_varlink::weight(bytes, fds.len());
        if held == 0 {
            return self.answer(call, fds).await;
        }
        self.account.hold(Purpose::Answering, held);
        let answered = self.answer(call, fds).await;
        self.account.hold(Purpose::Answering, 0);
        answered
    }

    async fn next_call(&mut self) -> Result<(IncomingCall, Vec<OwnedFd>), ReadError> {
        tokio::select! {
            next = self.reader.call() => next,
            () = self.shared.context.drain.cancelled() => Err(ReadError::Closed),
        }
    }

    /// Ends a connection that holds too much.
    async fn leave(mut self) {
        metrics::counter!("acp_connections_evicted_total").increment(1);
        self.refuse_rest(&farewell::holds_too_much(self.shared.budget.max())).await;
    }

    /// Answers what could not be read, then closes: what follows a bad message cannot be trusted.
    async fn say_goodbye(&mut self, error: &ReadError) {
        if let Some(failure) = farewell::unreadable(error) {
            self.refuse_rest(&failure).await;
        }
    }

    /// Says why nothing more is taken from this caller, who may not read it.
    async fn refuse_rest(&mut self, failure: &Failure) {
        metrics::counter!("acp_messages_refused_total").increment(1);
        if let Some(unsaid) = self.shared.refusals.admit() {
            tracing::info!(caller = self.caller.actor(), reason = %failure, unsaid, "message refused");
        }
        match timeout(REFUSAL_TIMEOUT, self.fail(failure)).await {
            Ok(Ok(())) => {}
            Ok(Err(Ended)) | Err(_) => tracing::debug!("a refused caller did not read why"),
        }
    }

    async fn answer(&mut self, call: IncomingCall, fds: Vec<OwnedFd>) -> Result<Option<Upgrade>, Ended> {
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
        self.traced = call.context.trace.then(Instant::now);
        let Some(route) = self.shared.router.get(&call.method).cloned() else {
            return self.answer_standard(&call).await.map(|()| None);
        };
        if let Err(failure) = self.admit(&call, &route) {
            metrics::counter!("acp_calls_refused_total", "code" => failure.code.name()).increment(1);
            return if call.oneway { Ok(None) } else { self.fail(&failure).await.map(|()| None) };
        }
        if call.method == ActFor::NAME {
            return self.act_for(&call).await.map(|()| None);
        }
        let started = Instant::now();
        let asked = call.context.deadline_ms.map_or(DEADLINE_DEFAULT, Duration::from_millis);
        let deadline = started + asked.min(DEADLINE_MAX);
        let (method, oneway, more) = (call.method, call.oneway, call.more);
        let context = CallContext { id: call.context.id, deadline };
        let request = RawRequest { parameters: call.parameters, fds, caller: self.caller.clone(), context };
        match route.handler {
            Handler::Once(handler) => {
                self.answer_once(&method, handler(request), deadline, oneway).await.map(|()| None)
            }
            Handler::Stream(handler) => {
                let (outgoing, incoming) = mpsc::channel(1);
                self.answer_many(handler(request, outgoing), incoming, more).await.map(|()| None)
            }
            Handler::Upgrade(handler) => match tokio::time::timeout_at(deadline, handler(request)).await {
                Ok(Ok((reply, continuation))) => {
                    self.reply(reply, false).await?;
                    Ok(Some(Upgrade(continuation)))
                }
                Ok(Err(failure)) => self.fail(&failure).await.map(|()| None),
                Err(_elapsed) => self.fail(&farewell::too_late(&method)).await.map(|()| None),
            },
        }
    }

    /// The one call that changes the connection itself.
    async fn act_for(&mut self, call: &IncomingCall) -> Result<(), Ended> {
        let named = router::parameters::<ActFor>(call.parameters.as_deref())
            .and_then(|request| self.caller.act_for(request.principal))
            .and_then(|()| router::encode::<ActFor>(&Empty {}, Vec::new()));
        match named {
            Ok(reply) => self.reply(reply, false).await,
            Err(failure) => self.fail(&failure).await,
        }
    }

    fn admit(&self, call: &IncomingCall, route: &Route) -> Result<(), Failure> {
        self.caller.check(&call.method, route.access).inspect_err(|failure| {
            if let Some(unsaid) = self.shared.refusals.admit() {
                let (caller, method) = (self.caller.actor(), &call.method);
                tracing::warn!(caller, method, reason = %failure, unsaid, "call refused");
            }
        })?;
        let flavor = match route.handler {
            Handler::Once(_) => Flavor::Once,
            Handler::Stream(_) => Flavor::Stream,
            Handler::Upgrade(_) => Flavor::Upgrade,
        };
        if call.upgrade != (flavor == Flavor::Upgrade) {
            let word = if call.upgrade { "cannot" } else { "must" };
            return Err(Failure::invalid(format!("{} {word} be called with upgrade", call.method)));
        }
        Ok(())
    }

    async fn answer_once(
        &mut self,
        method: &str,
        answer: router::BoxFuture<Result<Encoded, Failure>>,
        deadline: Instant,
        oneway: bool,
    ) -> Result<(), Ended> {
        let answer = match tokio::time::timeout_at(deadline, answer).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(farewell::too_late(method)),
        };
        match answer {
            _ if oneway => Ok(()),
            Ok(reply) => self.reply(reply, false).await,
            Err(failure) => self.fail(&failure).await,
        }
    }

    /// Passes on what the handler sends, and drops the handler as soon as the caller is gone. Called without `more`, the
    /// first reply is the only one.
    async fn answer_many(
        &mut self,
        mut answer: router::BoxFuture<Result<Encoded, Failure>>,
        mut incoming: mpsc::Receiver<Outgoing>,
        more: bool,
    ) -> Result<(), Ended> {
        let mut has_next = self.reader.has_message();
        loop {
            tokio::select! {
                biased;
                Some(outgoing) = incoming.recv() => {
                    self.reply(outgoing.reply, more).await?;
                    if !more {
                        return Ok(());
                    }
                    if outgoing.written.send(()).is_err() {
                        tracing::trace!("the handler gave up waiting for this reply");
                    }
                }
                last = &mut answer => {
                    return match last {
                        Ok(reply) => self.reply(reply, false).await,
                        Err(failure) => self.fail(&failure).await,
                    };
                }
                arrival = self.reader.arrival(), if !has_next => match arrival {
                    // It is answered after this one; what follows it waits in the kernel.
                    Ok(()) => has_next = true,
                    Err(error) => {
                        self.say_goodbye(&error).await;
                        return Err(Ended);
                    }
                },
                () = self.shared.context.drain.cancelled() => {
                    return self.fail(&Failure::unavailable(format!("{} is stopping", self.shared.context.noun))).await;
                }
            }
        }
    }

    async fn answer_standard(&mut self, call: &IncomingCall) -> Result<(), Ended> {
        let parameters = call.parameters.as_ref().and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        let parameters = parameters.unwrap_or_default();
        let interfaces = Arc::clone(&self.shared.context.interfaces);
        let product = format!("acp-{}", self.shared.context.noun);
        let answer = varlink_service::answer(&call.method, &parameters, &product, &interfaces)
            .unwrap_or_else(|| Err(varlink_service::unknown(&call.method, &interfaces)));
        let (error, parameters) = match answer {
            Ok(parameters) => (None, parameters),
            Err((name, parameters)) => (Some(name), parameters),
        };
        if call.oneway {
            return Ok(());
        }
        self.write(error.as_deref(), &parameters, false, &[]).await
    }

    async fn reply(&mut self, reply: Encoded, continues: bool) -> Result<(), Ended> {
        self.write(None, &reply.parameters, continues, &reply.fds).await
    }

    async fn fail(&mut self, failure: &Failure) -> Result<(), Ended> {
        if failure.code == Code::Internal {
            tracing::error!(caller = self.caller.actor(), reason = %failure, "call failed by a defect");
        }
        metrics::counter!("acp_calls_failed_total", "code" => failure.code.name()).increment(1);
        let parameters = error::parameters(failure);
        let name = error::error_name(failure.code);
        self.write(Some(&name), &parameters, false, &[]).await
    }

    async fn write<P: serde::Serialize>(
        &mut self,
        error: Option<&str>,
        parameters: &P,
        continues: bool,
        fds: &[OwnedFd],
    ) -> Result<(), Ended> {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let trace = self.traced.map(|read| Trace {
            node: Cow::Owned(self.shared.context.node_now().to_string()),
            service: Cow::Borrowed(self.shared.context.noun),
            took_us: u64::try_from(read.elapsed().as_micros()).unwrap_or(u64::MAX),
        });
        let reply = OutgoingReply { error, parameters, continues, trace };
        match timeout(WRITE_TIMEOUT, self.writer.send(&reply, &fds)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_gone)) => Err(Ended),
            Err(_elapsed) => {
                if let Some(unsaid) = self.shared.refusals.admit() {
                    tracing::info!(caller = self.caller.actor(), unsaid, "a caller that reads no replies was dropped");
                }
                Err(Ended)
            }
        }
    }

    async fn hand_over(self, Upgrade(continuation): Upgrade) {
        let upgraded = self.reader.into_upgraded(self.writer);
        tokio::select! {
            () = continuation(upgraded) => {}
            () = self.shared.context.drain.cancelled() => {}
        }
    }
}

/// What takes the raw connection over.
struct Upgrade(Box<dyn FnOnce(acp_io_varlink::Upgraded) -> router::BoxFuture<()> + Send>);
