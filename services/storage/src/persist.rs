//! What the daemon must not forget, besides its jobs: which pools were prepared, which image files are to be removed.
//!
//! Each fact is an empty or tiny file that appears by rename, so that it is there whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use acp_base::{Name, Uid};
use acp_io_failpoint::point;

/// Characters of a file that is not understood which an error shows.
const SHOWN_CHARS: usize = 40;

/// The daemon's records. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Records(Arc<Paths>);

#[derive(Debug)]
struct Paths {
    prepared: PathBuf,
    removals: PathBuf,
}

impl Records {
    /// Opens the records below the daemon's state directory; makes what is missing.
    pub(crate) fn open(state: &Path) -> io::Result<Self> {
        let paths = Paths { prepared: state.join("prepared"), removals: state.join("removals") };
        for directory in [&paths.prepared, &paths.removals] {
            fs::create_dir_all(directory)?;
            remove_unfinished(directory)?;
        }
        let records = Self(Arc::new(paths));
        // What is planned there must be understood before anything is decided.
        records.removals()?;
        Ok(records)
    }

    /// Whether this pool's directory was marked before.
    pub(crate) fn is_prepared(&self, pool: Uid) -> bool {
        self.0.prepared.join(pool.to_string()).exists()
    }

    /// Remembers that this pool's directory is marked. That it cannot be remembered is no error of the pool: a missing
    /// mount is then found less surely.
    pub(crate) fn set_prepared(&self, pool: Uid) {
        if self.is_prepared(pool) {
            return;
        }
        if let Err(error) = write(&self.0.prepared, &pool.to_string(), "") {
            tracing::warn!(%pool, %error, "cannot record that a pool was prepared");
        }
    }

    /// Forgets a pool that is declared no more.
    pub(crate) fn forget_pool(&self, pool: Uid) {
        forget(&self.0.prepared, &pool.to_string());
    }

    /// Remembers that an image's file is to be removed once its object is gone; durable when it returns.
    pub(crate) fn plan_removal(&self, image: Uid, pool: &Name) -> io::Result<()> {
        write(&self.0.removals, &image.to_string(), pool.as_str())
    }

    /// The removal is done, or was called off.
    pub(crate) fn forget_removal(&self, image: Uid) {
        forget(&self.0.removals, &image.to_string());
    }

    /// The removals that were planned and not done, with the images' pools.
    pub(crate) fn removals(&self) -> io::Result<Vec<(Uid, Name)>> {
        let mut removals = Vec::new();
        for entry in fs::read_dir(&self.0.removals)? {
            let entry = entry?;
            // Anything else here is what a crash left of an unfinished record.
            let Ok(image) = Uid::from_str(&entry.file_name().to_string_lossy()) else { continue };
            let text = String::from_utf8_lossy(&fs::read(entry.path())?).into_owned();
            removals.push((image, text.parse().map_err(|_not_a_name| unknown(&entry.path(), &text))?));
        }
        Ok(removals)
    }
}

/// This version's record of a removal is a pool's name and nothing else; a newer version's will not be one.
fn unknown(path: &Path, text: &str) -> io::Error {
    let shown: String = text.chars().take(SHOWN_CHARS).collect();
    let sentence = format!(
        "{} holds {shown:?} and not a pool's name, which is all that this version of ACP (layout 1) knows: install the newer version again, or move the file away",
        path.display()
    );
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

/// Removes what an earlier daemon was writing when it ended.
fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// After an error the fact may stand or not; nothing else is left.
fn write(directory: &Path, name: &str, text: &str) -> io::Result<()> {
    let aside = directory.join(format!("{name}.new"));
    let written = replace(directory, name, &aside, text);
    if written.is_err() && aside.exists() {
        fs::remove_file(&aside)?;
    }
    written
}

fn replace(directory: &Path, name: &str, aside: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    point("storage.record.aside-written")?;
    fs::rename(aside, directory.join(name))?;
    point("storage.record.renamed")?;
    File::open(directory)?.sync_all()
}

fn forget(directory: &Path, name: &str) {
    match fs::remove_file(directory.join(name)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(name, %error, "a record cannot be removed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_of_a_newer_version_is_refused_and_left_alone() {
        let state = tempfile::tempdir().expect("a temporary directory");
        Records::open(state.path()).expect("opens");
        let path = state.path().join("removals").join(Uid::from_u128(2).to_string());
        for text in ["version 2: default", "", "{\"version\":2}"] {
            fs::write(&path, text).expect("written");
            let error = Records::open(state.path()).expect_err("not understood");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("kept"), text);
        }
    }

    #[test]
    fn records_outlive_their_daemon() {
        let state = tempfile::tempdir().expect("a temporary directory");
        let (pool, image) = (Uid::from_u128(1), Uid::from_u128(2));
        let name: Name = "default".parse().expect("a name");
        let records = Records::open(state.path()).expect("opens");
        assert!(!records.is_prepared(pool));
        records.set_prepared(pool);
        records.plan_removal(image, &name).expect("stored");
        fs::write(state.path().join("removals/half.new"), "x").expect("a torn write");
        let records = Records::open(state.path()).expect("opens");
        assert!(records.is_prepared(pool));
        assert_eq!(records.removals().expect("readable"), [(image, name)]);
        records.forget_removal(image);
        records.forget_pool(pool);
        assert!(records.removals().expect("readable").is_empty());
        assert!(!records.is_prepared(pool));
    }
}
