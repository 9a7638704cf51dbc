//! What a node has at a moment, to be compared with another one.

use std::{collections::BTreeSet, fs};

use acp_dev_testkit::cgroup;
use anyhow::{Context as _, Result};
use serde_json::Value;

use super::client::text;
use crate::world::World;

/// What the node has that a system needs, and what it remembers.
#[derive(Debug, PartialEq)]
pub(super) struct Inventory {
    specs: Vec<String>,
    links: BTreeSet<String>,
    units: BTreeSet<String>,
    groups: BTreeSet<String>,
    volumes: usize,
    intents: usize,
    files: usize,
}

impl Inventory {
    pub(super) fn take(world: &World) -> Result<Self> {
        let state = world.node.layout().state();
        let volumes = world.node.json(&["volume", "list"])?.as_array().map_or(0, Vec::len);
        let names = |unit: &Value| text(&unit["name"]);
        let files = |path: &str| fs::read_dir(state.join(path)).map(Iterator::count).with_context(|| path.to_owned());
        Ok(Self {
            specs: world.specs()?,
            links: world.node.layout().namespace().links()?.into_iter().collect(),
            units: world.units()?.iter().map(names).collect(),
            groups: groups(world),
            volumes,
            intents: files("hypervisor/systems")?,
            files: pool_files(world)?,
        })
    }
}

/// The names of the units that have a group in some hierarchy.
fn groups(world: &World) -> BTreeSet<String> {
    let folders = cgroup::folders(&world.node.layout().name());
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().filter_map(Result::ok);
    let units = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    units.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn pool_files(world: &World) -> Result<usize> {
    let count = |path: std::path::PathBuf| -> Result<usize> { Ok(fs::read_dir(path)?.count()) };
    let pool = world.node.layout().state().join("storage/pools/default");
    let mut files = 0;
    for entry in fs::read_dir(&pool)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { count(entry.path())? } else { 1 };
    }
    Ok(files)
}
