//! What a node that was taken down ought not to have left behind.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{Layout, cgroup, namespace::links_here, process};

/// The alias that every link of ACP carries begins with this.
pub const LINK_ALIAS: &str = "acp:";
/// The nftables table of ACP, in the notation of `nft list tables`.
pub const NFT_TABLE: &str = "inet acp";

/// Everything that is still there of a node, each in a few words; empty when nothing is.
pub fn find(layout: &Layout, host_network: bool) -> Result<Vec<String>> {
    let mut left = Vec::new();
    left.extend(processes(layout));
    left.extend(cgroup::folders(&layout.name()).iter().map(|folder| format!("cgroup {}", folder.display())));
    left.extend(mounts(layout)?);
    if layout.namespace().path().exists() {
        left.push(format!("network namespace {}", layout.name()));
    }
    if host_network {
        left.extend(links()?.into_iter().map(|link| format!("link {link}")));
        left.extend(has_table().then(|| format!("nftables table {NFT_TABLE}")));
    }
    if layout.run().exists() || fs::symlink_metadata(layout.near_run()).is_ok() {
        left.push(format!("directory {}", layout.near_run().display()));
    }
    Ok(left)
}

/// Processes that are in one of the node's cgroups, and programs of ours that were told of its directories: whoever follows the
/// words of `up` has them in a shell's environment, too, and is no part of the node.
fn processes(layout: &Layout) -> Vec<String> {
    let name = layout.name();
    let told = format!("ACP_RUN_DIR={}", layout.run().display());
    let ours = process::all().into_iter().filter(|pid| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let is_member = groups.lines().any(|line| line.split(['/', ':']).any(|part| part == name));
        let is_ours = || process::name(*pid).starts_with("acp-");
        is_member || is_ours() && environment.split(|byte| *byte == 0).any(|variable| variable == told.as_bytes())
    });
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let alive = ours.filter(|pid| *pid != own).filter_map(process::Identity::of);
    alive.map(|process| format!("process {} {}", process.pid, process::command_line(process.pid))).collect()
}

fn mounts(layout: &Layout) -> Result<Vec<String>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    let dir = layout.dir().to_owned();
    let ours = points.filter(|point| Path::new(point).starts_with(&dir) || Path::new(point).starts_with(layout.run()));
    Ok(ours.map(|point| format!("mount {point}")).collect())
}

/// The links of the host that carry ACP's alias.
pub(crate) fn links() -> Result<Vec<String>> {
    let names = links_here()?.into_iter();
    Ok(names
        .filter(|name| {
            let alias = fs::read_to_string(format!("/sys/class/net/{name}/ifalias")).unwrap_or_default();
            alias.starts_with(LINK_ALIAS)
        })
        .collect())
}

/// Whether ACP's nftables table is there.
pub(crate) fn has_table() -> bool {
    let listed = Command::new("nft").args(["list", "tables"]).output();
    listed
        .is_ok_and(|out| String::from_utf8_lossy(&out.stdout).lines().any(|line| line == format!("table {NFT_TABLE}")))
}
