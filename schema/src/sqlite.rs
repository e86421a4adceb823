//! The embedded default: one file, one process, one writing connection.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqlitePool};
use tokio::sync::watch;

use crate::db::session::Session;
use crate::db::table::Dialect;
use crate::db::{Backend, Database};
use crate::error::{Result, StoreError};
use crate::store::{CLOSED, Store, Tuning, Watch};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Opens the file, and makes it when there is none.
pub(crate) async fn open(path: &Path, tuning: Tuning) -> Result<Arc<dyn Store>> {
    let backend = open_file(path, &tuning).await?;
    Ok(Arc::new(Database::new(backend, tuning)))
}

async fn open_file(path: &Path, tuning: &Tuning) -> Result<Sqlite> {
    let lock = take(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT);
    let unopened = |error: sqlx::Error| StoreError::File { path: path.to_owned(), reason: error.to_string() };
    // One connection writes, so that writers queue here instead of failing on the file's lock.
    let writer = pool(1);
    let writer = writer.connect_with(options.clone()).await.map_err(unopened)?;
    MIGRATIONS.run(&writer).await.map_err(|source| StoreError::Migrate { source: Arc::new(source) })?;
    let readers = pool(READERS);
    let readers = readers.connect_lazy_with(options.pragma("query_only", "on"));
    let (pulse, _) = watch::channel(0);
    Ok(Sqlite { writer, readers, pulse, every: tuning.look_every, _lock: lock })
}

/// Connections that live as long as the file serves them.
///
/// Where the disk is full or fails, SQLite itself may end a transaction. sqlx then rolls back what is not there, fails, and takes the
/// connection to be in a transaction for ever: such a one is closed, and another takes its place.
fn pool(connections: u32) -> SqlitePoolOptions {
    let options = SqlitePoolOptions::new().max_connections(connections);
    options
        .idle_timeout(None)
        .max_lifetime(None)
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
}

struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
    pulse: watch::Sender<u64>,
    every: Duration,
    _lock: File,
}

#[async_trait]
impl Backend for Sqlite {
    const DIALECT: Dialect = Dialect::Sqlite;

    async fn begin_write(&self) -> Result<Session> {
        Ok(Session::Sqlite(self.writer.begin_with("BEGIN IMMEDIATE").await?))
    }

    async fn begin_read(&self) -> Result<Session> {
        Ok(Session::Sqlite(self.readers.begin().await?))
    }

    fn announce(&self) {
        self.pulse.send_modify(|pulse| *pulse = (*pulse + 1) % CLOSED);
    }

    fn watch(&self) -> Watch {
        Watch::new(self.pulse.subscribe(), self.every)
    }

    async fn close(&self) {
        self.pulse.send_replace(CLOSED);
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Locks a file beside the database, with our process id in it, for as long as the handle lives.
///
/// The database's own lock would do for safety, but it is only held while something is written, and it does not tell who holds it.
fn take(path: &Path) -> Result<File> {
    let beside = path.with_added_extension("lock");
    let failed = |error: std::io::Error| StoreError::File { path: beside.clone(), reason: error.to_string() };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&beside)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Whoever holds the lock may not have written its id yet.
            let read = file.take(32).read_to_string(&mut holder);
            let holder = match holder.trim().parse::<u32>() {
                Ok(process) if read.is_ok() => format!("process {process}"),
                _ => "another process".to_owned(),
            };
            return Err(StoreError::InUse { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed)?;
    Ok(file)
}

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_disk_is_not_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = open_file(&folder.path().join("full.db"), &Tuning::default()).await.unwrap();
        let mut session = sqlite.begin_write().await.unwrap();
        session.execute("CREATE TABLE ballast (bytes BLOB)", []).await.unwrap();
        session.commit().await.unwrap();
        let fill = "INSERT INTO ballast VALUES (zeroblob(1000000))";

        let mut session = sqlite.begin_write().await.unwrap();
        session.execute("PRAGMA max_page_count = 1", []).await.unwrap();
        assert!(session.execute(fill, []).await.is_err());
        drop(session);

        let mut session = sqlite.begin_write().await.unwrap();
        session.execute(fill, []).await.unwrap();
        session.commit().await.unwrap();
    }
}
