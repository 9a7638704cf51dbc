//! The hub's record: one file, replaced as a whole, synchronised before anything in it is told to anybody.
//!
//! **Invariant**: after a power loss the file holds the old or the new record, never a mixture. It holds digests of secrets
//! and no secret; nobody but the daemon reads it all the same.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use acp_base::{Blame, Change, Code, Failure, Uid};
use acp_core_membership::State;
use acp_io_failpoint::point;
use acp_io_record::RecordError;
use serde::{Deserialize, Serialize};

/// The layout of the file.
const VERSION: u64 = 1;

/// The file in the daemon's state directory.
const FILE: &str = "membership.json";

/// For the daemon alone.
const MODE: u32 = 0o600;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The id of the cluster that is made here, drawn before its authority: whoever makes a cluster that was begun once goes
    /// on with this id and finds its authority fitting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) founding: Option<Uid>,
    /// What the cluster agrees on.
    pub(crate) state: State,
}

/// Where the record is.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    path: PathBuf,
}

impl Records {
    /// The record in the daemon's state directory, which is made if it is missing.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Record), RecordError> {
        let failed = |source| RecordError::Io { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        let path = directory.join(FILE);
        let record = acp_io_record::read(&path, VERSION)?;
        Ok((Self { path }, record.unwrap_or_default()))
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that it lies in.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or_else(|| Path::new("."))
    }

    /// Makes the record durable. Blocks.
    pub(crate) fn write(&self, record: &Record) -> Result<(), Failure> {
        let aside = self.path.with_extension("new");
        if let Err(error) = write_aside(&aside, record) {
            return Err(self.failure(&error, Change::None));
        }
        put_in_place(&aside, &self.path).map_err(|error| self.failure(&error, Change::Unknown))
    }

    fn failure(&self, error: &io::Error, changed: Change) -> Failure {
        let code = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::ResourceExhausted,
            _ => Code::Unavailable,
        };
        let text = format!("cannot write {}: {error}", self.path.display());
        Failure::new(code, text).blame(Blame::Operator).changed(changed)
    }
}

/// What a crash or an error has left of an earlier attempt is written over.
fn write_aside(aside: &Path, record: &Record) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(MODE).open(aside)?;
    file.write_all(&acp_io_record::to_bytes(VERSION, record)?)?;
    file.sync_all()?;
    point("hub.record.aside-written").map_err(Into::into)
}

fn put_in_place(aside: &Path, path: &Path) -> io::Result<()> {
    fs::rename(aside, path)?;
    point("hub.record.renamed")?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_record_is_read_back_and_is_nobody_elses() {
        let directory = tempfile::tempdir().expect("a directory");
        let (records, empty) = Records::open(&directory.path().join("hub")).expect("writable");
        assert_eq!(empty, Record::default());
        let record = Record { founding: Some(Uid::from_u128(7)), ..Record::default() };
        records.write(&record).expect("written");
        let mode = fs::metadata(records.path()).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let (_records, read) = Records::open(&directory.path().join("hub")).expect("readable");
        assert_eq!(read, record);
    }

    #[test]
    fn a_record_that_cannot_be_written_says_where_and_that_nothing_has_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (records, empty) = Records::open(&directory.path().join("hub")).expect("writable");
        fs::remove_dir(directory.path().join("hub")).expect("empty");
        let failure = records.write(&empty).expect_err("the directory is gone");
        assert!(failure.message.contains("hub/membership.json"), "{failure}");
        assert_eq!(failure.changed, Change::None);
    }
}
