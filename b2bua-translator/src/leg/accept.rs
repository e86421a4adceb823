//! Our 2xx to an INVITE: held until what must come before it is acknowledged, then sent again until its ACK comes.

use std::time::{Duration, Instant};

use sip_core::transaction::ServerId;
use sip_core::wire::Message;

/// How far our answer to an INVITE is.
#[derive(Debug, Clone, Default)]
pub(crate) enum Accept {
    /// There is none on its way.
    #[default]
    None,
    /// It waits for a PRACK (RFC 3262 §3).
    Held(Owed),
    /// It has no ACK yet.
    Sent(Unacked),
}

/// A 2xx that may not be sent yet.
#[derive(Debug, Clone)]
pub(crate) struct Owed {
    pub(crate) server: ServerId,
    pub(crate) response: Message,
}

/// A 2xx on its way (RFC 3261 §13.3.1.4).
#[derive(Debug, Clone)]
pub(crate) struct Unacked {
    pub(crate) server: ServerId,
    pub(crate) response: Message,
    cseq: u32,
    interval: Duration,
    next_at: Instant,
    gives_up_at: Instant,
}

/// What the retransmission timer wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Again,
    /// No ACK came in 64 × T1.
    GaveUp,
}

impl Unacked {
    /// A 2xx that is sent now.
    pub(crate) fn new(now: Instant, t1: Duration, server: ServerId, response: Message) -> Unacked {
        let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        Unacked { server, response, cseq, interval: t1, next_at: now + t1, gives_up_at: now + t1 * 64 }
    }

    /// Whether an ACK with this number is for it.
    pub(crate) fn is_for(&self, cseq: u32) -> bool {
        self.cseq == cseq
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.next_at
    }

    /// What there is to do now; the interval doubles up to `t2`.
    pub(crate) fn due(&mut self, now: Instant, t2: Duration) -> Due {
        if now < self.next_at {
            return Due::Nothing;
        }
        if now >= self.gives_up_at {
            return Due::GaveUp;
        }
        self.interval = (self.interval * 2).min(t2);
        self.next_at = (now + self.interval).min(self.gives_up_at);
        Due::Again
    }
}
