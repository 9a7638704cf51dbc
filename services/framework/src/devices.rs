//! Devices: letting units open them without making them public.
//!
//! A device whose group may read and write is given by that group, as distributions do with `/dev/kvm`. Elsewhere it belongs
//! to root alone; it is then given to a group of ACP's own, and what it was before is recorded so that it can be put back.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::error::StartError;

/// The record's file in the run directory.
const RECORD: &str = "devices.json";

/// The record's layout.
const VERSION: u64 = 1;

/// Mode of a device that was given to ACP's group.
const MODE: u32 = 0o660;

/// What a device was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    uid: u32,
    gid: u32,
    mode: u32,
}

/// The devices that were changed.
#[derive(Debug)]
pub(crate) struct Devices {
    record: PathBuf,
    gid: u32,
    changed: BTreeMap<String, Before>,
}

impl Devices {
    /// Devices without a group of their own are given to `gid`.
    pub(crate) fn open(run: &Path, gid: u32) -> io::Result<Self> {
        let record = run.join(RECORD);
        let changed = acp_io_record::read(&record, VERSION)?.unwrap_or_default();
        Ok(Self { record, gid, changed })
    }

    /// Makes a device accessible; answers the group that may open it, `None` if everybody may or it is missing and optional.
    pub(crate) fn give(&mut self, path: &Path, optional: bool) -> Result<Option<u32>, StartError> {
        let present = match fs::metadata(path) {
            Ok(present) => present,
            Err(error) if error.kind() == io::ErrorKind::NotFound && optional => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let advice = "load its kernel module, or create it with mknod";
                return Err(StartError::Device { path: path.to_owned(), advice });
            }
            Err(error) => return Err(StartError::path("look at", path)(error)),
        };
        let mode = present.mode() & 0o7777;
        if mode & 0o006 == 0o006 {
            return Ok(None);
        }
        if present.gid() != 0 && mode & 0o060 == 0o060 {
            return Ok(Some(present.gid()));
        }
        let before = Before { uid: present.uid(), gid: present.gid(), mode };
        self.change(path, before).map_err(StartError::path("give", path))?;
        Ok(Some(self.gid))
    }

    fn change(&mut self, path: &Path, before: Before) -> io::Result<()> {
        // Recorded first, so that no change is forgotten.
        self.changed.entry(path.display().to_string()).or_insert(before);
        let aside = self.record.with_extension("new");
        fs::write(&aside, acp_io_record::to_bytes(VERSION, &self.changed)?)?;
        fs::rename(&aside, &self.record)?;
        std::os::unix::fs::chown(path, None, Some(self.gid))?;
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        tracing::info!(device = %path.display(), gid = self.gid, before = format!("{:04o} {}:{}", before.mode, before.uid, before.gid), "device given to a group");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(directory: &Path, name: &str, mode: u32) -> PathBuf {
        let path = directory.join(name);
        fs::write(&path, "").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
        path
    }

    #[test]
    fn a_private_device_is_given_and_recorded_and_others_are_left_alone() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: changing groups needs root");
            return;
        }
        let run = tempfile::tempdir().expect("a directory");
        let mut devices = Devices::open(run.path(), 61_007).expect("no record");
        let private = file(run.path(), "kvm", 0o600);
        assert_eq!(devices.give(&private, false).expect("given"), Some(61_007));
        let now = fs::metadata(&private).expect("there");
        assert_eq!((now.gid(), now.mode() & 0o777), (61_007, 0o660));
        let public = file(run.path(), "tun", 0o666);
        assert_eq!(devices.give(&public, false).expect("nothing to do"), None);
        let again = Devices::open(run.path(), 61_007).expect("a record").give(&private, false);
        assert_eq!(again.expect("nothing to do"), Some(61_007));
        let record = acp_io_record::read::<BTreeMap<String, Before>>(&run.path().join(RECORD), VERSION);
        let record = record.expect("well-formed").expect("there");
        assert_eq!(record, BTreeMap::from([(private.display().to_string(), Before { uid: 0, gid: 0, mode: 0o600 })]));
    }

    #[test]
    fn a_missing_device_matters_unless_it_is_optional() {
        let run = tempfile::tempdir().expect("a directory");
        let mut devices = Devices::open(run.path(), 61_007).expect("no record");
        let missing = run.path().join("missing");
        assert_eq!(devices.give(&missing, true).expect("it may be missing"), None);
        let error = devices.give(&missing, false).expect_err("it may not");
        assert!(
            error.to_string().ends_with("does not exist; load its kernel module, or create it with mknod"),
            "{error}"
        );
    }
}
