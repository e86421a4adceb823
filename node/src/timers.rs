//! The timers of one core: armed, moved and disarmed by name.

use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::Hash;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

/// A timer wheel with millisecond steps; no timer expires early. Timers are named by `N`. Lives in a tokio runtime with time enabled.
#[derive(Debug)]
pub struct Timers<N> {
    queue: DelayQueue<N>,
    keys: HashMap<N, Key>,
}

impl<N> Default for Timers<N> {
    fn default() -> Self {
        Timers { queue: DelayQueue::new(), keys: HashMap::new() }
    }
}

impl<N: Clone + Eq + Hash> Timers<N> {
    /// Arms the timer, or moves it when it is armed; `None` disarms it.
    pub fn set(&mut self, id: N, at: Option<Instant>) {
        match (at, self.keys.get(&id)) {
            (Some(at), Some(key)) => self.queue.reset_at(key, within_reach(at)),
            (Some(at), None) => {
                let key = self.queue.insert_at(id.clone(), within_reach(at));
                self.keys.insert(id, key);
            }
            (None, Some(key)) => {
                self.queue.try_remove(key);
                self.keys.remove(&id);
            }
            (None, None) => {}
        }
    }

    /// How many are armed.
    pub fn armed(&self) -> usize {
        self.keys.len()
    }

    /// The next timer that expires; it is disarmed. Waits for ever when none is armed, and loses none when it is cancelled.
    pub async fn expired(&mut self) -> N {
        poll_fn(|context| self.poll_expired(context)).await
    }

    /// A timer that has expired already. Taken one by one, so that each may disarm the others.
    pub fn try_expired(&mut self) -> Option<N> {
        match self.poll_expired(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(id) => Some(id),
            Poll::Pending => None,
        }
    }

    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<N> {
        match self.queue.poll_expired(context) {
            Poll::Ready(Some(expired)) => {
                let id = expired.into_inner();
                self.keys.remove(&id);
                Poll::Ready(id)
            }
            // An empty queue: the next `set` comes from the same task, which polls again after it.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// The wheel panics on deadlines beyond its two years.
fn within_reach(at: Instant) -> tokio::time::Instant {
    let now = tokio::time::Instant::now();
    let at = tokio::time::Instant::from_std(at);
    now.checked_add(FARTHEST).map_or(at, |farthest| at.min(farthest))
}

const FARTHEST: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use sip_core::core::TimerId;

    use super::*;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[tokio::test(start_paused = true)]
    async fn timers_expire_in_order_and_never_early() {
        let (start, mut timers) = (now(), Timers::default());
        for (id, after) in [(1, 3), (2, 1), (3, 2)] {
            timers.set(TimerId(id), Some(start + secs(after)));
        }
        for (id, after) in [(2, 1), (3, 2), (1, 3)] {
            assert_eq!(timers.expired().await, TimerId(id));
            assert!(now() - start >= secs(after));
        }
        assert_eq!(timers.armed(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn timers_are_moved_and_disarmed() {
        let (start, mut timers) = (now(), Timers::default());
        timers.set(TimerId(1), Some(start + secs(1)));
        timers.set(TimerId(2), Some(start + secs(2)));
        timers.set(TimerId(3), Some(start + secs(3)));
        timers.set(TimerId(1), Some(start + secs(4)));
        timers.set(TimerId(2), None);
        timers.set(TimerId(9), None);
        assert_eq!(timers.armed(), 2);
        assert_eq!(timers.expired().await, TimerId(3));
        assert_eq!(timers.expired().await, TimerId(1));
        assert!(now() - start >= secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_expired_with_another_can_still_be_disarmed() {
        let (start, mut timers) = (now(), Timers::default());
        timers.set(TimerId(1), Some(start));
        timers.set(TimerId(2), Some(start));
        tokio::time::advance(secs(1)).await;
        let first = timers.expired().await;
        let other = TimerId(3 - first.0);
        timers.set(other, None);
        assert_eq!(timers.try_expired(), None);
        // The same name can be armed again at once, also in the past.
        timers.set(first, Some(start));
        assert_eq!(timers.expired().await, first);
    }

    #[tokio::test(start_paused = true)]
    async fn far_deadlines_are_harmless() {
        let mut timers = Timers::default();
        timers.set(TimerId(1), Some(now() + secs(100 * 365 * 24 * 3600)));
        timers.set(TimerId(1), Some(now() + secs(200 * 365 * 24 * 3600)));
        assert_eq!(timers.armed(), 1);
    }
}
