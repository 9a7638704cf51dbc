//! What can be set.

use std::{path::PathBuf, time::Duration};

use acp_base::Uid;

/// How a voter works. Every voter of a group has the same times.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the database lies; made if it is missing.
    pub directory: PathBuf,
    /// This node.
    pub node: Uid,
    /// How often a leader is heard at least; also how long one message may take. The rhythm is 1.5 times this.
    pub heartbeat: Duration,
    /// How long a voter that has heard its leader helps nobody else to become one. It must exceed the worst synchronisation
    /// of the disk by some heartbeats. A voter without a leader stands for election after 1.3 to 2.1 times this.
    pub lease: Duration,
    /// Entries after which the log is replaced by a snapshot.
    pub snapshot_entries: u64,
    /// Bytes of commands after which the log is replaced by a snapshot.
    pub snapshot_bytes: u64,
    /// Entries kept behind a snapshot, so that a voter that was away for a moment needs no snapshot.
    pub entries_kept: u64,
    /// How long a proposal may wait for its majority before it is answered as unknown.
    pub propose_limit: Duration,
}

impl Options {
    /// The defaults: a leader that dies is replaced within about two seconds.
    pub fn new(directory: impl Into<PathBuf>, node: Uid) -> Self {
        Self {
            directory: directory.into(),
            node,
            heartbeat: Duration::from_millis(250),
            lease: Duration::from_secs(1),
            snapshot_entries: 4_096,
            snapshot_bytes: 32 << 20,
            entries_kept: 512,
            propose_limit: Duration::from_secs(10),
        }
    }
}
