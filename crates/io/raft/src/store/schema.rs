//! The layout of the database and its migrations.

use std::{ffi::CStr, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::error::OpenError;

/// The database file in the directory.
pub(crate) const FILE: &str = "raft.sqlite";

/// Its write-ahead log.
pub(crate) const LOG_FILE: &str = "raft.sqlite-wal";

/// Marks the file as ours: "ACPR".
const APPLICATION_ID: i64 = 0x4143_5052;

/// One migration for each layout, oldest first; the number of them is the layout written. A released one never changes.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE log (
        idx   INTEGER PRIMARY KEY,
        bytes BLOB NOT NULL,
        sum   BLOB NOT NULL
    ) STRICT;
    CREATE TABLE fact (
        name  TEXT PRIMARY KEY,
        bytes BLOB NOT NULL,
        sum   BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE part (
        id    INTEGER NOT NULL,
        part  INTEGER NOT NULL,
        bytes BLOB NOT NULL,
        sum   BLOB NOT NULL,
        PRIMARY KEY (id, part)
    ) STRICT;
"];

/// How long a statement waits for another connection. There is none but an operator's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the database, creating or migrating it. Until [`trust`] is called, closing the connection leaves the write-ahead log
/// as it is: a database that turns out to be damaged is not to be tidied.
pub(crate) fn open(vfs: &CStr, path: &Path) -> Result<Connection, OpenError> {
    let opening = || OpenError::sqlite(path, "open the log");
    let mut connection = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs).map_err(opening())?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(opening())?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(opening())?;
    check_owner(&connection, path)?;
    let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 16777216; \
                 PRAGMA cache_size = -2000;";
    connection.execute_batch(setup).map_err(OpenError::sqlite(path, "set up the log"))?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// What was found is believed: from now on closing the database empties its write-ahead log.
pub(crate) fn trust(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let trusted = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
    trusted.map(drop).map_err(OpenError::sqlite(path, "set up the log"))
}

/// Moves all of the write-ahead log into the database file, synchronises that, and empties the log: whatever was read is on
/// stable storage even if its synchronisation had failed, and what a failed commit left is gone.
pub(crate) fn settle(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let moving = || OpenError::sqlite(path, "move the write-ahead log into the database");
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(moving())?;
    if busy == 0 {
        return Ok(());
    }
    Err(OpenError::Store {
        doing: "move the write-ahead log into the database",
        reason: "somebody else has it open".into(),
    })
}

fn pragma(connection: &Connection, path: &Path, name: &'static str) -> Result<i64, OpenError> {
    let value = connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
    value.map_err(OpenError::sqlite(path, "read the log's layout"))
}

fn check_owner(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    let tables = tables.map_err(OpenError::sqlite(path, "read the log"))?;
    if tables > 0 && pragma(connection, path, "application_id")? != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found = pragma(connection, path, "user_version")?;
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for (migration, layout) in MIGRATIONS.iter().zip(1_i64..).skip(done) {
        let step = format!(
            "BEGIN IMMEDIATE; {migration} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {layout}; COMMIT;"
        );
        connection.execute_batch(&step).map_err(OpenError::sqlite(path, "migrate the log"))?;
        tracing::info!(layout, "the log's database was migrated");
    }
    Ok(())
}
