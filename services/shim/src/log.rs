//! A log file that is set aside when it is large.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Logs are for their owner and its group, whatever becomes of the directory that they lie in.
const MODE: u32 = 0o640;

/// The file itself, `.1` the one before, and so on.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    bytes_max: u64,
    files: u32,
    file: Option<File>,
    bytes: u64,
    lost_bytes: u64,
}

impl Log {
    /// The log at `path`, which goes on where it ended. It is opened when something is written.
    pub(crate) fn new(path: &Path, bytes_max: u64, files: u32) -> Self {
        Self { path: path.to_owned(), bytes_max: bytes_max.max(1), files, file: None, bytes: 0, lost_bytes: 0 }
    }

    /// Appends. What cannot be written, for example because the disk is full, is counted and told once writing works again: a
    /// unit does not stop because its log does.
    pub(crate) fn write(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        if let Err(_full) = self.try_write(text) {
            self.file = None;
            self.lost_bytes = self.lost_bytes.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        }
    }

    fn try_write(&mut self, text: &[u8]) -> io::Result<()> {
        self.open()?;
        if self.lost_bytes > 0 {
            let note = format!("acp-shim: {} bytes could not be written here\n", self.lost_bytes);
            self.append(note.as_bytes())?;
            self.lost_bytes = 0;
        }
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.bytes_max {
            // The line that is being written is finished in the file where it began.
            let line = text.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let (rest, next) = text.split_at(line);
            self.append(rest)?;
            self.rotate()?;
            return self.append(next);
        }
        self.append(text)
    }

    fn open(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let file = File::options().append(true).create(true).mode(MODE).open(&self.path)?;
            self.bytes = file.metadata()?.len();
            self.file = Some(file);
        }
        Ok(())
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(text)?;
            self.bytes = self.bytes.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        for number in (1..self.files).rev() {
            ignore_missing(fs::rename(self.numbered(number), self.numbered(number + 1)))?;
        }
        if self.files == 0 {
            ignore_missing(fs::remove_file(&self.path))?;
        } else {
            ignore_missing(fs::rename(&self.path, self.numbered(1)))?;
        }
        self.open()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push(format!(".{number}"));
        path.into()
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    #[test]
    fn files_are_set_aside_at_line_ends_and_the_oldest_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("unit.log");
        let mut log = Log::new(&path, 20, 2);
        for line in 0..10 {
            log.write(format!("line {line}\n").as_bytes());
        }
        let numbered = |number| directory.path().join(format!("unit.log.{number}"));
        assert_eq!(lines(&path), ["line 9"]);
        assert_eq!(lines(&numbered(1)), ["line 6", "line 7", "line 8"]);
        assert_eq!(lines(&numbered(2)), ["line 3", "line 4", "line 5"]);
        assert!(!numbered(3).exists());
    }

    #[test]
    fn a_log_goes_on_where_it_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("unit.log");
        Log::new(&path, 1000, 1).write(b"one\n");
        Log::new(&path, 1000, 1).write(b"two\n");
        assert_eq!(lines(&path), ["one", "two"]);
    }

    #[test]
    fn what_could_not_be_written_is_told_later() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("later").join("unit.log");
        let mut log = Log::new(&path, 1000, 1);
        log.write(b"lost\n");
        fs::create_dir(directory.path().join("later")).expect("made");
        log.write(b"kept\n");
        assert_eq!(lines(&path), ["acp-shim: 5 bytes could not be written here", "kept"]);
    }
}
