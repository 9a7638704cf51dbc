//! Becoming a member and ceasing to be one.
//!
//! Each is a question to the hub and then one write here. Whatever dies in between, the same call again comes to the same
//! end: the hub admits the same node with the same key again, and takes out again whoever is out.

mod init;
mod join;
mod leave;

use std::{net::SocketAddr, sync::Arc};

use acp_base::{Code, Failure};
use acp_io_pki::{Fingerprint, PkiError};
use acp_wire_api::{
    agent::Joined,
    hub::{Admitted, Newcomer},
};
use tokio::net::TcpListener;

pub(crate) use init::init;
pub(crate) use join::{join, plan};
pub(crate) use leave::leave;

use crate::{
    door,
    member::{Member, MemberError},
    node::Node,
    persist::Record,
};

/// The bytes of a hash in hexadecimal digits.
fn check_hash(hash: Option<&String>) -> Result<(), Failure> {
    match hash {
        Some(hash) if Fingerprint::parse(hash).is_none() => {
            Err(Failure::invalid("root_key_hash: the SHA-256 of a secret has 64 hexadecimal digits"))
        }
        _ => Ok(()),
    }
}

/// Refuses a node that is in a cluster already.
fn must_be_alone(node: &Node) -> Result<(), Failure> {
    match node.member() {
        Some(member) => {
            let name = &member.cluster.name;
            Err(Failure::precondition(format!(
                "this node is in cluster {name} already: it can leave it (acpctl node leave)"
            )))
        }
        None => Ok(()),
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

/// This node as it presents itself to a hub.
fn newcomer(node: &Node, address: SocketAddr, root_key_hash: Option<String>) -> Result<Newcomer, Failure> {
    let failed = |error: PkiError| Failure::internal(crate::sentence(&error));
    let request = node.identity.key.request().map_err(failed)?;
    Ok(Newcomer {
        uid: node.identity.uid(),
        name: node.context.node.clone(),
        address: address.to_string(),
        signing_request: acp_io_pki::to_hex(request.der()),
        root_key_hash,
    })
}

/// What a node was asked to become a member with.
#[derive(Debug)]
struct Terms {
    address: SocketAddr,
    root_key_hash: Option<String>,
    /// The hash of the token's text.
    token: Option<String>,
}

/// Keeps what the hub has answered and begins the membership.
async fn settle(node: &Arc<Node>, admitted: Admitted, listener: TcpListener, terms: Terms) -> Result<Joined, Failure> {
    let Admitted { certificate, directory } = admitted;
    let record = Record { certificate, address: terms.address.to_string(), token: terms.token, directory };
    // Everything is looked at before it is kept.
    let unusable =
        |error| Failure::internal(format!("what the hub has answered cannot be used: {}", crate::sentence(&error)));
    let member = Member::new(&node.identity.key, node.store.clone(), record.clone()).map_err(unusable)?;
    if member.me != node.identity.uid() {
        return Err(unusable(MemberError::NotOurs));
    }
    let (store, kept) = (node.store.clone(), record.clone());
    crate::member::blocking(move || store.write(&kept)).await.map_err(|error| {
        let text = format!("the cluster has admitted this node, which cannot keep that: {error}; repeat the call");
        Failure::new(Code::Unavailable, text).changed(acp_base::Change::Partial)
    })?;
    let member = node.begin(record, Some(listener)).map_err(unusable)?;
    joined(&member, terms.root_key_hash.as_ref())
}

/// What a member is told who has just become one.
fn joined(member: &Member, root_key_hash: Option<&String>) -> Result<Joined, Failure> {
    let directory = member.directory();
    let root_key = root_key_hash.is_some_and(|hash| directory.keys.iter().any(|key| key.hash == *hash));
    let missing = || Failure::internal("the cluster has admitted this node and does not list it");
    let node = member.of(member.me).ok_or_else(missing)?;
    Ok(Joined { cluster: member.cluster.clone(), node, root_key })
}
