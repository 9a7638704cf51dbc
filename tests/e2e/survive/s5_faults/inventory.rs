//! Everything that a node holds, as lines of text: two inventories are equal if nothing was left and nothing was lost.
//!
//! Deliberately general: the state and run directories as they lie there, the kernel's links, tables and control groups, the
//! processes, the units and the objects. What is left out is named below with its reason. Identities, addresses of hardware
//! and process ids are written as `#`, because a thing made anew has others.

use std::{fs, path::Path, process::Command};

use acp_dev_testkit::{cgroup, process, varlink::Conversation};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::world::World;

/// What of the state and run directories is not compared.
const LEFT_OUT: [(&str, &str); 6] = [
    ("state/cluster", "the log grows with every write; what it says is compared as objects"),
    ("state/vmm/#", "the last console of a system that is gone is kept for whoever asks why, within a bound"),
    ("state/framework/incarnation", "counts the framework's lives and is made with its second"),
    ("run/failpoints", "the tests' own"),
    ("run/devices.json", "the host's devices, made when the first one is given"),
    ("state/hypervisor/accelerator.json", "the verdict of a probe that may end at any time"),
];

/// How many hexadecimal digits in a row are an identity and not a word.
const IDENTITY_DIGITS_MIN: usize = 8;

/// What a node holds, ordered.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Inventory(Vec<String>);

impl Inventory {
    /// Looks at everything.
    pub(super) fn take(world: &World) -> Result<Self> {
        let layout = world.node.layout();
        let mut lines = Vec::new();
        walk(&layout.state(), "state", &mut lines)?;
        walk(&layout.run(), "run", &mut lines)?;
        for folder in cgroup::folders(&layout.name()) {
            groups(&folder, "cgroup", &mut lines)?;
        }
        lines.extend(world.node.processes().iter().map(|process| format!("process {}", process::name(process.pid))));
        lines.extend(units(world)?);
        lines.extend(objects(world)?);
        lines.extend(layout.namespace().run(kernel)?);
        lines.sort();
        Ok(Self(lines))
    }

    /// What this one has and the other lacks, and the other way round.
    pub(super) fn difference(&self, other: &Self) -> String {
        let only = |one: &Self, other: &Self, sign: &str| {
            let mut rest = other.0.clone();
            let mut only = Vec::new();
            for line in &one.0 {
                match rest.iter().position(|found| found == line) {
                    Some(at) => drop(rest.swap_remove(at)),
                    None => only.push(format!("{sign} {line}")),
                }
            }
            only
        };
        [only(self, other, "+"), only(other, self, "-")].concat().join("\n        ")
    }
}

fn walk(directory: &Path, name: &str, lines: &mut Vec<String>) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        // It went while it was looked at.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot list {}", directory.display()))?,
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let name = format!("{name}/{}", normal(&entry.file_name().to_string_lossy()));
        if LEFT_OUT.iter().any(|(left_out, _reason)| *left_out == name) {
            continue;
        }
        if path.is_dir() {
            lines.push(format!("{name}/"));
            walk(&path, &name, lines)?;
        } else if let Some(content) = content(&name, &path) {
            lines.push(format!("{name} {content}"));
        }
    }
    Ok(())
}

/// What counts of a file's content; nothing for a file that does not count at all.
fn content(name: &str, path: &Path) -> Option<String> {
    let read = || serde_json::from_slice::<Value>(&fs::read(path).unwrap_or_default()).unwrap_or_default();
    let fields = |names: &[&str]| {
        let record = read();
        names.iter().map(|name| format!("{name}={}", record[*name])).collect::<Vec<_>>().join(" ")
    };
    match name {
        // Ended jobs are history, of which the last ones are kept.
        "state/storage/jobs/#.json" | "state/hypervisor/jobs/#.json" => {
            let state = read()["job"]["state"].clone();
            let is_final = ["succeeded", "failed", "cancelled"].iter().any(|ended| state == *ended);
            (!is_final).then(|| state.to_string())
        }
        "state/hypervisor/systems/#.json" => Some(fields(&["power", "made", "deleting", "own_disks"])),
        _ if name.starts_with("state/framework/units/") => Some(fields(&["wanted", "ready", "has_process", "failed"])),
        _ => Some(String::new()),
    }
}

fn groups(folder: &Path, name: &str, lines: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let name = format!("{name}/{}", normal(&entry.file_name().to_string_lossy()));
            lines.push(name.clone());
            groups(&entry.path(), &name, lines)?;
        }
    }
    Ok(())
}

fn units(world: &World) -> Result<Vec<String>> {
    let line =
        |unit: &Value| format!("unit {} {}", normal(unit["name"].as_str().unwrap_or_default()), unit["meta"]["state"]);
    Ok(world.units()?.iter().map(line).collect())
}

/// Every object with its spec and what is said of it, but for when and why: that is history.
fn objects(world: &World) -> Result<Vec<String>> {
    let mut conversation = Conversation::open(&world.node.socket("cluster"))?;
    conversation.send(&json!({ "method": "acp.cluster.List", "parameters": {}, "more": true }))?;
    let mut lines = Vec::new();
    loop {
        let reply = conversation.receive()?.context("the list of objects ended early")?;
        if !reply["error"].is_null() {
            bail!("the objects cannot be listed: {reply}");
        }
        let objects = reply["parameters"]["objects"].as_array().context("a list without objects")?;
        lines.extend(objects.iter().filter_map(object));
        if reply["continues"] != true {
            return Ok(lines);
        }
    }
}

fn object(object: &Value) -> Option<String> {
    let meta = object["slots"].as_array()?.iter().find(|slot| slot["facet"] == "meta").map(|slot| &slot["data"]);
    let said = |name: &str| meta.map(|meta| meta[name].to_string()).unwrap_or_default();
    let status = match object["kind"].as_str()? {
        // An ended job is history; one at work is somebody's.
        "job" if said("state") != "\"running\"" => return None,
        // Its state is compared as the framework tells it.
        "service" => String::new(),
        "system" => format!("{} {}", said("state"), said("intent")),
        "volume" => format!("{} {} {}", said("size_bytes"), said("format"), said("backing")),
        "image" => format!("{} {}", said("present"), said("reason")),
        "pool" | "network" => format!("{} {}", said("state"), said("reason")),
        _ => String::new(),
    };
    let name = object["name"].as_str().unwrap_or_default();
    Some(normal(&format!("object {} {name} {} {status}", object["kind"], object["spec"])))
}

/// Links and tables of the network namespace that this thread is in.
fn kernel() -> Result<Vec<String>> {
    let links: Value = serde_json::from_str(&output("ip", &["-j", "-d", "link"])?)?;
    let link = |link: &Value| {
        let is_up = link["flags"].as_array().is_some_and(|flags| flags.contains(&json!("UP")));
        let (name, alias, master) = (&link["ifname"], &link["ifalias"], &link["master"]);
        normal(&format!("link {name} {alias} {master} {is_up}"))
    };
    let mut lines: Vec<String> = links.as_array().context("no list of links")?.iter().map(link).collect();
    lines.extend(output("nft", &["list", "ruleset"])?.lines().map(|line| format!("nft {}", normal(line))));
    Ok(lines)
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let out = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(out.status.success(), "{program} ended with {}: {}", out.status, String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The text with `#` for each identity in it.
fn normal(text: &str) -> String {
    let (mut normal, mut run) = (String::new(), String::new());
    for character in text.chars().chain([' ']) {
        if character.is_ascii_digit() || ('a'..='f').contains(&character) || "-:".contains(character) {
            run.push(character);
            continue;
        }
        let digits = run.chars().filter(char::is_ascii_hexdigit).count();
        normal.push_str(if digits >= IDENTITY_DIGITS_MIN { "#" } else { &run });
        run.clear();
        normal.push(character);
    }
    normal.truncate(normal.len() - 1);
    normal
}
