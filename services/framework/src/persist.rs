//! What a restarted framework has to know: units as they were, and whose user each system has.
//!
//! A file a unit below `<state>/framework/units`, written aside and renamed. It need not survive a power failure, because the
//! units do not either, so nothing is synchronised; the table of users is.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use acp_base::{Name, Uid};
use acp_io_failpoint::point;
use acp_wire_api::framework::Limits;
use acp_wire_model::unit::UnitExit;
use serde::{Deserialize, Serialize};

use crate::account::SYSTEMS_MAX;

/// The layout of every file written here.
const VERSION: u64 = 1;

/// What a unit was made with, beside its template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Parameters {
    pub(crate) arguments: Vec<String>,
    pub(crate) fds: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) limits: Limits,
}

/// A unit as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct UnitRecord {
    pub(crate) name: String,
    pub(crate) uid: Uid,
    /// The boot of the host in which its process was started.
    pub(crate) boot_id: String,
    pub(crate) parameters: Parameters,
    /// Whether it shall run.
    pub(crate) wanted: bool,
    /// Whether its process had said that it is ready.
    pub(crate) ready: bool,
    /// Whether it had a process.
    pub(crate) has_process: bool,
    pub(crate) restarts: u32,
    /// Since when it is in its state, in milliseconds since the Unix epoch.
    pub(crate) since_ms: u64,
    pub(crate) exit: Option<UnitExit>,
    /// Why it had failed, if it had.
    pub(crate) failed: Option<String>,
    /// What the node was called when the process was started; absent from versions that had one name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Name>,
    /// Whether it shall not run because no role of the node names it.
    #[serde(default)]
    pub(crate) withheld: bool,
}

/// The records of all units.
#[derive(Debug)]
pub(crate) struct Records {
    directory: PathBuf,
}

impl Records {
    pub(crate) fn open(state: &Path) -> io::Result<Self> {
        let directory = state.join("units");
        fs::create_dir_all(&directory)?;
        Ok(Self { directory })
    }

    /// Every record; a damaged one is set aside, one of a newer version is an error.
    pub(crate) fn load(&self) -> io::Result<Vec<UnitRecord>> {
        self.remove_empty()?;
        Ok(acp_io_record::read_all(&self.directory, VERSION)?)
    }

    /// Removes what a loss of power has left of records that were never synchronised: names of files without content. Their
    /// units ended with the power.
    fn remove_empty(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.metadata()?.len() == 0 {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    pub(crate) fn save(&self, record: &UnitRecord) -> io::Result<()> {
        write(&self.path(&record.name), record, false)
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }
}

/// Which number each system's user has. A system keeps its number for as long as there are free ones, since files may belong
/// to it.
#[derive(Debug)]
pub(crate) struct SystemUsers {
    path: PathBuf,
    table: BTreeMap<String, Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    number: u32,
    /// Counts assignments and uses; the smallest was not used for longest.
    used: u64,
}

/// The answer to a request for a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub(crate) number: u32,
    /// The system that had the number before and does not have it any more.
    pub(crate) evicted: Option<String>,
}

impl SystemUsers {
    pub(crate) fn open(state: &Path) -> io::Result<Self> {
        let path = state.join("system-users.json");
        // An earlier framework may have ended while it wrote.
        match fs::remove_file(path.with_extension("new")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let table = acp_io_record::read(&path, VERSION)?.unwrap_or_default();
        Ok(Self { path, table })
    }

    /// The number of a system. `is_in_use` says of other systems whether theirs must not be taken; `None`: all are in use.
    pub(crate) fn assign(&mut self, system: &str, is_in_use: impl Fn(&str) -> bool) -> io::Result<Option<Assigned>> {
        let used = self.table.values().map(|entry| entry.used).max().unwrap_or(0) + 1;
        if let Some(entry) = self.table.get_mut(system) {
            entry.used = used;
            return Ok(Some(Assigned { number: entry.number, evicted: None }));
        }
        let Some(assigned) = self.free(is_in_use) else { return Ok(None) };
        let mut next = self.table.clone();
        if let Some(evicted) = &assigned.evicted {
            next.remove(evicted);
        }
        next.insert(system.to_owned(), Entry { number: assigned.number, used });
        // A number counts when it is written down: else a later framework would give it to another one as well.
        write(&self.path, &next, true)?;
        self.table = next;
        Ok(Some(assigned))
    }

    fn free(&self, is_in_use: impl Fn(&str) -> bool) -> Option<Assigned> {
        let taken: std::collections::BTreeSet<u32> = self.table.values().map(|entry| entry.number).collect();
        if let Some(number) = (0..SYSTEMS_MAX).find(|number| !taken.contains(number)) {
            return Some(Assigned { number, evicted: None });
        }
        let idle = self.table.iter().filter(|(system, _)| !is_in_use(system));
        let oldest = idle.min_by_key(|(_, entry)| entry.used);
        oldest.map(|(system, entry)| Assigned { number: entry.number, evicted: Some(system.clone()) })
    }
}

/// After an error the file holds the old value or the new one; nothing else is left.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T, durable: bool) -> io::Result<()> {
    let aside = path.with_extension("new");
    let written = replace(path, &aside, value, durable);
    if written.is_err() && aside.exists() {
        fs::remove_file(&aside)?;
    }
    written
}

fn replace<T: Serialize>(path: &Path, aside: &Path, value: &T, durable: bool) -> io::Result<()> {
    let mut file = fs::File::create(aside)?;
    file.write_all(&acp_io_record::to_bytes(VERSION, value)?)?;
    if durable {
        file.sync_all()?;
    }
    point("framework.record.aside-written")?;
    fs::rename(aside, path)?;
    if let Some(directory) = path.parent().filter(|_directory| durable) {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(point("framework.record.renamed")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_damaged_ones_are_left_out() {
        let state = tempfile::tempdir().expect("a directory");
        let records = Records::open(state.path()).expect("made");
        let record = UnitRecord {
            name: "vmm@0123".into(),
            uid: Uid::from_u128(7),
            boot_id: "b".into(),
            parameters: Parameters { arguments: vec!["-x".into()], ..Parameters::default() },
            wanted: true,
            ready: false,
            has_process: true,
            restarts: 2,
            since_ms: 5,
            exit: None,
            failed: None,
            node: None,
            withheld: false,
        };
        records.save(&record).expect("saved");
        fs::write(state.path().join("units/bad.json"), "{").expect("written");
        fs::write(state.path().join("units/empty.json"), "").expect("as a loss of power leaves it");
        assert_eq!(records.load().expect("readable"), [record]);
        assert!(!state.path().join("units/empty.json").exists() && !state.path().join("units/empty.damaged").exists());
        records.remove("vmm@0123").expect("removed");
        records.remove("vmm@0123").expect("nothing to remove");
        assert_eq!(records.load().expect("readable"), []);
    }

    #[test]
    fn files_of_a_newer_version_are_refused_and_left_alone() {
        let state = tempfile::tempdir().expect("a directory");
        let records = Records::open(state.path()).expect("made");
        let newer = "{\"version\":2}";
        for name in ["system-users.json", "units/vmm@0123.json"] {
            let path = state.path().join(name);
            fs::write(&path, newer).expect("written");
            let error = match name {
                "system-users.json" => SystemUsers::open(state.path()).expect_err("newer"),
                _ => records.load().expect_err("newer"),
            };
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            let said = error.to_string();
            assert!(said.contains(&format!("{} has layout 2", path.display())), "{said}");
            assert_eq!(fs::read_to_string(&path).expect("kept"), newer);
        }
    }

    #[test]
    fn a_system_keeps_its_number_and_the_longest_unused_loses_it() {
        let state = tempfile::tempdir().expect("a directory");
        let mut users = SystemUsers::open(state.path()).expect("empty");
        for number in 0..SYSTEMS_MAX {
            // Durability is not what this test is about.
            users.table.insert(format!("s{number}"), Entry { number, used: u64::from(number) });
        }
        users.assign("s0", |_| true).expect("written");
        let assigned = users.assign("new", |system| system == "s1").expect("written").expect("one is free");
        assert_eq!(assigned, Assigned { number: 2, evicted: Some("s2".into()) });
        assert_eq!(users.assign("newer", |_| true).expect("nothing to write"), None);
        let mut again = SystemUsers::open(state.path()).expect("readable");
        let kept = again.assign("new", |_| true).expect("nothing to write").expect("known");
        assert_eq!(kept, Assigned { number: 2, evicted: None });
    }
}
