//! Giving devices back to whom the framework took them from.
//!
//! The first node on a machine finds `/dev/net/tun` closed, say, records that and opens it for its units; a second node finds
//! it open and records nothing. So what was recorded is kept until the last node is gone.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{Layout, process};

/// The framework's record in the run directory.
const RECORD: &str = "devices.json";
/// What is still to be given back, while other nodes run on this machine.
const KEPT: &str = "/run/acp-devices.json";
/// Held by whoever looks at the record or changes it: nodes end side by side.
const LOCK: &str = "/run/acp-devices.lock";
/// The program of which every node has one.
const FRAMEWORK: &str = "acp-framework";

/// What a device was before, as the framework records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    uid: u32,
    gid: u32,
    mode: u32,
}

type Devices = BTreeMap<PathBuf, Before>;

/// Gives back what this node and those before it took, if no other node runs.
pub(crate) fn restore(layout: &Layout) -> Result<()> {
    let kept = Path::new(KEPT);
    let lock = fs::File::create(LOCK).context("cannot make the lock of the devices' record")?;
    lock.lock().context("cannot lock the devices' record")?;
    let mut devices = read(&layout.run().join(RECORD))?;
    devices.extend(read(kept)?);
    // One that has ended and waits for its parent to notice runs no node any more.
    let is_node = |pid: i32| process::name(pid) == FRAMEWORK && process::Identity::of(pid).is_some();
    if process::all().into_iter().any(is_node) {
        return if devices.is_empty() { Ok(()) } else { write(kept, &devices) };
    }
    for (device, before) in &devices {
        give_back(device, *before).with_context(|| format!("cannot give {} back", device.display()))?;
    }
    if kept.exists() { fs::remove_file(kept).context("cannot forget the devices given back") } else { Ok(()) }
}

fn give_back(device: &Path, before: Before) -> std::io::Result<()> {
    std::os::unix::fs::chown(device, Some(before.uid), Some(before.gid))?;
    fs::set_permissions(device, fs::Permissions::from_mode(before.mode))
}

fn read(record: &Path) -> Result<Devices> {
    let Ok(text) = fs::read_to_string(record) else { return Ok(Devices::new()) };
    parse(&text).with_context(|| format!("{} is damaged", record.display()))
}

fn write(record: &Path, devices: &Devices) -> Result<()> {
    let aside = record.with_extension("new");
    let written = fs::write(&aside, serde_json::to_vec_pretty(devices)?).and_then(|()| fs::rename(&aside, record));
    written.with_context(|| format!("cannot write {}", record.display()))
}

/// The devices in a record; beside them stands the version of its layout.
fn parse(text: &str) -> Result<Devices> {
    let keys: BTreeMap<String, serde_json::Value> = serde_json::from_str(text)?;
    let devices = keys.into_iter().filter(|(key, _)| key.starts_with('/'));
    devices.map(|(key, before)| Ok((PathBuf::from(key), serde_json::from_value(before)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frameworks_record_is_read() {
        let text = r#"{"version":1,"/dev/net/tun":{"uid":0,"gid":5,"mode":384}}"#;
        let devices = parse(text).expect("a record");
        assert_eq!(devices, BTreeMap::from([(PathBuf::from("/dev/net/tun"), Before { uid: 0, gid: 5, mode: 0o600 })]));
        parse(r#"{"/dev/kvm":1}"#).expect_err("no owner");
    }
}
