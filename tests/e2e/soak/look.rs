//! What the node says and what the host shows: objects, units, links, files.

use std::{collections::BTreeSet, fs, path::Path};

use acp_dev_testkit::{
    Layout, cgroup,
    varlink::{self, Conversation},
};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// The longest list of objects read, in batches: far more than a soak makes.
const BATCHES_MAX: usize = 1_000;

/// An object with what its reporter says of it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) version: u64,
    pub(super) spec: Value,
    pub(super) status: Value,
}

impl Seen {
    /// The identity without dashes, as in the names of units and files.
    pub(super) fn simple(&self) -> String {
        self.uid.replace('-', "")
    }

    pub(super) fn state(&self) -> &str {
        self.status["state"].as_str().unwrap_or_default()
    }
}

/// Every object of every kind.
pub(super) fn objects(layout: &Layout) -> Result<Vec<Seen>> {
    let mut conversation = Conversation::open(&layout.socket("cluster"))?;
    conversation.send(&json!({ "method": "acp.cluster.List", "parameters": {}, "more": true }))?;
    let mut found = Vec::new();
    for _batch in 0..BATCHES_MAX {
        let reply = conversation.receive()?.context("the list has no end")?;
        if reply.get("error").is_some() {
            bail!("the objects cannot be listed: {reply}");
        }
        let objects = reply["parameters"]["objects"].as_array().context("a list without objects")?;
        found.extend(objects.iter().filter_map(seen));
        if reply["continues"] != true {
            return Ok(found);
        }
    }
    bail!("more than {BATCHES_MAX} batches of objects")
}

fn seen(object: &Value) -> Option<Seen> {
    let text = |key: &str| object[key].as_str().map(str::to_owned);
    let meta = object["slots"].as_array()?.iter().filter(|slot| slot["facet"] == "meta");
    let newest = meta.min_by_key(|slot| slot["age_ms"].as_u64());
    Some(Seen {
        kind: text("kind")?,
        name: text("name")?,
        uid: text("uid")?,
        version: object["version"].as_u64()?,
        spec: object["spec"].clone(),
        status: newest.map(|slot| slot["data"].clone()).unwrap_or_default(),
    })
}

/// A daemon's jobs that have not ended.
pub(super) fn unfinished(layout: &Layout, noun: &str) -> Result<Vec<String>> {
    let reply = varlink::call(&layout.socket(noun), "acp.jobs.List", json!({}))?;
    let jobs = reply["jobs"].as_array().context("no list of jobs")?.iter();
    let open = jobs.filter(|job| job["state"] == "running");
    Ok(open.map(|job| format!("job {} {} is at {:?}", job["verb"], job["object_name"], job["step"])).collect())
}

/// The names in a directory without their endings; none if it is not there.
pub(super) fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let stems = entries.filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()));
    stems.filter(|name| !name.starts_with('.')).collect()
}

/// The units that have a control group, in each hierarchy.
pub(super) fn groups(layout: &Layout) -> Vec<BTreeSet<String>> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).collect::<Vec<_>>();
    let folders = cgroup::folders(&layout.name());
    let units = folders.iter().map(|folder| {
        let groups = entries(folder).into_iter().filter(|entry| entry.path().is_dir());
        groups.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name != "framework").collect()
    });
    units.collect()
}
