//! `Store` over either backend.

use async_trait::async_trait;
use sqlx::SqlStr;

use super::commit::Batch;
use super::read;
use super::session::Session;
use super::table::{self, Dialect, Kind, Statements, Table, made};
use crate::change::{Change, Key};
use crate::error::{Result, StoreError};
use crate::rows::{CallRecord, Node};
use crate::store::{CallQuery, Committed, Contents, FeedEntry, FeedPosition, Store, Tuning, Watch};

/// What differs between the databases.
#[async_trait]
pub(crate) trait Backend: Send + Sync + 'static {
    const DIALECT: Dialect;

    /// A transaction that may write.
    async fn begin_write(&self) -> Result<Session>;

    /// A transaction that shows one moment.
    async fn begin_read(&self) -> Result<Session>;

    /// Called when a batch with a feed entry is on disk.
    fn announce(&self);

    fn watch(&self) -> Watch;

    async fn close(&self);
}

/// A store: a backend and its statements.
pub(crate) struct Database<B> {
    backend: B,
    catalog: Catalog,
}

/// The statements of a dialect.
pub(crate) struct Catalog {
    pub(crate) dialect: Dialect,
    pub(crate) feed_keep: u64,
    pub(crate) clear_bindings: SqlStr,
    pub(crate) bindings_of_lines: SqlStr,
    pub(crate) feed_since: SqlStr,
    tables: Vec<(&'static str, Statements)>,
}

impl<B: Backend> Database<B> {
    pub(crate) fn new(backend: B, tuning: Tuning) -> Database<B> {
        Database { backend, catalog: Catalog::new(B::DIALECT, tuning.feed_keep) }
    }
}

impl Catalog {
    fn new(dialect: Dialect, feed_keep: u64) -> Catalog {
        let tables = [
            &table::SITE,
            &table::LINE,
            &table::NUMBER,
            &table::TRUNK,
            &table::ROUTE,
            &table::BINDING,
            &table::CALL_RECORD,
            &table::NODE,
            &table::DEVICE,
            &table::POOL,
            &table::REGION,
            &table::REGION_BLOCK,
            &table::PREFIX_ALLOCATION,
            &table::ACCOUNT,
            &table::LEASE,
            &table::SIGHTING,
            &table::ALARM,
        ];
        let rows = dialect.rows();
        let lines = format!("(SELECT {} FROM {rows})", dialect.cells(&[("line", Kind::Int)]));
        let position = dialect.cells(&[("node", Kind::Text), ("seq", Kind::Int)]);
        let tables: Vec<(&str, Statements)> =
            tables.into_iter().map(|table| (table.name, Statements::of(table, dialect))).collect();
        let all_bindings =
            tables.iter().find(|(name, _)| *name == "binding").map(|(_, statements)| statements.all.as_str());
        Catalog {
            dialect,
            feed_keep,
            clear_bindings: made(format!("DELETE FROM binding WHERE line IN {lines}")),
            bindings_of_lines: made(format!("{} WHERE line IN {lines}", all_bindings.unwrap_or_default())),
            feed_since: made(format!(
                "WITH position (node, seq) AS (SELECT {position} FROM {rows}) \
                 SELECT feed.node, feed.seq, feed.keys FROM feed LEFT JOIN position ON position.node = feed.node \
                 WHERE feed.seq > coalesce(position.seq, 0) ORDER BY feed.node, feed.seq LIMIT {FEED_PAGE}"
            )),
            tables,
        }
    }

    pub(crate) fn statements(&self, table: &Table) -> Result<&Statements> {
        let found = self.tables.iter().find(|(name, _)| *name == table.name);
        let missing =
            || StoreError::Damaged { what: table.what, reason: "its statements are missing".to_owned() };
        found.map(|(_, statements)| statements).ok_or_else(missing)
    }
}

#[async_trait]
impl<B: Backend> Store for Database<B> {
    async fn load(&self) -> Result<Contents> {
        let mut session = self.backend.begin_read().await?;
        read::load(&mut session, &self.catalog).await
    }

    async fn commit(&self, node: &str, batch: Vec<Change>) -> Result<Committed> {
        let mut batch = Batch::new(batch);
        let mut attempts = 0;
        let fed = loop {
            attempts += 1;
            let mut session = self.backend.begin_write().await?;
            let written = match batch.write(&mut session, &self.catalog, node).await {
                Ok(fed) => session.commit().await.map(|()| fed),
                Err(error) => Err(error),
            };
            match written {
                Err(StoreError::Conflict { .. }) if attempts < ATTEMPTS => batch.reset(),
                written => break written?,
            }
        };
        if fed {
            self.backend.announce();
        }
        Ok(batch.into_committed())
    }

    async fn settle(&self, node: &str) -> Result<()> {
        let mut session = self.backend.begin_write().await?;
        if B::DIALECT == Dialect::Postgres {
            // The row is locked by every batch of the node until it is through or undone.
            session.fetch("SELECT seq FROM feed_head WHERE node = $1 FOR UPDATE", [node.into()]).await?;
        }
        session.commit().await
    }

    async fn changes_since(&self, position: &FeedPosition) -> Result<(Vec<FeedEntry>, FeedPosition)> {
        let mut session = self.backend.begin_read().await?;
        read::changes_since(&mut session, &self.catalog, position).await
    }

    async fn read_back(&self, keys: &[Key]) -> Result<Vec<Change>> {
        let mut session = self.backend.begin_read().await?;
        read::read_back(&mut session, &self.catalog, keys).await
    }

    async fn call_records(&self, query: &CallQuery) -> Result<Vec<CallRecord>> {
        let mut session = self.backend.begin_read().await?;
        read::call_records(&mut session, query).await
    }

    async fn call_record(&self, id: &str) -> Result<Option<CallRecord>> {
        let mut session = self.backend.begin_read().await?;
        read::call_record(&mut session, &self.catalog, id).await
    }

    async fn nodes(&self) -> Result<Vec<Node>> {
        let mut session = self.backend.begin_read().await?;
        let mut nodes: Vec<Node> = read::all(&mut session, &self.catalog).await?;
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(nodes)
    }

    fn watch(&self) -> Watch {
        self.backend.watch()
    }

    async fn close(&self) {
        self.backend.close().await;
    }
}

/// How many batches a reader takes at once.
const FEED_PAGE: usize = 128;
/// How often a batch is tried that met another node's in the database.
const ATTEMPTS: usize = 5;
