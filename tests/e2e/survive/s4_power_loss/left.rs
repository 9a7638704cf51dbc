//! What a node that was killed has left behind: compared with what it has declared and what it runs.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use acp_dev_testkit::{cgroup, wait_for};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::world::{LIMIT, World};

/// What links, tables, cgroups, sockets and files there are, each in a few words.
type Things = BTreeSet<String>;

/// Waits until the node has exactly what belongs to its declared objects and its units.
pub(super) fn nothing_but_what_runs(world: &World) -> Result<()> {
    wait_for("the node to have what it needs and nothing else", LIMIT, || {
        let compare = || -> Result<String> {
            let (wanted, found) = (wanted(world)?, found(world)?);
            let surplus: Vec<_> = found.difference(&wanted).cloned().collect();
            let missing: Vec<_> = wanted.difference(&found).cloned().collect();
            Ok(if surplus.is_empty() && missing.is_empty() {
                String::new()
            } else {
                format!("left: {surplus:?}; missing: {missing:?}")
            })
        };
        match compare() {
            Ok(difference) if difference.is_empty() => Ok(()),
            Ok(difference) => Err(difference),
            Err(error) => Err(format!("{error:#}")),
        }
    })
}

fn wanted(world: &World) -> Result<Things> {
    let mut wanted = Things::new();
    for network in list(world, "network")? {
        let status = &network["status"];
        let bridge = text(&status["link"])?;
        wanted.insert(format!("link {bridge}"));
        wanted.insert(format!("filtered {bridge}"));
        let taps = status["taps"].as_array().into_iter().flatten();
        wanted.extend(taps.map(|tap| format!("link {}", tap["link"].as_str().unwrap_or_default())));
    }
    for unit in world.units()? {
        let name = text(&unit["name"])?;
        wanted.insert(format!("cgroup {name}"));
        wanted.insert(format!("shim's record {name}"));
    }
    for image in list(world, "image")? {
        wanted.insert(format!("image {}", text(&image["uid"])?.replace('-', "")));
    }
    Ok(wanted)
}

fn found(world: &World) -> Result<Things> {
    let layout = world.node.layout();
    let mut found = Things::new();
    found.extend(layout.namespace().links()?.into_iter().map(|link| format!("link {link}")));
    found.extend(filtered(world)?);
    let root = layout.name();
    for folder in cgroup::folders(&root) {
        found.extend(
            names(&folder, |name| folder.join(name).is_dir() && name != "framework")?
                .map(|name| format!("cgroup {name}")),
        );
    }
    found.extend(names(&layout.run().join("units"), |_name| true)?.map(|name| format!("shim's record {name}")));
    let images = layout.state().join("storage/pools/default/images");
    found.extend(
        names(&images, |_name| true)?.map(|name| format!("image {}", name.split('.').next().unwrap_or_default())),
    );
    Ok(found)
}

/// The bridges that the packet filter knows.
fn filtered(world: &World) -> Result<Things> {
    let text = world.node.layout().namespace().run(|| {
        let out = Command::new("nft").args(["list", "table", "inet", "acp"]).output().context("cannot run nft")?;
        if out.status.success() {
            return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
        }
        bail!("{}", String::from_utf8_lossy(&out.stderr).trim_end())
    })?;
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    Ok(words.filter(|word| word.starts_with("acpb")).map(|bridge| format!("filtered {bridge}")).collect())
}

fn list(world: &World, noun: &str) -> Result<Vec<Value>> {
    Ok(world.node.json(&[noun, "list"])?.as_array().context("no list")?.clone())
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}

fn names(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<impl Iterator<Item = String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| is_wanted(name))
        .collect();
    Ok(names.into_iter())
}
