//! The API about itself, and about whoever asks.

use acp_base::Failure;
use acp_wire_api::{Scope, principal::Principal};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{answer::Found, call::Call, operation::Operation};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/health", "getHealth", "Says whether this API does its work. Needs no key.", health),
        Operation { scope: Some(Scope::Read), ..Operation::get("/self", "getSelf", "Says whose key it is.", own) },
    ]
}

/// How the API is.
#[derive(Debug, Serialize, ToSchema)]
struct ApiHealth {
    /// Whether requests can be served.
    ready: bool,
    /// What is lacking, in a sentence; empty when nothing is.
    reason: String,
    /// This node's name.
    node: String,
    /// The build.
    version: &'static str,
}

async fn health(call: Call) -> Result<Found<ApiHealth>, Failure> {
    let reason = call.app.health.reason();
    let node = call.app.node.to_string();
    Ok(Found(ApiHealth { ready: reason.is_empty(), reason, node, version: env!("CARGO_PKG_VERSION") }))
}

async fn own(call: Call) -> Result<Found<Principal>, Failure> {
    let identity = call.identity.as_deref();
    identity.map(|identity| Found(identity.principal.clone())).ok_or_else(|| Failure::internal("nobody was identified"))
}
