//! One job's file.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use acp_base::Uid;
use acp_wire_model::job::Job;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A job with what its owner needs to resume or undo it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) job: Job,
    pub(crate) detail: Value,
}

pub(crate) fn path(directory: &Path, id: Uid) -> PathBuf {
    directory.join(format!("{id}.json"))
}

/// Writes the record so that after a power loss the file holds either the old or the new one.
pub(crate) fn write(directory: &Path, record: &Record) -> io::Result<()> {
    let path = path(directory, record.job.id);
    let aside = path.with_extension("new");
    let mut file = File::create(&aside)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.sync_data()?;
    fs::rename(&aside, &path)?;
    File::open(directory)?.sync_all()
}

pub(crate) fn remove(directory: &Path, id: Uid) -> io::Result<()> {
    fs::remove_file(path(directory, id))
}

/// Every record of the directory; a file that is none is set aside with a warning, an unfinished one is removed.
pub(crate) fn read_all(directory: &Path) -> io::Result<Vec<Record>> {
    fs::create_dir_all(directory)?;
    let mut records = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => match serde_json::from_slice::<Record>(&fs::read(&path)?) {
                Ok(record) => records.push(record),
                Err(error) => set_aside(&path, &error)?,
            },
            Some("new") => fs::remove_file(&path)?,
            _ => {}
        }
    }
    records.sort_by_key(|record| (record.job.started_ms, record.job.id));
    Ok(records)
}

fn set_aside(path: &Path, error: &serde_json::Error) -> io::Result<()> {
    tracing::error!(path = %path.display(), %error, "a job's file is damaged and was set aside");
    fs::rename(path, path.with_extension("damaged"))
}
