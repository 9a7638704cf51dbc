//! The hub's record: one file, replaced as a whole, synchronised before anything that follows from it is done.
//!
//! **Invariant**: after a power loss the file holds the old or the new record, never a mixture. It holds no secret; nobody but
//! the daemon reads it all the same.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use acp_base::{Blame, Change, Code, Failure, Uid};
use acp_io_failpoint::point;
use acp_io_record::RecordError;
use serde::{Deserialize, Serialize};

/// The layout of the file.
const VERSION: u64 = 1;

/// The file in the daemon's state directory.
const FILE: &str = "hub.json";

/// The state with which a new log begins, while that is being made.
const IMAGE_FILE: &str = "image.new";

/// For the daemon alone.
const MODE: u32 = 0o600;

/// What is kept beside the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// This node, whose log it is; absent before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Uid>,
    /// For which log this hub was made ready to be a voter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prepared: Option<Prepared>,
    /// Why the log begins anew with a state of its own, as its horizon says; absent once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) beginning: Option<String>,
    /// The number of the epoch that ends with that: the one that begins has to be above it, whatever the state says.
    #[serde(default)]
    pub(crate) above: u64,
}

/// A log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Prepared {
    /// The cluster.
    pub(crate) cluster: Uid,
    /// `<number>-<id>`.
    pub(crate) epoch: String,
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

    /// The directory that it lies in.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or_else(|| Path::new("."))
    }

    /// Makes the record durable. Blocks.
    pub(crate) fn write(&self, record: &Record) -> Result<(), Failure> {
        let aside = self.path.with_extension("new");
        if let Err(error) = acp_io_record::to_bytes(VERSION, record).and_then(|bytes| write_aside(&aside, &bytes)) {
            return Err(self.failure(&error, Change::None));
        }
        put_in_place(&aside, &self.path).map_err(|error| self.failure(&error, Change::Unknown))
    }

    /// Keeps the state with which a log begins anew until it has. Blocks.
    pub(crate) fn write_image(&self, image: &[u8]) -> Result<(), Failure> {
        let path = self.directory().join(IMAGE_FILE);
        let aside = path.with_extension("aside");
        let written = write_aside(&aside, image).and_then(|()| put_in_place(&aside, &path));
        written.map_err(|error| self.failure(&error, Change::None))
    }

    /// The state with which the log begins anew, if that was not done yet. Blocks.
    pub(crate) fn read_image(&self) -> Result<Option<Vec<u8>>, Failure> {
        match fs::read(self.directory().join(IMAGE_FILE)) {
            Ok(image) => Ok(Some(image)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failure(&error, Change::None)),
        }
    }

    /// The log has begun. Blocks.
    pub(crate) fn remove_image(&self) -> Result<(), Failure> {
        match fs::remove_file(self.directory().join(IMAGE_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failure(&error, Change::None)),
            Ok(()) | Err(_) => Ok(()),
        }
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
fn write_aside(aside: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(MODE).open(aside)?;
    file.write_all(bytes)?;
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
        let record = Record { node: Some(Uid::from_u128(7)), ..Record::default() };
        records.write(&record).expect("written");
        let mode = fs::metadata(&records.path).expect("there").permissions().mode() & 0o777;
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
        assert!(failure.message.contains("hub/hub.json"), "{failure}");
        assert_eq!(failure.changed, Change::None);
    }
}
