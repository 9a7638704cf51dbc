//! What a load has left in a node, looked at after the node has died and was started again.
//!
//! Deliberately not here: what ought to be there (see [`crate::ledger`]). Volumes are looked at as files, so that what the
//! storage service believes is not taken for what is there.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::{
    ledger::{Line, Subject},
    load::{PREFIX, Say},
    varlink::{self, Conversation},
    wait_for,
};

/// How long interrupted jobs may take to be resumed or undone, and a half-made file to be removed: pools are looked at as soon
/// as their worker has started.
const SETTLED_LIMIT: Duration = Duration::from_secs(60);
/// The endings of files that are half made, and of those that a daemon could not read.
const HALF_MADE: [&str; 2] = ["new", "damaged"];
/// How deep a state directory is searched.
const DEPTH_MAX: usize = 8;

/// A node that was started again.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Its run directory.
    pub run: PathBuf,
    /// Its state directory.
    pub state: PathBuf,
    /// Whether a hypervisor runs there.
    pub with_systems: bool,
}

impl Audit {
    /// Waits until interrupted jobs have ended, says what is there and what is wrong, and answers what a load has left.
    pub fn run(&self, say: Say<'_>) -> Result<Vec<Subject>> {
        for daemon in self.daemons() {
            self.jobs(daemon, say)?;
        }
        let mut found = self.objects("network", |spec| format!("nat={}", spec["nat"]))?;
        let systems = self.objects("system", |_spec| "declared".to_owned())?;
        found.extend(self.volumes(&systems)?);
        found.extend(systems);
        found.iter().for_each(|(subject, state)| say(Line::Have(subject.clone(), state.clone())));
        self.log(say)?;
        self.units(say)?;
        self.half_made(say);
        say(Line::Audited);
        Ok(found.into_iter().map(|(subject, _state)| subject).collect())
    }

    /// The daemons that have jobs.
    pub fn daemons(&self) -> impl Iterator<Item = &'static str> + use<> {
        ["storage"].into_iter().chain(self.with_systems.then_some("hypervisor"))
    }

    fn call(&self, daemon: &str, method: &str, parameters: Value) -> Result<Value> {
        varlink::call(&self.run.join(format!("{daemon}.sock")), method, parameters)
    }

    /// A job that was at work is resumed or undone: none goes on for ever, and none of a load's fails, since each of them can
    /// go on.
    fn jobs(&self, daemon: &str, say: Say<'_>) -> Result<()> {
        let jobs = wait_for(&format!("the jobs of {daemon} to end"), SETTLED_LIMIT, || {
            let reply = self.call(daemon, "acp.jobs.List", json!({})).map_err(|error| format!("{error:#}"))?;
            let jobs = reply["jobs"].as_array().cloned().unwrap_or_default();
            let running = jobs.iter().find(|job| job["state"] == "running");
            running.map_or_else(|| Ok(jobs.clone()), |job| Err(job.to_string()))
        })?;
        for job in jobs.iter().filter(|job| is_ours(&job["object_name"]) && job["state"] != "succeeded") {
            say(Line::Wrong(format!("a job was not taken up: {job}")));
        }
        Ok(())
    }

    fn objects(&self, kind: &str, state: fn(&Value) -> String) -> Result<Vec<(Subject, String)>> {
        let mut conversation = Conversation::open(&self.run.join("cluster.sock"))?;
        let request = json!({ "method": "acp.cluster.List", "parameters": { "kind": kind }, "more": true });
        conversation.send(&request)?;
        let mut found = Vec::new();
        loop {
            let reply = conversation.receive()?.context("the list broke off")?;
            let Some(objects) = reply["parameters"]["objects"].as_array() else { bail!("no list: {reply}") };
            for object in objects.iter().filter(|object| is_ours(&object["name"])) {
                let name = object["name"].as_str().context("an object without a name")?;
                found.push((Subject::new(kind, name), state(&object["spec"])));
            }
            if reply["continues"] != true {
                return Ok(found);
            }
        }
    }

    /// The volumes with their sizes; those of systems belong to these.
    fn volumes(&self, systems: &[(Subject, String)]) -> Result<Vec<(Subject, String)>> {
        let folder = self.state.join("storage/pools/default/volumes");
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            let file = entry.file_name().to_string_lossy().into_owned();
            let name = file.split('.').next().unwrap_or_default();
            let is_a_systems = systems.iter().any(|(system, _)| system.name == name);
            if name.starts_with(PREFIX) && !is_a_systems {
                found.push((Subject::new("volume", name), entry.metadata()?.len().to_string()));
            }
        }
        Ok(found)
    }

    fn log(&self, say: Say<'_>) -> Result<()> {
        let verified = self.call("cluster", "acp.cluster.VerifyLog", json!({}))?;
        if !verified["broken_at"].is_null() {
            say(Line::Wrong(format!("the log does not verify: {verified}")));
        }
        say(Line::Note(format!("the log: {verified}")));
        Ok(())
    }

    fn units(&self, say: Say<'_>) -> Result<()> {
        let reply = self.call("framework", "acp.framework.ListUnits", json!({}))?;
        let units = reply["units"].as_array().context("no list of units")?;
        for unit in units.iter().filter(|unit| unit["meta"]["state"] == "failed") {
            say(Line::Wrong(format!("a unit has failed: {unit}")));
        }
        Ok(())
    }

    /// Files in the making that nobody makes any more, once daemons had the time to remove them.
    fn half_made(&self, say: Say<'_>) {
        let settled = wait_for("half-made files to be removed", SETTLED_LIMIT, || {
            let left = half_made(&self.state, DEPTH_MAX);
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        if let Err(error) = settled {
            say(Line::Wrong(format!("{error:#}")));
        }
    }
}

fn is_ours(name: &Value) -> bool {
    // A volume's name has its pool's before it.
    name.as_str().is_some_and(|name| name.rsplit('/').next().is_some_and(|name| name.starts_with(PREFIX)))
}

/// Every file below a state directory that is half made.
fn half_made(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut left = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
        let is_staged = folder.file_name().is_some_and(|name| name == "staging");
        let is_aside = path.extension().is_some_and(|ending| HALF_MADE.iter().any(|half| ending == *half));
        if is_staged || is_aside {
            left.push(path);
        } else if depth > 0 && path.is_dir() {
            left.extend(half_made(&path, depth - 1));
        }
    }
    left
}
