//! The durable part of each system: one file, replaced as a whole.
//!
//! **Invariant**: after a power loss a file holds the old or the new record, never a mixture.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use acp_base::{Blame, Code, Failure, Name, Uid};
use acp_core_system::Durable;
use acp_io_failpoint::point;
use acp_io_record::RecordError;
use acp_wire_model::system::{ExitReason, PowerIntent, SystemSpec};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The layout of every file written here.
const VERSION: u64 = 1;

/// One system as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its identity, also the file's name.
    pub(crate) uid: Uid,
    /// Its name.
    pub(crate) name: Name,
    /// Its spec as last seen, so that it can be started while the cluster database is away.
    pub(crate) spec: SystemSpec,
    /// The power intent.
    pub(crate) power: PowerIntent,
    /// Whether its volumes have been made.
    pub(crate) made: bool,
    /// Whether it is being deleted.
    #[serde(default)]
    pub(crate) deleting: bool,
    /// Why it last stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exit: Option<ExitReason>,
    /// Why it is in its state.
    #[serde(default)]
    pub(crate) reason: String,
    /// How many of its disks, counted from the first, are its own: the volumes of the others were there before it or were
    /// never made, and are not deleted with it. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) own_disks: Option<usize>,
    /// Whether it was started under a lease: it needs one until it is stopped, whatever its spec says meanwhile.
    #[serde(default)]
    pub(crate) leased: bool,
}

impl Record {
    pub(crate) fn durable(&self) -> Durable {
        Durable {
            power: self.power,
            made: self.made,
            deleting: self.deleting,
            exit: self.exit,
            reason: self.reason.clone(),
        }
    }
}

/// The directory of all records.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Opens the directory, makes it if it is missing, and reads every record. A damaged one is set aside, one of
    /// a newer version is an error.
    pub(crate) fn open(directory: PathBuf) -> io::Result<(Self, Vec<Record>)> {
        let mut records: Vec<Record> = acp_io_record::read_all(&directory, VERSION)?;
        records.sort_by_key(|record| record.uid);
        Ok((Self { directory }, records))
    }

    /// Makes the record durable.
    pub(crate) fn save(&self, record: &Record) -> Result<(), Failure> {
        let path = self.path(record.uid);
        write(&path, record).map_err(|error| {
            let code = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::ResourceExhausted,
                _ => Code::Unavailable,
            };
            Failure::new(code, format!("cannot write {}: {error}", path.display())).blame(Blame::Operator)
        })
    }

    /// Forgets the record; no error if there is none.
    pub(crate) fn remove(&self, uid: Uid) -> io::Result<()> {
        match fs::remove_file(self.path(uid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        point("hypervisor.delete.record-removed")?;
        File::open(&self.directory)?.sync_all()
    }

    fn path(&self, uid: Uid) -> PathBuf {
        self.directory.join(format!("{uid}.json"))
    }
}

/// Replaces a file by this value. After an error it may hold either; nothing else is left.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let aside = path.with_extension("new");
    let written = replace(path, &aside, value);
    if written.is_err() && aside.exists() {
        fs::remove_file(&aside)?;
    }
    written
}

fn replace<T: Serialize>(path: &Path, aside: &Path, value: &T) -> io::Result<()> {
    let mut file = File::create(aside)?;
    file.write_all(&acp_io_record::to_bytes(VERSION, value)?)?;
    file.sync_data()?;
    point("hypervisor.record.aside-written")?;
    fs::rename(aside, path)?;
    point("hypervisor.record.renamed")?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// The value in a file; `None` if there is no file or a damaged one. A file of a newer version is an error.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match acp_io_record::read(path, VERSION) {
        Err(error @ RecordError::Damaged { .. }) => {
            tracing::error!(%error, "a file is not used");
            Ok(None)
        }
        read => Ok(read?),
    }
}

#[cfg(test)]
mod tests {
    use acp_base::ByteSize;

    use super::*;

    fn record(number: u128) -> Record {
        Record {
            uid: Uid::from_u128(number),
            name: "demo".parse().expect("a name"),
            spec: SystemSpec {
                node: "n1".parse().expect("a name"),
                cpus: 1,
                memory_bytes: ByteSize::mib(256),
                disks: Vec::new(),
                nics: Vec::new(),
                autostart: true,
                floating: false,
            },
            power: PowerIntent::On,
            made: true,
            deleting: false,
            exit: Some(ExitReason::Killed),
            reason: "why".to_owned(),
            own_disks: Some(1),
            leased: false,
        }
    }

    #[test]
    fn records_come_back_and_damage_is_set_aside() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (store, none) = Store::open(directory.path().join("systems")).expect("writable");
        assert!(none.is_empty());
        store.save(&record(1)).expect("saved");
        store.save(&record(2)).expect("saved");
        store.remove(Uid::from_u128(2)).expect("removed");
        store.remove(Uid::from_u128(2)).expect("removing again is no error");
        fs::write(directory.path().join("systems/half.new"), b"{").expect("a torn write");
        fs::write(directory.path().join("systems/bad.json"), b"{").expect("a damaged file");
        let (_store, records) = Store::open(directory.path().join("systems")).expect("readable");
        assert_eq!(records, [record(1)]);
        assert!(directory.path().join("systems/bad.damaged").exists());
        assert!(!directory.path().join("systems/half.new").exists());
    }

    #[test]
    fn files_of_a_newer_version_are_refused_and_left_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let systems = directory.path().join("systems");
        let (store, _) = Store::open(systems.clone()).expect("writable");
        store.save(&record(1)).expect("saved");
        let path = store.path(Uid::from_u128(1));
        let newer = fs::read_to_string(&path).expect("there").replace("\"version\":1", "\"version\":2");
        let files = [(path, newer), (directory.path().join("accelerator.json"), "{\"version\":3}".to_owned())];
        for (file, text) in &files {
            fs::write(file, text).expect("written");
            let error = read::<serde_json::Value>(file).expect_err("newer");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            let said = error.to_string();
            assert!(said.contains(&file.display().to_string()) && said.contains("knows up to 1"), "{said}");
        }
        assert_eq!(Store::open(systems).expect_err("newer").kind(), io::ErrorKind::InvalidData);
        for (file, text) in files {
            assert_eq!(fs::read_to_string(file).expect("kept"), text);
        }
    }

    #[test]
    fn a_record_without_a_version_is_of_the_first() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let old = serde_json::to_vec(&record(3)).expect("JSON");
        fs::write(directory.path().join("3.json"), old).expect("written");
        let (_store, records) = Store::open(directory.path().to_owned()).expect("readable");
        assert_eq!(records, [record(3)]);
    }

    #[test]
    fn a_record_that_cannot_be_written_says_where() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (store, _) = Store::open(directory.path().join("systems")).expect("writable");
        fs::remove_dir(directory.path().join("systems")).expect("empty");
        let failure = store.save(&record(1)).expect_err("the directory is gone");
        assert!(failure.message.contains("systems/"), "{failure}");
    }
}
