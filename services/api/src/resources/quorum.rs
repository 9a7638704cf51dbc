//! The voters of the cluster's log. Recovery, backup and restore are not here: they are for root on the node, with `acpctl`.

use acp_base::{Failure, Name};
use acp_wire_api::{
    Empty,
    hub::{GetQuorum, QuorumStatus, SetVoters, Transfer, TransferRequest, VotersRequest},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{answer::Found, call::Call, operation::Operation};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/quorum", "getQuorum", "Answers the voters, the leader and how far each is.", show)
            .calls::<GetQuorum>(),
        Operation::post("/quorum/transfer", "transferLeadership", "Gives the leadership to another voter.", transfer)
            .calls::<Transfer>(),
        Operation::post("/quorum/voters", "setVoters", "Says how many voters there shall be.", set_voters)
            .calls::<SetVoters>(),
    ]
}

/// To whom the leadership goes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TransferLeadership)]
struct To {
    /// The voter's name; absent: the one that is least behind.
    #[serde(default)]
    to: Option<Name>,
}

/// How many voters.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Voters {
    /// 1, 3 or 5.
    voters: u32,
}

async fn show(call: Call) -> Result<Found<QuorumStatus>, Failure> {
    Ok(Found(call.ask::<GetQuorum>(Empty {}).await?))
}

async fn transfer(call: Call, To { to }: To) -> Result<Found<QuorumStatus>, Failure> {
    Ok(Found(call.ask::<Transfer>(TransferRequest { to }).await?))
}

async fn set_voters(call: Call, Voters { voters }: Voters) -> Result<Found<QuorumStatus>, Failure> {
    Ok(Found(call.ask::<SetVoters>(VotersRequest { voters }).await?))
}
