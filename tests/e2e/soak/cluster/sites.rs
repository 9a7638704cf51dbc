//! Where on the five nodes what is.

use std::{collections::BTreeSet, fs};

use acp_dev_testkit::objects;
use anyhow::{Context as _, Result};
use serde_json::json;

use super::{super::look::Seen, specs};
use crate::{
    quorum::{Five, five::HOST},
    world::World,
};

/// Where guests run and clients have their objects.
pub(super) struct Sites {
    /// Of each guest, its node and whether it floats.
    pub(super) guests: Vec<(usize, bool)>,
    /// Of each client, the node that its objects are on.
    pub(super) clients: Vec<usize>,
}

impl Sites {
    /// What a short run needs.
    pub(super) fn few() -> Self {
        Self { guests: vec![(HOST, false), (HOST, true)], clients: vec![HOST] }
    }

    /// On every node something: as many guests as two processors emulate.
    pub(super) fn all() -> Self {
        Self { guests: vec![(1, false), (2, true), (3, false), (4, true), (HOST, false)], clients: vec![HOST, 2, 4] }
    }

    fn nodes(&self) -> BTreeSet<usize> {
        self.guests.iter().map(|(home, _)| *home).chain(self.clients.iter().copied()).collect()
    }

    /// Makes what these nodes lack; answers a small disk to import.
    pub(super) fn equip(&self, five: &Five) -> Result<String> {
        let image = fs::canonicalize(World::image_path())?;
        let image = image.to_str().context("the image's path is no UTF-8")?;
        for number in self.nodes() {
            objects::equip(&five.member(number).layout, image).with_context(|| format!("on n{number}"))?;
        }
        let disk = five.scratch("soak")?.join("disk.raw");
        fs::write(&disk, super::super::conductor::boot_disk())?;
        Ok(disk.to_str().context("a path without strange characters")?.to_owned())
    }

    /// Removes what these nodes have that they had not, so that the cases after find what they know.
    pub(super) fn strip(&self, five: &Five) -> Result<()> {
        for number in self.nodes().into_iter().filter(|number| *number != HOST) {
            for what in ["image delete demo", "network delete default"] {
                let words: Vec<&str> = std::iter::once("--yes").chain(what.split(' ')).collect();
                five.run(number, &words)?;
            }
            delete_pool(five, number, "default")?;
        }
        Ok(())
    }
}

/// Deletes a pool of a node.
pub(super) fn delete_pool(five: &Five, number: usize, name: &str) -> Result<()> {
    let pool = objects::find(&five.member(number).layout, "pool", name)?.context("the pool is declared")?;
    let asked = json!({ "kind": "pool", "uid": pool["uid"] });
    five.call(number, "cluster", "acp.cluster.Delete", asked).map(drop)
}

/// Those of these objects that are at home on a node, and no specs of ours, from which nothing on a host follows.
pub(super) fn at_home(objects: Vec<Seen>, number: usize) -> Vec<Seen> {
    let own = format!("n{number}");
    let is_ours = |seen: &Seen| seen.spec["node"].as_str().is_none_or(|node| node == own) && !specs::is_one(&seen.name);
    objects.into_iter().filter(is_ours).collect()
}
