//! Files that only their owner reads: keys and backups.
//!
//! **Invariant**: at its place such a file is whole and on the disk, or it is not there; what an attempt before has left beside
//! it is replaced, never followed.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// What becomes of a file that is at the place already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// The new one takes its place.
    Replace,
    /// It stays; the write fails with `AlreadyExists`.
    Keep,
}

/// Writes a file of mode 0600: aside, on the disk, then in its place.
pub(crate) fn write(path: &Path, content: &[u8], existing: Existing) -> io::Result<()> {
    let aside = aside(path);
    remove(&aside)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    let placed = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| place(&aside, path, existing));
    if placed.is_err() {
        remove(&aside)?;
    }
    placed?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Where it is written before it is whole.
fn aside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

fn place(aside: &Path, path: &Path, existing: Existing) -> io::Result<()> {
    match existing {
        Existing::Replace => fs::rename(aside, path),
        Existing::Keep => Ok(renameat_with(CWD, aside, CWD, path, RenameFlags::NOREPLACE)?),
    }
}

/// No error if there is none.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_private_and_is_replaced_only_if_that_was_meant() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lab.backup");
        fs::write(aside(&path), "half").expect("written");
        write(&path, b"one", Existing::Keep).expect("written");
        assert_eq!(
            (fs::read(&path).expect("there"), fs::metadata(&path).expect("there").mode() & 0o777),
            (b"one".to_vec(), 0o600)
        );
        let refused = write(&path, b"two", Existing::Keep).expect_err("there is one");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("kept"), b"one");
        write(&path, b"two", Existing::Replace).expect("replaced");
        assert_eq!(fs::read(&path).expect("there"), b"two");
        let names: Vec<_> =
            fs::read_dir(folder.path()).expect("listed").map(|entry| entry.expect("one").file_name()).collect();
        assert_eq!(names, ["lab.backup"], "nothing is left beside it");
    }
}
