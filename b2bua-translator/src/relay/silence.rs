//! When a side that says it sends has stopped.

use std::time::{Duration, Instant};

use super::Side;

/// A side that should send was not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// Which side.
    pub side: Side,
    /// How long it delivered neither RTP nor RTCP on any stream.
    pub lasted: Duration,
}

/// Watches the two sides of a session. It has no clock: the caller brings the time.
#[derive(Debug)]
pub(super) struct SilenceWatch {
    timeout: Option<Duration>,
    sides: [Watched; 2],
}

/// When a side was last heard, or since when it should send. `None` when it is not bound to send, or when its silence
/// has been told already.
#[derive(Debug, Default)]
struct Watched {
    waiting_since: Option<Instant>,
}

impl SilenceWatch {
    /// `None` watches nothing.
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        SilenceWatch { timeout, sides: [Watched::default(), Watched::default()] }
    }

    /// An offer or answer says whether a side sends on any stream: it gets the full time again.
    pub(super) fn expect(&mut self, side: Side, sends: bool, now: Instant) {
        self.side(side).waiting_since = sends.then_some(now);
    }

    /// RTP or RTCP arrived.
    pub(super) fn heard(&mut self, side: Side, now: Instant) {
        if let Some(since) = &mut self.side(side).waiting_since {
            *since = now;
        }
    }

    /// When to check next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let timeout = self.timeout?;
        self.sides.iter().filter_map(|watched| watched.waiting_since).min()?.checked_add(timeout)
    }

    /// Tells of a side whose time is over, once.
    pub(super) fn check(&mut self, now: Instant) -> Option<Silence> {
        let timeout = self.timeout?;
        for side in [Side::A, Side::B] {
            let watched = self.side(side);
            if let Some(since) = watched.waiting_since {
                let lasted = now.saturating_duration_since(since);
                if lasted >= timeout {
                    watched.waiting_since = None;
                    return Some(Silence { side, lasted });
                }
            }
        }
        None
    }

    fn side(&mut self, side: Side) -> &mut Watched {
        let [a, b] = &mut self.sides;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[test]
    fn only_a_side_that_sends_can_be_silent() {
        let start = Instant::now();
        let mut watch = SilenceWatch::new(Some(TIMEOUT));
        assert_eq!(watch.deadline(), None);
        watch.expect(Side::A, true, start);
        watch.expect(Side::B, false, start);
        assert_eq!(watch.deadline(), Some(start + TIMEOUT));

        watch.heard(Side::A, start + TIMEOUT / 2);
        assert_eq!(watch.check(start + TIMEOUT), None);
        assert_eq!(watch.deadline(), Some(start + TIMEOUT + TIMEOUT / 2));
        let told = watch.check(start + TIMEOUT * 2);
        assert_eq!(told, Some(Silence { side: Side::A, lasted: TIMEOUT + TIMEOUT / 2 }));
        assert_eq!(watch.check(start + TIMEOUT * 3), None, "told once");
    }

    #[test]
    fn hold_stops_the_watch_and_resume_starts_it_anew() {
        let start = Instant::now();
        let mut watch = SilenceWatch::new(Some(TIMEOUT));
        watch.expect(Side::B, true, start);
        watch.expect(Side::B, false, start + TIMEOUT / 2);
        assert_eq!(watch.check(start + TIMEOUT * 10), None);
        watch.expect(Side::B, true, start + TIMEOUT * 10);
        assert_eq!(watch.check(start + TIMEOUT * 10), None);
        assert_eq!(watch.check(start + TIMEOUT * 11).map(|told| told.side), Some(Side::B));
    }

    #[test]
    fn it_can_be_switched_off() {
        let start = Instant::now();
        let mut watch = SilenceWatch::new(None);
        watch.expect(Side::A, true, start);
        assert_eq!((watch.deadline(), watch.check(start + TIMEOUT)), (None, None));
    }
}
