//! What the broker last saw of each account, in the store.
//!
//! The broker notes changes in memory and never waits. A task writes them in batches: of an account that changes often, the last
//! state, a few times a second at most; a report alone once a minute, unless the neighbour table became full or is full no longer.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schema::{AccountId, Change, Directory, Lease, SaveError, Writer};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::dtcp::Report;
use crate::lease::Outer;

/// Notes what becomes of leases.
pub struct Leases {
    directory: Arc<Directory>,
    book: Arc<Book>,
    /// What was noted of each account since the start.
    known: HashMap<AccountId, Noted>,
}

/// Writes what was noted.
pub struct LeaseBook {
    book: Arc<Book>,
    task: JoinHandle<()>,
}

struct Noted {
    lease: Lease,
    /// A login is on its way that takes the tunnel over.
    takes_over: bool,
    /// When a report was last handed on to be written, and whether the table was full by it.
    reported: Option<(i64, bool)>,
}

struct Book {
    started_at: i64,
    unwritten: Mutex<BTreeMap<AccountId, Lease>>,
    something: Notify,
    closing: AtomicBool,
}

impl Leases {
    /// Starts to keep the leases of `directory`'s accounts. One that the store has as up, and whose site has not logged in again
    /// `adoption` after this start, is down.
    pub fn start(directory: Arc<Directory>, writer: Writer, adoption: Duration) -> (Leases, LeaseBook) {
        let book = Arc::new(Book {
            started_at: unix_ms(),
            unwritten: Mutex::default(),
            something: Notify::new(),
            closing: AtomicBool::new(false),
        });
        let (expiring, writing) = (Arc::clone(&book), Arc::clone(&book));
        let rows = Arc::clone(&directory);
        let task = tokio::spawn(async move {
            let expire = async {
                sleep(adoption + EXPIRY_MARGIN).await;
                expiring.expire(&rows);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = write(&writing, &writer) => {}
                () = expire => {}
            }
        });
        (Leases { directory, book: Arc::clone(&book), known: HashMap::new() }, LeaseBook { book, task })
    }

    pub(super) fn logged_in(&mut self, account: &str, outer: &Outer) {
        self.change(account, |noted| {
            let Noted { lease, takes_over, .. } = noted;
            if lease.client.is_some_and(|client| client != outer.client) {
                lease.previous_client = lease.client;
            }
            *lease = Lease {
                up: true,
                client: Some(outer.client),
                server: Some(outer.server),
                changed_at: unix_ms(),
                logins: lease.logins.saturating_add(1),
                takeovers: lease.takeovers.saturating_add(i64::from(*takes_over)),
                ..*lease
            };
            *takes_over = false;
            true
        });
    }

    pub(super) fn taken_over(&mut self, account: &str) {
        self.change(account, |noted| {
            noted.takes_over = true;
            false
        });
    }

    pub(super) fn logged_out(&mut self, account: &str) {
        self.change(account, |noted| {
            noted.takes_over = false;
            let was_up = std::mem::replace(&mut noted.lease.up, false);
            if was_up {
                noted.lease.changed_at = unix_ms();
            }
            was_up
        });
    }

    pub(super) fn reported(&mut self, account: &str, report: Report) {
        self.change(account, |noted| {
            let now = unix_ms();
            let is_full = report.capacity > 0 && report.neighbours >= report.capacity;
            noted.lease = Lease {
                neighbours: Some(report.neighbours),
                neighbour_capacity: (report.capacity > 0).then_some(report.capacity),
                reported_at: Some(now),
                ..noted.lease
            };
            let due = noted
                .reported
                .is_none_or(|(at, was_full)| was_full != is_full || now.abs_diff(at) >= REPORT_INTERVAL_MS);
            if due {
                noted.reported = Some((now, is_full));
            }
            due
        });
    }

    /// Changes what is noted of an account; `change` says whether that is worth writing. A removed account has no lease.
    fn change(&mut self, account: &str, change: impl FnOnce(&mut Noted) -> bool) {
        let Some(account) = self.directory.account_by_name(account) else { return };
        let noted = self.known.entry(account.id).or_insert_with(|| {
            let stored = self.directory.lease(account.id);
            let lease = stored.map_or_else(|| Lease::new(account.id), |lease| Lease::clone(&lease));
            Noted { lease, takes_over: false, reported: None }
        });
        if change(noted) {
            self.book.put(noted.lease.clone());
        }
    }
}

impl LeaseBook {
    /// Writes what is not written yet. The broker has ended by now.
    pub async fn close(self) {
        self.book.closing.store(true, Ordering::Release);
        self.book.something.notify_one();
        if timeout(CLOSING, self.task).await.is_err() {
            tracing::warn!("the last changes of leases could not be written");
        }
    }
}

#[cfg(test)]
impl LeaseBook {
    /// What waits to be written of an account.
    pub(super) fn unwritten(&self, account: &str, directory: &Directory) -> Option<Lease> {
        self.book.unwritten().get(&directory.account_by_name(account)?.id).cloned()
    }

    /// What happens when the time for sites to return is over.
    pub(super) fn expire_now(&self, directory: &Directory) {
        self.book.expire(directory);
    }
}

impl Book {
    fn put(&self, lease: Lease) {
        self.unwritten().insert(lease.account, lease);
        self.something.notify_one();
    }

    /// Puts back what could not be written; what was noted meanwhile is newer.
    fn put_back(&self, leases: BTreeMap<AccountId, Lease>) {
        let mut unwritten = self.unwritten();
        for (account, lease) in leases {
            unwritten.entry(account).or_insert(lease);
        }
        self.something.notify_one();
    }

    /// Notes as down what was up before the start and was not heard of since.
    fn expire(&self, directory: &Directory) {
        for lease in directory.leases() {
            let heard_of =
                lease.changed_at >= self.started_at || self.unwritten().contains_key(&lease.account);
            if lease.up && !heard_of {
                self.put(Lease { up: false, changed_at: unix_ms(), ..Lease::clone(&lease) });
            }
        }
    }

    fn unwritten(&self) -> MutexGuard<'_, BTreeMap<AccountId, Lease>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes batch after batch until the book is closed and empty.
async fn write(book: &Book, writer: &Writer) {
    loop {
        book.something.notified().await;
        if !book.closing.load(Ordering::Acquire) {
            // More comes soon, and a tunnel that is taken over goes down and up.
            sleep(BATCH).await;
        }
        let mut batch = std::mem::take(&mut *book.unwritten());
        while !batch.is_empty() {
            let later = batch.keys().nth(BATCH_ROWS).copied().map(|at| batch.split_off(&at));
            let changes = batch.values().cloned().map(Change::PutLease).collect();
            match writer.save_each(changes).await {
                Ok(results) => {
                    for refused in results.iter().filter_map(|result| result.as_ref().err()) {
                        // An account that was removed meanwhile.
                        tracing::debug!(%refused, "a lease was not written");
                    }
                    batch = later.unwrap_or_default();
                }
                Err(SaveError::Closed) => return,
                Err(error) => {
                    tracing::debug!(%error, "leases wait to be written");
                    batch.extend(later.unwrap_or_default());
                    book.put_back(std::mem::take(&mut batch));
                    sleep(RETRY).await;
                }
            }
        }
        if book.closing.load(Ordering::Acquire) && book.unwritten().is_empty() {
            return;
        }
    }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// How long changes are collected.
const BATCH: Duration = Duration::from_millis(100);
/// Rows of one save.
const BATCH_ROWS: usize = 400;
/// How long a store that is busy or away is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// Reports of one account are written once in so long.
const REPORT_INTERVAL_MS: u64 = 60_000;
/// Sites that come back in the last moment are on their way to the store.
const EXPIRY_MARGIN: Duration = Duration::from_secs(5);
/// How long the last batch may take.
const CLOSING: Duration = Duration::from_secs(3);
