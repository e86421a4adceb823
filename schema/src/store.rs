//! The `Store` trait: what every backend gives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::change::{Change, Key};
use crate::error::{Result, StoreError};
use crate::rows::{
    Account, Alarm, Binding, CallRecord, CallResult, Device, Lease, Line, LineId, Node, Number, Pool,
    PrefixAllocation, Region, RegionBlock, Route, Sighting, Site, Trunk, TrunkId,
};
use crate::{postgres, sqlite};

/// Opens a store and brings it to this program's version.
///
/// `sqlite:/path/file.db` (or just a path) is a file of this process alone; `postgres://user@host/database` is shared by many nodes.
///
/// # Errors
/// [`StoreError::BadUrl`], [`StoreError::InUse`] when another process has the file, [`StoreError::File`], [`StoreError::Migrate`],
/// [`StoreError::Away`].
pub async fn open(url: &str) -> Result<Arc<dyn Store>> {
    open_with(url, Tuning::default()).await
}

/// As [`open`], with other limits.
///
/// # Errors
/// As [`open`].
pub async fn open_with(url: &str, tuning: Tuning) -> Result<Arc<dyn Store>> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return postgres::open(url, tuning).await;
    }
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or(url);
    if path.is_empty() || path.starts_with(':') || (path == url && url.contains("://")) {
        // A URL of another kind may hold a password: show no more than its scheme.
        let url = url.split("://").next().unwrap_or_default().chars().take(32).collect();
        return Err(StoreError::BadUrl { url });
    }
    sqlite::open(path.as_ref(), tuning).await
}

/// The limits of a store.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// How many batches of a node the feed keeps for slow readers. One that is slower loads everything again.
    pub feed_keep: u64,
    /// How often a watcher looks although nobody called.
    pub look_every: Duration,
    /// How long a connection to PostgreSQL may take before the database counts as away.
    pub connect_timeout: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            feed_keep: 2048,
            look_every: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
        }
    }
}

/// What is stored, wherever it is.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Everything that a node keeps in memory, at one moment.
    ///
    /// # Errors
    /// [`StoreError::Away`], [`StoreError::Damaged`].
    async fn load(&self) -> Result<Contents>;

    /// Puts a batch on disk as one transaction. A change that is its caller's mistake fails alone; its mates are written.
    ///
    /// `node` names the writer; it must have one writer at a time.
    ///
    /// # Errors
    /// Only what fails the whole batch: [`StoreError::Away`] (then it may or may not be on disk), [`StoreError::Database`].
    async fn commit(&self, node: &str, batch: Vec<Change>) -> Result<Committed>;

    /// Waits until the store takes writes again and no earlier batch of the node is under way any more.
    ///
    /// # Errors
    /// [`StoreError::Away`].
    async fn settle(&self, node: &str) -> Result<()>;

    /// The next batches after a position, in the order of each node, and the position after them. Nothing when there is nothing new;
    /// call again until then.
    ///
    /// # Errors
    /// [`StoreError::FeedPruned`] when the position is too old: load everything again. [`StoreError::Away`].
    async fn changes_since(&self, position: &FeedPosition) -> Result<(Vec<FeedEntry>, FeedPosition)>;

    /// What is stored now under each key, as the changes that make it so: a `Put` or a `Remove`.
    ///
    /// # Errors
    /// [`StoreError::Away`], [`StoreError::Damaged`].
    async fn read_back(&self, keys: &[Key]) -> Result<Vec<Change>>;

    /// The call records that a query asks for, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Away`], [`StoreError::Damaged`].
    async fn call_records(&self, query: &CallQuery) -> Result<Vec<CallRecord>>;

    /// One call record.
    ///
    /// # Errors
    /// [`StoreError::Away`], [`StoreError::Damaged`].
    async fn call_record(&self, id: &str) -> Result<Option<CallRecord>>;

    /// Every node that was ever seen, by name.
    ///
    /// # Errors
    /// [`StoreError::Away`], [`StoreError::Damaged`].
    async fn nodes(&self) -> Result<Vec<Node>>;

    /// Tells when the feed may hold something new.
    fn watch(&self) -> Watch;

    /// Ends the connections. The store answers [`StoreError::Away`] from then on.
    async fn close(&self);
}

/// Everything that a node keeps in memory.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// All sites.
    pub sites: Vec<Site>,
    /// All lines.
    pub lines: Vec<Line>,
    /// All numbers.
    pub numbers: Vec<Number>,
    /// All trunks.
    pub trunks: Vec<Trunk>,
    /// All routes.
    pub routes: Vec<Route>,
    /// All bindings, lapsed ones too.
    pub bindings: Vec<Binding>,
    /// All devices.
    pub devices: Vec<Device>,
    /// The pool, when there is one.
    pub pools: Vec<Pool>,
    /// All regions.
    pub regions: Vec<Region>,
    /// All blocks of regions.
    pub region_blocks: Vec<RegionBlock>,
    /// All prefixes that sites have or had.
    pub prefix_allocations: Vec<PrefixAllocation>,
    /// All tunnel accounts.
    pub accounts: Vec<Account>,
    /// What the broker last saw of them.
    pub leases: Vec<Lease>,
    /// All sightings.
    pub sightings: Vec<Sighting>,
    /// All alarms, those that are over too.
    pub alarms: Vec<Alarm>,
    /// Where the feed stood at that moment.
    pub position: FeedPosition,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Committed {
    /// For each change of the batch, in order: the change as it was written, with the id that the store gave, or why it was not.
    pub outcomes: Vec<Result<Change>>,
    /// How many call records had been written before.
    pub repeated_records: usize,
}

/// How far a reader has read the feed of each node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedPosition(BTreeMap<String, u64>);

impl FeedPosition {
    /// The number of the last batch of the node that was seen.
    pub fn of(&self, node: &str) -> u64 {
        self.0.get(node).copied().unwrap_or(0)
    }

    /// Moves forward to a batch of a node.
    pub fn advance(&mut self, node: &str, seq: u64) {
        let seen = self.0.entry(node.to_owned()).or_default();
        *seen = seq.max(*seen);
    }

    /// Leaves out a node's feed for ever: the reader's own.
    pub fn ignore(&mut self, node: &str) {
        self.0.insert(node.to_owned(), i64::MAX.unsigned_abs());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(node, seq)| (node.as_str(), *seq))
    }
}

/// One batch in the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEntry {
    /// Who wrote it.
    pub node: String,
    /// Its number among the node's batches.
    pub seq: u64,
    /// What it touched.
    pub keys: Vec<Key>,
}

/// Which call records to list. What is not given does not narrow the list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallQuery {
    /// Begun at this time or later, in milliseconds since 1970.
    pub from: Option<i64>,
    /// Begun before this time, in milliseconds since 1970.
    pub until: Option<i64>,
    /// Caller or called party.
    pub party: Option<String>,
    /// The line.
    pub line: Option<LineId>,
    /// The trunk.
    pub trunk: Option<TrunkId>,
    /// The node.
    pub node: Option<String>,
    /// What became of it.
    pub result: Option<CallResult>,
    /// How many, at most; 100 when it is not given, 10,000 at most.
    pub limit: Option<u32>,
}

/// Says when to look into the feed.
#[derive(Debug)]
pub struct Watch {
    receiver: watch::Receiver<u64>,
    every: Duration,
}

impl Watch {
    pub(crate) fn new(receiver: watch::Receiver<u64>, every: Duration) -> Watch {
        Watch { receiver, every }
    }

    /// Waits until the feed may hold something new: somebody committed, a connection came back, or it is time to look anyway.
    /// False when the store is closed.
    pub async fn look(&mut self) -> bool {
        match timeout(self.every, self.receiver.changed()).await {
            Ok(changed) => changed.is_ok() && *self.receiver.borrow() != CLOSED,
            Err(_) => true,
        }
    }
}

/// The pulse of a store that was closed.
pub(crate) const CLOSED: u64 = u64::MAX;
