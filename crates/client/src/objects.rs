//! Objects of every kind, as the cluster database of a node has them.

use std::time::Duration;

use acp_base::{Code, Failure};
use acp_io_client::Replies;
use acp_wire_api::cluster::{
    Get, GetAt, GetAtReply, GetAtRequest, GetRequest, List, ListAt, ListAtReply, ListAtRequest, ListRequest, Selector,
    Watch, WatchEvent, WatchReply, WatchRequest,
};
use acp_wire_model::{Kind, Object};

use crate::{Connection, home::CLUSTER};

/// The pause before a watch that was lost is taken up again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Objects of every kind.
#[derive(Clone, Copy, Debug)]
pub struct Objects<'a> {
    connection: &'a Connection,
}

impl<'a> Objects<'a> {
    pub(crate) const fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    /// All objects of a kind that meet the conditions, in the order of their names.
    pub async fn list(self, kind: Kind, selectors: Vec<Selector>) -> Result<Vec<Object>, Failure> {
        let request = ListRequest { kind: Some(kind), selectors, min_index: None, here: None };
        let mut replies = self.connection.service(CLUSTER)?.stream::<List>(request).await?.bounded();
        let mut objects = Vec::new();
        while let Some(reply) = replies.next().await {
            objects.extend(reply?.objects);
        }
        Ok(objects)
    }

    /// One object, as the node's replica has it; of a kind that lies on nodes, the node's own one first.
    pub async fn get(self, kind: Kind, name: &str) -> Result<Object, Failure> {
        self.ask(kind, name, false).await
    }

    /// One object with everything that was acknowledged anywhere before the call: it costs a round to the control plane, and
    /// fails without a quorum.
    pub async fn get_consistent(self, kind: Kind, name: &str) -> Result<Object, Failure> {
        self.ask(kind, name, true).await
    }

    async fn ask(self, kind: Kind, name: &str, linearizable: bool) -> Result<Object, Failure> {
        let name = Some(name.to_owned());
        let request = GetRequest { kind, name, uid: None, node: None, min_index: None, linearizable, here: None };
        self.connection.call::<Get>(CLUSTER, request).await.map(|reply| reply.object)
    }

    /// A declared object as it was when the entry at this index had been applied.
    ///
    /// # Errors
    /// `FailedPrecondition` if the index lies before what the node has kept.
    pub async fn get_at(self, kind: Kind, name: &str, index: u64) -> Result<GetAtReply, Failure> {
        let request = GetAtRequest { kind, name: Some(name.to_owned()), uid: None, node: None, index };
        self.connection.call::<GetAt>(CLUSTER, request).await
    }

    /// All declared objects of a kind that met the conditions when the entry at this index had been applied, in the order of
    /// their names, and when it was ordered.
    ///
    /// # Errors
    /// `FailedPrecondition` if the index lies before what the node has kept, `NotFound` if nothing was ordered there yet,
    /// `InvalidArgument` for a kind that is only reported and for a condition on what is.
    pub async fn list_at(self, kind: Kind, selectors: Vec<Selector>, index: u64) -> Result<ListAtReply, Failure> {
        let request = ListAtRequest { kind: Some(kind), selectors, index };
        let mut replies = self.connection.service(CLUSTER)?.stream::<ListAt>(request).await?.bounded();
        let mut all = ListAtReply { objects: Vec::new(), time_ms: 0 };
        while let Some(reply) = replies.next().await {
            let ListAtReply { objects, time_ms } = reply?;
            all.time_ms = time_ms;
            all.objects.extend(objects);
        }
        Ok(all)
    }

    /// Objects of these kinds as they are and then every change, after the `cursor` of an earlier watch if there is one.
    pub fn watch(self, kinds: Vec<Kind>, cursor: Option<String>) -> ObjectsWatch {
        ObjectsWatch { connection: self.connection.clone(), kinds, cursor, replies: None, is_lost: false }
    }
}

/// What a watch brings.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectNews {
    /// What happened, and the cursor after it.
    Events(Vec<WatchEvent>, String),
    /// The watch was lost and is taken up after the last cursor; what happens meanwhile comes then.
    Lost(Failure),
}

/// A watch of objects, which goes on after restarts of the cluster service and of agents.
#[derive(Debug)]
pub struct ObjectsWatch {
    connection: Connection,
    kinds: Vec<Kind>,
    cursor: Option<String>,
    replies: Option<Replies<Watch>>,
    is_lost: bool,
}

impl ObjectsWatch {
    /// What comes next.
    ///
    /// # Errors
    /// The watch cannot be had, or was lost before there was a cursor to go on from.
    pub async fn next(&mut self) -> Result<ObjectNews, Failure> {
        match self.try_next().await {
            Ok(WatchReply { events, cursor }) => {
                self.cursor = Some(cursor.clone());
                Ok(ObjectNews::Events(events, cursor))
            }
            Err(failure) if failure.code == Code::Unavailable && self.cursor.is_some() => {
                self.replies = None;
                self.is_lost = true;
                Ok(ObjectNews::Lost(failure))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn try_next(&mut self) -> Result<WatchReply, Failure> {
        if std::mem::take(&mut self.is_lost) {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        let replies = match &mut self.replies {
            Some(replies) => replies,
            None => {
                let (kinds, cursor) = (self.kinds.clone(), self.cursor.clone());
                let request = WatchRequest { kinds, cursor, without_stats: false, here: None };
                let replies = self.connection.service(CLUSTER)?.stream::<Watch>(request).await?;
                self.replies.insert(replies)
            }
        };
        replies.next().await.unwrap_or_else(|| Err(Failure::unavailable("the watch ended")))
    }
}
