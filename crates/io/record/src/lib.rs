//! Records: small facts that outlive a process, a JSON file each, with the version of their layout.
//!
//! The key `version` says which layout a file has; one without it is of version 1. A higher version than the reader knows is
//! an error that names the file and says what to do. Deliberately not here: what any record means, and writing it, whose
//! steps are its owner's (aside, synchronise, rename).
//!
//! **Invariant**: a file that is refused is not used, not moved and not written over.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The key of the layout's version.
const VERSION: &str = "version";

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The operator's: a newer version of ACP has been here.
    #[error(
        "{} has layout {found}, this version of ACP knows up to {known}: install the newer version again, or move the file away",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The layout found.
        found: u64,
        /// The newest layout known here.
        known: u64,
    },
    /// The operator's: the file holds something else than was written.
    #[error("{} is damaged ({source}): restore it from a backup, or move the file away", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The system's.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl RecordError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// Whether trying again cannot help, because somebody has to look at a file first.
    pub const fn is_for_the_operator(&self) -> bool {
        matches!(self, Self::Newer { .. } | Self::Damaged { .. })
    }
}

/// Of the kind `InvalidData` if somebody has to look at a file first.
impl From<RecordError> for io::Error {
    fn from(error: RecordError) -> Self {
        let kind = match &error {
            RecordError::Newer { .. } | RecordError::Damaged { .. } => io::ErrorKind::InvalidData,
            RecordError::Io { source, .. } => source.kind(),
        };
        Self::new(kind, error)
    }
}

/// What a file with this value, a struct or map, of this layout holds.
///
/// # Errors
/// For a value that JSON cannot hold.
pub fn to_bytes<T: Serialize>(version: u64, value: &T) -> io::Result<Vec<u8>> {
    let mut content = serde_json::to_value(value)?;
    if let Value::Object(keys) = &mut content {
        keys.insert(VERSION.to_owned(), version.into());
    }
    Ok(serde_json::to_vec(&content)?)
}

/// The record in a file, of a layout up to `known`; `None` if there is no file.
///
/// # Errors
/// As [`RecordError`] says. The file stays as it is.
pub fn read<T: DeserializeOwned>(path: &Path, known: u64) -> Result<Option<T>, RecordError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RecordError::io(path)(error)),
    };
    let damaged = |source| RecordError::Damaged { path: path.to_owned(), source };
    let mut content: Value = serde_json::from_slice(&bytes).map_err(damaged)?;
    let found = match &mut content {
        Value::Object(keys) => keys.remove(VERSION).map_or(Ok(1), serde_json::from_value).map_err(damaged)?,
        _ => 1,
    };
    if found > known {
        return Err(RecordError::Newer { path: path.to_owned(), found, known });
    }
    serde_json::from_value(content).map(Some).map_err(damaged)
}

/// Every record of a directory, which is made if it is missing. A damaged one is set aside as `<name>.damaged` and told;
/// what a crash left of an unfinished one is removed.
///
/// # Errors
/// [`RecordError::Newer`] for the first record of a newer version, and those of the system.
pub fn read_all<T: DeserializeOwned>(directory: &Path, known: u64) -> Result<Vec<T>, RecordError> {
    let failed = || RecordError::io(directory);
    fs::create_dir_all(directory).map_err(failed())?;
    let mut records = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed())? {
        let path = entry.map_err(failed())?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => match read(&path, known) {
                Ok(record) => records.extend(record),
                Err(error @ RecordError::Damaged { .. }) => set_aside(&path, &error)?,
                Err(error) => return Err(error),
            },
            Some("new") => fs::remove_file(&path).map_err(RecordError::io(&path))?,
            _ => {}
        }
    }
    Ok(records)
}

/// Moves a damaged record out of the way, where somebody can look at it.
fn set_aside(path: &Path, error: &RecordError) -> Result<(), RecordError> {
    tracing::error!(%error, "a record is damaged and was set aside");
    fs::rename(path, path.with_extension("damaged")).map_err(RecordError::io(path))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Record = BTreeMap<String, u32>;

    fn record() -> Record {
        BTreeMap::from([("a".to_owned(), 1)])
    }

    #[test]
    fn each_content_is_read_set_aside_or_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.json");
        let cases: [(&[u8], Result<bool, bool>); 8] = [
            (b"{\"a\":1}", Ok(true)),
            (b"{\"a\":1,\"version\":1}", Ok(true)),
            (b"{\"a\":1,\"version\":2}", Ok(true)),
            (b"{\"anything\":\"else\",\"version\":3}", Err(true)),
            (b"{\"a\":1,\"version\":\"x\"}", Err(false)),
            (b"{\"a\":", Err(false)),
            (b"", Err(false)),
            (b"{\"a\":\"not a number\"}", Err(false)),
        ];
        for (bytes, expected) in cases {
            let text = String::from_utf8_lossy(bytes);
            fs::write(&path, bytes).expect("written");
            match (read::<Record>(&path, 2), expected) {
                (Ok(found), Ok(_)) => assert_eq!(found, Some(record()), "{text}"),
                (Err(RecordError::Newer { found: 3, known: 2, .. }), Err(true)) => {}
                (Err(RecordError::Damaged { .. }), Err(false)) => {}
                (found, _) => panic!("{text}: {found:?}"),
            }
            assert_eq!(fs::read(&path).expect("kept"), bytes);
        }
        fs::remove_file(&path).expect("removed");
        assert_eq!(read::<Record>(&path, 2).expect("no error"), None);
    }

    #[test]
    fn a_newer_record_is_named_and_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.json");
        let before = to_bytes(2, &record()).expect("JSON");
        fs::write(&path, &before).expect("written");
        let error = read_all::<Record>(directory.path(), 1).expect_err("newer");
        let said = error.to_string();
        assert!(said.contains("a.json has layout 2, this version of ACP knows up to 1: install"), "{said}");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
        assert_eq!(fs::read(&path).expect("there"), before);
    }

    #[test]
    fn a_directory_gives_its_records_and_sets_damage_aside() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a.json"), to_bytes(1, &record()).expect("JSON")).expect("written");
        fs::write(path("bad.json"), b"{").expect("written");
        fs::write(path("half.new"), b"{").expect("written");
        assert_eq!(read_all::<Record>(directory.path(), 1).expect("readable"), [record()]);
        assert!(path("bad.damaged").exists() && !path("half.new").exists());
    }
}
