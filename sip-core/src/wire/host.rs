//! Hosts: names and addresses, with IPv6 literals in brackets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{UriError, lex};

/// A host (RFC 3261 §25.1, RFC 5118 §4).
#[derive(Debug, Clone)]
pub enum Host {
    /// A domain name, as written.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, written in brackets.
    V6(Ipv6Addr),
}

impl Host {
    /// Reads a name, an IPv4 address or a bracketed IPv6 address.
    pub fn parse(text: &str) -> Result<Host, UriError> {
        if let Some(inside) = text.strip_prefix('[') {
            let address = inside.strip_suffix(']').ok_or(UriError::Host)?;
            // RFC 5118 §4.10: the grammar of RFC 3261 made some write three colons.
            let address = address.parse().or_else(|_| address.replacen(":::", "::", 1).parse());
            return address.map(Host::V6).map_err(|_| UriError::Host);
        }
        if let Ok(address) = text.parse() {
            return Ok(Host::V4(address));
        }
        let valid = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
            && !looks_numeric(text);
        if valid { Ok(Host::Name(text.to_owned())) } else { Err(UriError::Host) }
    }

    /// The address, when it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(address) => Some((*address).into()),
            Host::V6(address) => Some((*address).into()),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Host::V4(address),
            IpAddr::V6(address) => Host::V6(address),
        }
    }
}

impl PartialEq for Host {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Host::Name(one), Host::Name(two)) => one.eq_ignore_ascii_case(two),
            _ => self.ip().is_some() && self.ip() == other.ip(),
        }
    }
}

impl Eq for Host {}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::V4(address) => write!(f, "{address}"),
            Host::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// A host with an optional port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The port, when one is written.
    pub port: Option<u16>,
}

impl HostPort {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`; spaces around the colon are tolerated (RFC 3261 §25.1 allows them in a Via).
    pub fn parse(text: &str) -> Result<HostPort, UriError> {
        let text = lex::trim(text);
        let split = match text.find(']') {
            Some(end) => end + 1,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at_checked(split).ok_or(UriError::Host)?;
        let rest = lex::trim(rest);
        let port = match rest.strip_prefix(':') {
            Some(digits) => Some(parse_port(lex::trim(digits))?),
            None if rest.is_empty() => None,
            None => return Err(UriError::Host),
        };
        Ok(HostPort { host: Host::parse(lex::trim(host))?, port })
    }

    /// The socket address, when the host is an address; `default_port` where no port is written.
    pub fn socket_addr(&self, default_port: u16) -> Option<SocketAddr> {
        self.host.ip().map(|ip| SocketAddr::new(ip, self.port.unwrap_or(default_port)))
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        HostPort { host: address.ip().into(), port: Some(address.port()) }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => write!(f, "{}", self.host),
        }
    }
}

/// Whether a resolver might take the name for an address in one of its old spellings (`127.1`, `0x7f000001`).
fn looks_numeric(name: &str) -> bool {
    let last = name.strip_suffix('.').unwrap_or(name).rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn parse_port(digits: &str) -> Result<u16, UriError> {
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = if valid { digits.parse().unwrap_or(0) } else { 0 };
    if port == 0 { Err(UriError::Port) } else { Ok(port) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_every_form() {
        for text in [
            "example.net",
            "example.net:5070",
            "192.0.2.1",
            "192.0.2.1:5060",
            "[2001:db8::1]",
            "[2001:db8::1]:5061",
        ] {
            assert_eq!(HostPort::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn reads_three_colons_as_two() {
        assert_eq!(Host::parse("[2001:db8:::192.0.2.1]"), Host::parse("[2001:db8::192.0.2.1]"));
        assert!(Host::parse("[2001:db8::192.0.2.1]").is_ok());
    }

    #[test]
    fn refuses_what_is_no_host() {
        for text in [
            "",
            "[2001:db8::1",
            "2001:db8::1",
            "host:",
            "host:0",
            "host:65536",
            "ho st",
            "[::1]x",
            "127.1",
            "0x7f.0x1",
            "256.1.1.1",
            "[fe80::1%eth0]",
            ".",
            "h\u{a0}",
        ] {
            assert!(HostPort::parse(text).is_err(), "{text}");
        }
    }
}
