//! The engine that many nodes share.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::db::session::Session;
use crate::db::table::Dialect;
use crate::db::{Backend, Database};
use crate::error::{Result, StoreError};
use crate::store::{CLOSED, Store, Tuning, Watch};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Connects, and brings the database to this program's version.
pub(crate) async fn open(url: &str, tuning: Tuning) -> Result<Arc<dyn Store>> {
    let options: PgConnectOptions = url.parse().map_err(|_| {
        // Not the URL itself: it may hold a password.
        StoreError::BadUrl { url: "postgres://…".to_owned() }
    })?;
    let options = options.application_name("centrex6");
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(tuning.connect_timeout)
        .after_connect(|connection, _| {
            Box::pin(async move {
                // What a node began and could not end must not hold its locks for long.
                sqlx::query("SET idle_in_transaction_session_timeout = '30s'")
                    .execute(connection)
                    .await
                    .map(|_| ())
            })
        })
        .connect_with(options)
        .await?;
    MIGRATIONS.run(&pool).await.map_err(|source| StoreError::Migrate { source: Arc::new(source) })?;
    let (pulse, _) = watch::channel(0);
    let listener = tokio::spawn(listen(pool.clone(), pulse.clone()));
    let backend = Postgres { pool, pulse, every: tuning.look_every, listener };
    Ok(Arc::new(Database::new(backend, tuning)))
}

struct Postgres {
    pool: PgPool,
    pulse: watch::Sender<u64>,
    every: Duration,
    listener: JoinHandle<()>,
}

#[async_trait]
impl Backend for Postgres {
    const DIALECT: Dialect = Dialect::Postgres;

    async fn begin_write(&self) -> Result<Session> {
        Ok(Session::Postgres(self.pool.begin().await?))
    }

    async fn begin_read(&self) -> Result<Session> {
        Ok(Session::Postgres(self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?))
    }

    /// NOTIFY comes back to us as to everybody.
    fn announce(&self) {}

    fn watch(&self) -> Watch {
        Watch::new(self.pulse.subscribe(), self.every)
    }

    async fn close(&self) {
        self.listener.abort();
        self.pulse.send_replace(CLOSED);
        self.pool.close().await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Turns notifications into pulses. What was missed while the connection was gone is not sent again, so each connection begins with one.
async fn listen(pool: PgPool, pulse: watch::Sender<u64>) {
    let mut healthy = true;
    loop {
        let error = match hear(&pool, &pulse, &mut healthy).await {
            Ok(()) | Err(sqlx::Error::PoolClosed) => return,
            Err(error) => error,
        };
        if healthy {
            warn!(%error, "the change feed's connection is gone; changes of other nodes come late until it is back");
        }
        healthy = false;
        sleep(RECONNECT).await;
    }
}

async fn hear(pool: &PgPool, pulse: &watch::Sender<u64>, healthy: &mut bool) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen("centrex6_feed").await?;
    if !std::mem::replace(healthy, true) {
        info!("the change feed's connection is back");
    }
    loop {
        pulse.send_modify(|pulse| *pulse = (*pulse + 1) % CLOSED);
        if listener.try_recv().await?.is_none() {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        // Many batches are one reason to look.
        while listener.next_buffered().is_some() {}
    }
}

const CONNECTIONS: u32 = 6;
const RECONNECT: Duration = Duration::from_secs(1);
