//! A bound on how often something is done.

use std::time::{Duration, Instant};

/// Allows one action an interval, and a burst of some. One field, so that every tunnel can have its own.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limit {
    /// When all that was done would have been due at an even pace.
    due: Option<Instant>,
}

impl Limit {
    /// Whether one more is allowed now; it counts then.
    pub(super) fn allows(&mut self, interval: Duration, burst: u32, now: Instant) -> bool {
        let due = self.due.map_or(now, |due| due.max(now));
        let ahead = due.saturating_duration_since(now);
        if ahead.saturating_add(interval) > interval.saturating_mul(burst) {
            return false;
        }
        self.due = Some(due + interval);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_an_even_pace() {
        let (interval, start) = (Duration::from_millis(100), Instant::now());
        let mut limit = Limit::default();
        let mut allowed =
            |ms| (0..10).filter(|_| limit.allows(interval, 4, start + Duration::from_millis(ms))).count();
        assert_eq!(allowed(0), 4);
        assert_eq!(allowed(99), 0);
        assert_eq!(allowed(100), 1);
        assert_eq!(allowed(350), 2);
        assert_eq!(allowed(60_000), 4);
    }
}
