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

    /// The time since 1970 at `now`.
    pub fn unix(&self, now: Instant) -> Duration {
        self.unix + now.saturating_duration_since(self.anchor)
    }
}
