//! Every file, directory and socket below the node's four places: owner, group, mode.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{AGENT, API, BASE, CLUSTER, HUB, HYPERVISOR, NETWORK, SHIM, STORAGE, SYSTEMS};
use crate::world::World;

/// Who owns something.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Owner {
    Is(u32),
    /// The user of some system.
    System,
}

use Owner::{Is, System};

impl Owner {
    fn fits(self, id: u32) -> bool {
        match self {
            Is(expected) => id == expected,
            System => id >= SYSTEMS,
        }
    }
}

/// What lies at a path: the first rule whose pattern fits decides. In a pattern `*` stands for one part of a path and `**`
/// at its end for everything below.
struct Rule(&'static str, char, Owner, Owner, &'static [u32]);

const ROOT: Owner = Is(0);
const GROUP: Owner = Is(BASE);

/// Kinds are `d`, `f` and `s` for sockets. Modes of files are those that whoever makes them gives them; what lies in a closed
/// directory (0700) is closed by it.
const RULES: &[Rule] = &[
    // Sockets are for the group; those of QEMU for its system's monitor alone.
    Rule("run", 'd', ROOT, ROOT, &[0o755]),
    Rule("run/*.sock", 's', ROOT, GROUP, &[0o660]),
    Rule("run/storage-worker", 'd', ROOT, ROOT, &[0o755]),
    Rule("run/storage-worker/*.sock", 's', ROOT, GROUP, &[0o660]),
    Rule("run/vmm", 'd', ROOT, ROOT, &[0o755]),
    Rule("run/vmm/*.sock", 's', ROOT, GROUP, &[0o660]),
    Rule("run/vmm/*", 'd', ROOT, ROOT, &[0o711]),
    Rule("run/vmm/*/*.sock", 's', System, System, &[0o600]),
    // Whoever may say something to it is told apart by the kernel: the framework looks at the sender's process.
    Rule("run/notify", 's', ROOT, ROOT, &[0o666, 0o777]),
    Rule("run/guard-notify", 's', ROOT, ROOT, &[0o600]),
    // Process ids and how they ended.
    Rule("run/units", 'd', ROOT, ROOT, &[0o755]),
    Rule("run/units/*", 'd', Is(SHIM), GROUP, &[0o755]),
    Rule("run/units/*/*", 'f', Is(SHIM), GROUP, &[0o644]),
    Rule("run/devices.json", 'f', ROOT, ROOT, &[0o644]),
    Rule("run/framework.lock", 'f', ROOT, ROOT, &[0o644]),
    // State: a directory for each daemon, closed to all others.
    Rule("state", 'd', ROOT, ROOT, &[0o711]),
    Rule("state/framework", 'd', ROOT, ROOT, &[0o700]),
    Rule("state/framework/**", '*', ROOT, ROOT, &[]),
    Rule("state/cluster", 'd', Is(CLUSTER), Is(CLUSTER), &[0o700]),
    Rule("state/cluster/**", '*', Is(CLUSTER), Is(CLUSTER), &[]),
    Rule("state/storage", 'd', Is(STORAGE), Is(STORAGE), &[0o700]),
    Rule("state/storage/jobs/*", 'f', Is(STORAGE), Is(STORAGE), &[0o600]),
    Rule("state/storage/**", '*', Is(STORAGE), Is(STORAGE), &[]),
    Rule("state/storage-worker", 'd', Is(STORAGE), Is(STORAGE), &[0o700]),
    Rule("state/storage-worker/**", '*', Is(STORAGE), Is(STORAGE), &[]),
    Rule("state/hypervisor", 'd', Is(HYPERVISOR), Is(HYPERVISOR), &[0o700]),
    Rule("state/hypervisor/**", '*', Is(HYPERVISOR), Is(HYPERVISOR), &[]),
    Rule("state/hub", 'd', Is(HUB), Is(HUB), &[0o700]),
    Rule("state/hub/*.key", 'f', Is(HUB), Is(HUB), &[0o600]),
    Rule("state/hub/**", '*', Is(HUB), Is(HUB), &[]),
    Rule("state/agent", 'd', Is(AGENT), Is(AGENT), &[0o700]),
    Rule("state/agent/*.key", 'f', Is(AGENT), Is(AGENT), &[0o600]),
    Rule("state/agent/**", '*', Is(AGENT), Is(AGENT), &[]),
    Rule("state/api", 'd', Is(API), Is(API), &[0o700]),
    Rule("state/api/**", '*', Is(API), Is(API), &[]),
    Rule("state/root.key", 'f', ROOT, ROOT, &[0o600]),
    // Passed through and not listed: dnsmasq, another user, reads MACs, addresses and names of systems below. The incarnation
    // counts starts.
    Rule("state/network", 'd', Is(NETWORK), Is(NETWORK), &[0o711]),
    Rule("state/network/incarnation", 'f', Is(NETWORK), Is(NETWORK), &[0o600, 0o644]),
    Rule("state/network/dhcp", 'd', Is(NETWORK), Is(NETWORK), &[0o755]),
    Rule("state/network/dhcp/*", 'd', Is(NETWORK), Is(NETWORK), &[0o755]),
    Rule("state/network/dhcp/*/*", 'f', Is(NETWORK), Is(NETWORK), &[0o644]),
    Rule("state/vmm", 'd', ROOT, ROOT, &[0o711]),
    Rule("state/vmm/*", 'd', System, System, &[0o700]),
    Rule("state/vmm/*/console.log", 'f', System, System, &[0o600]),
    Rule("state/vmm/*/**", '*', System, System, &[]),
    // Logs are written by shims, the guard's by root; the directory is closed to everybody outside the group.
    Rule("log", 'd', Is(SHIM), GROUP, &[0o750]),
    Rule("log/guard.log", 'f', ROOT, ROOT, &[0o640, 0o644]),
    Rule("log/framework.log", 'f', ROOT, ROOT, &[0o640, 0o644]),
    Rule("log/*", 'f', Is(SHIM), GROUP, &[0o640]),
    // The configuration holds no secrets.
    Rule("etc", 'd', ROOT, ROOT, &[0o755]),
    Rule("etc/*", 'f', ROOT, ROOT, &[0o644]),
];

/// Other users' right to read, and to pass through a directory.
const OTHERS_READ: u32 = 0o004;
const OTHERS_PASS: u32 = 0o001;
const OTHERS_WRITE: u32 = 0o002;

/// What everybody on the host can read, below a directory that they reach: nothing else of state, and nothing of logs.
const PUBLIC: &[&str] = &["state/network/dhcp", "state/network/incarnation"];

pub(super) fn every_file(world: &World) -> Result<()> {
    world.create("files")?;
    world.start_system("files")?;
    let layout = world.node.layout();
    let places = [("run", layout.run()), ("state", layout.state()), ("log", layout.log()), ("etc", layout.etc())];
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (name, path) in &places {
        walk(&fs::canonicalize(path)?, Path::new(name), true, &mut count, &mut wrong)?;
    }
    ensure!(wrong.is_empty(), "{} of {count} are not as they ought to be:\n{}", wrong.len(), wrong.join("\n"));
    ensure!(count > RULES.len(), "only {count} files were seen");
    world.stop_system("files")?;
    world.delete("files")
}

/// Looks at a path and everything below; `is_reached` says whether everybody gets there.
fn walk(path: &Path, shown: &Path, is_reached: bool, count: &mut usize, wrong: &mut Vec<String>) -> Result<()> {
    // What was removed between two looks is no finding.
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    *count += 1;
    wrong.extend(
        faults(shown, &metadata, is_reached).into_iter().map(|fault| format!("    {}: {fault}", shown.display())),
    );
    if metadata.is_dir() {
        let is_reached = is_reached && metadata.mode() & OTHERS_PASS != 0;
        let entries: Vec<PathBuf> = fs::read_dir(path)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        for entry in entries {
            let name = entry.file_name().context("an entry has a name")?;
            walk(&entry, &shown.join(name), is_reached, count, wrong)?;
        }
    }
    Ok(())
}

fn faults(shown: &Path, metadata: &fs::Metadata, is_reached: bool) -> Vec<String> {
    let text = shown.display().to_string();
    let (mode, kind) = (metadata.mode() & 0o7777, kind(metadata));
    let found = format!("{kind} {}:{} {mode:04o}", metadata.uid(), metadata.gid());
    let Some(rule) = RULES.iter().find(|rule| fits(rule.0, &text)) else {
        return vec![format!("no rule says what it is ({found})")];
    };
    let Rule(pattern, of_kind, uid, gid, modes) = rule;
    let mut faults = Vec::new();
    let is_owned = uid.fits(metadata.uid()) && gid.fits(metadata.gid());
    if !is_owned || ![kind, '*'].contains(of_kind) || !(modes.is_empty() || modes.contains(&mode)) {
        faults.push(format!("{found} and not {of_kind} {uid:?}:{gid:?} {modes:?} ({pattern})"));
    }
    if mode & 0o7000 != 0 {
        faults.push(format!("{found} has bits beyond read, write, execute"));
    }
    if kind != 's' && mode & OTHERS_WRITE != 0 {
        faults.push(format!("{found} can be written by everybody"));
    }
    let is_closed_place = text.starts_with("state/") || text.starts_with("log/");
    let is_public = PUBLIC.iter().any(|public| text.starts_with(public));
    if is_closed_place && is_reached && !is_public && mode & OTHERS_READ != 0 {
        faults.push(format!("{found} can be read by everybody"));
    }
    faults
}

fn kind(metadata: &fs::Metadata) -> char {
    match metadata.file_type() {
        kind if kind.is_dir() => 'd',
        kind if kind.is_file() => 'f',
        kind if kind.is_socket() => 's',
        _ => '?',
    }
}

/// Whether a pattern stands for a path.
fn fits(pattern: &str, path: &str) -> bool {
    if let Some(above) = pattern.strip_suffix("/**") {
        let parts = above.split('/').count();
        let head: Vec<&str> = path.split('/').take(parts).collect();
        return path.split('/').count() > parts && fits(above, &head.join("/"));
    }
    let same = |(pattern, part): (&str, &str)| match pattern.split_once('*') {
        Some((head, tail)) => part.len() >= head.len() + tail.len() && part.starts_with(head) && part.ends_with(tail),
        None => pattern == part,
    };
    pattern.split('/').count() == path.split('/').count() && pattern.split('/').zip(path.split('/')).all(same)
}
