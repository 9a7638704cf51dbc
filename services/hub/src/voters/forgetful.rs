//! Which voters have lost their log: a disk was replaced, or somebody has moved a damaged directory away. The log's replication
//! gets no answer from such a hub, as from one that is away; its own word tells the two apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use acp_base::{Name, Uid};
use acp_io_client::Client;
use acp_wire_api::{Empty, hub::GetQuorum};
use tokio::time::Instant;

/// How often a voter that is not heard is asked.
const ASK_PAUSE: Duration = Duration::from_secs(5);

/// How long its hub may take to answer: the other steps wait for it.
const ASK_LIMIT: Duration = Duration::from_secs(1);

/// What is known of voters that are not heard. As many as there are such voters.
#[derive(Debug, Default)]
pub(super) struct Forgetful {
    asked: BTreeMap<Uid, Instant>,
    found: BTreeSet<Uid>,
}

impl Forgetful {
    /// Those that have said that they have no log, and are not heard still.
    pub(super) const fn found(&self) -> &BTreeSet<Uid> {
        &self.found
    }

    /// Asks voters that are not heard although their nodes are there.
    pub(super) async fn ask(&mut self, client: &Client, unheard: &BTreeMap<Uid, Name>) {
        self.asked.retain(|uid, at| unheard.contains_key(uid) && at.elapsed() < ASK_PAUSE);
        self.found.retain(|uid| unheard.contains_key(uid));
        for (uid, name) in unheard {
            if self.asked.contains_key(uid) {
                continue;
            }
            self.asked.insert(*uid, Instant::now());
            let hub = client.on(Some(name)).service("hub").deadline(ASK_LIMIT);
            match hub.call::<GetQuorum>(Empty {}).await {
                // Whoever has a log knows its epoch.
                Ok(status) if status.epoch.is_empty() => {
                    if self.found.insert(*uid) {
                        tracing::warn!(voter = %name, "a voter has lost its log");
                    }
                }
                Ok(_has_its_log) => drop(self.found.remove(uid)),
                Err(reason) => tracing::debug!(voter = %name, %reason, "a voter that is not heard does not answer"),
            }
        }
    }
}
