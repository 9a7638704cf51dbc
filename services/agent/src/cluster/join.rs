//! Joining a cluster, through whichever member is named.

use std::{net::SocketAddr, sync::Arc};

use acp_base::Failure;
use acp_io_failpoint::point;
use acp_io_link::{Class, Link, dial_to_join};
use acp_io_pki::Fingerprint;
use acp_wire_api::{
    agent::{JoinClusterRequest, Joined},
    hub::{Join, JoinPlan, JoinRequest, Newcomer, PlanJoin},
};

use super::{Terms, check_hash, init::with_port, joined, listen, must_be_alone, newcomer, settle};
use crate::{config::PORT_DEFAULT, context::Context, dial, limits::HUB_LIMIT, node::Node, speaker::Speaker};

/// A token: `acpt.<authority's fingerprint>.<secret>`.
struct Token {
    authority: Fingerprint,
    secret: String,
    hash: String,
}

impl Token {
    fn read(text: &str) -> Result<Self, Failure> {
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
    must_be_alone(&node)?;
    let token = Token::read(&request.token)?;
    check_hash(request.root_key_hash.as_ref())?;
    let port = if node.config.listen.port() == 0 { PORT_DEFAULT } else { node.config.listen.port() };
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
        return joined(&member, request.root_key_hash.as_ref());
    }
    must_be_alone(&node)?;
    let (listener, port) = listen(&node).await?;
    let mut asking = ask(&node, &token, &request, port).await?;
    let join = JoinRequest { token: token.secret.clone(), node: asking.newcomer };
    let admitted = asking.hub.call::<Join>(&join, "join", HUB_LIMIT).await?;
    point("agent.join.admitted")?;
    let authority = acp_io_pki::from_hex(&admitted.directory.authority).map(|der| Fingerprint::of(&der));
    if authority != Some(token.authority) {
        return Err(Failure::internal("the member has answered for another cluster than the token's"));
    }
    let terms = Terms { address: asking.address, root_key_hash: request.root_key_hash, token: Some(token.hash) };
    settle(&node, admitted, listener, terms).await
}

/// A conversation with the hub, and this node as it presents itself there.
struct Asking {
    hub: Speaker,
    newcomer: Newcomer,
    address: SocketAddr,
}

async fn ask(node: &Node, token: &Token, request: &JoinClusterRequest, port: u16) -> Result<Asking, Failure> {
    let member = dial::parse(&request.member)?;
    let at = format!("at {member}");
    let stream = dial_to_join(member, token.authority).await.map_err(|error| error.failure(&at))?;
    let own = stream.get_ref().0.local_addr();
    let address = match &request.address {
        Some(text) => with_port(text, port)?,
        None => {
            let own = own.map_err(|error| Failure::unavailable(format!("the connection has no address: {error}")))?;
            SocketAddr::new(own.ip().to_canonical(), port)
        }
    };
    let tasks = &node.context.tasks;
    let link = Link::over(stream, tasks).await.map_err(|error| error.failure(&at))?;
    let opening = Context { id: dial::word(Class::Join).to_owned(), ..Context::default() }.opening("hub", None);
    let conversation = link.open(&opening, HUB_LIMIT).await.map_err(|error| error.failure(&at))?;
    let hub = Speaker::over(conversation, &format!("the hub through {member}"), tasks)?;
    Ok(Asking { hub, newcomer: newcomer(node, address, request.root_key_hash.clone())?, address })
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
