//! The members of the cluster: as the agent of a node knows them, and as the control plane says and changes them.

use std::{collections::BTreeMap, time::Duration};

use acp_base::{Code, Failure, Name, Uid};
use acp_io_client::Replies;
use acp_wire_api::{
    Empty,
    agent::{AgentStatus, GetStatus, ListMembers, ListMembersReply},
    hub::{
        Approve, AssignDomain, DomainRequest, JoinAsked, ListNodes, ListNodesReply, ListRequests, ListRoles, Metadata,
        MetadataRequest, NodeChange, NodeEvent, NodeFilter, NodePlan, NodePresence, NodeRequest, Park, PlanRemove,
        Readdress, ReaddressRequest, Reject, RemoveNode, Rename, RenameRequest, Role, RoleRequest, SetMetadata,
        SetRole, TokenRequest, Unpark, WatchNodes, WatchNodesReply,
    },
};

use crate::Connection;

const AGENT: &str = "agent";
const HUB: &str = "hub";

/// The pause before a watch that was lost is taken up again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

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

    /// The members for which the filter holds, with what the control plane takes each for.
    ///
    /// # Errors
    /// `NotFound` for a role that there is not, `InvalidArgument` for a service whose place is not known.
    pub async fn presence(self, filter: NodeFilter) -> Result<ListNodesReply, Failure> {
        self.connection.call::<ListNodes>(HUB, filter).await
    }

    /// The members for which the filter holds as they are, and then each change of them.
    pub fn watch(self, filter: NodeFilter) -> NodesWatch {
        NodesWatch {
            connection: self.connection.clone(),
            filter,
            replies: None,
            known: BTreeMap::new(),
            degraded: String::new(),
            is_begun: false,
            is_lost: false,
        }
    }

    /// Notes values of a member, and forgets those of the names in `unset`.
    pub async fn set_metadata(self, name: Name, set: Metadata, unset: Vec<Name>) -> Result<(), Failure> {
        self.change::<SetMetadata>(MetadataRequest { name, set, unset }).await
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

    /// Says of which domain a member is.
    pub async fn assign_domain(self, name: Name, domain: Name) -> Result<(), Failure> {
        self.change::<AssignDomain>(DomainRequest { name, domain }).await
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

/// What a watch of nodes brings.
#[derive(Clone, Debug, PartialEq)]
pub enum NodesNews {
    /// What has happened; the first time the nodes as they are, each as one that came, and maybe none. Without events only
    /// whether anything can be changed has.
    Told(WatchNodesReply),
    /// The watch was lost and is taken up; what happens meanwhile comes then.
    Lost(Failure),
}

/// A watch of nodes, which goes on with another controller when one is gone.
#[derive(Debug)]
pub struct NodesWatch {
    connection: Connection,
    filter: NodeFilter,
    replies: Option<Replies<WatchNodes>>,
    /// The nodes as they were told.
    known: BTreeMap<Uid, NodePresence>,
    /// Why nothing could be changed, as it was told.
    degraded: String,
    is_begun: bool,
    is_lost: bool,
}

impl NodesWatch {
    /// What comes next.
    ///
    /// # Errors
    /// The watch cannot be had, or the filter is refused.
    pub async fn next(&mut self) -> Result<NodesNews, Failure> {
        loop {
            match self.try_next().await {
                Ok(reply) => {
                    let is_first = !std::mem::replace(&mut self.is_begun, true);
                    let is_other = std::mem::replace(&mut self.degraded, reply.degraded.clone()) != reply.degraded;
                    let reply = self.take(reply);
                    if is_first || is_other || !reply.events.is_empty() {
                        return Ok(NodesNews::Told(reply));
                    }
                }
                Err(failure) if self.is_begun && is_passing(&failure) => {
                    self.replies = None;
                    self.is_lost = true;
                    return Ok(NodesNews::Lost(failure));
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn try_next(&mut self) -> Result<WatchNodesReply, Failure> {
        if std::mem::take(&mut self.is_lost) {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        let replies = match &mut self.replies {
            Some(replies) => replies,
            None => {
                let replies = self.connection.service(HUB)?.stream::<WatchNodes>(self.filter.clone()).await?;
                self.replies.insert(replies)
            }
        };
        replies.next().await.unwrap_or_else(|| Err(Failure::unavailable("the watch ended")))
    }

    /// The reply; of one that says all anew what was not known.
    fn take(&mut self, mut reply: WatchNodesReply) -> WatchNodesReply {
        let told = reply.events.iter().map(|event| (event.node.node.uid, event));
        if reply.current {
            let now = told.map(|(uid, event)| (uid, event.node.clone())).collect();
            reply.events = NodeEvent::between(&self.known, &now);
            self.known = now;
            return reply;
        }
        for (uid, event) in told {
            match event.change {
                NodeChange::Went => drop(self.known.remove(&uid)),
                _ => drop(self.known.insert(uid, event.node.clone())),
            }
        }
        reply
    }
}

/// Whether another controller, or the same one later, may answer.
fn is_passing(failure: &Failure) -> bool {
    matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded)
}
