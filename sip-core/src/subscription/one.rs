//! One subscription.

use std::time::{Duration, Instant};

/// How a subscription stands, as a NOTIFY says it (RFC 6665 §4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It goes on for so long.
    Active(Duration),
    /// This is its last NOTIFY.
    Terminated(Ending),
}

/// Why a subscription ends (RFC 6665 §4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was not refreshed, or the subscriber ended it.
    Timeout,
    /// What was subscribed to is no more.
    NoResource,
    /// The node goes down: subscribe again, at another one.
    Deactivated,
}

impl Ending {
    /// The word in Subscription-State.
    pub fn as_str(self) -> &'static str {
        match self {
            Ending::Timeout => "timeout",
            Ending::NoResource => "noresource",
            Ending::Deactivated => "deactivated",
        }
    }
}

/// When a subscription's next NOTIFY goes out. One is on its way at a time, and what changes meanwhile is told by the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing to tell.
    Quiet,
    /// At this moment.
    At(Instant),
    /// One is on its way.
    Awaiting {
        /// Whether another one is due when it is answered.
        again: bool,
    },
}

/// One subscription's clock: when it ends, and when its next NOTIFY is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) next: Next,
    pub(super) expires_at: Instant,
    /// Set once it ends: after the NOTIFY that says so it is gone.
    pub(super) ending: Option<Ending>,
    /// No NOTIFY about a mere change goes out before this moment.
    not_before: Instant,
    interval: Duration,
}

impl Clock {
    /// A new subscription, of which the first NOTIFY is due at once (RFC 6665 §4.2.1.2).
    pub(super) fn new(now: Instant, expires_in: Duration, interval: Duration) -> Clock {
        let expires_at = now + expires_in;
        Clock { next: Next::At(now), expires_at, ending: None, not_before: now, interval }
    }

    /// The subscriber wants it for so long from now on; nothing at all ends it. A NOTIFY is due at once (RFC 6665 §4.2.1.2).
    pub(super) fn refresh(&mut self, now: Instant, expires_in: Duration) {
        if self.ending.is_some() {
            return;
        }
        self.expires_at = now + expires_in;
        if expires_in.is_zero() {
            self.ending = Some(Ending::Timeout);
        }
        self.due(now);
    }

    /// What it is about has changed: a NOTIFY is due, but not too soon after the last one.
    pub(super) fn changed(&mut self, now: Instant) {
        if self.ending.is_none() {
            self.due(now.max(self.not_before));
        }
    }

    /// It ends: the last NOTIFY is due at once.
    pub(super) fn end(&mut self, now: Instant, ending: Ending) {
        if self.ending.is_none() {
            self.ending = Some(ending);
            self.due(now);
        }
    }

    /// Takes the passing of time; whether a NOTIFY is due now.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        if self.expires_at <= now {
            self.end(now, Ending::Timeout);
        }
        matches!(self.next, Next::At(at) if at <= now)
    }

    /// The NOTIFY went out.
    pub(super) fn sent(&mut self, now: Instant) {
        self.next = Next::Awaiting { again: false };
        self.not_before = now + self.interval;
    }

    /// The NOTIFY was answered with success; whether the subscription lives on.
    pub(super) fn answered(&mut self, now: Instant) -> bool {
        let Next::Awaiting { again } = self.next else { return true };
        self.next = match (again, self.ending) {
            (false, Some(_)) => return false,
            (true, Some(_)) => Next::At(now),
            (true, None) => Next::At(now.max(self.not_before)),
            (false, None) => Next::Quiet,
        };
        true
    }

    /// When [`tick`](Clock::tick) wants to be called. While a NOTIFY is on its way nothing is due but its answer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.next {
            Next::At(at) if self.ending.is_some() => Some(at),
            Next::At(at) => Some(at.min(self.expires_at)),
            Next::Quiet => Some(self.expires_at),
            Next::Awaiting { .. } if self.ending.is_none() => Some(self.expires_at),
            Next::Awaiting { .. } => None,
        }
    }

    fn due(&mut self, at: Instant) {
        self.next = match self.next {
            Next::Quiet => Next::At(at),
            Next::At(earlier) => Next::At(earlier.min(at)),
            Next::Awaiting { .. } => Next::Awaiting { again: true },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const APART: Duration = Duration::from_secs(5);

    fn started() -> (Instant, Clock) {
        let now = Instant::now();
        (now, Clock::new(now, MINUTE, APART))
    }

    /// RFC 6665 §4.2.1.2: every SUBSCRIBE is followed by a NOTIFY at once.
    /// RFC 6665 §4.2.2: a NOTIFY waits for the answer to the one before.
    #[test]
    fn one_notify_at_a_time() {
        let (now, mut clock) = started();
        assert!(clock.tick(now));
        clock.sent(now);
        clock.changed(now);
        clock.refresh(now, MINUTE);
        assert!(!clock.tick(now));
        assert!(clock.answered(now));
        // The one that waited keeps its distance.
        assert!(!clock.tick(now));
        assert_eq!(clock.deadline(), Some(now + APART));
        assert!(clock.tick(now + APART));
        clock.sent(now + APART);
        assert!(clock.answered(now + APART));
        assert_eq!(clock.deadline(), Some(now + MINUTE));
    }

    /// RFC 6665 §4.2.1.4: without a refresh it ends, and the last NOTIFY says timeout.
    /// RFC 6665 §4.2.1.4: a SUBSCRIBE with Expires 0 ends it.
    #[test]
    fn it_ends() {
        let (now, mut clock) = started();
        clock.sent(now);
        clock.answered(now);
        assert!(clock.tick(now + MINUTE));
        assert_eq!(clock.ending, Some(Ending::Timeout));
        clock.sent(now + MINUTE);
        assert_eq!(clock.deadline(), None);
        assert!(!clock.answered(now + MINUTE));
        let (now, mut clock) = started();
        clock.sent(now);
        clock.refresh(now, Duration::ZERO);
        // Too late to change one's mind.
        clock.refresh(now, MINUTE);
        assert!(clock.answered(now) && clock.tick(now));
        clock.sent(now);
        assert!(!clock.answered(now));
    }

    /// RFC 3680 §4.10: changes are told no more often than the interval allows.
    #[test]
    fn changes_are_gathered() {
        let (now, mut clock) = started();
        clock.sent(now);
        clock.answered(now);
        clock.changed(now + Duration::from_secs(1));
        clock.changed(now + Duration::from_secs(2));
        assert_eq!(clock.deadline(), Some(now + APART));
        clock.sent(now + APART);
        clock.answered(now + APART);
        clock.changed(now + MINUTE / 2);
        assert!(clock.tick(now + MINUTE / 2), "long after the last one it is told at once");
    }
}
