//! Group commit: many saves become one transaction, and each is answered when that is on disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tracing::{error, info, warn};

use crate::change::{Change, Key};
use crate::error::{Result, StoreError};
use crate::mirror::Mirror;
use crate::rows::{
    CallRecord, DeviceId, LineId, PrefixAllocationId, RegionBlockId, RegionId, RouteId, SiteId, TrunkId,
};
use crate::spool::Spool;
use crate::store::Store;

/// The way of a node's changes to the disk. Clone it freely; there is one task behind it.
#[derive(Debug, Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

/// When a batch closes, and what is bounded.
#[derive(Debug, Clone)]
pub struct WriterSettings {
    /// How long a batch waits for more after its first save.
    pub max_delay: Duration,
    /// At how many rows it does not wait any longer.
    pub max_rows: usize,
    /// How many saves may wait for the next batch; one more is told [`SaveError::Busy`].
    pub queue: usize,
    /// How long the database may take for a batch before it counts as away.
    pub patience: Duration,
    /// How often a database that is away is tried.
    pub retry: Duration,
    /// The file in which call records wait while the database is away; without one they wait in memory alone.
    pub spool: Option<PathBuf>,
    /// How many call records may wait.
    pub spool_rows: usize,
}

impl Default for WriterSettings {
    fn default() -> Self {
        WriterSettings {
            max_delay: Duration::from_millis(2),
            max_rows: 400,
            queue: 8192,
            patience: Duration::from_secs(5),
            retry: Duration::from_millis(500),
            spool: None,
            spool_rows: 50_000,
        }
    }
}

/// Why something was not saved.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// Too many saves are waiting.
    #[error("too many changes wait to be saved: try again")]
    Busy,
    /// The database is away. A change that was under way when it left may yet turn out to be stored.
    #[error("the database is away: try again later")]
    Away,
    /// The writer was closed.
    #[error("the writer is closed")]
    Closed,
    /// The change was refused.
    #[error(transparent)]
    Refused(#[from] StoreError),
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct WriterStats {
    /// Saves that were answered well.
    pub saves: u64,
    /// Transactions.
    pub batches: u64,
    /// Changes on disk.
    pub rows: u64,
    /// Changes that were refused.
    pub refused: u64,
    /// Call records that had been written before.
    pub repeated_records: u64,
    /// Call records in the spool now.
    pub spooled: u64,
    /// Saves that found the queue or the spool full.
    pub busy: u64,
    /// Whether the database is away now.
    pub away: bool,
}

impl Writer {
    /// Starts the task. `node` names us in the feed; one writer at a time may use the name. The mirror is kept true with what is committed.
    pub fn spawn(store: Arc<dyn Store>, mirror: Arc<Mirror>, node: &str, settings: WriterSettings) -> Writer {
        let (sender, jobs) = mpsc::channel(settings.queue.max(1));
        let shared = Arc::new(Shared::default());
        let task = Task {
            store,
            mirror,
            node: node.to_owned(),
            settings,
            shared: Arc::clone(&shared),
            doubt: Doubt::default(),
        };
        tokio::spawn(task.run(jobs));
        Writer { jobs: sender, shared }
    }

    /// Saves changes, and returns when all of them are on disk and in memory.
    ///
    /// Changes of one save share a transaction. A save of nothing but call records is also well when they are in the spool.
    ///
    /// # Errors
    /// [`SaveError::Refused`] with the first change that was refused: the others are saved nevertheless.
    /// [`SaveError::Busy`], [`SaveError::Away`], [`SaveError::Closed`]: none is saved, as far as we know.
    pub async fn save(&self, changes: Vec<Change>) -> Result<(), SaveError> {
        match self.save_each(changes).await?.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some(refused) => Err(SaveError::Refused(refused)),
        }
    }

    /// As [`save`](Writer::save), and says of each change what became of it: as it was saved, with the id that it was given, or why not.
    ///
    /// # Errors
    /// [`SaveError::Busy`], [`SaveError::Away`], [`SaveError::Closed`]: none is saved, as far as we know.
    pub async fn save_each(&self, changes: Vec<Change>) -> Result<Vec<Result<Change>>, SaveError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        if self.shared.away.load(Ordering::Acquire) && !only_records(&changes) {
            return Err(SaveError::Away);
        }
        let (answer, answered) = oneshot::channel();
        match self.jobs.try_send(Job::Save { changes, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.shared.busy.fetch_add(1, Ordering::Relaxed);
                return Err(SaveError::Busy);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(SaveError::Closed),
        }
        answered.await.unwrap_or(Err(SaveError::Closed))
    }

    /// Whether the database is away, so that a save would be refused at once.
    pub fn is_away(&self) -> bool {
        self.shared.away.load(Ordering::Acquire)
    }

    /// The counts.
    pub fn stats(&self) -> WriterStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        WriterStats {
            saves: read(&self.shared.saves),
            batches: read(&self.shared.batches),
            rows: read(&self.shared.rows),
            refused: read(&self.shared.refused),
            repeated_records: read(&self.shared.repeated_records),
            spooled: read(&self.shared.spooled),
            busy: read(&self.shared.busy),
            away: self.is_away(),
        }
    }

    /// How many saves wait for the next batch.
    pub fn queued(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Saves what waits, and ends the task. Later saves get [`SaveError::Closed`].
    pub async fn close(&self) {
        let (done, ended) = oneshot::channel();
        if self.jobs.send(Job::Close { done }).await.is_ok() {
            // An error means that another close was first: the task has ended as well.
            let _ = ended.await;
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    away: AtomicBool,
    saves: AtomicU64,
    batches: AtomicU64,
    rows: AtomicU64,
    refused: AtomicU64,
    repeated_records: AtomicU64,
    spooled: AtomicU64,
    busy: AtomicU64,
}

type Answer = oneshot::Sender<Result<Vec<Result<Change>>, SaveError>>;

#[derive(Debug)]
enum Job {
    Save { changes: Vec<Change>, answer: Answer },
    Close { done: oneshot::Sender<()> },
}

/// A save in a batch: how many of its changes are its own, and copies of them if they are all call records.
struct Part {
    count: usize,
    records: Vec<CallRecord>,
    answer: Answer,
}

/// What may or may not be on disk, because the database left in the middle.
#[derive(Default)]
struct Doubt {
    keys: Vec<Key>,
    /// A row whose number we would have learned from the answer.
    unnumbered: bool,
}

struct Task {
    store: Arc<dyn Store>,
    mirror: Arc<Mirror>,
    node: String,
    settings: WriterSettings,
    shared: Arc<Shared>,
    doubt: Doubt,
}

impl Task {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut spool = Spool::open(self.settings.spool.take(), self.settings.spool_rows).await;
        let mut retry = interval(self.settings.retry.max(Duration::from_millis(1)));
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.shared.spooled.store(spool.len() as u64, Ordering::Relaxed);
            let behind = self.is_away() || spool.len() > 0;
            let first = tokio::select! {
                job = jobs.recv() => job,
                _ = retry.tick(), if behind => {
                    self.recover(&mut spool).await;
                    continue;
                }
            };
            let (parts, changes, close) = self.gather(first, &mut jobs).await;
            if !changes.is_empty() {
                self.write(parts, changes, &mut spool).await;
            }
            if let Some(done) = close {
                if spool.len() > 0 {
                    self.recover(&mut spool).await;
                }
                // Whoever closes may have gone away.
                done.map(|done| done.send(()));
                return;
            }
        }
    }

    /// Takes what comes within the delay. The third is there when this is the last batch.
    async fn gather(
        &self,
        first: Option<Job>,
        jobs: &mut mpsc::Receiver<Job>,
    ) -> (Vec<Part>, Vec<Change>, Option<Option<oneshot::Sender<()>>>) {
        let deadline = Instant::now() + self.settings.max_delay;
        let (mut parts, mut changes) = (Vec::new(), Vec::new());
        let mut next = first;
        loop {
            match next {
                None => return (parts, changes, Some(None)),
                Some(Job::Close { done }) => return (parts, changes, Some(Some(done))),
                Some(Job::Save { changes: own, answer }) => {
                    let records = if only_records(&own) {
                        own.iter().filter_map(record).cloned().collect()
                    } else {
                        Vec::new()
                    };
                    parts.push(Part { count: own.len(), records, answer });
                    changes.extend(own);
                }
            }
            if changes.len() >= self.settings.max_rows {
                return (parts, changes, None);
            }
            next = match timeout_at(deadline, jobs.recv()).await {
                Ok(job) => job,
                Err(_) => return (parts, changes, None),
            };
        }
    }

    async fn write(&mut self, parts: Vec<Part>, changes: Vec<Change>, spool: &mut Spool) {
        if self.is_away() {
            return self.keep_records(parts, spool).await;
        }
        let keys: Vec<Key> = changes.iter().filter_map(Change::key).collect();
        match self.commit(changes).await {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for part in parts {
                    self.shared.saves.fetch_add(1, Ordering::Relaxed);
                    // Whoever asked may have gone away.
                    let _ = part.answer.send(Ok(outcomes.by_ref().take(part.count).collect()));
                }
            }
            Err(StoreError::Away { source }) => {
                warn!(error = %source, "the database is away: nothing is saved but call records, which wait in the spool");
                self.doubt.unnumbered |= keys.iter().any(is_unnumbered);
                self.doubt.keys.extend(keys);
                self.shared.away.store(true, Ordering::Release);
                self.keep_records(parts, spool).await;
            }
            Err(error) => {
                error!(%error, "a batch could not be saved");
                for part in parts {
                    let _ = part.answer.send(Err(SaveError::Refused(error.clone())));
                }
            }
        }
    }

    /// Commits and applies, in one order with everybody else who applies.
    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Result<Change>>> {
        let _order = self.mirror.in_order().await;
        let committed = match timeout(self.settings.patience, self.store.commit(&self.node, changes)).await {
            Ok(committed) => committed?,
            Err(_) => return Err(StoreError::Away { source: Arc::new(sqlx::Error::PoolTimedOut) }),
        };
        let written = || committed.outcomes.iter().filter_map(|outcome| outcome.as_ref().ok());
        self.mirror.apply(written());
        let rows = written().count();
        self.shared.batches.fetch_add(1, Ordering::Relaxed);
        self.shared.rows.fetch_add(rows as u64, Ordering::Relaxed);
        metrics::counter!("centrex6_store_commits_total").increment(1);
        metrics::counter!("centrex6_store_rows_total").increment(rows as u64);
        self.shared.refused.fetch_add((committed.outcomes.len() - rows) as u64, Ordering::Relaxed);
        self.shared.repeated_records.fetch_add(committed.repeated_records as u64, Ordering::Relaxed);
        Ok(committed.outcomes)
    }

    /// Answers a batch that cannot be written: call records are safe in the spool, the rest is told.
    async fn keep_records(&self, parts: Vec<Part>, spool: &mut Spool) {
        for part in parts {
            let answer = if part.records.is_empty() {
                Err(SaveError::Away)
            } else if spool.add(part.records.clone()).await {
                self.shared.saves.fetch_add(1, Ordering::Relaxed);
                Ok(part.records.into_iter().map(|record| Ok(Change::AddCallRecord(record))).collect())
            } else {
                self.shared.busy.fetch_add(1, Ordering::Relaxed);
                error!(
                    calls = part.records.len(),
                    "the spool is full: call records are lost unless they are saved again"
                );
                Err(SaveError::Busy)
            };
            let _ = part.answer.send(answer);
        }
    }

    /// Tries a database that was away. Back is it when it takes writes, what was in doubt is known, and the spool is empty.
    async fn recover(&mut self, spool: &mut Spool) {
        match timeout(self.settings.patience, self.take_up(spool)).await {
            Ok(Ok(())) => {
                if self.shared.away.swap(false, Ordering::AcqRel) {
                    info!("the database is back");
                }
            }
            Ok(Err(StoreError::Away { .. })) | Err(_) => {}
            Ok(Err(error)) => warn!(%error, "what waits for the database cannot be written"),
        }
    }

    async fn take_up(&mut self, spool: &mut Spool) -> Result<()> {
        if self.is_away() {
            self.store.settle(&self.node).await?;
            if self.doubt.unnumbered {
                self.mirror.reload(self.store.as_ref()).await?;
            } else if !self.doubt.keys.is_empty() {
                self.mirror.refresh(self.store.as_ref(), &self.doubt.keys).await?;
            }
            self.doubt = Doubt::default();
        }
        while spool.len() > 0 {
            let records = spool.oldest(self.settings.max_rows.max(1));
            let count = records.len();
            let outcomes = self.commit(records.into_iter().map(Change::AddCallRecord).collect()).await?;
            for refused in outcomes.into_iter().filter_map(Result::err) {
                error!(error = %refused, "a spooled call record was refused");
            }
            spool.done(count).await;
        }
        Ok(())
    }

    fn is_away(&self) -> bool {
        self.shared.away.load(Ordering::Acquire)
    }
}

fn record(change: &Change) -> Option<&CallRecord> {
    if let Change::AddCallRecord(record) = change { Some(record) } else { None }
}

fn only_records(changes: &[Change]) -> bool {
    changes.iter().all(|change| record(change).is_some())
}

fn is_unnumbered(key: &Key) -> bool {
    [
        Key::Site(SiteId::NEW),
        Key::Line(LineId::NEW),
        Key::Trunk(TrunkId::NEW),
        Key::Route(RouteId::NEW),
        Key::Device(DeviceId::NEW),
        Key::Region(RegionId::NEW),
        Key::RegionBlock(RegionBlockId::NEW),
        Key::PrefixAllocation(PrefixAllocationId::NEW),
    ]
    .contains(key)
}
