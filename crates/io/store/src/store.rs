//! The handle to the threads.

use std::{
    cmp::Ordering,
    ffi::CStr,
    fs::File,
    io,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::{
    error::StoreError,
    reader::{self, Query},
    recover::{agrees_if_kept, follow, recover},
    rows::{Anchor, Chain, Page, Recovered, Retention, Row, Snapshot, Verified},
    schema, wal,
    witness::{self, Witness},
    writer::{Command, Done, Writer},
};

/// Commands waiting for a thread. Few callers exist (a sequencer, a keeper, readers of the log); more would only hide that
/// the disk is slow.
const QUEUE_MAX: usize = 16;

/// How often a verification begins again because entries it was about to read were removed meanwhile.
const VERIFY_ATTEMPTS_MAX: usize = 3;

/// An open store. Dropping it waits until what was asked for is done and the database is closed.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    chain: Chain,
    commands: Option<mpsc::Sender<Command>>,
    queries: Option<mpsc::Sender<Query>>,
    reader: Option<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
    witness: Witness,
    witnessing: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens the store in this directory, creating what is missing, and verifies what it holds since its newest snapshot.
    /// Blocks while it does.
    ///
    /// # Errors
    /// [`StoreError::Newer`] and [`StoreError::Foreign`] for a database that is not ours to touch, the data-loss variants
    /// for one that cannot be believed, and those of the system. Files of a database that is refused stay as they are.
    pub fn open(directory: &Path, chain: Chain) -> Result<(Self, Recovered), StoreError> {
        Self::open_through(schema::SYSTEM_VFS, directory, chain)
    }

    /// Opens the store through this virtual file system of SQLite, by the name it is registered under: the seam at which a
    /// test puts a failing disk.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_through(vfs: &CStr, directory: &Path, chain: Chain) -> Result<(Self, Recovered), StoreError> {
        std::fs::create_dir_all(directory).map_err(StoreError::io("create the database's directory"))?;
        wal::inspect(&directory.join(schema::FILE), &directory.join(schema::LOG_FILE))?;
        let witnessed = witness::read(directory, chain)?;
        writable(&directory.join(schema::FILE))?;
        let writer = schema::open_writer(vfs, directory)?;
        let recovered = recover(&writer, chain)?;
        if let Some(entry) = witnessed {
            reaches(&writer, directory, &recovered, entry)?;
        }
        schema::trust(&writer)?;
        settle(&writer, directory)?;
        let reader = schema::open_reader(vfs, directory)?;
        Self::start(directory, chain, (writer, reader), &recovered).map(|store| (store, recovered))
    }

    fn start(
        directory: &Path,
        chain: Chain,
        (writer, reader): (Connection, Connection),
        recovered: &Recovered,
    ) -> Result<Self, StoreError> {
        let (commands, command_queue) = mpsc::channel(QUEUE_MAX);
        let (queries, query_queue) = mpsc::channel(QUEUE_MAX);
        let starting = || StoreError::io("start a thread for the database");
        let (witness, witnessing) = Witness::start(directory, chain, recovered.last).map_err(starting())?;
        let writer = Writer::new(writer, chain, recovered.last, witness.clone());
        let write = thread::Builder::new().name("cdb-write".into()).spawn(move || writer.run(command_queue));
        let read =
            thread::Builder::new().name("cdb-read".into()).spawn(move || reader::run(&reader, chain, query_queue));
        Ok(Self {
            directory: directory.to_owned(),
            chain,
            commands: Some(commands),
            queries: Some(queries),
            reader: Some(read.map_err(starting())?),
            writer: Some(write.map_err(starting())?),
            witness,
            witnessing: Some(witnessing),
        })
    }

    /// Stores entries that follow the last one. When this returns, they are on stable storage, or none of them is.
    ///
    /// # Errors
    /// [`StoreError::Full`] changes nothing. After [`StoreError::Sqlite`] the batch counts for nothing here and the next one
    /// takes its place; if the store ends before that, the batch may be found, whole, by the next open.
    pub async fn append(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        self.command(|done| Command::Append { rows, done }).await
    }

    /// Notes why entries were refused.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn refuse(&self, refusals: Vec<(u64, String)>) -> Result<(), StoreError> {
        self.command(|done| Command::Refuse { refusals, done }).await
    }

    /// Stores a snapshot in the place of the newest one.
    ///
    /// # Errors
    /// Those of the system; the one before is then still there.
    pub async fn snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.command(|done| Command::Snapshot { snapshot, done }).await
    }

    /// Puts this snapshot, whole and for good, in the place of everything that is stored: the log goes on from it.
    ///
    /// # Errors
    /// Those of the system; what was there is then still there.
    pub async fn reset(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.command(|done| Command::Reset { snapshot, done }).await
    }

    /// The newest entry that is beyond retention at `now_ms` and that the newest snapshot covers, if there is one.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn cut(&self, retention: Retention, now_ms: u64) -> Result<Option<Anchor>, StoreError> {
        self.query(|done| Query::Cut { retention, now_ms, done }).await
    }

    /// Makes this snapshot the anchor, from which on the state can be had: those before it go.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn set_anchor(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.command(|done| Command::Anchor { snapshot, done }).await
    }

    /// Removes entries up to and including this one, if the newest snapshot covers them; answers how many.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn trim(&self, up_to: u64) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            match self.command(|done| Command::Trim { up_to, done }).await? {
                0 => return Ok(removed),
                step => removed += step,
            }
        }
    }

    /// Entries from one index up to and including another, as many as make a page.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if `from` is no longer kept.
    pub async fn read(&self, from: u64, to: u64) -> Result<Page, StoreError> {
        self.query(|done| Query::Entries { from, to, done }).await
    }

    /// The newest snapshot that does not stand after this index, from which the log leads there; none: from its beginning.
    ///
    /// # Errors
    /// [`StoreError::BeforeAnchor`] if the state at that index cannot be had any more.
    pub async fn snapshot_before(&self, index: u64) -> Result<Option<Snapshot>, StoreError> {
        self.query(|done| Query::Before { index, done }).await
    }

    /// The oldest position at which the state can be had.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn anchor(&self) -> Result<Anchor, StoreError> {
        self.query(|done| Query::Anchor { done }).await
    }

    /// Recomputes the chain over every entry kept.
    ///
    /// # Errors
    /// Those of the system. A chain that does not verify is an answer.
    pub async fn verify(&self) -> Result<Verified, StoreError> {
        let mut attempts = 0;
        loop {
            match self.verify_once().await {
                Err(StoreError::Compacted { .. }) if attempts < VERIFY_ATTEMPTS_MAX => attempts += 1,
                other => return other,
            }
        }
    }

    /// Whether there is room for what is appended next.
    ///
    /// # Errors
    /// [`StoreError::Full`] if not.
    pub fn has_room(&self) -> Result<(), StoreError> {
        if crate::has_room(&self.directory) { Ok(()) } else { Err(StoreError::Full) }
    }

    /// Bytes of the store's files.
    pub fn bytes(&self) -> u64 {
        let files = ["", "-wal", "-shm"].map(|suffix| self.directory.join(format!("{}{suffix}", schema::FILE)));
        files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|metadata| metadata.len()).sum()
    }

    async fn verify_once(&self) -> Result<Verified, StoreError> {
        let base = self.base().await?;
        let first = base.index + 1;
        let mut last = base;
        loop {
            let page = self.read(last.index + 1, u64::MAX).await?;
            if page.rows.is_empty() {
                return Ok(Verified { first, last, broken_at: None });
            }
            for row in page.rows {
                match follow(self.chain, last, &row) {
                    Ok(next) => last = next,
                    Err(_broken) => return Ok(Verified { first, last, broken_at: Some(last.index + 1) }),
                }
            }
        }
    }

    async fn base(&self) -> Result<Anchor, StoreError> {
        self.read(u64::MAX, u64::MAX).await.map(|page| page.base)
    }

    async fn query<T>(&self, query: impl FnOnce(Done<T>) -> Query) -> Result<T, StoreError> {
        let (done, answer) = oneshot::channel();
        let queries = self.queries.as_ref().ok_or(StoreError::Closed)?;
        queries.send(query(done)).await.map_err(|_unsent| StoreError::Closed)?;
        answer.await.map_err(|_ended| StoreError::Closed)?
    }

    async fn command<T>(&self, command: impl FnOnce(Done<T>) -> Command) -> Result<T, StoreError> {
        let (done, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or(StoreError::Closed)?;
        commands.send(command(done)).await.map_err(|_unsent| StoreError::Closed)?;
        answer.await.map_err(|_ended| StoreError::Closed)?
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Without a sender a thread ends when its queue is empty. The writer's connection is closed last: only then does
        // SQLite move the write-ahead log into the database file.
        drop(self.queries.take());
        join(self.reader.take());
        drop(self.commands.take());
        join(self.writer.take());
        self.witness.close();
        join(self.witnessing.take());
    }
}

/// SQLite says of a read-only file system only that it cannot open the file.
fn writable(database: &Path) -> Result<(), StoreError> {
    match File::options().append(true).open(database) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("write the database")(error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The log must hold the entry that the witness has seen, unless compaction has removed it.
fn reaches(
    connection: &Connection,
    directory: &Path,
    recovered: &Recovered,
    (index, hash): (u64, [u8; 32]),
) -> Result<(), StoreError> {
    let last = recovered.last;
    let is_there = match index.cmp(&last.index) {
        Ordering::Less => agrees_if_kept(connection, index, hash)?,
        Ordering::Equal => hash == last.hash,
        Ordering::Greater => false,
    };
    if is_there {
        return Ok(());
    }
    Err(StoreError::Shorter { last: last.index, index, witness: witness::path(directory) })
}

/// Puts what was found on stable storage before anybody hears of it: a process may have died between writing and
/// synchronising it. A full disk leaves no room for moving it into the database; then it is synchronised where it is.
fn settle(connection: &Connection, directory: &Path) -> Result<(), StoreError> {
    match schema::begin_generation(connection) {
        Err(StoreError::Full) => {
            tracing::warn!("no room to tidy the write-ahead log: it stays as it is");
            match File::open(directory.join(schema::LOG_FILE)).and_then(|log| log.sync_all()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(StoreError::io("synchronise the write-ahead log")(error))
                }
                Ok(()) | Err(_) => Ok(()),
            }
        }
        settled => settled,
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("a thread of the database panicked");
    }
}
