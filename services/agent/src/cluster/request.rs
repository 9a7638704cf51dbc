//! Asking for membership without a token: an operator of the cluster answers.
//!
//! The authority is the one whose fingerprint was given, or else the one that answers first: it is told with the first reply, and
//! whoever asks compares it with what the cluster's operators say. **Invariant**: it stays the same to the end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use acp_base::{Code, Failure};
use acp_io_daemon::{Call, Sink};
use acp_io_link::{dial_to_ask, dial_to_join};
use acp_io_pki::Fingerprint;
use acp_wire_api::{
    agent::{RequestJoin, RequestJoinReply, RequestJoinRequest},
    hub::{self, JoinAnswer, JoinOutcome, Newcomer},
};
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::client::TlsStream;

use super::{
    Terms, check_hash,
    join::{at, converse, is_of, own_address, port},
    must_be_alone, newcomer, settle, whole,
};
use crate::{
    dial,
    limits::{HUB_LIMIT, PAUSE_MIN, REQUEST_MAX},
    node::Node,
};

/// Asks until an operator has answered, nobody did in time, or the member is not there from the beginning.
pub(crate) async fn request(
    node: Arc<Node>,
    call: Call<RequestJoin>,
    sink: Sink<RequestJoin>,
) -> Result<RequestJoinReply, Failure> {
    let request = call.request;
    let wait = Duration::from_millis(request.wait_ms);
    if wait > REQUEST_MAX {
        return Err(Failure::invalid(format!("wait_ms: at most {} ms", REQUEST_MAX.as_millis())));
    }
    check_hash(request.root_key_hash.as_ref())?;
    {
        let _changing = node.changing.lock().await;
        must_be_alone(&node).await?;
    }
    let mut asked = Asked::new(&node, &request, Instant::now() + wait).await?;
    let answer = loop {
        match asked.once(&node, &sink).await {
            Ok(answer) => break answer,
            // The member or its leader has changed meanwhile: the same request again is the same one.
            Err(failure) if failure.code == Code::Unavailable && Instant::now() < asked.until => {
                tracing::info!(reason = %failure, "asking for membership again");
                dial::pause(PAUSE_MIN * 5).await;
            }
            Err(failure) => return Err(failure),
        }
    };
    whole(Arc::clone(&node), asked.settle(node, answer, request.root_key_hash)).await
}

/// A request under way.
struct Asked {
    member: SocketAddr,
    authority: Fingerprint,
    /// The connection by which the authority came to be known, for the first time of asking.
    first: Option<TlsStream<TcpStream>>,
    newcomer: Newcomer,
    address: SocketAddr,
    until: Instant,
}

impl Asked {
    async fn new(node: &Node, request: &RequestJoinRequest, until: Instant) -> Result<Self, Failure> {
        let member = dial::parse(&request.member)?;
        let known = request.fingerprint.as_ref().map(|text| {
            let none = || Failure::invalid("fingerprint: the SHA-256 of the authority has 64 hexadecimal digits");
            Fingerprint::parse(text).ok_or_else(none)
        });
        let dialled = match known.transpose()? {
            Some(known) => dial_to_join(member, known).await.map(|stream| (stream, known)),
            None => dial_to_ask(member).await,
        };
        let (stream, authority) = dialled.map_err(|error| error.failure(&at(member)))?;
        let address = own_address(node, &stream, request.address.as_deref(), port(node))?;
        let newcomer = newcomer(node, address, request.root_key_hash.clone()).await?;
        Ok(Self { member, authority, first: Some(stream), newcomer, address, until })
    }

    /// Asks on one connection until an answer is final, and tells the caller of those that are not.
    async fn once(&mut self, node: &Node, sink: &Sink<RequestJoin>) -> Result<JoinAnswer, Failure> {
        let stream = match self.first.take() {
            Some(stream) => stream,
            None => {
                let dialled = dial_to_join(self.member, self.authority).await;
                dialled.map_err(|error| error.failure(&at(self.member)))?
            }
        };
        let mut hub = converse(node, stream, self.member).await?;
        let left = self.until.saturating_duration_since(Instant::now());
        let request = hub::RequestJoinRequest {
            node: self.newcomer.clone(),
            wait_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        };
        hub.ask::<hub::RequestJoin>(&request).await?;
        // The hub ends the wait; if it does not, this does.
        let patience = self.until + HUB_LIMIT;
        loop {
            let late = |_late| Failure::unavailable(format!("the hub through {} was silent", self.member));
            let next = tokio::time::timeout_at(patience, hub.next_of::<hub::RequestJoin>());
            let (answer, continues) = next.await.map_err(late)??;
            if answer.outcome != JoinOutcome::Waiting {
                return Ok(answer);
            }
            sink.send(self.reply(node, &answer)).await?;
            if !continues {
                return Err(Failure::unavailable(format!("the hub through {} did not wait", self.member)));
            }
        }
    }

    fn reply(&self, node: &Node, answer: &JoinAnswer) -> RequestJoinReply {
        RequestJoinReply {
            outcome: answer.outcome,
            request: Some(answer.request),
            authority: self.authority.to_string(),
            fingerprint: node.identity.key.fingerprint().to_string(),
            joined: None,
        }
    }

    /// Becomes a member if that is what came of it.
    async fn settle(
        self,
        node: Arc<Node>,
        answer: JoinAnswer,
        root_key_hash: Option<String>,
    ) -> Result<RequestJoinReply, Failure> {
        let reply = self.reply(&node, &answer);
        if !matches!(answer.outcome, JoinOutcome::Admitted | JoinOutcome::AlreadyJoined) {
            return Ok(reply);
        }
        let nothing = || Failure::internal("the hub has admitted this node and has sent no certificate: ask again");
        let admitted = answer.admitted.ok_or_else(nothing)?;
        is_of(&admitted, self.authority)?;
        let _changing = node.changing.lock().await;
        must_be_alone(&node).await?;
        let (me, address) = (self.newcomer.uid, self.address);
        let terms = Terms { me, address, root_key_hash, token: None, has_entered: false };
        let joined = settle(&node, admitted, None, terms).await?;
        Ok(RequestJoinReply { joined: Some(joined), ..reply })
    }
}
