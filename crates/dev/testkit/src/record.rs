//! What is remembered of a started node, beside its directories.

use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{Layout, process::Identity};

/// How a node was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The process to which everything else of the node goes back.
    pub guard: Identity,
    /// Whether the node uses the host's network instead of a namespace of its own.
    pub host_network: bool,
}

impl Record {
    /// The record of the node there, if one was started and not taken down.
    pub fn load(layout: &Layout) -> Result<Option<Self>> {
        let path = layout.record();
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).with_context(|| format!("{} is damaged", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub(crate) fn save(&self, layout: &Layout) -> Result<()> {
        let path = layout.record();
        let next = path.with_extension("new");
        fs::write(&next, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", next.display()))?;
        fs::rename(&next, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn remove(layout: &Layout) -> Result<()> {
        match fs::remove_file(layout.record()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", layout.record().display()))
            }
            _removed_or_absent => Ok(()),
        }
    }
}
