//! What the workers of a role tell of themselves: how much is alive, and whether they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::shutdown::{Phase, Shutdown};

/// Shared by the workers of a role and their handle.
#[derive(Debug)]
pub(super) struct Activity {
    workers: Vec<Worker>,
    died: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Worker {
    active: AtomicUsize,
    /// Set once the core has been told to drain: before that, nothing alive means only that nothing has come yet.
    is_draining: AtomicBool,
    has_ended: AtomicBool,
}

impl Activity {
    pub(super) fn new(count: usize) -> Self {
        Activity {
            workers: (0..count).map(|_| Worker::default()).collect(),
            died: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    pub(super) fn active(&self) -> usize {
        self.workers.iter().map(|worker| worker.active.load(Ordering::Acquire)).sum()
    }

    pub(super) async fn drained(&self) {
        self.until(|| self.workers.iter().all(Worker::is_drained)).await;
    }

    pub(super) async fn died(&self) {
        self.until(|| self.died.load(Ordering::Acquire)).await;
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Listening begins before the look, so that no change falls between the two.
            changed.as_mut().enable();
            if condition() {
                return;
            }
            changed.await;
        }
    }
}

impl Worker {
    fn is_drained(&self) -> bool {
        let has_nothing =
            self.is_draining.load(Ordering::Acquire) && self.active.load(Ordering::Acquire) == 0;
        has_nothing || self.has_ended.load(Ordering::Acquire)
    }
}

/// One worker's voice. Its end, also by panic, is told by dropping it.
#[derive(Debug)]
pub(super) struct Presence {
    activity: Arc<Activity>,
    index: usize,
    shutdown: Shutdown,
}

impl Presence {
    pub(super) fn new(activity: Arc<Activity>, index: usize, shutdown: Shutdown) -> Self {
        Presence { activity, index, shutdown }
    }

    /// Tells how much is alive.
    pub(super) fn set_active(&self, active: usize) {
        if let Some(worker) = self.activity.workers.get(self.index)
            && worker.active.swap(active, Ordering::AcqRel) != active
            && worker.is_draining.load(Ordering::Acquire)
        {
            self.activity.changed.notify_waiters();
        }
    }

    /// How much is alive in the whole role.
    pub(super) fn role_active(&self) -> usize {
        self.activity.active()
    }

    /// Tells that the core has been told to drain and has so much alive.
    pub(super) fn set_draining(&self, active: usize) {
        if let Some(worker) = self.activity.workers.get(self.index) {
            worker.active.store(active, Ordering::Release);
            worker.is_draining.store(true, Ordering::Release);
            self.activity.changed.notify_waiters();
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.shutdown.phase() != Phase::Stopping || std::thread::panicking() {
            self.activity.died.store(true, Ordering::Release);
        }
        if let Some(worker) = self.activity.workers.get(self.index) {
            // What was alive stays told: it was cut.
            worker.has_ended.store(true, Ordering::Release);
        }
        self.activity.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Arc<Activity>, Vec<Presence>, Shutdown) {
        let (activity, shutdown) = (Arc::new(Activity::new(2)), Shutdown::new());
        let presences = (0..2).map(|i| Presence::new(Arc::clone(&activity), i, shutdown.clone())).collect();
        (activity, presences, shutdown)
    }

    #[tokio::test]
    async fn all_workers_must_drain() {
        let (activity, presences, _shutdown) = pair();
        presences[0].set_draining(0);
        presences[1].set_draining(2);
        let waiting = tokio::spawn({
            let activity = Arc::clone(&activity);
            async move { activity.drained().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert_eq!(activity.active(), 2);
        presences[1].set_active(0);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn an_end_that_nobody_asked_for_is_a_death() {
        let (activity, mut presences, shutdown) = pair();
        drop(presences.pop());
        activity.died().await;
        shutdown.stop();
        let (activity, presences, shutdown) = pair();
        shutdown.stop();
        drop(presences);
        activity.drained().await;
        assert!(!activity.died.load(Ordering::Acquire));
    }
}
