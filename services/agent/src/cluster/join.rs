//! Joining a cluster, through whichever member is named.

use std::{net::SocketAddr, sync::Arc};

use acp_base::Failure;
use acp_io_failpoint::point;
use acp_io_link::{Class, Link, dial_to_join};
use acp_io_pki::Fingerprint;
use acp_wire_api::{
    agent::{JoinClusterRequest, Joined},
    hub::{Admitted, Join, JoinPlan, JoinRequest, Newcomer, PlanJoin},
};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Terms, check_hash, finish, init::with_port, listen, must_be_alone, newcomer, settle};
use crate::{config::PORT_DEFAULT, context::Context, dial, limits::HUB_LIMIT, node::Node, speaker::Speaker};

/// A token: `acpt.<authority's fingerprint>.<secret>`.
pub(super) struct Token {
    pub(super) authority: Fingerprint,
    pub(super) secret: String,
    pub(super) hash: String,
}

impl Token {
    pub(super) fn read(text: &str) -> Result<Self, Failure> {
        let parts = text.strip_prefix("acpt.").and_then(|rest| rest.split_once('.'));
        let read = parts.and_then(|(authority, secret)| Some((Fingerprint::parse(authority)?, secret)));
        let (authority, secret) = read.filter(|(_, secret)| !secret.is_empty()).ok_or_else(|| {
            Failure::invalid("the token is none: it is acpt., the fingerprint of the authority, a dot and a secret")
        })?;
        Ok(Self { authority, secret: secret.to_owned(), hash: Fingerprint::of(text.as_bytes()).to_string() })
    }
}

/// Says what joining would do.
pub(crate) async fn plan(node: Arc<Node>, request: JoinClusterRequest) -> Result<JoinPlan, Failure> {
    let token = Token::read(&request.token)?;
    check_hash(request.root_key_hash.as_ref())?;
    if node.member().is_some() {
        must_be_alone(&node).await?;
    }
    let port = port(&node);
    let mut asking = ask(&node, &token, &request, port).await?;
    let request = JoinRequest { token: token.secret, node: asking.newcomer };
    asking.hub.call::<PlanJoin>(&request, "plan-join", HUB_LIMIT).await
}

/// Joins. With the token by which this node has joined already, what was answered then is answered again.
pub(crate) async fn join(node: Arc<Node>, request: JoinClusterRequest) -> Result<Joined, Failure> {
    let _changing = node.changing.lock().await;
    let token = Token::read(&request.token)?;
    check_hash(request.root_key_hash.as_ref())?;
    if let Some(member) = node.member()
        && member.token().await.as_ref() == Some(&token.hash)
    {
        return finish(&node, &member, request.root_key_hash.as_ref()).await;
    }
    must_be_alone(&node).await?;
    let (listener, port) = listen(&node).await?;
    let mut asking = ask(&node, &token, &request, port).await?;
    let (admitted, terms) = admit(&mut asking, token, request.root_key_hash).await?;
    settle(&node, admitted, Some(listener), terms).await
}

/// Has the hub admit this node by the token.
pub(super) async fn admit(
    asking: &mut Asking,
    token: Token,
    root_key_hash: Option<String>,
) -> Result<(Admitted, Terms), Failure> {
    let join = JoinRequest { token: token.secret, node: asking.newcomer.clone() };
    let admitted = asking.hub.call::<Join>(&join, "join", HUB_LIMIT).await?;
    point("agent.join.admitted")?;
    is_of(&admitted, token.authority)?;
    let (me, address) = (asking.newcomer.uid, asking.address);
    Ok((admitted, Terms { me, address, root_key_hash, token: Some(token.hash), has_entered: false }))
}

/// Checks that it is the cluster of this authority which has answered.
pub(super) fn is_of(admitted: &Admitted, expected: Fingerprint) -> Result<(), Failure> {
    let authority = acp_base::from_hex(&admitted.directory.authority).map(|der| Fingerprint::of(&der));
    if authority == Some(expected) {
        return Ok(());
    }
    Err(Failure::internal("the member has answered for another cluster than the one whose authority it has shown"))
}

/// The port at which this node listens as a member.
pub(super) const fn port(node: &Node) -> u16 {
    match node.config.listen.port() {
        0 => PORT_DEFAULT,
        port => port,
    }
}

/// A conversation with the hub, and this node as it presents itself there.
pub(super) struct Asking {
    pub(super) hub: Speaker,
    pub(super) newcomer: Newcomer,
    pub(super) address: SocketAddr,
}

/// Where a newcomer asks, and under which address it would be dialled itself.
pub(super) async fn ask(
    node: &Node,
    token: &Token,
    request: &JoinClusterRequest,
    port: u16,
) -> Result<Asking, Failure> {
    let member = dial::parse(&request.member)?;
    let stream = dial_to_join(member, token.authority).await.map_err(|error| error.failure(&at(member)))?;
    let address = own_address(node, &stream, request.address.as_deref(), port)?;
    let hub = converse(node, stream, member).await?;
    Ok(Asking { hub, newcomer: newcomer(node, address, request.root_key_hash.clone()).await?, address })
}

/// How messages call a member that is known by its address alone.
pub(super) fn at(member: SocketAddr) -> String {
    format!("at {member}")
}

/// The address that was asked for, or is in the configuration; else the one from which the member was reached.
pub(super) fn own_address(
    node: &Node,
    stream: &TlsStream<TcpStream>,
    asked: Option<&str>,
    port: u16,
) -> Result<SocketAddr, Failure> {
    let nowhere = |error| Failure::unavailable(format!("the connection has no address: {error}"));
    match asked.or(node.config.address.as_deref()) {
        Some(text) => with_port(text, port),
        None => Ok(SocketAddr::new(stream.get_ref().0.local_addr().map_err(nowhere)?.ip().to_canonical(), port)),
    }
}

/// A newcomer's conversation with the hub.
pub(super) async fn converse(
    node: &Node,
    stream: TlsStream<TcpStream>,
    member: SocketAddr,
) -> Result<Speaker, Failure> {
    let tasks = &node.context.tasks;
    let link = Link::over(stream, tasks).await.map_err(|error| error.failure(&at(member)))?;
    let opening = Context { id: dial::word(Class::Join).to_owned(), ..Context::default() }.opening("hub", None);
    let conversation = link.open(&opening, HUB_LIMIT).await.map_err(|error| error.failure(&at(member)))?;
    Speaker::over(conversation, &format!("the hub through {member}"), tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_apart_and_nothing_else_is_one() {
        let (authority, secret) = ("ab".repeat(32), "cd".repeat(32));
        let token = Token::read(&format!("acpt.{authority}.{secret}")).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!((token.authority.to_string(), token.secret), (authority.clone(), secret.clone()));
        for bad in [
            String::new(),
            secret.clone(),
            format!("acpt.{authority}"),
            format!("acpt.{authority}."),
            format!("acpt.x.{secret}"),
        ] {
            assert!(Token::read(&bad).is_err(), "{bad}");
        }
    }
}
