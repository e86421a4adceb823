//! Calendar time for cores that only see [`Instant`]s.

use std::time::{Duration, Instant};

/// One pair of the two clocks, read together by the shell; from then on calendar time follows the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    anchor: Instant,
    unix: Duration,
}

impl WallClock {
    /// `unix` is the time since 1970 at `anchor`.
    pub fn new(anchor: Instant, unix: Duration) -> WallClock {
        WallClock { anchor, unix }
    }

    /// When the two were read.
    pub fn anchor(&self) -> Instant {
        self.anchor
    }

    /// Milliseconds since 1970 at `now`, as records are stamped.
    pub fn unix_ms(&self, now: Instant) -> i64 {
        i64::try_from(self.unix(now).as_millis()).unwrap_or(i64::MAX)
    }

    /// The time since 1970 at `now`.
    pub fn unix(&self, now: Instant) -> Duration {
        self.unix + now.saturating_duration_since(self.anchor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_time_follows_the_monotonic_clock() {
        let start = Instant::now();
        let clock = WallClock::new(start, Duration::from_secs(1_700_000_000));
        assert_eq!(clock.unix_ms(start + Duration::from_millis(1500)), 1_700_000_001_500);
        assert_eq!(clock.unix(start - Duration::from_secs(1)), Duration::from_secs(1_700_000_000));
    }
}
