//! What the one thread does that has the database open.
//!
//! Each row carries a checksum over what it is and what it holds, so that a changed, moved or swapped row is found and named.
//! After a write has failed, nothing more is done: whoever wants to go on opens the database again, which first puts what is
//! there on stable storage.

use std::{
    collections::BTreeSet,
    ffi::CStr,
    path::{Path, PathBuf},
};

use acp_base::Uid;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::schema;
use crate::{
    error::OpenError,
    types::{Entry, LogId, SnapshotMeta, Vote},
};

/// A snapshot is stored in pieces of so many bytes, each in a transaction of its own, so that the log's flushes wait for one
/// piece at most.
const PART_BYTES: usize = 1 << 20;

/// Which facts there are, by name.
const NODE: &str = "node";
const GROUP: &str = "group";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const SNAPSHOT: &str = "snapshot";
const LEARNS: &str = "learns";

/// The snapshot that counts.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Kept {
    id: i64,
    parts: i64,
    meta: SnapshotMeta,
}

/// What an opened database holds.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) group: Option<Uid>,
    /// Whether it came to its group as a learner and no leader has called it a voter since.
    pub(crate) learns: bool,
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
    pub(crate) snapshot: Option<(SnapshotMeta, Vec<u8>)>,
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Disk {
    connection: Connection,
    path: PathBuf,
    /// Written together with whatever is written next: it only saves a restarted node from being behind for a moment.
    pub(crate) committed: Option<LogId>,
    /// The number of the last snapshot begun.
    newest: i64,
    /// Snapshots of which parts are being written: one that is taken and one that is received can overlap.
    writing: BTreeSet<i64>,
    /// Openraft purges the log while the snapshot that stands for it is still on its way to the disk. A crash in between
    /// would leave neither, so the entries stay until that snapshot is whole.
    to_purge: Option<LogId>,
    failed: bool,
}

impl Disk {
    /// Opens the database of this node and verifies every row of it.
    pub(crate) fn open(vfs: &CStr, directory: &Path, node: Uid) -> Result<(Self, Recovered), OpenError> {
        std::fs::create_dir_all(directory).map_err(OpenError::io("create the log's directory"))?;
        let path = directory.join(schema::FILE);
        acp_io_store::inspect_write_ahead_log(&path, &directory.join(schema::LOG_FILE))
            .map_err(OpenError::LogDamaged)?;
        let connection = schema::open(vfs, &path)?;
        let mut disk = Self {
            connection,
            path,
            committed: None,
            newest: 0,
            writing: BTreeSet::new(),
            to_purge: None,
            failed: false,
        };
        let recovered = disk.recover(node)?;
        schema::trust(&disk.connection, &disk.path)?;
        schema::settle(&disk.connection, &disk.path)?;
        if recovered.1 {
            disk.transact("write the log's owner", |write| write.fact(NODE, &node))?;
        }
        disk.tidy()?;
        Ok((disk, recovered.0))
    }

    /// Everything that is there, verified, and whether it is new.
    fn recover(&self, node: Uid) -> Result<(Recovered, bool), OpenError> {
        let owner: Option<Uid> = self.fact(NODE)?;
        if let Some(found) = owner.filter(|found| *found != node) {
            return Err(OpenError::OtherNode { path: self.path.clone(), found, node });
        }
        let purged: Option<LogId> = self.fact(PURGED)?;
        let recovered = Recovered {
            group: self.fact(GROUP)?,
            learns: self.fact(LEARNS)?.unwrap_or(false),
            vote: self.fact(VOTE)?,
            committed: self.fact(COMMITTED)?,
            last: self.verify_log(purged)?,
            purged,
            snapshot: self.snapshot()?,
        };
        let reached = recovered.last.max(recovered.snapshot.as_ref().and_then(|(meta, _)| meta.last_log_id));
        if recovered.committed > reached {
            return Err(self.damaged("the log ends before an entry that was committed"));
        }
        Ok((recovered, owner.is_none()))
    }

    fn verify_log(&self, purged: Option<LogId>) -> Result<Option<LogId>, OpenError> {
        let reading = || OpenError::sqlite(&self.path, "read the log");
        let mut statement =
            self.connection.prepare("SELECT idx, bytes, sum FROM log ORDER BY idx").map_err(reading())?;
        let mut rows = statement.query([]).map_err(reading())?;
        let mut last = purged;
        let mut before: Option<u64> = None;
        while let Some(row) = rows.next().map_err(reading())? {
            let (index, bytes, sum) = columns(row).map_err(reading())?;
            let entry = self.entry(index, &bytes, &sum)?;
            if before.is_some_and(|before| index != before + 1) {
                return Err(self.damaged(&format!("an entry before {index} is missing")));
            }
            before = Some(index);
            last = last.max(Some(entry.log_id));
        }
        Ok(last)
    }

    fn entry(&self, index: u64, bytes: &[u8], sum: &[u8]) -> Result<Entry, OpenError> {
        let what = format!("log {index}");
        if checksum(&what, bytes)[..] != *sum {
            return Err(self.damaged(&format!("entry {index} is not what was written")));
        }
        let entry: Entry = self.decode(&what, bytes)?;
        if entry.log_id.index != index {
            return Err(self.damaged(&format!("entry {index} says it is entry {}", entry.log_id.index)));
        }
        Ok(entry)
    }

    /// Entries from one index up to before another, in order, until they are so many bytes, at least one if there is one;
    /// and whether these are all.
    pub(crate) fn entries(&self, from: u64, to: u64, bytes_max: usize) -> Result<(Vec<Entry>, bool), OpenError> {
        let reading = || OpenError::sqlite(&self.path, "read the log");
        let query = "SELECT idx, bytes, sum FROM log WHERE idx >= ?1 AND idx < ?2 ORDER BY idx";
        let mut statement = self.connection.prepare_cached(query).map_err(reading())?;
        let mut rows = statement.query(params![to_sql(from), to_sql(to)]).map_err(reading())?;
        let (mut entries, mut size) = (Vec::new(), 0);
        while let Some(row) = rows.next().map_err(reading())? {
            let (index, bytes, sum) = columns(row).map_err(reading())?;
            entries.push(self.entry(index, &bytes, &sum)?);
            size += bytes.len();
            if size >= bytes_max {
                return Ok((entries, false));
            }
        }
        Ok((entries, true))
    }

    /// The snapshot that counts.
    pub(crate) fn snapshot(&self) -> Result<Option<(SnapshotMeta, Vec<u8>)>, OpenError> {
        let reading = || OpenError::sqlite(&self.path, "read the snapshot");
        let Some(kept) = self.fact::<Kept>(SNAPSHOT)? else { return Ok(None) };
        let query = "SELECT part, bytes, sum FROM part WHERE id = ?1 ORDER BY part";
        let mut statement = self.connection.prepare_cached(query).map_err(reading())?;
        let mut rows = statement.query([kept.id]).map_err(reading())?;
        let (mut image, mut parts) = (Vec::new(), 0);
        while let Some(row) = rows.next().map_err(reading())? {
            let (part, bytes, sum) = columns(row).map_err(reading())?;
            if to_sql(part) != parts || checksum(&format!("part {} {part}", kept.id), &bytes)[..] != sum {
                return Err(self.damaged(&format!("part {parts} of the snapshot is not what was written")));
            }
            image.extend_from_slice(&bytes);
            parts += 1;
        }
        if parts != kept.parts {
            return Err(self.damaged("a part of the snapshot is missing"));
        }
        Ok(Some((kept.meta, image)))
    }

    /// Appends encoded entries. When this returns they are on stable storage, all of them.
    pub(crate) fn append(&mut self, rows: &[(u64, Vec<u8>)]) -> Result<(), OpenError> {
        self.transact("store entries", |write| {
            let insert = "INSERT OR REPLACE INTO log (idx, bytes, sum) VALUES (?1, ?2, ?3)";
            let mut statement = write.0.prepare_cached(insert)?;
            for (index, bytes) in rows {
                statement.execute(params![to_sql(*index), bytes, checksum(&format!("log {index}"), bytes)])?;
            }
            Ok(())
        })
    }

    pub(crate) fn save_vote(&mut self, vote: &Vote) -> Result<(), OpenError> {
        self.transact("store a vote", |write| write.fact(VOTE, vote))
    }

    pub(crate) fn adopt(&mut self, group: Uid) -> Result<(), OpenError> {
        self.transact("store the group", |write| {
            write.fact(LEARNS, &true)?;
            write.fact(GROUP, &group)
        })
    }

    /// Its leader calls it a voter.
    pub(crate) fn has_learned(&mut self) -> Result<(), OpenError> {
        self.transact("store that it votes", |write| write.fact(LEARNS, &false))
    }

    pub(crate) fn truncate(&mut self, from: u64) -> Result<(), OpenError> {
        self.transact("remove entries", |write| {
            write.0.execute("DELETE FROM log WHERE idx >= ?1", [to_sql(from)]).map(drop)
        })
    }

    /// Removes entries, as soon as a snapshot stands for them.
    pub(crate) fn purge(&mut self, upto: LogId) -> Result<(), OpenError> {
        let snapshot: Option<Kept> = self.fact(SNAPSHOT)?;
        if snapshot.is_none_or(|snapshot| snapshot.meta.last_log_id < Some(upto)) {
            self.to_purge = Some(upto);
            return Ok(());
        }
        self.transact("remove old entries", |write| write.purge(upto))
    }

    /// Begins to store a snapshot; answers its number, which no other has.
    pub(crate) fn begin_snapshot(&mut self) -> i64 {
        self.newest += 1;
        self.writing.insert(self.newest);
        self.newest
    }

    pub(crate) fn write_part(&mut self, id: i64, part: i64, bytes: &[u8]) -> Result<(), OpenError> {
        self.transact("store a part of a snapshot", |write| {
            let sum = checksum(&format!("part {id} {part}"), bytes);
            let insert = "INSERT OR REPLACE INTO part (id, part, bytes, sum) VALUES (?1, ?2, ?3, ?4)";
            write.0.prepare_cached(insert)?.execute(params![id, part, bytes, sum]).map(drop)
        })
    }

    /// Puts a snapshot whose parts are stored in the place of the one before, unless that covers more.
    pub(crate) fn end_snapshot(&mut self, id: i64, parts: i64, meta: SnapshotMeta) -> Result<(), OpenError> {
        self.writing.remove(&id);
        let before: Option<Kept> = self.fact(SNAPSHOT)?;
        if before.is_none_or(|before| before.meta.last_log_id <= meta.last_log_id) {
            let purge = self.to_purge.take_if(|upto| Some(*upto) <= meta.last_log_id);
            self.transact("store a snapshot", |write| {
                purge.map_or(Ok(()), |upto| write.purge(upto))?;
                write.fact(SNAPSHOT, &Kept { id, parts, meta })
            })?;
        }
        self.tidy()
    }

    /// Begins a group: its first snapshot stands for everything before.
    pub(crate) fn found(&mut self, group: Uid, meta: &SnapshotMeta, image: &[u8]) -> Result<(), OpenError> {
        self.newest += 1;
        let id = self.newest;
        self.transact("found a group", |write| {
            let insert = "INSERT INTO part (id, part, bytes, sum) VALUES (?1, ?2, ?3, ?4)";
            let mut statement = write.0.prepare_cached(insert)?;
            for (bytes, part) in image.chunks(PART_BYTES).zip(0_i64..) {
                statement.execute(params![id, part, bytes, checksum(&format!("part {id} {part}"), bytes)])?;
            }
            let parts = to_sql(parts_of(image).len() as u64);
            write.fact(SNAPSHOT, &Kept { id, parts, meta: meta.clone() })?;
            write.fact(PURGED, &meta.last_log_id)?;
            write.fact(GROUP, &group)
        })
    }

    /// Removes everything but whose log this is.
    pub(crate) fn forget(&mut self) -> Result<(), OpenError> {
        self.committed = None;
        self.transact("remove the log", |write| {
            write.0.execute_batch("DELETE FROM log; DELETE FROM part;")?;
            write.0.execute("DELETE FROM fact WHERE name <> ?1", [NODE]).map(drop)
        })
    }

    /// Removes what unfinished and replaced snapshots have left, a few parts at a time for the sake of the log's flushes.
    fn tidy(&mut self) -> Result<(), OpenError> {
        let kept = self.fact::<Kept>(SNAPSHOT)?.map_or(0, |kept| kept.id);
        let writing = self.writing.first().copied().unwrap_or(i64::MAX);
        let reading = OpenError::sqlite(&self.path, "read the snapshot");
        let newest = self.connection.query_row("SELECT coalesce(max(id), 0) FROM part", [], |row| row.get::<_, i64>(0));
        self.newest = self.newest.max(kept).max(newest.map_err(reading)?);
        let old = "SELECT EXISTS (SELECT 1 FROM part WHERE id <> ?1 AND id < ?2)";
        let is_old = |disk: &Self| disk.connection.query_row(old, [kept, writing], |row| row.get::<_, bool>(0));
        while is_old(self).map_err(OpenError::sqlite(&self.path, "read the snapshot"))? {
            self.transact("remove an old snapshot", |write| {
                let delete = "DELETE FROM part WHERE rowid IN \
                              (SELECT rowid FROM part WHERE id <> ?1 AND id < ?2 LIMIT 16)";
                write.0.execute(delete, [kept, writing]).map(drop)
            })?;
        }
        Ok(())
    }

    /// Writes what is left to write and closes the database.
    pub(crate) fn close(mut self) {
        if !self.failed
            && self.committed.is_some()
            && let Err(error) = self.transact("store what is committed", |_write| Ok(()))
        {
            tracing::warn!(%error, "the log could not note how far it was committed");
        }
        if let Err((_connection, error)) = self.connection.close() {
            tracing::warn!(%error, "the log could not be closed");
        }
    }

    fn fact<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, OpenError> {
        let query = "SELECT bytes, sum FROM fact WHERE name = ?1";
        let found = self.connection.query_row(query, [name], |row| Ok((row.get(0)?, row.get(1)?))).optional();
        let found: Option<(Vec<u8>, Vec<u8>)> = found.map_err(OpenError::sqlite(&self.path, "read the log"))?;
        let Some((bytes, sum)) = found else { return Ok(None) };
        if checksum(&format!("fact {name}"), &bytes)[..] != sum {
            return Err(self.damaged(&format!("the record {name} is not what was written")));
        }
        self.decode(name, &bytes).map(Some)
    }

    fn decode<T: DeserializeOwned>(&self, what: &str, bytes: &[u8]) -> Result<T, OpenError> {
        rmp_serde::from_slice(bytes).map_err(|error| self.damaged(&format!("{what} cannot be read ({error})")))
    }

    fn damaged(&self, what: &str) -> OpenError {
        OpenError::Damaged { path: self.path.clone(), what: what.to_owned() }
    }

    fn transact(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&Write<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), OpenError> {
        if self.failed {
            return Err(OpenError::Store { doing, reason: "a write before it failed".into() });
        }
        let committed = self.committed.take();
        let result =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|transaction| {
                let write = Write(&transaction);
                work(&write)?;
                if let Some(committed) = committed {
                    write.fact(COMMITTED, &committed)?;
                }
                transaction.commit()
            });
        self.failed = result.is_err();
        result.map_err(OpenError::sqlite(&self.path, doing))
    }
}

/// A transaction.
struct Write<'a>(&'a Connection);

impl Write<'_> {
    fn purge(&self, upto: LogId) -> rusqlite::Result<()> {
        self.fact(PURGED, &upto)?;
        self.0.execute("DELETE FROM log WHERE idx <= ?1", [to_sql(upto.index)]).map(drop)
    }

    fn fact<T: Serialize>(&self, name: &str, fact: &T) -> rusqlite::Result<()> {
        let bytes = encode(fact).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let sum = checksum(&format!("fact {name}"), &bytes);
        let insert = "INSERT OR REPLACE INTO fact (name, bytes, sum) VALUES (?1, ?2, ?3)";
        self.0.prepare_cached(insert)?.execute(params![name, bytes, sum]).map(drop)
    }
}

/// MessagePack with names, so that a field can be added.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    rmp_serde::to_vec_named(value)
}

/// The pieces in which an image is stored.
pub(crate) fn parts_of(image: &[u8]) -> std::slice::Chunks<'_, u8> {
    image.chunks(PART_BYTES)
}

fn checksum(what: &str, bytes: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(what).chain_update([0]).chain_update(bytes).finalize().into()
}

fn columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<(u64, Vec<u8>, Vec<u8>)> {
    Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?, row.get(2)?))
}

/// SQLite's integers are signed; no index comes near the difference.
fn to_sql(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}
