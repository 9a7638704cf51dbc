//! The log file that QEMU appends the console's output to.
//!
//! **Invariant**: only [`Log::trim`] changes it. Between copying and emptying, QEMU may append a few bytes that are then
//! in neither file: a gap of the log that is accepted, since the two processes share no lock; the readers attached saw
//! those bytes through the connection.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// The log's name in the state directory of its system.
pub(crate) const LOG_NAME: &str = "console.log";

/// Bytes read at once.
const CHUNK_BYTES: usize = 32 << 10;

/// The log of one console.
#[derive(Clone, Debug)]
pub(super) struct Log {
    path: PathBuf,
}

/// What [`Log::trim`] took away.
#[derive(Debug)]
pub(super) struct Trimmed {
    /// Bytes that the log held.
    pub bytes: u64,
    /// Those from the offset on up to which it had been read.
    pub unread: Vec<u8>,
}

impl Log {
    /// The log in this state directory; it need not exist yet.
    pub(super) fn new(state: &Path) -> Self {
        Self { path: state.join(LOG_NAME) }
    }

    /// Its length in bytes; zero if it does not exist.
    pub(super) fn size(&self) -> io::Result<u64> {
        match fs::metadata(&self.path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Bytes from `offset` on, at most one chunk; empty at the end.
    pub(super) fn read(&self, offset: u64) -> io::Result<Vec<u8>> {
        let file = File::open(&self.path)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = file.read_at(&mut chunk, offset)?;
        chunk.truncate(count);
        Ok(chunk)
    }

    /// Position of the log's first byte, as it was last stored.
    pub(super) fn base(&self) -> io::Result<u64> {
        match fs::read_to_string(self.beside("base")) {
            Ok(text) => text.trim().parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Stores the position of the log's first byte.
    pub(super) fn set_base(&self, base: u64) -> io::Result<()> {
        let fresh = self.beside("base.new");
        fs::write(&fresh, base.to_string())?;
        fs::rename(fresh, self.beside("base"))
    }

    /// Moves the log's content to `console.log.1`, whose old content is lost, and stores the new base. Blocks.
    pub(super) fn trim(&self, base: u64, read_up_to: u64) -> io::Result<Trimmed> {
        let mut log = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let mut copy =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(self.beside("1.new"))?;
        let mut bytes = io::copy(&mut log, &mut copy)?;
        fs::rename(self.beside("1.new"), self.beside("1"))?;
        self.set_base(base + bytes)?;
        bytes += io::copy(&mut log, &mut copy)?;
        log.set_len(0)?;
        let mut unread = Vec::new();
        copy.seek(SeekFrom::Start(read_up_to))?;
        copy.read_to_end(&mut unread)?;
        copy.flush()?;
        Ok(Trimmed { bytes, unread })
    }

    fn beside(&self, extension: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(extension);
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_not_there_is_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Log::new(folder.path());
        assert_eq!(log.size().expect("no error"), 0);
        assert_eq!(log.base().expect("no error"), 0);
    }

    #[test]
    fn trimming_keeps_one_old_file_and_answers_what_was_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Log::new(folder.path());
        let mut writer =
            OpenOptions::new().append(true).create(true).open(folder.path().join(LOG_NAME)).expect("created");
        writer.write_all(b"0123456789").expect("written");
        let trimmed = log.trim(100, 7).expect("trimmed");
        assert_eq!((trimmed.bytes, trimmed.unread.as_slice()), (10, b"789".as_slice()));
        assert_eq!(log.base().expect("stored"), 110);
        assert_eq!(log.size().expect("it is there"), 0);
        assert_eq!(fs::read(folder.path().join("console.log.1")).expect("kept"), b"0123456789");
        writer.write_all(b"next").expect("the writer goes on at the new beginning");
        assert_eq!(log.read(0).expect("read"), b"next");
        assert_eq!(log.read(4).expect("read"), b"");
    }

    #[test]
    fn a_damaged_base_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Log::new(folder.path());
        fs::write(folder.path().join("console.log.base"), "many").expect("written");
        assert_eq!(log.base().expect_err("no number").kind(), io::ErrorKind::InvalidData);
    }
}
