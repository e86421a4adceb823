//! The RTP and RTCP relay: opaque bytes from one side's sockets to the other's, across address families.
//!
//! A session has streams (one a media section), a stream has two sides, and a side has an RTP and an RTCP socket on a
//! local address of its leg. What arrives on one side leaves from the other side's socket, so that both peers see the
//! address and port that SDP gave them. Headers are read for statistics only.
//!
//! A [`RelayWorker`] belongs to one worker of the node, with its own part of the port range; its sessions run as tasks
//! of the runtime that opened them, one each. The bridge holds a [`RelayHandle`].
//!
//! | module | what it holds |
//! | --- | --- |
//! | `pool` | port pairs, and their rest after use |
//! | `gate` | which sources may send, and the latch |
//! | `silence` | when a side that should send has stopped |
//! | `sequence`, `meter`, `quality` | loss by RFC 3550, what a direction's packets tell, the E-model |
//! | `statistics` | what the call record keeps |
//! | `stream`, `session`, `worker` | sockets and tasks |
//!
//! Receiving and sending is one system call a packet each. Batches were weighed and do not pay here: a socket carries
//! one stream, whose packets come 20 ms apart, so that a batch would hold one packet; what `recvmmsg` could save is the
//! empty receive at the end of each wake-up, measured at a twelfth of a packet's cost (half of that cost is the send).

mod gate;
mod gauges;
mod meter;
mod pool;
mod quality;
mod sequence;
mod session;
mod silence;
mod statistics;
mod stream;
mod worker;

#[cfg(test)]
mod loopback;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod testing;

use std::net::{IpAddr, SocketAddr};

use crate::sdp::{Codec, Media, MediaRewrite};

pub use self::gate::SourcePolicy;
pub use self::gauges::describe_metrics;
pub use self::pool::{Exhausted, PortPair, PortPool, PortRange, PortRangeError};
pub use self::quality::{Impairment, mos};
pub use self::session::{RelayHandle, SessionId};
pub use self::silence::Silence;
pub use self::statistics::{DirectionStatistics, Dropped, SessionStatistics, StreamStatistics};
pub use self::worker::{RelaySettings, RelayWorker};

/// One of the two sides of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side of leg A, usually the caller's.
    A,
    /// The side of leg B.
    B,
}

impl Side {
    /// The other side.
    pub fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }
}

/// What to open for one media section: the local address toward each leg, of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSpec {
    /// The local address toward leg A.
    pub side_a_local: IpAddr,
    /// The local address toward leg B.
    pub side_b_local: IpAddr,
}

/// A relay's own address and ports on one side of a stream: what goes into the SDP that this side's peer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The local address.
    pub address: IpAddr,
    /// Its port pair.
    pub ports: PortPair,
}

impl Endpoint {
    /// The RTP address and port.
    pub fn rtp(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.ports.rtp())
    }

    /// The RTCP address and port.
    pub fn rtcp(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.ports.rtcp())
    }
}

impl From<Endpoint> for MediaRewrite {
    fn from(endpoint: Endpoint) -> Self {
        MediaRewrite::Relay {
            address: endpoint.address,
            rtp_port: endpoint.ports.rtp(),
            rtcp_port: endpoint.ports.rtcp(),
        }
    }
}

/// The endpoints of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamEndpoints {
    /// Toward leg A.
    pub a: Endpoint,
    /// Toward leg B.
    pub b: Endpoint,
}

impl StreamEndpoints {
    /// The endpoint of one side.
    pub fn side(&self, side: Side) -> Endpoint {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }
}

/// What an offer or answer says about one side of a stream. Applying it re-arms the latch.
#[derive(Debug, Clone)]
pub struct SideUpdate {
    /// Who may send to us on this side.
    pub sources: SourcePolicy,
    /// Where RTP goes until its source is learned; `None` when SDP names no usable address.
    pub rtp: Option<SocketAddr>,
    /// The same for RTCP.
    pub rtcp: Option<SocketAddr>,
    /// Whether this side is bound to send, so that its silence means something. Leave it `false` until the call is
    /// answered: an offerer says `sendrecv` and is silent while the other phone rings.
    pub sends: bool,
    /// Whether both bodies of the offer/answer had `a=rtcp-mux`, so that this side takes RTCP on its RTP port.
    pub rtcp_mux: bool,
    /// Whether the stream is RTP at all; T.38 over UDPTL is not.
    pub is_rtp: bool,
    /// What the payload types mean, for jitter and MOS.
    pub payloads: Vec<Payload>,
}

impl SideUpdate {
    /// Reads what one media section of this side's SDP says. `None` as `sources` means the strict default for a phone:
    /// the section's own address, any port, and nobody when that is unspecified (old-style hold): a bridge that wants to
    /// hear such a phone goes on naming the address it had. `rtcp_mux` is only true when offer and answer both have it.
    ///
    /// `sends` is as SDP says; see there for the time before the answer.
    pub fn from_media(media: &Media<'_>, sources: Option<SourcePolicy>, rtcp_mux: bool) -> Self {
        // One packet to a group would become many: nobody's phone is one.
        let is_host = |address: &IpAddr| !address.is_unspecified() && !address.is_multicast();
        let address = media.address().filter(|address| is_host(address) && !media.is_rejected());
        let sources = sources.or(address.map(SourcePolicy::Exact)).unwrap_or(SourcePolicy::Nobody);
        let rtp = address.map(|address| SocketAddr::new(address, media.port()));
        let rtcp = media.rtcp_address().filter(|rtcp| address.is_some() && is_host(&rtcp.ip()));
        SideUpdate {
            sources,
            rtp,
            rtcp: if rtcp_mux { rtp } else { rtcp },
            sends: media.direction().sends(),
            rtcp_mux,
            is_rtp: media.is_rtp(),
            payloads: media.codecs().map(|codec| Payload::from(&codec)).collect(),
        }
    }
}

/// What a payload type means to the statistics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Payload {
    /// The payload type, 0–127.
    pub number: u8,
    /// The RTP clock, in Hz.
    pub clock_rate: u32,
    /// What the codec costs in quality; `None` for tones, comfort noise and the like, which are no speech, and whose
    /// timestamps say nothing about jitter.
    pub speech: Option<Impairment>,
}

impl From<&Codec<'_>> for Payload {
    fn from(codec: &Codec<'_>) -> Self {
        Payload {
            number: codec.payload_type,
            clock_rate: codec.clock_rate,
            speech: (!codec.is_auxiliary()).then(|| Impairment::of_codec(codec.name)),
        }
    }
}

/// Why the relay cannot do as told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// All port pairs of an address are in use or resting.
    #[error("no free media ports on {address}")]
    PortsExhausted {
        /// The local address.
        address: IpAddr,
    },
    /// A socket could not be opened.
    #[error("cannot open media socket {addr}")]
    Bind {
        /// The address and port.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The address is none of the worker's.
    #[error("{address} is not a media address of this node")]
    UnknownAddress {
        /// The address asked for.
        address: IpAddr,
    },
    /// More streams than a session may have.
    #[error("more than {limit} media streams in a session")]
    TooManyStreams {
        /// How many are allowed.
        limit: usize,
    },
    /// The session has no such stream.
    #[error("the session has no media stream {stream}")]
    NoSuchStream {
        /// The stream asked for, counted from 0.
        stream: usize,
    },
    /// The session has been closed.
    #[error("the media session is closed")]
    Closed,
}
