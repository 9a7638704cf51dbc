//! One file for each request, written aside, synchronised and renamed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{Record, Ticket};

/// The layout of a record.
const LAYOUT: u64 = 1;

pub(super) fn read_all(directory: &Path) -> Result<Vec<Record>, acp_io_record::RecordError> {
    acp_io_record::read_all(directory, LAYOUT)
}

pub(super) fn read(directory: &Path, ticket: &Ticket) -> io::Result<Option<Record>> {
    Ok(acp_io_record::read(&path(directory, ticket), LAYOUT)?)
}

/// Returns once the record survives a crash.
pub(super) fn write(directory: &Path, ticket: &Ticket, record: &Record) -> io::Result<()> {
    let path = path(directory, ticket);
    let aside = path.with_extension("new");
    let bytes = acp_io_record::to_bytes(LAYOUT, record)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(aside, path)?;
    File::open(directory)?.sync_all()
}

/// Removes a record. One that stays is found and removed by the next life.
pub(super) fn remove(directory: &Path, ticket: &Ticket) {
    if let Err(error) = fs::remove_file(path(directory, ticket)) {
        tracing::debug!(%error, "the record of a request stays");
    }
}

fn path(directory: &Path, ticket: &Ticket) -> PathBuf {
    directory.join(ticket.file_name()).with_extension("json")
}
