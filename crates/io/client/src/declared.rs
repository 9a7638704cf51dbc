//! Objects as they are declared, and that they are not.
//!
//! A node's own database may be older than what was acknowledged on another node, or than what was ordered when its answer was
//! lost. What it has is enough for whoever is about to change it, since the log decides. What it lacks is not: whoever is told
//! that something does not exist leaves it there.

use acp_base::{Code, Failure};
use acp_wire_api::cluster::{Get, GetReply, GetRequest};

use crate::ServiceClient;

/// Gets an object from a cluster service. One that is missing there is asked for again with everything that was acknowledged
/// before; what is only reported is in no log, and not asked for again.
///
/// # Errors
/// `NotFound` only if there is none; whatever keeps the control plane from saying so; else as of [`Get`].
pub async fn find_declared(cluster: &ServiceClient, request: GetRequest) -> Result<GetReply, Failure> {
    let missing = match cluster.call::<Get>(request.clone()).await {
        Err(failure) if failure.code == Code::NotFound && request.kind.is_declared() => failure,
        answer => return answer,
    };
    let newest = GetRequest { linearizable: true, ..request };
    cluster.call::<Get>(newest).await.map_err(|failure| match failure.code {
        Code::NotFound => failure,
        _ => failure.context(format!("{}, unless it was made just now", missing.message)),
    })
}
