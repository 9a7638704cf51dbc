//! Keys and certificates in files.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use crate::PkiError;

/// Nobody but the owner.
const SECRET: u32 = 0o600;
/// Public, but written by the owner alone.
const PUBLIC: u32 = 0o644;
/// The longest file read: a key has 240 bytes, a certificate 800.
const BYTES_MAX: u64 = 64 * 1024;

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> PkiError + 'a {
    move |source| PkiError::File { doing, path: path.to_owned(), source }
}

/// A private file's text; an error if others can read it, nothing if it is not there.
pub(crate) fn read_secret(path: &Path) -> Result<Option<String>, PkiError> {
    let Some(file) = open(path)? else { return Ok(None) };
    let mode = file.metadata().map_err(failed("read", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PkiError::Exposed { path: path.to_owned(), mode });
    }
    text(file, path).map(Some)
}

/// A public file's text; nothing if it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    open(path)?.map(|file| text(file, path)).transpose()
}

fn open(path: &Path) -> Result<Option<fs::File>, PkiError> {
    match fs::File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

fn text(file: fs::File, path: &Path) -> Result<String, PkiError> {
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(failed("read", path))?;
    Ok(text)
}

/// Writes a file that nobody else may read, at no moment.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), PkiError> {
    replace(path, text, SECRET).map_err(failed("write", path))
}

/// Writes a file that everybody may read.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), PkiError> {
    replace(path, text, PUBLIC).map_err(failed("write", path))
}

/// Writes beside it, synchronises, and renames: after a loss of power there is the old file or the new one.
fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let aside = path.with_extension("new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _removed_or_absent => {}
    }
    let mut file = fs::File::options().write(true).create_new(true).mode(mode).open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    fs::File::open(path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Makes what was removed from a directory stay removed.
pub(crate) fn synchronise(dir: &Path) -> Result<(), PkiError> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("synchronise", dir))
}
