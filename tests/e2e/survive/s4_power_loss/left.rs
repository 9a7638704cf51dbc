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
    wanted.extend(leases(world)?);
    for unit in world.units()? {
        let name = text(&unit["name"])?;
        if let Some((folder, instance)) = name.split_once('@').and_then(|(of, id)| Some((sockets_of(of)?, id))) {
            wanted.insert(format!("socket {folder}/{instance}"));
        }
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
                .into_iter()
                .map(|name| format!("cgroup {name}")),
        );
    }
    found.extend(
        names(&layout.run().join("units"), |_name| true)?.into_iter().map(|name| format!("shim's record {name}")),
    );
    for folder in ["vmm", "storage-worker"] {
        let sockets = names(&layout.run().join(folder), |_name| true)?;
        found.extend(sockets.into_iter().map(|name| format!("socket {folder}/{}", name.trim_end_matches(".sock"))));
    }
    let dhcp = layout.state().join("network/dhcp");
    for network in names(&dhcp, |_name| true)? {
        found.extend(
            names(&dhcp.join(&network), |_name| true)?.into_iter().map(|guest| format!("dhcp {network}/{guest}")),
        );
    }
    let images = layout.state().join("storage/pools/default/images");
    found.extend(
        names(&images, |_name| true)?
            .into_iter()
            .map(|name| format!("image {}", name.split('.').next().unwrap_or_default())),
    );
    Ok(found)
}

/// The folder below the run directory in which units of a template have their sockets.
fn sockets_of(template: &str) -> Option<&'static str> {
    match template {
        "vmm" | "qemu" => Some("vmm"),
        "storage-worker" => Some("storage-worker"),
        _without => None,
    }
}

/// What the DHCP servers have to know: a file for each interface of a system, named by its MAC address.
fn leases(world: &World) -> Result<Things> {
    let networks = list(world, "network")?;
    let mut leases = Things::new();
    for system in list(world, "system")? {
        for nic in system["spec"]["nics"].as_array().context("a system without interfaces")? {
            let network =
                networks.iter().find(|network| network["name"] == nic["network"]).context("no such network")?;
            let (network, mac) = (text(&network["uid"])?.replace('-', ""), text(&nic["mac"])?.replace(':', "-"));
            leases.insert(format!("dhcp {network}/{mac}"));
        }
    }
    Ok(leases)
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

fn names(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| is_wanted(name))
        .collect())
}
