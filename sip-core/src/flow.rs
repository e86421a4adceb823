//! Where bytes travel: transports, addresses and connections.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// A SIP transport (RFC 3261 §18, RFC 7118 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream under TLS.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket under TLS.
    Wss,
}

impl Transport {
    /// Whether the transport delivers by itself, so that transactions need not retransmit (RFC 3261 §17).
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }

    /// Whether the transport is encrypted, as a `sips:` URI asks for.
    pub fn is_secure(self) -> bool {
        matches!(self, Transport::Tls | Transport::Wss)
    }

    /// Whether it is a WebSocket: only its client can open one, so that no other connection ever leads there (RFC 7118 §5).
    pub fn is_websocket(self) -> bool {
        matches!(self, Transport::Ws | Transport::Wss)
    }

    /// 5061 under TLS, else 5060 (RFC 3261 §19.1.2); the WebSocket ports are HTTP's (RFC 7118 §5.4).
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
        }
    }

    /// As written in a Via's sent-protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word names no transport that we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown transport {0:?}: expected UDP, TCP, TLS, WS or WSS")]
pub struct UnknownTransport(String);

impl FromStr for Transport {
    type Err = UnknownTransport;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss]
            .into_iter()
            .find(|transport| transport.as_str().eq_ignore_ascii_case(word))
            .ok_or_else(|| UnknownTransport(word.chars().take(16).collect()))
    }
}

/// Names one open stream connection within the process. Its worker is the one that owns the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// The same connection and no other: when it is gone, sending fails, and no other connection is looked for or opened (RFC 5626 §5.3).
    pub fn only(self) -> ConnectionId {
        ConnectionId(self.0 | ONLY)
    }

    /// Whether no other connection will do.
    pub fn is_only(self) -> bool {
        self.0 & ONLY != 0
    }

    /// The connection's own name.
    pub fn name(self) -> ConnectionId {
        ConnectionId(self.0 & !ONLY)
    }
}

/// The bit that marks [`ConnectionId::only`]: below the worker's number, above what counts connections.
const ONLY: u64 = 1 << 55;

/// Both ends of a way that bytes took or shall take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The transport.
    pub transport: Transport,
    /// Our end: the listener's address, with the address that the datagram was sent to where the listener is a wildcard.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The stream that it came over, when it came over one.
    pub connection: Option<ConnectionId>,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} > {}", self.transport, self.remote, self.local)
    }
}
