//! A few bytes beside the database that say how far it had come.
//!
//! A write-ahead log that is missing, cut off or damaged near its end looks to SQLite like one that was never longer. The
//! witness is a second opinion: the index and hash of an entry that was on stable storage, in a file of its own. At open the
//! log must reach at least that entry.
//!
//! It follows the log with a lag of [`LAG`], so that no commit waits for it; entries younger than that are not witnessed.
//! Deliberately not here: a copy of anything. A missing witness is fine (a new database, or one restored from a backup).
//!
//! **Invariant**: the witness is never ahead of what is on stable storage.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    error::StoreError,
    rows::{Anchor, Chain},
};

/// The witness's file in the store's directory.
pub(crate) const FILE: &str = "cdb.witness";

/// The layout written. Higher ones are refused.
const VERSION: i64 = 1;

/// How long after a commit its entry is witnessed at the latest, and how often the file is written at most: rare enough to
/// cost a disk nothing, and an operator notices the loss of half a second of writes by himself.
const LAG: Duration = Duration::from_millis(500);

/// What the witness says; `None` if there is none. A damaged one is set aside: it holds nothing that is needed.
pub(crate) fn read(directory: &Path, chain: Chain) -> Result<Option<(u64, [u8; 32])>, StoreError> {
    let path = directory.join(FILE);
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read the witness of the database")(error)),
    };
    let mut words = text.split_ascii_whitespace();
    let (name, version) = (words.next(), words.next().and_then(|version| version.parse::<i64>().ok()));
    let (Some("acp-witness"), Some(found)) = (name, version) else { return set_aside(&path) };
    if found > VERSION {
        return Err(StoreError::Newer { path, found, known: VERSION });
    }
    match words.next().and_then(|index| index.parse().ok()).zip(words.next().and_then(bytes)) {
        Some((index, hash)) if text == format(chain, index, &hash) => Ok(Some((index, hash))),
        _ => set_aside(&path),
    }
}

fn set_aside<T>(path: &Path) -> Result<Option<T>, StoreError> {
    tracing::error!(path = %path.display(), "the witness of the database is damaged and was set aside");
    fs::rename(path, path.with_extension("witness.damaged"))
        .map_err(StoreError::io("set the damaged witness aside"))?;
    Ok(None)
}

/// One line: name, version, index, hash, and what the chain makes of them.
fn format(chain: Chain, index: u64, hash: &[u8; 32]) -> String {
    let seal = chain(hash, format!("acp-witness {VERSION} {index}").as_bytes());
    format!("acp-witness {VERSION} {index} {} {}\n", hex(hash), hex(&seal))
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Option<[u8; 32]> {
    let pair = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(pair).collect();
    bytes?.try_into().ok()
}

fn write(directory: &Path, text: &str) -> io::Result<()> {
    let path = directory.join(FILE);
    let aside = path.with_extension("witness.new");
    let mut file = File::create(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    // The directory is not synchronised: an older witness is as true as a newer one.
    fs::rename(aside, path)
}

/// Where the witness ought to be.
#[derive(Debug, Default)]
struct Wanted {
    at: Anchor,
    closing: bool,
}

#[derive(Debug, Default)]
struct Shared {
    directory: PathBuf,
    wanted: Mutex<Wanted>,
    changed: Condvar,
    /// Held while the file is written or removed.
    file: Mutex<()>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the witness of commits. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Witness(Arc<Shared>);

impl Witness {
    /// Starts the thread that writes the witness of the store in this directory, which stands at `at`.
    pub(crate) fn start(directory: &Path, chain: Chain, at: Anchor) -> io::Result<(Self, JoinHandle<()>)> {
        let wanted = Mutex::new(Wanted { at, closing: false });
        let shared = Arc::new(Shared { directory: directory.to_owned(), wanted, ..Shared::default() });
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("cdb-witness".into()).spawn(move || run(chain, &own))?;
        Ok((Self(shared), thread))
    }

    /// The log is on stable storage up to here. Never waits for a disk.
    pub(crate) fn reached(&self, at: Anchor) {
        self.0.lock().at = at;
        self.0.changed.notify_one();
    }

    /// Removes the witness for good: what it has seen is about to be replaced. Until the next [`Self::reached`] there is none.
    pub(crate) fn forget(&self) -> Result<(), StoreError> {
        let removing = || StoreError::io("remove the witness of the database");
        let _file = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.lock().at = Anchor::default();
        match fs::remove_file(path(&self.0.directory)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(removing()(error)),
            Ok(()) | Err(_) => {}
        }
        File::open(&self.0.directory).and_then(|directory| directory.sync_all()).map_err(removing())
    }

    /// Has the last word written without delay and ends the thread.
    pub(crate) fn close(&self) {
        self.0.lock().closing = true;
        self.0.changed.notify_one();
    }
}

fn run(chain: Chain, shared: &Shared) {
    let (mut written, mut failing) = (Anchor::default(), false);
    loop {
        let is_idle = |wanted: &mut Wanted| !wanted.closing && (wanted.at == written || wanted.at.index == 0);
        let due = shared.changed.wait_while(shared.lock(), is_idle).unwrap_or_else(PoisonError::into_inner);
        let lagged = shared.changed.wait_timeout_while(due, LAG, |wanted| !wanted.closing);
        drop(lagged.unwrap_or_else(PoisonError::into_inner));
        let _file = shared.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, closing) = {
            let wanted = shared.lock();
            (wanted.at, wanted.closing)
        };
        if at.index > 0 && at != written {
            match write(&shared.directory, &format(chain, at.index, &at.hash)) {
                Ok(()) => (written, failing) = (at, false),
                // It is written again and again until it succeeds; saying so once is enough.
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "the witness of the database cannot be written");
                }
                Err(_still) => {}
            }
        }
        if closing {
            return;
        }
    }
}

/// The path of the witness, for sentences.
pub(crate) fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(before: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
        let mut hash = *before;
        for (at, byte) in bytes.iter().enumerate() {
            hash[at % 32] = hash[at % 32].wrapping_mul(31).wrapping_add(*byte).wrapping_add(1);
        }
        hash
    }

    #[test]
    fn a_witness_is_believed_whole_or_set_aside() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(read(directory.path(), chain).expect("readable"), None, "a missing one is fine");
        let good = format(chain, 7, &[9; 32]);
        write(directory.path(), &good).expect("written");
        assert_eq!(read(directory.path(), chain).expect("readable"), Some((7, [9; 32])));
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1;
            fs::write(path(directory.path()), bytes).expect("written");
            // A version that became a higher one is refused rather than set aside.
            if let Ok(said) = read(directory.path(), chain) {
                assert_eq!(said, None, "byte {at}");
                assert!(directory.path().join("cdb.witness.damaged").exists());
            }
        }
    }

    #[test]
    fn a_witness_of_a_newer_version_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(path(directory.path()), "acp-witness 2 whatever").expect("written");
        let error = read(directory.path(), chain).expect_err("newer");
        assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }), "{error:?}");
        assert!(error.to_string().contains("cdb.witness has layout 2"), "{error}");
        assert!(path(directory.path()).exists());
    }
}
