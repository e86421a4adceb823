//! `[registrar_proxy]`: the role that registers phones and routes their requests.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use sip_core::wire::SipUri;
use sip_core::wire::header::NameAddr;

use super::reader::Section;
use crate::listener::Listener;

/// `[registrar_proxy]`.
#[derive(Debug, Clone, PartialEq)]
pub struct RegistrarProxy {
    /// Where it listens.
    pub listen: Vec<Listener>,
    /// What Via and Record-Route name instead of the listeners' addresses.
    pub advertise: Vec<HostPort>,
    /// The translators that calls to the outside go to; empty stands for this process's own.
    pub translators: Vec<Listener>,
    /// Networks whose requests are taken as a translator's, besides the addresses in `translators` and our own.
    pub trusted_translators: Vec<IpNet>,
    /// The shortest registration granted (RFC 3261 §10.2.8).
    pub min_expires: Duration,
    /// What is granted to a phone that asks for nothing.
    pub default_expires: Duration,
    /// The longest registration granted.
    pub max_expires: Duration,
    /// The most contacts of one line.
    pub max_bindings_per_line: usize,
    /// What challenges offer, in this order (RFC 8760 §2.4).
    pub digest_algorithms: Vec<DigestAlgorithm>,
    /// How long a nonce is good for.
    pub nonce_lifetime: Duration,
    /// How long an unanswered call rings.
    pub ring_timeout: Duration,
    /// The session interval that calls are brought down to (RFC 4028 §8); zero leaves them alone.
    pub session_expires: Duration,
    /// The shortest session interval that is let through.
    pub min_session_expires: Duration,
    /// Whether a phone's redirection to another line is followed.
    pub follow_redirects: bool,
    /// The way that phones are told to take for their requests (RFC 3608).
    pub service_route: Vec<LooseRoute>,
}

impl RegistrarProxy {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = RegistrarProxy::default();
        let role = RegistrarProxy {
            listen: section.list("listen", default.listen),
            advertise: section.list("advertise", default.advertise),
            translators: section.list("translators", default.translators),
            trusted_translators: section.list("trusted_translators", default.trusted_translators),
            min_expires: section.seconds("min_expires_s", default.min_expires, 1..=86_400),
            default_expires: section.seconds("default_expires_s", default.default_expires, 1..=604_800),
            max_expires: section.seconds("max_expires_s", default.max_expires, 1..=604_800),
            max_bindings_per_line: section.integer(
                "max_bindings_per_line",
                default.max_bindings_per_line,
                1..=100,
            ),
            digest_algorithms: section.list("digest_algorithms", default.digest_algorithms),
            nonce_lifetime: section.seconds("nonce_lifetime_s", default.nonce_lifetime, 1..=86_400),
            ring_timeout: section.seconds("ring_timeout_s", default.ring_timeout, 1..=3600),
            session_expires: section.seconds("session_expires_s", default.session_expires, 0..=86_400),
            min_session_expires: section.seconds(
                "min_session_expires_s",
                default.min_session_expires,
                90..=86_400,
            ),
            follow_redirects: section.flag("follow_redirects", default.follow_redirects),
            service_route: section.list("service_route", default.service_route),
        };
        if role.listen.is_empty() {
            section.refuse("listen", "must name at least one listener");
        }
        if role.digest_algorithms.is_empty() {
            section.refuse("digest_algorithms", "must name at least one algorithm");
        }
        if role.default_expires < role.min_expires || role.default_expires > role.max_expires {
            section.refuse("default_expires_s", "must lie between min_expires_s and max_expires_s");
        }
        if !role.session_expires.is_zero() && role.session_expires < role.min_session_expires {
            section.refuse("session_expires_s", "must be 0 or at least min_session_expires_s");
        }
        role
    }
}

impl Default for RegistrarProxy {
    fn default() -> Self {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5060));
        RegistrarProxy {
            listen: vec![Listener::udp(any), Listener::tcp(any)],
            advertise: vec![],
            translators: vec![],
            trusted_translators: vec![],
            min_expires: Duration::from_secs(60),
            default_expires: Duration::from_secs(3600),
            max_expires: Duration::from_secs(7200),
            max_bindings_per_line: 10,
            digest_algorithms: vec![DigestAlgorithm::Md5],
            nonce_lifetime: Duration::from_secs(300),
            ring_timeout: Duration::from_secs(180),
            session_expires: Duration::from_secs(1800),
            min_session_expires: Duration::from_secs(90),
            follow_redirects: true,
            service_route: vec![],
        }
    }
}

/// A digest algorithm (RFC 8760 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DigestAlgorithm {
    /// MD5, which every phone knows.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512/256.
    Sha512_256,
}

impl DigestAlgorithm {
    /// As header fields write it.
    pub fn as_str(self) -> &'static str {
        match self {
            DigestAlgorithm::Md5 => "MD5",
            DigestAlgorithm::Sha256 => "SHA-256",
            DigestAlgorithm::Sha512_256 => "SHA-512-256",
        }
    }
}

/// No algorithm has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown digest algorithm {0:?}: expected MD5, SHA-256 or SHA-512-256")]
pub struct UnknownAlgorithm(String);

impl FromStr for DigestAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [DigestAlgorithm::Md5, DigestAlgorithm::Sha256, DigestAlgorithm::Sha512_256]
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(word))
            .ok_or_else(|| UnknownAlgorithm(word.to_owned()))
    }
}

/// A Route value of a loose router: `<sip:proxy.example.net;lr>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LooseRoute(String);

impl LooseRoute {
    /// As it stands in a header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The word is no Route value of a loose router.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no route such as \"<sip:proxy.example.net;lr>\"")]
pub struct BadRoute(String);

impl FromStr for LooseRoute {
    type Err = BadRoute;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let route = NameAddr::parse(word).ok().filter(|route| route.uri.sip().is_some_and(SipUri::is_loose));
        route.map(|route| LooseRoute(route.to_string())).ok_or_else(|| BadRoute(word.to_owned()))
    }
}

/// A host name or address with or without a port, as SIP writes it: `[2001:db8::1]:5060`, `sip.example.net`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: Option<u16>,
}

impl HostPort {
    /// The host; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The address, when the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The port.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

/// The word is neither a host nor a host and port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a host name nor an address, with or without a port")]
pub struct BadHostPort(String);

impl FromStr for HostPort {
    type Err = BadHostPort;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let bad = || BadHostPort(word.to_owned());
        if let Ok(addr) = word.parse::<SocketAddr>() {
            return Ok(HostPort { host: bracketed(addr.ip()), port: Some(addr.port()) });
        }
        if let Ok(ip) = word.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(HostPort { host: bracketed(ip), port: None });
        }
        let (host, port) = match word.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| bad())?)),
            None => (word, None),
        };
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        // What looks like an IPv4 address but is none is a slip, not a name.
        let is_name = host.split('.').all(is_label) && host.parse::<Ipv4Addr>().is_err();
        let ends_in_letter = host.ends_with(|c: char| c.is_ascii_alphabetic());
        (is_name && ends_in_letter).then(|| HostPort { host: host.to_owned(), port }).ok_or_else(bad)
    }
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_routes() {
        assert_eq!(
            "<sip:p.example.net;lr>".parse::<LooseRoute>().unwrap().as_str(),
            "<sip:p.example.net;lr>"
        );
        for word in ["", "p.example.net", "<sip:p.example.net>", "<tel:110;lr>"] {
            assert!(word.parse::<LooseRoute>().is_err(), "{word}");
        }
    }

    #[test]
    fn reads_hosts() {
        for (word, host, port) in [
            ("[2001:db8::1]:5060", "[2001:db8::1]", Some(5060)),
            ("2001:db8::1", "[2001:db8::1]", None),
            ("192.0.2.1:5070", "192.0.2.1", Some(5070)),
            ("sip.example.net", "sip.example.net", None),
            ("sip.example.net:5060", "sip.example.net", Some(5060)),
        ] {
            let parsed: HostPort = word.parse().unwrap();
            assert_eq!((parsed.host(), parsed.port()), (host, port), "{word}");
        }
        for word in ["", "a b", "host:", "host:99999", "300.1.1.1", "a..b"] {
            assert!(word.parse::<HostPort>().is_err(), "{word}");
        }
    }
}
