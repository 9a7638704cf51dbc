//! The members of the cluster: as the agent of a node knows them, and as the control plane says and changes them.

use acp_base::{Failure, Name, Uid};
use acp_wire_api::{
    Empty,
    agent::{AgentStatus, GetStatus, ListMembers, ListMembersReply},
    hub::{
        Approve, JoinAsked, ListNodes, ListNodesReply, ListRequests, ListRoles, NodePlan, NodeRequest, Park,
        PlanRemove, Readdress, ReaddressRequest, Reject, RemoveNode, Rename, RenameRequest, Role, RoleRequest, SetRole,
        TokenRequest, Unpark,
    },
};

use crate::Connection;

const AGENT: &str = "agent";
const HUB: &str = "hub";

/// The members of the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Nodes<'a> {
    connection: &'a Connection,
}

impl<'a> Nodes<'a> {
    pub(crate) const fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    /// The members in the order of their names, whether or not the control plane answers; the node alone while it is in no
    /// cluster.
    pub async fn members(self) -> Result<ListMembersReply, Failure> {
        self.connection.call::<ListMembers>(AGENT, Empty {}).await
    }

    /// What the node is in which cluster, its certificate and its links.
    pub async fn status(self) -> Result<AgentStatus, Failure> {
        self.connection.call::<GetStatus>(AGENT, Empty {}).await
    }

    /// The members with what the control plane takes each for.
    pub async fn presence(self) -> Result<ListNodesReply, Failure> {
        self.connection.call::<ListNodes>(HUB, Empty {}).await
    }

    /// Takes a member out of the cluster.
    pub async fn remove(self, name: Name) -> Result<(), Failure> {
        self.change::<RemoveNode>(NodeRequest { name }).await
    }

    /// What [`Self::remove`] would do.
    pub async fn plan_remove(self, name: Name) -> Result<NodePlan, Failure> {
        self.connection.call::<PlanRemove>(HUB, NodeRequest { name }).await
    }

    /// Gives a member another name, everywhere it is named.
    pub async fn rename(self, name: Name, to: Name) -> Result<(), Failure> {
        self.change::<Rename>(RenameRequest { name, to }).await
    }

    /// Says where a member's agent is dialled from now on, as `IP:PORT`.
    pub async fn readdress(self, name: Name, address: String) -> Result<(), Failure> {
        self.change::<Readdress>(ReaddressRequest { name: Some(name), address }).await
    }

    /// Sets a member aside: it is expected to be away.
    pub async fn park(self, name: Name) -> Result<(), Failure> {
        self.change::<Park>(NodeRequest { name }).await
    }

    /// Expects a member again.
    pub async fn unpark(self, name: Name) -> Result<(), Failure> {
        self.change::<Unpark>(NodeRequest { name }).await
    }

    /// The nodes that ask for membership, oldest first.
    pub async fn requests(self) -> Result<Vec<JoinAsked>, Failure> {
        self.connection.call::<ListRequests>(HUB, Empty {}).await.map(|reply| reply.requests)
    }

    /// Admits a node that asks.
    pub async fn approve(self, request: Uid) -> Result<(), Failure> {
        self.change::<Approve>(TokenRequest { uid: request }).await
    }

    /// Turns a node away that asks.
    pub async fn reject(self, request: Uid) -> Result<(), Failure> {
        self.change::<Reject>(TokenRequest { uid: request }).await
    }

    /// The roles in the order of their names.
    pub async fn roles(self) -> Result<Vec<Role>, Failure> {
        self.connection.call::<ListRoles>(HUB, Empty {}).await.map(|reply| reply.roles)
    }

    /// Says which units a role stands for, and which nodes have it.
    pub async fn set_role(self, request: RoleRequest) -> Result<(), Failure> {
        self.change::<SetRole>(request).await
    }

    async fn change<M: acp_wire_api::Method<Reply = Empty>>(self, request: M::Request) -> Result<(), Failure> {
        self.connection.call::<M>(HUB, request).await.map(|Empty {}| ())
    }
}
