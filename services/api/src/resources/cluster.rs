//! The cluster as a whole.

use acp_base::Failure;
use acp_wire_api::{
    Empty,
    hub::{GetStatus, HubStatus},
};

use crate::{answer::Found, call::Call, operation::Operation};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/cluster", "getCluster", "Answers the cluster's name and how many nodes are online.", status)
            .calls::<GetStatus>(),
    ]
}

async fn status(call: Call) -> Result<Found<HubStatus>, Failure> {
    Ok(Found(call.ask::<GetStatus>(Empty {}).await?))
}
