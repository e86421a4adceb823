//! What goes into the watch and what comes out.

use std::net::{IpAddr, SocketAddrV6};
use std::time::Instant;

use crate::picture::Picture;
use schema::{Alarm, AlarmId};

/// What can happen to the watch.
#[derive(Debug)]
pub enum Input {
    /// The time that [`Output::Wake`] named has come.
    Time,
    /// What there is to watch now.
    Picture(Picture),
    /// Somebody answered.
    Answer {
        /// As the probe said.
        ticket: Ticket,
        /// How.
        method: Method,
        /// From where.
        source: IpAddr,
    },
    /// What became of [`Output::Save`].
    Saved {
        /// As the output said.
        entry: Entry,
        /// How it ended.
        outcome: Saved,
    },
    /// An operator takes note of an open alarm. An alarm that is not open is left alone.
    Acknowledge {
        /// Which.
        alarm: AlarmId,
        /// Who.
        by: String,
        /// What they say.
        comment: Option<String>,
    },
}

/// What the watch wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Ask somebody whether they live.
    Probe(Probe),
    /// Write an alarm; tell by [`Input::Saved`]. An id of `NEW` asks for a number.
    Save {
        /// Names the alarm while it has no number.
        entry: Entry,
        /// The row.
        alarm: Box<Alarm>,
    },
    /// Remove an alarm of long ago.
    Forget(AlarmId),
    /// Give [`Input::Time`] then; it replaces the time before.
    Wake(Instant),
}

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// What the answer must carry; unpredictable.
    pub ticket: Ticket,
    /// Whom.
    pub target: SocketAddrV6,
    /// Whether by SIP OPTIONS.
    pub options: bool,
    /// Whether by ICMPv6 echo.
    pub echo: bool,
}

/// Ties an answer to its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A way to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// SIP OPTIONS: any response shows life (RFC 3261 §11).
    Options,
    /// ICMPv6 echo (RFC 4443 §4).
    Echo,
}

/// Names an alarm within the watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry(pub u64);

/// What became of a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// It is on disk under this number.
    Stored(AlarmId),
    /// Somebody else has the same alarm open: it comes with a later picture.
    Taken,
    /// It is not on disk; it is tried again.
    Failed,
}

/// What came of questions, since the start. After an answer to OPTIONS, the echo of the same question counts as neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// OPTIONS that were answered.
    pub options_answered: u64,
    /// OPTIONS that nobody answered in time.
    pub options_silent: u64,
    /// Echo requests that were answered.
    pub echo_answered: u64,
    /// Echo requests that nobody answered in time.
    pub echo_silent: u64,
}
