//! Log files of units, as the shims write them: `<unit>.log`, older ones with `.1` to `.N`.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Bytes that are gone through, from the end, for the last lines.
const TAIL_BYTES_MAX: u64 = 4 << 20;

/// The longest line in bytes; longer ones are broken.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Bytes read at once of a log that is followed.
const CHUNK_BYTES: u64 = 64 << 10;

/// Logs of units that are gone, all together; the oldest are removed first. A node that starts and stops systems for years
/// keeps the last words of the latest.
const ORPHANS_MAX: usize = 256;

/// The file and those set aside, newest first.
fn files(path: &Path) -> impl Iterator<Item = PathBuf> {
    let numbered = (1_u32..).map({
        let path = path.as_os_str().to_owned();
        move |number| {
            let mut path = path.clone();
            path.push(format!(".{number}"));
            PathBuf::from(path)
        }
    });
    std::iter::once(path.to_owned()).chain(numbered)
}

/// The size of all files of a log in bytes.
pub(crate) fn size(path: &Path, count: u32) -> u64 {
    let count = usize::try_from(count).unwrap_or(usize::MAX).saturating_add(1);
    files(path).take(count).filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum()
}

/// Reads a log from some line before its end, and then what is added, over the files' being set aside.
#[derive(Debug)]
pub(crate) struct LogReader {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end is not there yet.
    partial: Vec<u8>,
}

impl LogReader {
    /// The last `count` lines, and a reader for what follows them.
    pub(crate) fn open(path: &Path, count: usize) -> io::Result<(Vec<String>, Self)> {
        let file = match File::open(path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut reader = Self { path: path.to_owned(), file, partial: Vec::new() };
        let bytes = reader.tail(count)?;
        let mut lines = reader.take_lines(&bytes);
        if !reader.partial.is_empty() && count > 0 {
            // What is there of an unfinished line is shown; its rest comes as a line of its own.
            lines.push(text(&std::mem::take(&mut reader.partial)));
        }
        let surplus = lines.len().saturating_sub(count);
        lines.drain(..surplus);
        Ok((lines, reader))
    }

    /// The bytes of at least `count` lines before the end, as far as there are any, and leaves the file at its end.
    fn tail(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes: Vec<u8> = Vec::new();
        let mut left = TAIL_BYTES_MAX;
        for (index, path) in files(&self.path.clone()).enumerate() {
            let mut older;
            let file = match (index, &mut self.file) {
                (0, Some(file)) => file,
                (0, None) => continue,
                _ => match File::open(path) {
                    Ok(file) => {
                        older = file;
                        &mut older
                    }
                    Err(_absent) => break,
                },
            };
            let end = file.seek(SeekFrom::End(0))?;
            let from = end.saturating_sub(left);
            file.seek(SeekFrom::Start(from))?;
            let mut part = Vec::new();
            file.take(end - from).read_to_end(&mut part)?;
            left -= end - from;
            part.append(&mut bytes);
            bytes = part;
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            if left == 0 || lines > count {
                break;
            }
        }
        Ok(bytes)
    }

    /// Lines that were added since; empty when there are none. What was set aside is read to its end first.
    pub(crate) fn next(&mut self) -> io::Result<Vec<String>> {
        let mut bytes = Vec::new();
        if let Some(file) = &mut self.file {
            file.take(CHUNK_BYTES).read_to_end(&mut bytes)?;
        }
        if bytes.is_empty() && self.was_set_aside()? {
            self.file = match File::open(&self.path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            if let Some(file) = &mut self.file {
                file.take(CHUNK_BYTES).read_to_end(&mut bytes)?;
            }
        }
        Ok(self.take_lines(&bytes))
    }

    /// Whether the path leads to another file than the one that is open.
    fn was_set_aside(&self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        let open = file.metadata()?;
        Ok(fs::metadata(&self.path).is_ok_and(|present| (present.dev(), present.ino()) != (open.dev(), open.ino())))
    }

    fn take_lines(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in bytes {
            if *byte == b'\n' || self.partial.len() == LINE_BYTES_MAX {
                lines.push(text(&std::mem::take(&mut self.partial)));
            }
            if *byte != b'\n' {
                self.partial.push(*byte);
            }
        }
        lines
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches('\r').to_owned()
}

/// Removes the oldest logs of units that are gone when there are too many.
pub(crate) fn prune(directory: &Path, units: &BTreeSet<String>) {
    let mut orphans: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let unit = name.split_once(".log").map(|(unit, _rest)| unit);
        let is_orphan = unit.is_some_and(|unit| unit.contains('@') && !units.contains(unit));
        if let (true, Ok(modified)) = (is_orphan, entry.metadata().and_then(|file| file.modified())) {
            orphans.push((modified, entry.path()));
        }
    }
    orphans.sort_unstable();
    let surplus = orphans.len().saturating_sub(ORPHANS_MAX);
    for (_modified, path) in orphans.into_iter().take(surplus) {
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "an old log was not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn add(path: &Path, text: &str) {
        File::options()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("written");
    }

    #[test]
    fn the_last_lines_reach_back_into_older_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("unit.log");
        let (lines, mut reader) = LogReader::open(&path, 10).expect("an absent log is empty");
        assert!(lines.is_empty());
        assert!(reader.next().expect("still absent").is_empty());
        add(&directory.path().join("unit.log.2"), "a\nb\n");
        add(&directory.path().join("unit.log.1"), "c\nd\n");
        add(&path, "e\nf");
        let tail = |count| LogReader::open(&path, count).expect("readable").0;
        assert_eq!(tail(10), ["a", "b", "c", "d", "e", "f"]);
        assert_eq!(tail(4), ["c", "d", "e", "f"]);
        assert_eq!(tail(1), ["f"]);
        assert!(tail(0).is_empty());
        assert_eq!(size(&path, 2), 11);
        assert_eq!(reader.next().expect("it is there now"), ["e"]);
    }

    #[test]
    fn following_goes_on_in_the_next_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("unit.log");
        add(&path, "a\n");
        let (lines, mut reader) = LogReader::open(&path, 5).expect("readable");
        assert_eq!(lines, ["a"]);
        add(&path, "b\npar");
        assert_eq!(reader.next().expect("readable"), ["b"]);
        add(&path, "tial\nlast\n");
        fs::rename(&path, directory.path().join("unit.log.1")).expect("renamed");
        add(&path, "new\n");
        assert_eq!(reader.next().expect("readable"), ["partial", "last"]);
        assert_eq!(reader.next().expect("readable"), ["new"]);
        assert!(reader.next().expect("readable").is_empty());
    }

    #[test]
    fn only_logs_of_units_that_are_gone_are_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        for number in 0..ORPHANS_MAX + 3 {
            add(&directory.path().join(format!("vmm@{number}.log")), "x");
        }
        add(&directory.path().join("network.log"), "x");
        add(&directory.path().join("vmm@live.log"), "x");
        prune(directory.path(), &BTreeSet::from(["vmm@live".to_owned()]));
        let left = fs::read_dir(directory.path()).expect("readable").count();
        assert_eq!(left, ORPHANS_MAX + 2);
        assert!(directory.path().join("vmm@live.log").exists());
    }
}
