//! Who this node is, and where it is on the way to: `node.json`.
//!
//! The id is drawn at the node's first start and never changes, whatever cluster the node is in. What is begun by
//! `Enter` and `Part` is written down before it is done, so that the next life goes on where this one ended.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use acp_base::{Name, Uid};
use acp_io_record::RecordError;
use acp_wire_api::cluster::ControllerKey;
use serde::{Deserialize, Serialize};

/// The file in the daemon's directory.
const FILE: &str = "node.json";

/// The layout written.
const VERSION: u64 = 1;

/// What a node knows of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Its id.
    pub(crate) node: Uid,
    /// What its framework calls it. A cluster may have renamed it since.
    pub(crate) name: Name,
    /// The cluster that it has entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<Uid>,
    /// The controllers that it was told of when it entered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) controllers: Vec<ControllerKey>,
    /// What was begun and is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) intent: Option<Intent>,
}

/// What was begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub(crate) enum Intent {
    /// To follow another cluster.
    Enter {
        /// Which.
        cluster: Uid,
        /// Nothing older is believed.
        epoch: String,
    },
    /// To go on alone.
    Part {
        /// The cluster of one that begins.
        cluster: Uid,
        /// The id of its epoch.
        epoch: Uid,
    },
    /// To have this node's hub forget the log of an epoch that the node has left.
    Retire {
        /// The epoch.
        epoch: String,
    },
}

/// The record on disk.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    path: PathBuf,
}

impl Record {
    /// The record in this directory.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { path: directory.join(FILE) }
    }

    /// What was written last, if anything was.
    pub(crate) fn read(&self) -> Result<Option<Identity>, RecordError> {
        acp_io_record::read(&self.path, VERSION)
    }

    /// Writes it; when this returns, it is on stable storage.
    pub(crate) fn write(&self, identity: &Identity) -> io::Result<()> {
        let aside = self.path.with_extension("new");
        let mut file = File::create(&aside)?;
        file.write_all(&acp_io_record::to_bytes(VERSION, identity)?)?;
        file.sync_all()?;
        fs::rename(aside, &self.path)?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
}
