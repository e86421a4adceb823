//! What the machines share: their times, and what one step of a machine asks of the layer.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Failure, Settings};
use crate::wire::Message;

/// The times of one transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) t1: Duration,
    pub(super) t2: Duration,
    pub(super) t4: Duration,
    /// Whether the transport delivers by itself.
    pub(super) reliable: bool,
}

impl Pace {
    pub(super) fn new(settings: &Settings, reliable: bool) -> Pace {
        Pace { t1: settings.t1, t2: settings.t2, t4: settings.t4, reliable }
    }

    /// 64 × T1: timers B, F, H, J, L and M (RFC 3261, table 4; RFC 6026 §8.10).
    pub(super) fn long(&self) -> Duration {
        self.t1 * 64
    }

    /// How long to absorb retransmissions: `span`, or not at all where the transport makes none (timers D, I, J and K).
    pub(super) fn absorb(&self, span: Duration) -> Option<Duration> {
        (!self.reliable).then_some(span)
    }
}

/// The next retransmission, each twice as far away as the last (timers A, E and G).
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) at: Instant,
    interval: Duration,
}

impl Backoff {
    /// `None` where the transport delivers by itself.
    pub(super) fn start(now: Instant, pace: &Pace) -> Option<Backoff> {
        (!pace.reliable).then(|| Backoff { at: now + pace.t1, interval: pace.t1 })
    }

    /// From this moment on, one every `interval`.
    pub(super) fn every(now: Instant, interval: Duration) -> Backoff {
        Backoff { at: now + interval, interval }
    }

    /// The one after this, at most `cap` away. Counted from now, so that a late clock causes no burst.
    pub(super) fn after(self, now: Instant, cap: Duration) -> Backoff {
        Backoff::every(now, (self.interval * 2).min(cap))
    }
}

/// The end of one step: the machine's next state, and what the layer shall do.
#[derive(Debug)]
pub(super) struct Step<M> {
    /// `None` when the transaction is over.
    pub(super) next: Option<M>,
    pub(super) send: Option<Bytes>,
    /// A CANCEL to send in a transaction of its own.
    pub(super) cancel: Option<Message>,
    pub(super) tell: Tell,
}

/// What the layer shall tell the transaction user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    Nothing,
    /// The message that caused the step.
    Message,
    /// The message that caused the step, as one that belongs to nothing.
    Stray,
    Failed(Failure),
    /// Nothing to the user, but a 100 is due.
    TryingDue,
}

impl<M> Step<M> {
    pub(super) fn to(next: M) -> Step<M> {
        Step { next: Some(next), send: None, cancel: None, tell: Tell::Nothing }
    }

    pub(super) fn end() -> Step<M> {
        Step { next: None, send: None, cancel: None, tell: Tell::Nothing }
    }

    /// On to `next` when there is a reason to linger, else the end.
    pub(super) fn linger(next: Option<M>) -> Step<M> {
        next.map_or_else(Step::end, Step::to)
    }

    pub(super) fn send(mut self, bytes: Bytes) -> Step<M> {
        self.send = Some(bytes);
        self
    }

    pub(super) fn send_if(mut self, bytes: Option<Bytes>) -> Step<M> {
        self.send = bytes;
        self
    }

    pub(super) fn cancel(mut self, cancel: Option<Message>) -> Step<M> {
        self.cancel = cancel;
        self
    }

    pub(super) fn tell(mut self, tell: Tell) -> Step<M> {
        self.tell = tell;
        self
    }

    pub(super) fn map<N>(self, wrap: impl FnOnce(M) -> N) -> Step<N> {
        Step { next: self.next.map(wrap), send: self.send, cancel: self.cancel, tell: self.tell }
    }
}

/// The earlier of a moment and one that may not come.
pub(super) fn earliest(one: Instant, other: Option<Backoff>) -> Instant {
    other.map_or(one, |backoff| one.min(backoff.at))
}

/// The retransmission, when its time has come.
pub(super) fn due(again: Option<Backoff>, now: Instant) -> Option<Backoff> {
    again.filter(|backoff| backoff.at <= now)
}
