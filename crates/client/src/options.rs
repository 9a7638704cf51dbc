//! Where a connection leads, with whose rights and for how long it waits.

use std::{path::PathBuf, time::Duration};

use acp_base::Name;
use acp_io_client::DEADLINE_DEFAULT;

/// The directory of a node's sockets, unless it is configured otherwise.
pub const RUN_DIR: &str = "/run/acp";

/// Where a connection leads, with whose rights and for how long it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The directory of the sockets of the node that the program runs on.
    pub run_dir: PathBuf,
    /// The node on which calls are executed; `None`: the one that the program runs on.
    pub node: Option<Name>,
    /// A file with the key whose rights all calls have, on every node. `None`: on its own node the program has the rights of
    /// its user, and on others those of the node's root, if it runs as root.
    pub key_file: Option<PathBuf>,
    /// How long a call may take.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { run_dir: RUN_DIR.into(), node: None, key_file: None, timeout: DEADLINE_DEFAULT }
    }
}
