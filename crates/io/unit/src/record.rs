//! What a shim leaves for the framework: that its unit's process runs, and how it ended.
//!
//! Two files of `key=value` lines in the unit's directory, each written aside, synchronised and renamed, so that a reader
//! finds a whole record or none. The key `version` says which layout it is; without it, it is the first.

use std::{fs, io, io::Write as _, path::Path};

/// The file that says which process runs.
pub const PID_FILE: &str = "pid";

/// The file that says how it ended.
pub const EXIT_FILE: &str = "exit";

/// The layout written here, and the newest that is understood.
const VERSION: u64 = 1;

/// A running process and its shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The unit's main process.
    pub pid: u32,
    /// Its start time, see [`crate::procfs::start_time`].
    pub start: u64,
    /// The shim.
    pub shim_pid: u32,
    /// The shim's start time.
    pub shim_start: u64,
    /// The boot in which the times count.
    pub boot: String,
}

/// How a main process ended: by itself with a status, or by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The process.
    pub pid: u32,
    /// Its start time.
    pub start: u64,
    /// Its exit status.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl Started {
    /// Leaves the record.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let Self { pid, start, shim_pid, shim_start, boot } = self;
        let text = format!(
            "version={VERSION}\npid={pid}\nstart={start}\nshim_pid={shim_pid}\nshim_start={shim_start}\nboot={boot}\n"
        );
        replace(&directory.join(PID_FILE), &text)
    }

    /// The record that is there; `None` if there is none, or none that can be read as one.
    pub fn read(directory: &Path) -> Option<Self> {
        let record = Record::read(&directory.join(PID_FILE))?;
        Some(Self {
            pid: record.number("pid")?,
            start: record.number("start")?,
            shim_pid: record.number("shim_pid")?,
            shim_start: record.number("shim_start")?,
            boot: record.text("boot")?.to_owned(),
        })
    }
}

impl Ended {
    /// Leaves the record.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let mut text = format!("version={VERSION}\npid={}\nstart={}\n", self.pid, self.start);
        for (key, value) in [("status", self.status), ("signal", self.signal)] {
            if let Some(value) = value {
                text.push_str(&format!("{key}={value}\n"));
            }
        }
        replace(&directory.join(EXIT_FILE), &text)
    }

    /// The record that is there; `None` if there is none, or none that can be read as one.
    pub fn read(directory: &Path) -> Option<Self> {
        let record = Record::read(&directory.join(EXIT_FILE))?;
        let (status, signal) = (record.number("status"), record.number("signal"));
        Some(Self { pid: record.number("pid")?, start: record.number("start")?, status, signal })
    }
}

/// Refuses records of a newer version. Who takes over units asks first: a record that is not understood does not mean that
/// nothing runs.
///
/// # Errors
/// Of the kind `InvalidData`, with a sentence for the operator.
pub fn check(directory: &Path) -> io::Result<()> {
    for path in [PID_FILE, EXIT_FILE].map(|name| directory.join(name)) {
        let found = Record::read(&path).and_then(|record| record.number::<u64>("version")).unwrap_or(1);
        if found > VERSION {
            let text = format!(
                "{} has layout {found}, this version of ACP knows up to {VERSION}: install the newer version again",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
    }
    Ok(())
}

/// Removes both records, before another process is started in their place.
///
/// # Errors
/// When a file is there and cannot be removed.
pub fn clear(directory: &Path) -> io::Result<()> {
    for name in [PID_FILE, EXIT_FILE] {
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Writes a file aside, synchronises it and renames it into place.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = fs::File::create(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)
}

struct Record(String);

impl Record {
    fn read(path: &Path) -> Option<Self> {
        fs::read_to_string(path).ok().map(Self)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.lines().filter_map(|line| line.split_once('=')).find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.text(key)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_written_and_cleared() {
        let directory = tempfile::tempdir().expect("a directory");
        let directory = directory.path();
        assert_eq!((Started::read(directory), Ended::read(directory)), (None, None));
        let started = Started { pid: 7, start: 99, shim_pid: 6, shim_start: 98, boot: "b".into() };
        started.write(directory).expect("written");
        assert_eq!(Started::read(directory), Some(started));
        for (status, signal) in [(Some(3), None), (None, Some(9))] {
            let ended = Ended { pid: 7, start: 99, status, signal };
            ended.write(directory).expect("written");
            assert_eq!(Ended::read(directory), Some(ended));
        }
        clear(directory).expect("cleared");
        assert_eq!((Started::read(directory), Ended::read(directory)), (None, None));
        clear(directory).expect("nothing to clear is no error");
    }

    #[test]
    fn a_record_of_a_newer_version_is_refused_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        check(directory.path()).expect("no record");
        for name in [PID_FILE, EXIT_FILE] {
            let path = directory.path().join(name);
            fs::write(&path, "pid=7\n").expect("written");
            check(directory.path()).expect("the first layout");
            fs::write(&path, "version=2\npid=7\n").expect("written");
            let error = check(directory.path()).expect_err("newer");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(&format!("{} has layout 2", path.display())), "{error}");
            fs::remove_file(path).expect("removed");
        }
    }

    #[test]
    fn a_damaged_record_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(PID_FILE), "pid=seven\n").expect("written");
        assert_eq!(Started::read(directory.path()), None);
    }
}
