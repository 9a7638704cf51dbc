//! Which handler answers which method.

use std::{
    collections::BTreeMap,
    future::Future,
    marker::PhantomData,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
};

use acp_base::{Code, Failure};
use acp_io_varlink::Upgraded;
use acp_wire_api::{Access, Flavor, Method};
use serde_json::value::RawValue;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::Caller;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a call carries beside its parameters.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// The request's id.
    pub id: String,
    /// When the caller stops waiting.
    pub deadline: Instant,
}

/// A call of method `M`, its parameters read and its caller's access checked.
#[derive(Debug)]
pub struct Call<M: Method> {
    /// The parameters.
    pub request: M::Request,
    /// The file descriptors that came with the call.
    pub fds: Vec<OwnedFd>,
    /// Who called.
    pub caller: Caller,
    /// Id and deadline.
    pub context: CallContext,
}

/// A reply ready to be sent: its parameters as JSON, and file descriptors.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) parameters: Box<RawValue>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// A call before its parameters are read.
#[derive(Debug)]
pub(crate) struct RawRequest {
    pub(crate) parameters: Option<Box<RawValue>>,
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) caller: Caller,
    pub(crate) context: CallContext,
}

/// One reply on its way to the connection's writer, answered when it is written.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) reply: Encoded,
    pub(crate) written: oneshot::Sender<()>,
}

/// Sends the replies of a streaming method, one after the other.
#[derive(Debug)]
pub struct Sink<M> {
    outgoing: mpsc::Sender<Outgoing>,
    method: PhantomData<fn() -> M>,
}

impl<M: Method> Sink<M> {
    /// Sends one reply that others follow; returns when it is handed to the kernel. Fails when the caller is gone.
    pub async fn send(&self, reply: M::Reply) -> Result<(), Failure> {
        self.send_fds(reply, Vec::new()).await
    }

    /// Sends one reply with file descriptors.
    pub async fn send_fds(&self, reply: M::Reply, fds: Vec<OwnedFd>) -> Result<(), Failure> {
        self.pass(encode::<M>(&reply, fds)?).await
    }

    /// Sends one reply that is JSON already and reads as `M::Reply`, for replies put together from parts kept as text.
    pub async fn send_json(&self, parameters: Box<RawValue>) -> Result<(), Failure> {
        self.pass(Encoded { parameters, fds: Vec::new() }).await
    }

    async fn pass(&self, reply: Encoded) -> Result<(), Failure> {
        let (written, is_written) = oneshot::channel();
        let outgoing = Outgoing { reply, written };
        let gone = || Failure::new(Code::Cancelled, "the caller is gone");
        self.outgoing.send(outgoing).await.map_err(|_unsent| gone())?;
        is_written.await.map_err(|_dropped| gone())
    }
}

type Continuation = Box<dyn FnOnce(Upgraded) -> BoxFuture<()> + Send>;

type OnceHandler = Arc<dyn Fn(RawRequest) -> BoxFuture<Result<Encoded, Failure>> + Send + Sync>;
type StreamHandler =
    Arc<dyn Fn(RawRequest, mpsc::Sender<Outgoing>) -> BoxFuture<Result<Encoded, Failure>> + Send + Sync>;
type UpgradeHandler = Arc<dyn Fn(RawRequest) -> BoxFuture<Result<(Encoded, Continuation), Failure>> + Send + Sync>;

#[derive(Clone)]
pub(crate) enum Handler {
    Once(OnceHandler),
    Stream(StreamHandler),
    Upgrade(UpgradeHandler),
}

#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) access: Access,
    pub(crate) handler: Handler,
}

/// The methods a daemon answers.
#[derive(Default)]
pub struct Router {
    routes: BTreeMap<&'static str, Route>,
    /// Where the server that uses this router is put for its own health answers.
    pub(crate) attachment: Option<Arc<OnceLock<Weak<crate::server::Shared>>>>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}

impl Router {
    /// A router without methods.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers `M` once a call.
    pub fn once<M, H, F>(&mut self, handler: H)
    where
        M: Method,
        H: Fn(Call<M>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<M::Reply, Failure>> + Send + 'static,
    {
        self.once_fds::<M, _, _>(move |call| {
            let answer = handler(call);
            async move { answer.await.map(|reply| (reply, Vec::new())) }
        });
    }

    /// Answers `M` once a call, with file descriptors.
    pub fn once_fds<M, H, F>(&mut self, handler: H)
    where
        M: Method,
        H: Fn(Call<M>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(M::Reply, Vec<OwnedFd>), Failure>> + Send + 'static,
    {
        assert_eq!(M::FLAVOR, Flavor::Once, "{} is not answered once", M::NAME);
        let handler: OnceHandler = Arc::new(move |raw| match decode::<M>(raw) {
            Ok(call) => {
                let answer = handler(call);
                Box::pin(async move { answer.await.and_then(|(reply, fds)| encode::<M>(&reply, fds)) })
            }
            Err(failure) => Box::pin(std::future::ready(Err(failure))),
        });
        self.insert::<M>(Handler::Once(handler));
    }

    /// Answers `M` many times a call: what the handler sends into the sink, and last what it returns.
    pub fn stream<M, H, F>(&mut self, handler: H)
    where
        M: Method,
        H: Fn(Call<M>, Sink<M>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<M::Reply, Failure>> + Send + 'static,
    {
        assert_eq!(M::FLAVOR, Flavor::Stream, "{} is not answered as a stream", M::NAME);
        let handler: StreamHandler = Arc::new(move |raw, outgoing| match decode::<M>(raw) {
            Ok(call) => {
                let answer = handler(call, Sink { outgoing, method: PhantomData });
                Box::pin(async move { answer.await.and_then(|reply| encode::<M>(&reply, Vec::new())) })
            }
            Err(failure) => Box::pin(std::future::ready(Err(failure))),
        });
        self.insert::<M>(Handler::Stream(handler));
    }

    /// Answers `M` once, then hands the raw connection to the continuation that the handler returns.
    pub fn upgrade<M, H, F, C, G>(&mut self, handler: H)
    where
        M: Method,
        H: Fn(Call<M>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(M::Reply, C), Failure>> + Send + 'static,
        C: FnOnce(Upgraded) -> G + Send + 'static,
        G: Future<Output = ()> + Send + 'static,
    {
        assert_eq!(M::FLAVOR, Flavor::Upgrade, "{} does not upgrade", M::NAME);
        let handler: UpgradeHandler = Arc::new(move |raw| match decode::<M>(raw) {
            Ok(call) => {
                let answer = handler(call);
                Box::pin(async move {
                    let (reply, continuation) = answer.await?;
                    let continuation: Continuation = Box::new(move |io| Box::pin(continuation(io)));
                    Ok((encode::<M>(&reply, Vec::new())?, continuation))
                })
            }
            Err(failure) => Box::pin(std::future::ready(Err(failure))),
        });
        self.insert::<M>(Handler::Upgrade(handler));
    }

    pub(crate) fn get(&self, method: &str) -> Option<&Route> {
        self.routes.get(method)
    }

    /// Methods of the given interfaces that nobody answers.
    pub(crate) fn missing(&self, interfaces: &[acp_wire_api::Interface]) -> Vec<&'static str> {
        let declared = interfaces.iter().flat_map(|interface| &interface.methods);
        declared.map(|method| method.name).filter(|name| !self.routes.contains_key(name)).collect()
    }

    fn insert<M: Method>(&mut self, handler: Handler) {
        let before = self.routes.insert(M::NAME, Route { access: M::ACCESS, handler });
        assert!(before.is_none(), "{} has two handlers", M::NAME);
    }
}

fn decode<M: Method>(raw: RawRequest) -> Result<Call<M>, Failure> {
    let request = parameters::<M>(raw.parameters.as_deref())?;
    Ok(Call { request, fds: raw.fds, caller: raw.caller, context: raw.context })
}

/// Reads the parameters of a call.
pub(crate) fn parameters<M: Method>(parameters: Option<&RawValue>) -> Result<M::Request, Failure> {
    let text = parameters.map_or("{}", RawValue::get);
    // A list would pass for a struct's fields in their order, which no method promises.
    if !text.trim_start().starts_with('{') {
        return Err(Failure::invalid(format!("{}: the parameters must be an object", M::NAME)));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner();
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        let text = format!("{}: {place}{}", M::NAME, without_position(&reason.to_string()));
        Failure::invalid(acp_io_varlink::shorten(text))
    })
}

/// The line and column of a parameter within a message say nothing to whoever typed a command.
fn without_position(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(text, _position)| text)
}

pub(crate) fn encode<M: Method>(reply: &M::Reply, fds: Vec<OwnedFd>) -> Result<Encoded, Failure> {
    let parameters = serde_json::value::to_raw_value(reply)
        .map_err(|error| Failure::internal(format!("cannot write the reply of {}: {error}", M::NAME)))?;
    Ok(Encoded { parameters, fds })
}
