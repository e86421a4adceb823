//! The contract between a protocol core and the shell that drives it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::flow::{ConnectionId, Flow};

/// A protocol machine without I/O.
///
/// The law, which only the driver in `node` applies: give one input, drain [`poll_output`](Core::poll_output) until it
/// returns `None`, then give the next input.
pub trait Core {
    /// What the core needs from the world: a store write, a media port, a name.
    type Question;
    /// What the world replies.
    type Answer;

    /// Takes one input. `now` never runs backwards.
    fn handle_input(&mut self, now: Instant, input: Input<Self::Answer>);

    /// Gives the next thing to do, or `None` when there is nothing until the next input.
    fn poll_output(&mut self) -> Option<Output<Self::Question>>;

    /// How many calls and transactions are still alive: a draining worker stops when this reaches zero.
    fn active(&self) -> usize;
}

/// What can happen to a core.
#[derive(Debug)]
pub enum Input<A> {
    /// One datagram or one framed message of a stream, not yet parsed.
    Received {
        /// Where it came in.
        flow: Flow,
        /// The message as it stood on the wire.
        bytes: Bytes,
    },
    /// What an earlier [`Transmit`] with this identifier tried to send could not be sent.
    TransmitFailed(TransmitId),
    /// A stream connection's peer has shown a certificate that was found good: comes before anything is received over it.
    Identified {
        /// The connection.
        connection: ConnectionId,
        /// The SIP domains that the certificate vouches for (RFC 5922 §7.1), in lower case.
        names: Arc<[String]>,
    },
    /// A stream connection ended.
    ConnectionClosed(ConnectionId),
    /// A timer that an earlier [`Output::SetTimer`] armed has expired.
    Timer(TimerId),
    /// The answer to an earlier [`Output::Ask`]; each question is answered once.
    Answer(Token, A),
    /// The node is going down: take no new calls, let running ones finish.
    Drain,
    /// The node stops now: end the calls and write what must last. Answers still come for a moment; then nothing more does.
    Stop,
}

/// What a core wants done.
#[derive(Debug)]
pub enum Output<Q> {
    /// Send bytes.
    Transmit(Transmit),
    /// Arm (or move, when already armed) the timer, or disarm it with `None`.
    SetTimer(TimerId, Option<Instant>),
    /// Ask the world; the answer comes back as [`Input::Answer`] with the same token.
    Ask(Token, Q),
}

/// One message to send.
#[derive(Debug, Clone)]
pub struct Transmit {
    /// Named in [`Input::TransmitFailed`] when sending fails. [`TransmitId::NONE`] when nobody wants to know.
    pub id: TransmitId,
    /// Where to: an open connection if `flow.connection` names one, else the shell reuses or opens one to `flow.remote`.
    pub flow: Flow,
    /// What to send.
    pub bytes: Bytes,
}

/// Names one attempt to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransmitId(pub u64);

impl TransmitId {
    /// Nobody waits for a report.
    pub const NONE: TransmitId = TransmitId(0);
}

/// Names a timer within one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId(pub u64);

/// Ties an answer to its question within one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);
