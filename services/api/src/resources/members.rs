//! What is done with members and with nodes that ask to be members; and roles.

use acp_base::{Failure, Name};
use acp_wire_api::{
    Empty, Method,
    hub::{
        Approve, AssignDomain, DomainRequest, JoinAsked, ListRequests, ListRoles, Metadata, MetadataRequest,
        NodeRequest, Park, PlanRemove, Readdress, ReaddressRequest, Reject, Rename, RenameRequest, Role, RoleRequest,
        SetMetadata, SetRole, TokenRequest, Unpark,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    answer::{Done, Found, List},
    call::Call,
    operation::Operation,
};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get(
            "/nodes/{node}/removal",
            "planRemoval",
            "Says what taking a member out would do, and changes nothing.",
            plan_removal,
        )
        .calls::<PlanRemove>(),
        Operation::post(
            "/nodes/{node}/rename",
            "renameNode",
            "Gives a member another name, everywhere it is named.",
            rename,
        )
        .calls::<Rename>(),
        Operation::post(
            "/nodes/{node}/readdress",
            "readdressNode",
            "Says where a member is dialled from now on.",
            readdress,
        )
        .calls::<Readdress>(),
        Operation::post(
            "/nodes/{node}/domain",
            "assignDomain",
            "Says of which domain a member is: the nodes that hear each other's datagrams.",
            assign_domain,
        )
        .calls::<AssignDomain>(),
        Operation::post(
            "/nodes/{node}/metadata",
            "setMetadata",
            "Notes values of a member under names, and forgets others.",
            set_metadata,
        )
        .calls::<SetMetadata>(),
        Operation::act("/nodes/{node}/park", "parkNode", "Sets a member aside: it is expected to be away.", park)
            .calls::<Park>(),
        Operation::act("/nodes/{node}/unpark", "unparkNode", "Expects a member again.", unpark).calls::<Unpark>(),
        Operation::get("/requests", "listRequests", "Lists the nodes that ask to join.", requests)
            .paged()
            .calls::<ListRequests>(),
        Operation::act("/requests/{uid}/approve", "approveRequest", "Lets a node join that has asked.", approve)
            .calls::<Approve>(),
        Operation::act("/requests/{uid}/reject", "rejectRequest", "Turns a node away that has asked.", reject)
            .calls::<Reject>(),
        Operation::get("/roles", "listRoles", "Lists the roles with their units and nodes.", roles)
            .paged()
            .calls::<ListRoles>(),
        Operation::post(
            "/roles/{name}",
            "setRole",
            "Says which units a role stands for, and which nodes have it.",
            set_role,
        )
        .calls::<SetRole>(),
    ]
}

/// What taking a node out would do.
#[derive(Debug, Serialize, ToSchema)]
struct Removal {
    /// What it would do, a sentence each.
    effects: Vec<String>,
    /// What stands against it, a sentence each; empty: it can be done.
    clashes: Vec<String>,
}

/// Another name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RenameNode)]
struct NewName {
    /// The node's name from now on.
    to: Name,
}

/// Another domain.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AssignDomain)]
struct NewDomain {
    /// The node's domain from now on.
    domain: Name,
}

/// Another address.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReaddressNode)]
struct NewAddress {
    /// Where the node's agent is dialled, as `IP:PORT`.
    address: String,
}

/// What is noted of a node.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetMetadata)]
struct NewMetadata {
    /// Values from now on; others stay as they are.
    #[serde(default)]
    set: Metadata,
    /// The names of values that are forgotten.
    #[serde(default)]
    unset: Vec<Name>,
}

/// What becomes of a role.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetRole)]
struct NewRole {
    /// Its units from now on; absent: as they are.
    #[serde(default)]
    units: Option<Vec<Name>>,
    /// The members that have it from now on; absent: as they are.
    #[serde(default)]
    nodes: Option<Vec<Name>>,
}

async fn done<M: Method<Reply = Empty>>(call: &Call, request: M::Request) -> Result<Done, Failure> {
    call.ask::<M>(request).await.map(|Empty {}| Done)
}

async fn plan_removal(call: Call) -> Result<Found<Removal>, Failure> {
    let plan = call.ask::<PlanRemove>(NodeRequest { name: call.path("node")? }).await?;
    Ok(Found(Removal { effects: plan.effects, clashes: plan.clashes }))
}

async fn rename(call: Call, NewName { to }: NewName) -> Result<Done, Failure> {
    done::<Rename>(&call, RenameRequest { name: call.path("node")?, to }).await
}

async fn readdress(call: Call, NewAddress { address }: NewAddress) -> Result<Done, Failure> {
    done::<Readdress>(&call, ReaddressRequest { name: Some(call.path("node")?), address }).await
}

async fn assign_domain(call: Call, NewDomain { domain }: NewDomain) -> Result<Done, Failure> {
    done::<AssignDomain>(&call, DomainRequest { name: call.path("node")?, domain }).await
}

async fn set_metadata(call: Call, NewMetadata { set, unset }: NewMetadata) -> Result<Done, Failure> {
    done::<SetMetadata>(&call, MetadataRequest { name: call.path("node")?, set, unset }).await
}

async fn park(call: Call) -> Result<Done, Failure> {
    done::<Park>(&call, NodeRequest { name: call.path("node")? }).await
}

async fn unpark(call: Call) -> Result<Done, Failure> {
    done::<Unpark>(&call, NodeRequest { name: call.path("node")? }).await
}

async fn requests(call: Call) -> Result<Found<List<JoinAsked>>, Failure> {
    let requests = call.ask::<ListRequests>(Empty {}).await?.requests;
    Ok(Found(List::part(&call, requests, |asked| asked.request.to_string())?))
}

async fn approve(call: Call) -> Result<Done, Failure> {
    done::<Approve>(&call, TokenRequest { uid: call.path("uid")? }).await
}

async fn reject(call: Call) -> Result<Done, Failure> {
    done::<Reject>(&call, TokenRequest { uid: call.path("uid")? }).await
}

async fn roles(call: Call) -> Result<Found<List<Role>>, Failure> {
    let roles = call.ask::<ListRoles>(Empty {}).await?.roles;
    Ok(Found(List::part(&call, roles, |role| role.name.to_string())?))
}

async fn set_role(call: Call, NewRole { units, nodes }: NewRole) -> Result<Done, Failure> {
    done::<SetRole>(&call, RoleRequest { name: call.path("name")?, units, nodes }).await
}
