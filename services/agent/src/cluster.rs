//! Becoming a member and ceasing to be one.
//!
//! Each is a question to the hub, then one write here, then the database's part. Whatever dies in between, the same call again
//! comes to the same end: the hub admits the same node with the same key again, and takes out again whoever is out; what the
//! database has not done is done after the next start, too.

mod init;
mod join;
mod leave;
mod rejoin;
mod request;

use std::{future::Future, net::SocketAddr, sync::Arc};

use acp_base::{Code, Failure, Uid};
use acp_io_pki::{Fingerprint, PkiError};
use acp_wire_api::{
    agent::Joined,
    hub::{Admitted, Newcomer},
};
use tokio::{net::TcpListener, sync::oneshot};

pub(crate) use init::{init, with_port};
pub(crate) use join::{join, plan};
pub(crate) use leave::leave;
pub(crate) use rejoin::rejoin;
pub(crate) use request::request;

use crate::{
    database, door,
    member::{Member, MemberError},
    node::Node,
    persist::Record,
};

/// Brings a change of the membership to its end although its caller may stop waiting: half of one is worth nothing.
pub(crate) async fn whole<T: Send + 'static>(
    node: Arc<Node>,
    change: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    let (done, answer) = oneshot::channel();
    node.context.tasks.spawn("membership", async move {
        // Whoever asked may be gone.
        drop(done.send(change.await));
    });
    answer.await.map_err(|_dropped| Failure::unavailable("the agent is ending").changed(acp_base::Change::Unknown))?
}

/// The bytes of a hash in hexadecimal digits.
fn check_hash(hash: Option<&String>) -> Result<(), Failure> {
    match hash {
        Some(hash) if Fingerprint::parse(hash).is_none() => {
            Err(Failure::invalid("root_key_hash: the SHA-256 of a secret has 64 hexadecimal digits"))
        }
        _ => Ok(()),
    }
}

/// Refuses a node that is in a cluster already, and ends what is left of an earlier membership.
async fn must_be_alone(node: &Node) -> Result<(), Failure> {
    match node.member() {
        Some(member) => {
            let name = &member.cluster.name;
            Err(Failure::precondition(format!(
                "this node is in cluster {name} already: it can leave it (acpctl node leave)"
            )))
        }
        None => database::part(node).await,
    }
}

/// The port is taken before anything is asked for, so that a member can be dialled from its first moment.
async fn listen(node: &Node) -> Result<(TcpListener, u16), Failure> {
    let failed = |error| {
        let text = format!("cannot listen at {}: {error}; see listen in agent.toml", node.config.listen);
        Failure::precondition(text).blame(acp_base::Blame::Operator)
    };
    let listener = door::listen(&node.config).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

/// This node as it presents itself to a hub: under the id that it has as a member, else under the one that the cluster service
/// has for it, with the systems that it would bring along.
async fn newcomer(node: &Node, address: SocketAddr, root_key_hash: Option<String>) -> Result<Newcomer, Failure> {
    let failed = |error: PkiError| Failure::internal(crate::sentence(&error));
    let request = node.identity.key.request().map_err(failed)?;
    let uid = match node.member() {
        Some(member) => member.me,
        None => {
            node.identify(database::status(node).await?.node_uid);
            node.uid()
        }
    };
    Ok(Newcomer {
        uid,
        name: node.name(),
        address: address.to_string(),
        signing_request: acp_base::to_hex(request.der()),
        root_key_hash,
        systems: database::systems(node).await?,
    })
}

/// What a node was asked to become a member with.
#[derive(Debug)]
struct Terms {
    /// Under which id it asked.
    me: Uid,
    address: SocketAddr,
    root_key_hash: Option<String>,
    /// The hash of the token's text.
    token: Option<String>,
    /// Whether its log is the cluster's already.
    has_entered: bool,
}

/// Keeps what the hub has answered, begins the membership and has the database enter the cluster's log.
async fn settle(
    node: &Arc<Node>,
    admitted: Admitted,
    listener: Option<TcpListener>,
    terms: Terms,
) -> Result<Joined, Failure> {
    let Admitted { certificate, directory } = admitted;
    let (address, entered) = (terms.address.to_string(), terms.has_entered);
    let record = Record { certificate, address, token: terms.token, entered, directory };
    // Everything is looked at before it is kept.
    let unusable =
        |error| Failure::internal(format!("what the hub has answered cannot be used: {}", crate::sentence(&error)));
    let member = Member::new(&node.identity.key, node.store.clone(), record.clone()).map_err(unusable)?;
    if member.me != terms.me {
        return Err(unusable(MemberError::NotOurs));
    }
    keep(node, record.clone()).await.map_err(|error| {
        let text = format!("the cluster has admitted this node, which cannot keep that: {error}; repeat the call");
        Failure::new(Code::Unavailable, text).changed(acp_base::Change::Partial)
    })?;
    let member = node.begin(record, listener).map_err(unusable)?;
    finish(node, &member, terms.root_key_hash.as_ref()).await
}

/// Keeps the membership, in the place of the one before if there is one.
async fn keep(node: &Node, record: Record) -> std::io::Result<()> {
    match node.member() {
        Some(before) => before.give_way(record).await,
        None => {
            let store = node.store.clone();
            crate::member::blocking(move || store.write(&record)).await
        }
    }
}

/// The rest of what makes a member: its database follows the cluster's log.
async fn finish(node: &Arc<Node>, member: &Arc<Member>, root_key_hash: Option<&String>) -> Result<Joined, Failure> {
    database::enter_first(node, member).await.map_err(|failure| {
        let text = format!("this node is a member, whose database has not entered the cluster's log yet: {failure}");
        Failure::new(failure.code, format!("{text}; it goes on trying, and the same call again says how it went"))
            .changed(acp_base::Change::Partial)
    })?;
    joined(member, root_key_hash)
}

/// What a member is told who has just become one.
fn joined(member: &Member, root_key_hash: Option<&String>) -> Result<Joined, Failure> {
    let directory = member.directory();
    let root_key = root_key_hash.is_some_and(|hash| directory.keys.iter().any(|key| key.hash == *hash));
    let missing = || Failure::internal("the cluster has admitted this node and does not list it");
    let node = member.of(member.me).ok_or_else(missing)?;
    Ok(Joined { cluster: member.cluster.clone(), node, root_key })
}
