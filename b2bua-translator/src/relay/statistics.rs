//! What the call record keeps of a media session.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What a media session carried. It is given once, when the session closes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SessionStatistics {
    /// One entry a stream, in the order of the media sections.
    pub streams: Vec<StreamStatistics>,
}

/// What a stream carried each way.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StreamStatistics {
    /// Sent by side A.
    pub a_to_b: DirectionStatistics,
    /// Sent by side B.
    pub b_to_a: DirectionStatistics,
}

/// What one side sent, as the relay received it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DirectionStatistics {
    /// The source learned for RTP.
    pub source: Option<SocketAddr>,
    /// RTP packets taken; of a stream that is not RTP, all datagrams.
    pub packets: u64,
    /// Their bytes, RTP headers included, UDP and IP headers not.
    pub bytes: u64,
    /// RTCP datagrams taken.
    pub rtcp_packets: u64,
    /// Datagrams relayed on an RTP stream that are neither RTP nor RTCP, such as STUN or DTLS.
    pub other_packets: u64,
    /// Datagrams handed to the network on the other side, of any kind.
    pub forwarded: u64,
    /// RTP packets that the sender sent, by its sequence numbers.
    pub expected: u64,
    /// RTP packets that never came (RFC 3550 §6.4.1), in packets.
    pub lost: u64,
    /// RTP packets that came more than once.
    pub duplicates: u64,
    /// RTP packets that came after a later one.
    pub reordered: u64,
    /// Changes of the synchronisation source, and jumps of its sequence numbers.
    pub restarts: u64,
    /// Interarrival jitter at the end (RFC 3550 §6.4.1), in ms.
    pub jitter_ms: f64,
    /// The highest jitter on the way, in ms.
    pub max_jitter_ms: f64,
    /// The last round trip between the relay and the sender of this direction, from RTCP (RFC 3550 §6.4.1), in ms.
    pub round_trip_ms: Option<f64>,
    /// The payload type of the last speech packet.
    pub payload_type: Option<u8>,
    /// Mean opinion score by the E-model, as received here, 1.0–4.5; `None` when no speech came.
    pub mos: Option<f64>,
    /// Whether this side said at some time that it sends, and the other that it wants to hear.
    pub sends: bool,
    /// Where the first datagram came from that the policy does not allow.
    pub stranger: Option<SocketAddr>,
    /// The payload type sent last, when the receiver's description does not name it.
    pub unknown_payload: Option<u8>,
    /// Datagrams from this side that were not relayed.
    pub dropped: Dropped,
}

/// Datagrams that were not relayed, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dropped {
    /// From an address that the policy does not allow.
    pub stranger: u64,
    /// From an allowed address, but not from the source that was learned.
    pub other_source: u64,
    /// From a side that has not said where it is, as when its SDP names the unspecified address.
    pub unexpected: u64,
    /// Empty: a keep-alive (RFC 6263 §4.1), which ends here.
    pub empty: u64,
    /// Longer than the relay takes.
    pub oversize: u64,
    /// The other side has not said where to send to.
    pub no_destination: u64,
    /// The system refused to send.
    pub send_failed: u64,
}

impl Dropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        DropReason::ALL.iter().map(|reason| self.count(*reason)).sum()
    }

    pub(super) fn add(&mut self, reason: DropReason) {
        match reason {
            DropReason::Stranger => self.stranger += 1,
            DropReason::OtherSource => self.other_source += 1,
            DropReason::Unexpected => self.unexpected += 1,
            DropReason::Empty => self.empty += 1,
            DropReason::Oversize => self.oversize += 1,
            DropReason::NoDestination => self.no_destination += 1,
            DropReason::SendFailed => self.send_failed += 1,
        }
    }

    fn count(&self, reason: DropReason) -> u64 {
        match reason {
            DropReason::Stranger => self.stranger,
            DropReason::OtherSource => self.other_source,
            DropReason::Unexpected => self.unexpected,
            DropReason::Empty => self.empty,
            DropReason::Oversize => self.oversize,
            DropReason::NoDestination => self.no_destination,
            DropReason::SendFailed => self.send_failed,
        }
    }
}

/// Why a datagram is not relayed: see the fields of [`Dropped`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DropReason {
    Stranger,
    OtherSource,
    Unexpected,
    Empty,
    Oversize,
    NoDestination,
    SendFailed,
}

impl DropReason {
    pub(super) const ALL: [DropReason; 7] = [
        DropReason::Stranger,
        DropReason::OtherSource,
        DropReason::Unexpected,
        DropReason::Empty,
        DropReason::Oversize,
        DropReason::NoDestination,
        DropReason::SendFailed,
    ];

    /// The value of the metric's `reason` label.
    pub(super) fn label(self) -> &'static str {
        match self {
            DropReason::Stranger => "stranger",
            DropReason::OtherSource => "other_source",
            DropReason::Unexpected => "unexpected",
            DropReason::Empty => "empty",
            DropReason::Oversize => "oversize",
            DropReason::NoDestination => "no_destination",
            DropReason::SendFailed => "send_failed",
        }
    }
}
