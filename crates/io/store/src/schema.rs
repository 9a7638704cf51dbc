//! The layout of the database and its migrations.

use std::{ffi::CStr, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::error::StoreError;

/// The database file in the store's directory.
pub(crate) const FILE: &str = "cdb.sqlite";

/// Its write-ahead log.
pub(crate) const LOG_FILE: &str = "cdb.sqlite-wal";

/// SQLite's own way to the files of this system.
pub(crate) const SYSTEM_VFS: &CStr = c"unix";

/// Marks the file as ours: "ACP1".
const APPLICATION_ID: i64 = 0x4143_5031;

/// One migration for each layout, oldest first; the number of them is the layout written. A released one never changes.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE log (
        idx     INTEGER PRIMARY KEY,
        hash    BLOB NOT NULL,
        time_ms INTEGER NOT NULL,
        bytes   BLOB NOT NULL,
        refused TEXT
    ) STRICT;
    CREATE TABLE snapshot (
        idx     INTEGER PRIMARY KEY,
        hash    BLOB NOT NULL,
        time_ms INTEGER NOT NULL,
        digest  BLOB NOT NULL,
        bytes   BLOB NOT NULL
    ) STRICT;
    CREATE TABLE base (
        id      INTEGER PRIMARY KEY CHECK (id = 1),
        idx     INTEGER NOT NULL,
        hash    BLOB NOT NULL,
        time_ms INTEGER NOT NULL
    ) STRICT;
    INSERT INTO base VALUES (1, 0, zeroblob(32), 0);
"];

/// How long a statement waits for the other connection. Readers and writer do not block each other in WAL mode; what remains
/// is recovery after a crash and checkpoints.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the database for writing, creating or migrating it. Until [`trust`] is called, closing the connection leaves the
/// write-ahead log as it is: a database that turns out to be damaged is not to be tidied.
pub(crate) fn open_writer(vfs: &CStr, directory: &Path) -> Result<Connection, StoreError> {
    let opening = || StoreError::sqlite("open the database");
    let path = directory.join(FILE);
    let opened = Connection::open_with_flags_and_vfs(&path, OpenFlags::default(), vfs);
    let mut connection = opened.map_err(opening())?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(opening())?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(opening())?;
    check_owner(&connection, &path)?;
    let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 16777216; \
                 PRAGMA cache_size = -2000; PRAGMA foreign_keys = ON;";
    connection.execute_batch(setup).map_err(StoreError::sqlite("set up the database"))?;
    migrate(&mut connection, &path)?;
    Ok(connection)
}

/// What was found is believed: from now on closing the database empties its write-ahead log.
pub(crate) fn trust(connection: &Connection) -> Result<(), StoreError> {
    let trusted = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
    trusted.map(drop).map_err(StoreError::sqlite("set up the database"))
}

/// Moves all of the write-ahead log into the database file, synchronises that, and empties the log: a new generation begins,
/// and whatever was read from the log is on stable storage even if it never was synchronised there.
pub(crate) fn begin_generation(connection: &Connection) -> Result<(), StoreError> {
    let moving = || StoreError::sqlite("move the write-ahead log into the database");
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(moving())?;
    if busy != 0 {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(moving()(rusqlite::Error::SqliteFailure(busy, None)));
    }
    Ok(())
}

/// Opens the database, which the writer has opened before, for reading.
pub(crate) fn open_reader(vfs: &CStr, directory: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(directory.join(FILE), flags, vfs);
    let connection = connection.map_err(StoreError::sqlite("open the database for reading"))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(StoreError::sqlite("open the database for reading"))?;
    connection.execute_batch("PRAGMA cache_size = -1000;").map_err(StoreError::sqlite("set up the database"))?;
    Ok(connection)
}

fn pragma(connection: &Connection, name: &'static str) -> Result<i64, StoreError> {
    let value = connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
    value.map_err(StoreError::sqlite("read the database's layout"))
}

fn check_owner(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    let tables = tables.map_err(StoreError::sqlite("read the database"))?;
    if tables > 0 && pragma(connection, "application_id")? != APPLICATION_ID {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found = pragma(connection, "user_version")?;
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for (migration, layout) in MIGRATIONS.iter().zip(1_i64..).skip(done) {
        let step = format!(
            "BEGIN IMMEDIATE; {migration} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {layout}; COMMIT;"
        );
        connection.execute_batch(&step).map_err(StoreError::sqlite("migrate the database"))?;
        tracing::info!(layout, "database migrated");
    }
    Ok(())
}
