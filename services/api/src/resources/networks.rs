//! Networks.

use acp_base::Failure;
use acp_wire_api::{
    cluster,
    network::{CreateNetwork, CreateNetworkRequest, DeleteNetwork, NetworkRequest},
};

use super::views::{Network, list, show};
use crate::{
    answer::{Created, Done},
    call::Call,
    operation::Operation,
};

pub(super) fn operations() -> Vec<Operation> {
    let all = vec![
        Operation::get("/networks", "listNetworks", "Lists the networks that a node knows.", list::<Network>)
            .paged()
            .calls::<cluster::List>(),
        Operation::post(
            "/networks",
            "createNetwork",
            "Declares a network and builds it; answers when it is up.",
            create,
        )
        .calls::<CreateNetwork>(),
        Operation::get("/networks/{name}", "getNetwork", "Answers one network.", show::<Network>)
            .calls::<cluster::Get>(),
        Operation::delete("/networks/{name}", "deleteNetwork", "Ends a network that no system uses.", delete)
            .calls::<DeleteNetwork>(),
    ];
    all.into_iter().map(Operation::of_node).collect()
}

async fn create(call: Call, request: CreateNetworkRequest) -> Result<Created<Network>, Failure> {
    let name = request.name.clone();
    call.ask::<CreateNetwork>(request).await?;
    super::made(&call, name, "networks").await
}

async fn delete(call: Call) -> Result<Done, Failure> {
    call.ask::<DeleteNetwork>(NetworkRequest { name: call.path("name")? }).await?;
    Ok(Done)
}
