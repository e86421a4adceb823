//! What the layer counts.

/// Counts since the layer was made. Every message that [`receive`](super::Layer::receive) takes raises exactly one of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// New requests given to the user, ACKs for 2xx and CANCELs among them.
    pub requests: u64,
    /// Responses that matched a transaction.
    pub responses: u64,
    /// Retransmitted requests and ACKs that the machines absorbed.
    pub retransmissions: u64,
    /// Requests refused because they were malformed (400, 505, 513).
    pub refused_malformed: u64,
    /// Requests refused because the table was full (503).
    pub refused_overload: u64,
    /// Requests refused because they had arrived by another path before (482).
    pub refused_merged: u64,
    /// CANCELs refused because they matched nothing (481).
    pub refused_unmatched: u64,
    /// Responses that matched no transaction.
    pub strays: u64,
    /// Dropped: nothing but line ends, which some phones send to keep a NAT binding (RFC 5626 §3.5.1).
    pub keep_alives: u64,
    /// Dropped: bytes that are no SIP message, or a malformed request of which too little could be read to answer it.
    pub dropped_unreadable: u64,
    /// Dropped: a response that lacks what every response has.
    pub dropped_response: u64,
    /// Dropped: an ACK that is malformed; an ACK is never answered.
    pub dropped_ack: u64,
}
