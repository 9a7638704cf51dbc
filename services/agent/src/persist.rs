//! The membership on disk: one record, so that certificate, address and directory are of one moment.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use acp_io_failpoint::point;
use acp_io_record::RecordError;
use acp_wire_api::hub::Directory;
use serde::{Deserialize, Serialize};

/// The layout of the membership's record.
const VERSION: u64 = 1;

/// What a member keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its certificate, DER in hexadecimal digits.
    pub(crate) certificate: String,
    /// Where it is dialled, as `IP:PORT`.
    pub(crate) address: String,
    /// The SHA-256 of the token it joined with: the same token again is answered as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Whether the cluster service has entered this cluster's log: until it has, it is told to.
    #[serde(default)]
    pub(crate) entered: bool,
    /// The newest directory that it was given.
    pub(crate) directory: Directory,
}

/// Where the membership is kept.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    path: PathBuf,
    /// The membership that was left, until the cluster service has parted from it, too.
    left: PathBuf,
}

impl Store {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { path: directory.join("member.json"), left: directory.join("left.json") }
    }

    /// The membership; nothing for a node on its own.
    pub(crate) fn read(&self) -> Result<Option<Record>, RecordError> {
        acp_io_record::read(&self.path, VERSION)
    }

    /// Keeps it; durable when this returns. Blocks.
    pub(crate) fn write(&self, record: &Record) -> io::Result<()> {
        point("agent.member.before-write")?;
        replace(&self.path, VERSION, record)?;
        Ok(point("agent.member.written")?)
    }

    /// Ends it: what is left of it says only that the cluster service has to part, too. Durable when this returns.
    pub(crate) fn end(&self) -> io::Result<()> {
        point("agent.member.before-remove")?;
        fs::rename(&self.path, &self.left)?;
        synchronise_directory(&self.path)
    }

    /// The membership that was left and from which the cluster service has not parted yet, as far as is known.
    pub(crate) fn left(&self) -> Result<Option<Record>, RecordError> {
        acp_io_record::read(&self.left, VERSION)
    }

    /// Forgets the membership that was left; durable when this returns. No error if there is none.
    pub(crate) fn forget(&self) -> io::Result<()> {
        match fs::remove_file(&self.left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => synchronise_directory(&self.left),
        }
    }
}

/// Writes a record so that after a loss of power the file holds either the old one or the new one.
fn replace<T: Serialize>(path: &Path, version: u64, value: &T) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&aside)?;
    file.write_all(&acp_io_record::to_bytes(version, value)?)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    synchronise_directory(path)
}

fn synchronise_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
