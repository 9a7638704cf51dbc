//! What the cluster makes of this node: its name, and the units that its roles keep from it.
//!
//! The agent says it, and what it has said last is in `<state>/framework/node.json`. A start goes by that record and waits for
//! nobody; a node that was never told anything is called as it is configured and runs everything.
//!
//! **Invariant**: a new name counts only when this node's own database has it: the cluster service, started again under it, would
//! take a name that it does not know for another node's.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use acp_base::{Failure, Name};
use acp_io_client::{Client, Replies};
use acp_wire_api::{
    Empty,
    agent::{WatchNode, WatchNodeReply},
    cluster::{Get, GetRequest},
};
use acp_wire_model::Kind;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{persist, site::Site};

/// The layout of the record.
const VERSION: u64 = 1;

/// The record, in the framework's state directory.
const FILE: &str = "node.json";

/// The pause before the agent is asked again, or the database for a new name: who waits for either waits for seconds.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the database may take to say what it calls this node. It is asked again.
const NAME_LIMIT: Duration = Duration::from_secs(5);

/// What the agent has said, as far as it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) name: Name,
    pub(crate) withheld: BTreeSet<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    /// What the configuration or the host called the node when it got its name.
    configured: Name,
    name: Name,
    withheld: BTreeSet<Name>,
}

/// The record, and what counts.
#[derive(Debug)]
pub(crate) struct PartFile {
    path: PathBuf,
    part: Part,
    /// Whether what counts is on disk.
    is_saved: bool,
}

impl PartFile {
    /// What was written last. Who configures another name than then means that one. A record that cannot be read keeps nothing
    /// from starting: the agent says it again.
    pub(crate) fn open(state: &Path, configured: &Name) -> Self {
        let path = state.join(FILE);
        let known: Option<Part> = acp_io_record::read(&path, VERSION).unwrap_or_else(|error| {
            tracing::error!(%error, "what the cluster makes of this node cannot be read: it starts as it is configured");
            None
        });
        let mut part = known.unwrap_or_else(|| Part {
            configured: configured.clone(),
            name: configured.clone(),
            withheld: BTreeSet::new(),
        });
        if part.configured != *configured {
            (part.configured, part.name) = (configured.clone(), configured.clone());
        }
        Self { path, part, is_saved: true }
    }

    pub(crate) fn configured(&self) -> &Name {
        &self.part.configured
    }

    pub(crate) fn name(&self) -> &Name {
        &self.part.name
    }

    pub(crate) fn withheld(&self) -> &BTreeSet<Name> {
        &self.part.withheld
    }

    /// Goes by this from now on; answers whether it is news.
    pub(crate) fn take(&mut self, told: &Told) -> bool {
        if self.part.name == told.name && self.part.withheld == told.withheld {
            return false;
        }
        (self.part.name, self.part.withheld) = (told.name.clone(), told.withheld.clone());
        self.is_saved = false;
        true
    }

    /// Writes it, unless it is written; when this returns, it is on stable storage.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        if !self.is_saved {
            persist::write(&self.path, &self.part, true)?;
            self.is_saved = true;
        }
        Ok(())
    }
}

/// Follows what the agent says, for as long as the framework runs.
pub(crate) async fn follow(
    client: Client,
    site: Arc<Site>,
    tell: watch::Sender<Option<Told>>,
    drain: CancellationToken,
) {
    let following = async {
        loop {
            if let Err(failure) = listen(&client, &site, &tell).await {
                tracing::debug!(%failure, "the agent does not say what the cluster makes of this node");
            }
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = drain.cancelled() => {}
        () = following => {}
    }
}

async fn listen(client: &Client, site: &Site, tell: &watch::Sender<Option<Told>>) -> Result<(), Failure> {
    let mut replies = client.own("agent").stream::<WatchNode>(Empty {}).await?;
    let mut latest = next(&mut replies).await?;
    loop {
        let is_known = latest.name == site.node() || has_name(client, &latest).await;
        // What the roles say does not wait for the name.
        let name = if is_known { latest.name.clone() } else { site.node() };
        tell.send_replace(Some(Told { name, withheld: latest.withheld.iter().cloned().collect() }));
        tokio::select! {
            reply = next(&mut replies) => latest = reply?,
            () = sleep(PAUSE), if !is_known => {}
        }
    }
}

async fn next(replies: &mut Replies<WatchNode>) -> Result<WatchNodeReply, Failure> {
    replies.next().await.unwrap_or_else(|| Err(Failure::unavailable("the agent ended what it was saying")))
}

/// Whether this node's database calls it by this name.
async fn has_name(client: &Client, told: &WatchNodeReply) -> bool {
    let request = GetRequest {
        kind: Kind::Node,
        name: None,
        uid: Some(told.node),
        node: None,
        min_index: None,
        linearizable: false,
        here: Some(true),
    };
    let found = client.own("cluster").deadline(NAME_LIMIT).call::<Get>(request).await;
    found.is_ok_and(|reply| reply.object.name == told.name.as_str())
}
