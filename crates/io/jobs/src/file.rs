//! One job's file.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use acp_base::Uid;
use acp_io_failpoint::point;
use acp_io_record::RecordError;
use acp_wire_model::job::Job;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The layout of a job's file.
const VERSION: u64 = 1;

/// A job with what its owner needs to resume or undo it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) job: Job,
    pub(crate) detail: Value,
}

pub(crate) fn path(directory: &Path, id: Uid) -> PathBuf {
    directory.join(format!("{id}.json"))
}

/// Writes the record so that after a power loss the file holds either the old or the new one. After an error it may hold
/// either, too; nothing else is left.
pub(crate) fn write(directory: &Path, record: &Record) -> io::Result<()> {
    let path = path(directory, record.job.id);
    let aside = path.with_extension("new");
    let written = replace(&path, &aside, record);
    if written.is_err() && aside.exists() {
        fs::remove_file(&aside)?;
    }
    written
}

fn replace(path: &Path, aside: &Path, record: &Record) -> io::Result<()> {
    // What a job needs to go on may be a secret, like a URL with credentials.
    let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(aside)?;
    file.write_all(&acp_io_record::to_bytes(VERSION, record)?)?;
    file.sync_data()?;
    point("jobs.record.aside-written")?;
    fs::rename(aside, path)?;
    point("jobs.record.renamed")?;
    sync_parent(path)
}

/// Forgets a job; durable when it returns. No error if there is none.
pub(crate) fn remove(directory: &Path, id: Uid) -> io::Result<()> {
    let path = path(directory, id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => sync_parent(&path),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Every record of the directory, oldest first. A damaged file is set aside, an unfinished one removed; one of a newer version
/// is an error.
pub(crate) fn read_all(directory: &Path) -> Result<Vec<Record>, RecordError> {
    let mut records: Vec<Record> = acp_io_record::read_all(directory, VERSION)?;
    records.sort_by_key(|record| (record.job.started_ms, record.job.id));
    Ok(records)
}
