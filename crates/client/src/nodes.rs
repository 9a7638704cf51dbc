//! The members of the cluster, as the agent of a node knows them.

use acp_base::Failure;
use acp_wire_api::{
    Empty,
    agent::{AgentStatus, GetStatus, ListMembers, ListMembersReply},
};

use crate::Connection;

const AGENT: &str = "agent";

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
}
