//! What a node holds in memory of the store, kept true by its own writer and by the feed of the other nodes.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::change::{Change, Key};
use crate::directory::Directory;
use crate::error::{Result, StoreError};
use crate::store::{Contents, FeedPosition, Store};

/// Something that follows what is stored. It is called in the order of the commits, one change at a time, and must be quick.
pub trait Apply: Send + Sync + 'static {
    /// A change that is on disk. Applying one twice must do no harm.
    fn apply(&self, change: &Change);

    /// Everything, when single changes were missed: what is not in there is gone.
    fn reload(&self, contents: &Contents);
}

/// The directory, and whoever else follows the store: the registrar with its bindings.
pub struct Mirror {
    directory: Arc<Directory>,
    followers: RwLock<Vec<Arc<dyn Apply>>>,
    /// Held from a commit, or from reading a row back, until it is applied. Without it, a row that was read before our own commit could be
    /// applied after it, and stay.
    order: Mutex<()>,
}

impl Mirror {
    /// A mirror that keeps the directory true.
    pub fn new(directory: Arc<Directory>) -> Arc<Mirror> {
        Arc::new(Mirror { directory, followers: RwLock::default(), order: Mutex::default() })
    }

    /// What is in memory.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Adds one who follows, from the next change on.
    pub fn add(&self, follower: Arc<dyn Apply>) {
        self.followers.write().unwrap_or_else(PoisonError::into_inner).push(follower);
    }

    pub(crate) async fn in_order(&self) -> MutexGuard<'_, ()> {
        self.order.lock().await
    }

    /// Applies changes. The caller holds [`in_order`](Mirror::in_order) since before they were committed or read.
    pub(crate) fn apply<'c>(&self, changes: impl IntoIterator<Item = &'c Change>) {
        let followers = self.followers.read().unwrap_or_else(PoisonError::into_inner).clone();
        for change in changes {
            for gone in goes_along(change) {
                followers.iter().for_each(|follower| follower.apply(&gone));
            }
            self.directory.apply(change);
            followers.iter().for_each(|follower| follower.apply(change));
        }
    }

    /// Reads keys from the store and applies what is there.
    pub(crate) async fn refresh(&self, store: &dyn Store, keys: &[Key]) -> Result<()> {
        let _order = self.in_order().await;
        let changes = in_time(READ_PATIENCE, store.read_back(keys)).await?;
        self.apply(&changes);
        Ok(())
    }

    /// Loads everything again.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn reload(&self, store: &dyn Store) -> Result<FeedPosition> {
        let _order = self.in_order().await;
        let contents = in_time(LOAD_PATIENCE, store.load()).await?;
        self.directory.replace(&contents);
        let followers = self.followers.read().unwrap_or_else(PoisonError::into_inner).clone();
        followers.iter().for_each(|follower| follower.reload(&contents));
        Ok(contents.position)
    }
}

/// What the database removes together with a row.
fn goes_along(change: &Change) -> Vec<Change> {
    match *change {
        Change::RemoveLine(line) => vec![Change::RemoveBindings { line }, Change::RemoveSighting(line)],
        Change::RemoveAccount(account) => vec![Change::RemoveLease(account)],
        _ => Vec::new(),
    }
}

/// Follows the feed of the other nodes until the store is closed: run it as a task. `from` is [`Contents::position`] of what the mirror was
/// filled with; `node` is our own name, whose changes the writer applies.
pub async fn follow(store: Arc<dyn Store>, mirror: Arc<Mirror>, node: String, from: FeedPosition) {
    let mut watch = store.watch();
    let mut position = from;
    position.ignore(&node);
    let mut healthy = true;
    loop {
        match catch_up(store.as_ref(), &mirror, &mut position).await {
            Ok(()) => {
                if !std::mem::replace(&mut healthy, true) {
                    info!("the change feed is read again");
                }
            }
            Err(StoreError::FeedPruned { node: pruned }) => {
                warn!(node = %pruned, "too far behind in the change feed; everything is loaded again");
                match mirror.reload(store.as_ref()).await {
                    Ok(now) => {
                        position = now;
                        position.ignore(&node);
                        continue;
                    }
                    Err(error) => warn!(%error, "loading everything again failed"),
                }
                sleep(RETRY).await;
            }
            Err(error) => {
                if std::mem::replace(&mut healthy, false) {
                    warn!(%error, "the change feed cannot be read; calls go on from memory");
                }
            }
        }
        if !watch.look().await {
            return;
        }
    }
}

async fn catch_up(store: &dyn Store, mirror: &Mirror, position: &mut FeedPosition) -> Result<()> {
    loop {
        let (entries, next) = in_time(READ_PATIENCE, store.changes_since(position)).await?;
        if entries.is_empty() {
            return Ok(());
        }
        for entry in &entries {
            mirror.refresh(store, &entry.keys).await?;
            position.advance(&entry.node, entry.seq);
        }
        *position = next;
    }
}

/// A database that does not answer is away. Without an end, a reader would keep the writer from applying for ever.
async fn in_time<T>(patience: Duration, reading: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(patience, reading)
        .await
        .unwrap_or_else(|_| Err(StoreError::Away { source: Arc::new(sqlx::Error::PoolTimedOut) }))
}

const READ_PATIENCE: Duration = Duration::from_secs(5);
const LOAD_PATIENCE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);
