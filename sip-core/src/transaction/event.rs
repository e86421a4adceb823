//! What the layer gives: things to do and things to know.

use std::time::Instant;

use crate::core::{TimerId, Transmit};
use crate::flow::Flow;
use crate::wire::Message;

/// Names a client transaction. Never used again after [`Event::ClientEnded`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub(super) u64);

/// Names a server transaction. Never used again after [`Event::ServerEnded`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub(super) u64);

/// What the layer wants done.
#[derive(Debug)]
pub enum Output {
    /// Send bytes.
    Transmit(Transmit),
    /// Arm or move the timer, or disarm it with `None`. All of these identifiers have the top bit set.
    SetTimer(TimerId, Option<Instant>),
    /// Something for the transaction user.
    Event(Event),
}

/// What the transaction user gets to know.
#[derive(Debug)]
pub enum Event {
    /// A new request, never ACK or CANCEL.
    Request {
        /// Where to respond.
        server: ServerId,
        /// The request, with `received` and `rport` noted in its topmost Via.
        request: Message,
        /// Where it came in.
        flow: Flow,
    },
    /// The peer cancels an INVITE that has no final response yet. The layer has answered the CANCEL with 200; the user now
    /// ends the INVITE with 487 (RFC 3261 §9.2). Said once for each INVITE.
    Cancelled {
        /// The INVITE's transaction.
        server: ServerId,
        /// The CANCEL, which may hold a Reason.
        cancel: Message,
    },
    /// An ACK for a 2xx: it matches no transaction, or one in the Accepted state (RFC 6026 §7.1).
    Ack {
        /// The ACK.
        request: Message,
        /// Where it came in.
        flow: Flow,
    },
    /// Every provisional response, the final one, and each further 2xx to an INVITE (RFC 6026 §7.2).
    /// Retransmissions of other final responses stay in the layer.
    Response {
        /// The request's transaction.
        client: ClientId,
        /// The response.
        response: Message,
        /// Where it came in.
        flow: Flow,
    },
    /// No final response will come. Said at most once, and never after a final response.
    ClientFailed {
        /// The request's transaction.
        client: ClientId,
        /// Why.
        failure: Failure,
    },
    /// No ACK came for a final response other than 2xx, or a response could not be sent. The transaction goes on until it ends
    /// by itself (RFC 6026 §8.8), so a response that is still owed may be tried again.
    ServerFailed {
        /// The request's transaction.
        server: ServerId,
        /// Why.
        failure: Failure,
    },
    /// The transaction is gone. Every client transaction ends with this.
    ClientEnded {
        /// Which one.
        client: ClientId,
    },
    /// The transaction is gone. Every server transaction ends with this.
    ServerEnded {
        /// Which one.
        server: ServerId,
    },
    /// A response that matches no transaction, or a 2xx to an INVITE that had already failed.
    Stray {
        /// The response.
        response: Message,
        /// Where it came in.
        flow: Flow,
    },
}

/// Why a transaction failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Timer B or F: no final response, to be treated as a 408 (RFC 3261 §8.1.3.1); for a server, Timer H: no ACK.
    TimedOut,
    /// The message could not be sent, to be treated as a 503 (RFC 3261 §8.1.3.1).
    Transport,
}

/// As many transactions as [`Settings::max_transactions`](super::Settings::max_transactions) allows are alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the transaction table is full: {limit} client transactions are alive")]
pub struct Overflow {
    /// The bound.
    pub limit: usize,
}
