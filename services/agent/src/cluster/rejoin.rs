//! Back into the cluster: for a node that was taken out, was restored from an old disk or has missed too much.
//!
//! It keeps its key, its id and its systems. Deliberately not here: which of its objects still fit, which the database and the
//! hub decide.

use std::sync::Arc;

use acp_base::Failure;
use acp_wire_api::agent::{JoinClusterRequest, Joined};

use super::{
    check_hash,
    join::{Token, admit, ask, port},
    settle,
};
use crate::{adopt::is_of_earlier_epoch, node::Node};

/// Has the cluster that this node belongs to admit it again, and its database follow from where the cluster is now.
pub(crate) async fn rejoin(node: Arc<Node>, request: JoinClusterRequest) -> Result<Joined, Failure> {
    let _changing = node.changing.lock().await;
    let token = Token::read(&request.token)?;
    check_hash(request.root_key_hash.as_ref())?;
    let before = node.member().ok_or_else(|| {
        Failure::precondition(
            "this node is in no cluster, to which it could come back: it can join one (acpctl node join)",
        )
    })?;
    if before.authority() != token.authority {
        let text = format!(
            "the token is one of another cluster than {}: this node can leave that one (acpctl node leave --force) and join",
            before.cluster.name
        );
        return Err(Failure::precondition(text));
    }
    let named = request.address.clone().or_else(|| node.config.address.clone());
    let known = named.unwrap_or_else(|| before.address.clone());
    let request = JoinClusterRequest { address: Some(known), ..request };
    let mut asking = ask(&node, &token, &request, port(&node)).await?;
    let (admitted, terms) = admit(&mut asking, token, request.root_key_hash).await?;
    if is_of_earlier_epoch(&admitted.directory, &before.directory()) {
        let (theirs, ours) = (&admitted.directory.epoch, &before.directory().epoch);
        let text = format!(
            "{} is in an earlier epoch, {theirs}, than this node, {ours}: ask a member of the later one",
            request.member
        );
        return Err(Failure::precondition(text));
    }
    // The door of the membership before is closed with it; this one's takes the port as soon as it is free.
    settle(&node, admitted, None, terms).await
}
