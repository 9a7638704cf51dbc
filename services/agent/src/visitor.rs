//! Conversations that another node opens here: who is behind each, whether it may be, and where it leads.
//!
//! **Invariant**: a service's socket hears nothing of a conversation before it has taken the principal's name; a conversation
//! that was passed on has the rights of its key alone.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use acp_base::{Code, Failure, Uid};
use acp_io_client::Upgraded;
use acp_io_link::{Class, Conversation, Handler, Link, Opening, accept_bulk, limits::OPEN_LIMIT};
use acp_io_pki::{Certificate, Fingerprint};
use acp_wire_api::principal::Principal;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::{
    authority::{self, Ground, KeyError},
    carry::carry,
    context::{Answer, Context, hop},
    hub_session,
    member::Member,
    node::Node,
    peers::{Place, Seat},
    route::{self, Limits, Opened},
    socket,
};

/// A peer on one connection.
#[derive(Debug)]
pub(crate) struct Visitor {
    node: Arc<Node>,
    member: Arc<Member>,
    class: Class,
    peer: Option<(Uid, Fingerprint)>,
    address: String,
    place: Place,
    /// The principal of the last conversation: a change is worth a line.
    last: Mutex<Option<String>>,
}

/// The other end of a conversation.
#[derive(Debug)]
pub(crate) struct Target {
    end: End,
    ground: Ground,
    _seat: Seat,
}

#[derive(Debug)]
enum End {
    /// A service's socket.
    Socket(Upgraded),
    /// A conversation with the next node.
    Passed(Conversation),
}

/// A conversation that was turned away, and the label under which that is counted, if it is.
struct Turned {
    reason: Option<&'static str>,
    failure: Failure,
}

impl From<Failure> for Turned {
    fn from(failure: Failure) -> Self {
        let reason = match failure.code {
            Code::PermissionDenied => Some("denied"),
            Code::ResourceExhausted => Some("full"),
            _ => None,
        };
        Self { reason, failure }
    }
}

impl From<KeyError> for Turned {
    fn from(error: KeyError) -> Self {
        Self { reason: Some(error.label()), failure: error.into() }
    }
}

impl Visitor {
    pub(crate) fn new(
        node: Arc<Node>,
        member: Arc<Member>,
        class: Class,
        peer: Option<Certificate>,
        address: &str,
        place: Place,
    ) -> Self {
        let peer = peer.map(|peer| (peer.identity.node, peer.key));
        Self { node, member, class, peer, address: address.to_owned(), place, last: Mutex::default() }
    }

    /// A bulk stream, from its opening to its end.
    pub(crate) async fn bulk(&self, mut stream: TlsStream<TcpStream>) {
        let accepted = accept_bulk(&mut stream, OPEN_LIMIT, async |opening| self.take(opening).await).await;
        match accepted {
            Ok((target, _answer)) => self.carry(target, stream).await,
            Err(error) => tracing::debug!(%error, "no bulk stream came of it"),
        }
    }

    /// From now on conversations with this peer can be opened from here.
    pub(crate) fn offer(&self, link: Link) {
        self.place.offer(link);
    }

    /// Whether a conversation of this connection is held now.
    pub(crate) fn is_busy(&self) -> bool {
        self.place.conversations() > 0
    }

    /// Ends what is open on a link that the peer has opened for this side.
    pub(crate) fn cut(&self) {
        if let Some(link) =
            self.peer.filter(|_| self.class == Class::Reverse).and_then(|(uid, _)| self.member.peers.reverse(uid))
        {
            link.cut();
        }
    }

    async fn take(&self, opening: Opening) -> Result<(Target, Value), Failure> {
        let context = Context::read(&opening)?;
        let taken = self.lead(&opening, &context).await;
        if let Err(Turned { reason: Some(reason), failure }) = &taken {
            self.node.refused.note(reason, &self.from(), &failure.message, &context.id);
        }
        taken.map_err(|turned| turned.failure)
    }

    /// Finds the other end of a conversation.
    async fn lead(&self, opening: &Opening, context: &Context) -> Result<(Target, Value), Turned> {
        let seat = self.place.seat()?;
        socket::check(&opening.service, opening.instance.as_deref())?;
        let (principal, ground) = self.principal(opening, context)?;
        let is_here = context.node.is_none_or(|node| node == self.member.me);
        let (end, answer) = if !is_here {
            let opened = self.pass_on(opening, context).await?;
            (End::Passed(opened.conversation), Answer { hops: opened.hops })
        } else if self.class == Class::Join && !self.member.is_controller() {
            let opened = self.pass_newcomer_on(opening, context).await?;
            (End::Passed(opened.conversation), Answer { hops: opened.hops })
        } else {
            self.log(&principal, opening, &context.id);
            let started = Instant::now();
            let speaker = socket::connect_for(&self.node, opening, principal, &context.id).await?;
            let hops = vec![hop(self.node.name(), &opening.service, "socket", started)];
            (End::Socket(speaker.into_raw()), Answer { hops })
        };
        let answer = serde_json::to_value(answer).map_err(|error| Failure::internal(error.to_string()))?;
        Ok((Target { end, ground, _seat: seat }, answer))
    }

    /// On whose behalf the conversation is held.
    fn principal(&self, opening: &Opening, context: &Context) -> Result<(Principal, Ground), Turned> {
        let directory = self.member.directory();
        let via = self.peer.map(|(uid, _key)| uid);
        let ground = Ground { peer: via, key: None };
        let is_narrow = matches!(self.class, Class::Control | Class::Join | Class::Renewal) || context.newcomer;
        if is_narrow && opening.service != "hub" {
            return Err(denied("this kind of connection is for the hub alone").into());
        }
        let (uid, fingerprint) = match (self.class, self.peer) {
            (Class::Join, _) | (_, None) => return Ok((authority::of_newcomer(None), ground)),
            (_, Some(peer)) => peer,
        };
        if self.class == Class::Renewal {
            return Ok((authority::of_renewal(&directory, uid, fingerprint), ground));
        }
        if context.newcomer {
            return Ok((authority::of_newcomer(via), ground));
        }
        match &context.key {
            Some(secret) => {
                let key = authority::find(&directory, secret)?;
                Ok((authority::of_key(&key, via), Ground { key: Some(key), ..ground }))
            }
            None if context.relayed => Err(denied("a conversation that another node passes on needs a key").into()),
            None => Ok((authority::of_node(&directory, uid), ground)),
        }
    }

    /// Passes a conversation on to the node that it is for: the caller could not dial it.
    async fn pass_on(&self, opening: &Opening, context: &Context) -> Result<Opened, Failure> {
        let is_asked = context.relayed && self.class == Class::Calls;
        let to = context.node.and_then(|node| self.member.of(node));
        let Some(to) = to.filter(|_| is_asked && self.member.is_controller()) else {
            let here = &self.node.context.node;
            return Err(Failure::precondition(format!(
                "the conversation is for another node than {here}, which does not pass it on"
            )));
        };
        if context.key.is_none() {
            return Err(denied("only conversations with a key are passed on"));
        }
        if let Some(opened) = route::backwards(&self.member, &to, opening, OPEN_LIMIT).await {
            return opened;
        }
        let limits = Limits { time: OPEN_LIMIT, has_other_way: false };
        let opened = route::directly(&self.node, &self.member, &to, Class::Calls, opening, limits).await;
        opened.map_err(|unreached| unreached.failure)
    }

    /// Passes a newcomer on to the control plane.
    async fn pass_newcomer_on(&self, opening: &Opening, context: &Context) -> Result<Opened, Failure> {
        let mut failure = hub_session::none();
        for to in self.member.controllers() {
            let context = Context { node: Some(to.uid), newcomer: true, id: context.id.clone(), ..Context::default() };
            let opening = context.opening(&opening.service, None);
            let limits = Limits { time: OPEN_LIMIT.min(hub_session::limit(&self.member)), has_other_way: false };
            let opened = route::directly(&self.node, &self.member, &to, Class::Calls, &opening, limits).await;
            failure = match opened {
                Ok(opened) => return Ok(opened),
                Err(unreached) => unreached.failure,
            };
            self.member.controllers.failed(to.uid);
        }
        Err(failure)
    }

    /// A line when a peer comes as somebody else than before.
    fn log(&self, principal: &Principal, opening: &Opening, id: &str) {
        let name =
            principal.name.as_ref().map(ToString::to_string).or_else(|| principal.uid.map(|uid| uid.to_string()));
        let who = format!("{:?} {}", principal.kind, name.unwrap_or_default());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, service) = (self.from(), &opening.service);
        if last.as_ref() == Some(&who) {
            tracing::debug!(from, principal = who, service, id, "conversation");
        } else {
            tracing::info!(from, principal = who, service, id, "a principal's first conversation");
            *last = Some(who);
        }
    }

    fn from(&self) -> String {
        self.peer.map_or_else(|| self.address.clone(), |(uid, _key)| self.member.name_of(uid))
    }

    async fn carry<S: AsyncRead + AsyncWrite + Unpin>(&self, target: Target, stream: S) {
        let drain = &self.node.context.drain;
        match target.end {
            End::Socket(socket) => carry(stream, socket, &self.member, &target.ground, drain).await,
            End::Passed(next) => carry(stream, next, &self.member, &target.ground, drain).await,
        }
    }
}

fn denied(text: &str) -> Failure {
    Failure::new(Code::PermissionDenied, text)
}

impl Handler for Visitor {
    type Target = Target;

    async fn open(&self, opening: Opening) -> Result<(Target, Value), Failure> {
        self.take(opening).await
    }

    async fn run(&self, target: Target, conversation: Conversation) {
        self.carry(target, conversation).await;
    }
}
