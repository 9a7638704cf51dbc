//! Why the store cannot do what was asked.

use std::path::PathBuf;

use crate::rows::Anchor;

/// Why an operation of the store failed. Nothing was changed unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operator's: the file system of the store is full. A retry helps once there is room.
    #[error("there is no room left on the file system of the database: make room")]
    Full,
    /// The operator's: a newer version of ACP has been here.
    #[error(
        "{} has layout {found}, this version of ACP knows up to {known}: install the newer version again, or move the database's directory away to start an empty one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The layout found.
        found: i64,
        /// The newest layout known here.
        known: i64,
    },
    /// The operator's: the file is some other program's.
    #[error("{} is an SQLite database, but not one of ACP's: move it away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The operator's: stored bytes are not what was written.
    #[error(
        "the log does not verify at entry {index}: what is stored there is not what was written; restore the database from a backup or move it away"
    )]
    Broken {
        /// The first entry that does not chain to the one before it.
        index: u64,
    },
    /// The operator's: the snapshot is not what was written.
    #[error("the snapshot at entry {index} does not verify: restore the database from a backup or move it away")]
    SnapshotBroken {
        /// The index the snapshot stands at.
        index: u64,
    },
    /// The operator's: SQLite finds the file damaged.
    #[error("the database file is damaged: restore it from a backup or move it away")]
    Corrupt(#[source] rusqlite::Error),
    /// The operator's: what was synchronised to the write-ahead log is not what is there.
    #[error(
        "the write-ahead log {} is damaged at frame {frame}, and acknowledged entries are behind it: restore the database's directory from a backup or move it away",
        path.display()
    )]
    LogDamaged {
        /// The write-ahead log.
        path: PathBuf,
        /// The first damaged frame, from 1; 0 is the file's header.
        frame: u64,
    },
    /// The operator's: the log does not reach, or does not hold, an entry that was on stable storage.
    #[error(
        "the database ends at entry {last} and does not hold entry {index}, which was stored here: restore a newer backup, or, if an older database was put here on purpose, remove {}",
        witness.display()
    )]
    Shorter {
        /// The last entry.
        last: u64,
        /// The entry that was stored.
        index: u64,
        /// The file that says so.
        witness: PathBuf,
    },
    /// The caller's: entries that far back have been removed by retention.
    #[error("entries before {first} are no longer kept")]
    Compacted {
        /// The first entry kept.
        first: u64,
    },
    /// The caller's: the state at an index that far back cannot be had any more.
    #[error("what was before entry {} is no longer kept", anchor.index)]
    BeforeAnchor {
        /// The oldest position at which the state can be had.
        anchor: Anchor,
    },
    /// The caller's defect: a batch that does not follow the last entry.
    #[error("entry {found} was to be stored where entry {expected} is due")]
    OutOfOrder {
        /// The next index.
        expected: u64,
        /// The index given.
        found: u64,
    },
    /// The disk or the file system failed. A failed append counts for nothing as long as the store is open; whether it is
    /// stored, the next open tells. A retry helps once the disk works.
    #[error("cannot {doing}")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The operator's: the directory or a file in it cannot be used.
    #[error("cannot {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The store's thread has ended.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// A failure of SQLite while `doing` something, told apart by whom it concerns.
    pub(crate) fn sqlite(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => Self::Corrupt(source),
            _ => Self::Sqlite { doing, source },
        }
    }

    pub(crate) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// Whether stored data is lost, so that a restart cannot help.
    pub const fn is_data_loss(&self) -> bool {
        matches!(
            self,
            Self::Broken { .. }
                | Self::SnapshotBroken { .. }
                | Self::Corrupt(_)
                | Self::LogDamaged { .. }
                | Self::Shorter { .. }
        )
    }
}
