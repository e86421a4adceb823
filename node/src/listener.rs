//! Where we listen or reach a node of ours: a transport and an address, written `udp:[::]:5060`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use sip_core::flow::Transport;

/// A transport and an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listener {
    /// The transport.
    pub transport: Transport,
    /// The address; port 0 asks the system for a free one.
    pub addr: SocketAddr,
}

impl Listener {
    /// A UDP listener.
    pub fn udp(addr: SocketAddr) -> Self {
        Listener { transport: Transport::Udp, addr }
    }

    /// A TCP listener.
    pub fn tcp(addr: SocketAddr) -> Self {
        Listener { transport: Transport::Tcp, addr }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.as_str().to_ascii_lowercase(), self.addr)
    }
}

/// Why a word names no listener.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerError {
    /// There is no `transport:` before the address.
    #[error("expected transport:address:port, such as \"udp:[::]:5060\"")]
    NoTransport,
    /// The transport is unknown.
    #[error("transport {0:?} is not served: expected udp, tcp, tls, ws or wss")]
    Transport(String),
    /// What follows the transport is not an address and port.
    #[error("{0:?} is not address:port (IPv6 addresses stand in brackets, as in [::1]:5060)")]
    Address(String),
}

impl FromStr for Listener {
    type Err = ListenerError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let (transport, addr) = word.split_once(':').ok_or(ListenerError::NoTransport)?;
        let transport = match transport.parse() {
            Ok(transport) => transport,
            _ if addr.contains(':') || addr.contains(']') => {
                return Err(ListenerError::Transport(transport.to_owned()));
            }
            _ => return Err(ListenerError::NoTransport),
        };
        let addr = addr.parse().map_err(|_| ListenerError::Address(addr.to_owned()))?;
        Ok(Listener { transport, addr })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for word in ["udp:[::]:5060", "tcp:192.0.2.1:5070", "tls:[::]:5061", "wss:[::]:443"] {
            assert_eq!(word.parse::<Listener>().unwrap().to_string(), word);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!("5060".parse::<Listener>(), Err(ListenerError::NoTransport));
        assert_eq!("sctp:[::]:5060".parse::<Listener>(), Err(ListenerError::Transport("sctp".into())));
        assert_eq!("udp:::5060".parse::<Listener>(), Err(ListenerError::Address("::5060".into())));
        assert_eq!("[::]:5060".parse::<Listener>(), Err(ListenerError::Transport("[".into())));
    }
}
