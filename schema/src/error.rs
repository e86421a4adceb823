//! What can go wrong between us and the store.

use std::path::PathBuf;
use std::sync::Arc;

use crate::rows::InvalidRow;

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A field is not valid.
    #[error(transparent)]
    Invalid(#[from] InvalidRow),
    /// Another row has what must be unique.
    #[error("{what} {key} is already in use")]
    Duplicate {
        /// What must be unique: `site code`.
        what: &'static str,
        /// Its value.
        key: String,
    },
    /// The row does not exist.
    #[error("there is no {what} {key}")]
    Missing {
        /// The kind of row: `site`.
        what: &'static str,
        /// Its key.
        key: String,
    },
    /// Other rows refer to the one that was to be removed.
    #[error("{what} {key} still has {count} {by}: remove them first")]
    StillReferenced {
        /// The kind of row: `site`.
        what: &'static str,
        /// Its name.
        key: String,
        /// How many rows refer to it.
        count: i64,
        /// Their kind: `lines`.
        by: &'static str,
    },
    /// The database refused the row for another reason.
    #[error("the database refused the row: {reason}")]
    Refused {
        /// In the database's words.
        reason: String,
    },
    /// The database cannot be reached, or cannot write. What was being committed may or may not be on disk.
    #[error("the database is away: {source}")]
    Away {
        /// Why.
        source: Arc<sqlx::Error>,
    },
    /// Two nodes got in each other's way; nothing was written, and the same batch may be tried again.
    #[error("two nodes changed the same rows at once: {source}")]
    Conflict {
        /// In the database's words.
        source: Arc<sqlx::Error>,
    },
    /// The database does not understand us, or we do not understand it.
    #[error("the database and this program do not fit: {source}")]
    Database {
        /// Why.
        source: Arc<sqlx::Error>,
    },
    /// A stored row cannot be read.
    #[error("a stored {what} cannot be read: {reason}")]
    Damaged {
        /// The kind of row.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The feed no longer holds what the reader has not seen: load everything again.
    #[error("the change feed of node {node} no longer reaches back far enough: load everything again")]
    FeedPruned {
        /// Whose feed.
        node: String,
    },
    /// Another process writes to the file.
    #[error("{} is in use by {holder}", path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
        /// `process 4711`, or `another process`.
        holder: String,
    },
    /// The database file cannot be opened.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The migrations could not be run.
    #[error("the database cannot be brought to this program's version: {source}")]
    Migrate {
        /// Why.
        source: Arc<sqlx::migrate::MigrateError>,
    },
    /// The address of the store is none that we know.
    #[error("store {url:?} is not understood: use sqlite:/path/to/file.db or postgres://user@host/database")]
    BadUrl {
        /// What was given, without a password.
        url: String,
    },
}

/// What the store's verbs give.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

impl StoreError {
    /// Whether one change of a batch is at fault, so that its mates can do without it.
    pub(crate) fn is_callers_mistake(&self) -> bool {
        matches!(
            self,
            StoreError::Invalid(_)
                | StoreError::Duplicate { .. }
                | StoreError::Missing { .. }
                | StoreError::StillReferenced { .. }
                | StoreError::Refused { .. }
        )
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        let source = Arc::new(error);
        match &*source {
            E::Database(refusal) => {
                let code = refusal.code().unwrap_or_default();
                let verdict = if refusal.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
                    sqlite_verdict(code.parse().unwrap_or_default())
                } else {
                    postgres_verdict(&code)
                };
                match verdict {
                    Verdict::Refused => StoreError::Refused { reason: refusal.message().to_owned() },
                    Verdict::Conflict => StoreError::Conflict { source },
                    Verdict::Away => StoreError::Away { source },
                    Verdict::Bug => StoreError::Database { source },
                }
            }
            E::Io(_)
            | E::Tls(_)
            | E::Protocol(_)
            | E::PoolTimedOut
            | E::PoolClosed
            | E::WorkerCrashed
            | E::BeginFailed => StoreError::Away { source },
            _ => StoreError::Database { source },
        }
    }
}

enum Verdict {
    Refused,
    Conflict,
    Away,
    Bug,
}

/// The low byte of SQLite's result code: <https://www.sqlite.org/rescode.html>.
fn sqlite_verdict(code: i64) -> Verdict {
    match code & 0xff {
        // SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH
        18..=20 => Verdict::Refused,
        // BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL
        5 | 6 | 7 | 8 | 10 | 13 | 14 | 15 => Verdict::Away,
        _ => Verdict::Bug,
    }
}

/// The class of PostgreSQL's SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn postgres_verdict(code: &str) -> Verdict {
    match code.get(..2).unwrap_or_default() {
        // Data exception, integrity constraint violation, program limit exceeded (an index entry too large).
        "22" | "23" | "54" => Verdict::Refused,
        // Serialization failure, deadlock.
        "40" => Verdict::Conflict,
        // Connection, authorization (while it fails over), read-only transaction, resources, operator, system, internal.
        "08" | "28" | "25" | "53" | "55" | "57" | "58" | "XX" => Verdict::Away,
        _ => Verdict::Bug,
    }
}
