//! What can go wrong when a simulated phone or gateway is used.

use std::{io, net::SocketAddr};

/// Why an action of a phone, gateway or call did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UaError {
    /// The SIP socket could not be bound.
    #[error("cannot bind {addr}: {source}")]
    Bind {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No even/odd pair of ports was free for RTP and RTCP.
    #[error("no pair of ports for RTP and RTCP on {addr}: {source}")]
    MediaPorts {
        /// The address that was asked for.
        addr: std::net::IpAddr,
        /// What the system said last.
        source: io::Error,
    },
    /// The other side answered with a final response other than 2xx.
    #[error("{status} {reason}")]
    Rejected {
        /// SIP status code, 300–699.
        status: u16,
        /// Reason phrase.
        reason: String,
    },
    /// No final response came in time (RFC 3261 timers B and F).
    #[error("no answer in time")]
    Timeout,
    /// The call ended before what was waited for happened.
    #[error("the call has ended")]
    Ended,
    /// The call is not in a state in which this is possible.
    #[error("{action} is not possible now")]
    WrongState {
        /// What was asked for.
        action: &'static str,
    },
    /// The target is neither an extension or number nor a SIP or tel URI.
    #[error("{target:?} is not a number or URI")]
    BadTarget {
        /// What was given.
        target: String,
    },
    /// The agent holds as many calls as its configuration allows.
    #[error("already {limit} calls")]
    TooManyCalls {
        /// The configured bound.
        limit: usize,
    },
    /// The phone or gateway has been stopped.
    #[error("the agent has stopped")]
    Stopped,
}
