//! `[translator]`: the role that joins IPv6 and IPv4 legs and relays their media.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::reader::Section;
use crate::listener::Listener;

/// `[translator]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Translator {
    /// Where it listens on the phones' side.
    pub listen_ipv6: Vec<Listener>,
    /// Where it listens on the gateways' side.
    pub listen_ipv4: Vec<Listener>,
    /// The proxy that calls to phones go to; `None` stands for this process's own.
    pub proxy: Option<Listener>,
    /// Where IPv6 media is taken; `None` stands for the address of the SIP listener.
    pub media_ipv6: Option<Ipv6Addr>,
    /// Where IPv4 media is taken; `None` stands for the address of the SIP listener.
    pub media_ipv4: Option<Ipv4Addr>,
    /// The ports that media uses, in pairs of RTP and RTCP.
    pub media_ports: PortRange,
    /// How long a freed port pair rests.
    pub media_rest: Duration,
    /// How long a side that should send may be silent before the call is ended.
    pub media_silence: Duration,
    /// The most calls at a time.
    pub max_calls: usize,
    /// How often a trunk's gateways are asked whether they live.
    pub trunk_options_interval: Duration,
    /// The session interval that each leg is asked for (RFC 4028); zero asks for none.
    pub session_expires: Duration,
    /// The shortest session interval that is taken.
    pub min_session_expires: Duration,
}

impl Translator {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Translator::default();
        let role = Translator {
            listen_ipv6: section.list("listen_ipv6", default.listen_ipv6),
            listen_ipv4: section.list("listen_ipv4", default.listen_ipv4),
            proxy: section.optional("proxy"),
            media_ipv6: section.optional("media_ipv6"),
            media_ipv4: section.optional("media_ipv4"),
            media_ports: section.parsed("media_ports", default.media_ports),
            media_rest: section.seconds("media_rest_s", default.media_rest, 0..=3_600),
            media_silence: section.seconds("media_silence_s", default.media_silence, 5..=86_400),
            max_calls: section.integer("max_calls", default.max_calls, 1..=1_000_000),
            trunk_options_interval: section.seconds(
                "trunk_options_interval_s",
                default.trunk_options_interval,
                1..=3_600,
            ),
            session_expires: section.seconds("session_expires_s", default.session_expires, 0..=86_400),
            min_session_expires: section.seconds(
                "min_session_expires_s",
                default.min_session_expires,
                1..=86_400,
            ),
        };
        if !role.session_expires.is_zero() && role.session_expires < role.min_session_expires {
            section.refuse("session_expires_s", "must be 0 or at least min_session_expires_s");
        }
        if role.listen_ipv6.is_empty() || !role.listen_ipv6.iter().all(|listener| listener.addr.is_ipv6()) {
            section.refuse("listen_ipv6", "must name at least one listener, and IPv6 ones only");
        }
        if role.listen_ipv4.is_empty() || !role.listen_ipv4.iter().all(|listener| listener.addr.is_ipv4()) {
            section.refuse("listen_ipv4", "must name at least one listener, and IPv4 ones only");
        }
        role
    }
}

impl Default for Translator {
    fn default() -> Self {
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5070));
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5070));
        Translator {
            listen_ipv6: vec![Listener::udp(v6), Listener::tcp(v6)],
            listen_ipv4: vec![Listener::udp(v4), Listener::tcp(v4)],
            proxy: None,
            media_ipv6: None,
            media_ipv4: None,
            media_ports: PortRange { first: 20_000, last: 29_999 },
            media_rest: Duration::from_secs(30),
            media_silence: Duration::from_secs(60),
            max_calls: 2_000,
            trunk_options_interval: Duration::from_secs(30),
            session_expires: Duration::from_secs(1800),
            min_session_expires: Duration::from_secs(90),
        }
    }
}

/// Ports from `first`, which is even, to `last`, which is odd, so that they pair up (RFC 3550 §11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// `None` unless `first` is even, `last` odd and greater, and none is privileged.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        let fits = first >= 1_024 && first.is_multiple_of(2) && !last.is_multiple_of(2) && first < last;
        fits.then_some(PortRange { first, last })
    }

    /// The first port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The last port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// How many pairs there are.
    pub fn pairs(self) -> usize {
        (usize::from(self.last) - usize::from(self.first)).div_ceil(2)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// The word is no range of port pairs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be first-last, from an even port of at least 1024 to an odd one, such as \"20000-29999\"")]
pub struct BadPortRange;

impl FromStr for PortRange {
    type Err = BadPortRange;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let (first, last) = word.split_once('-').ok_or(BadPortRange)?;
        let port = |text: &str| text.trim().parse().map_err(|_| BadPortRange);
        PortRange::new(port(first)?, port(last)?).ok_or(BadPortRange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges_hold_whole_pairs() {
        assert_eq!("20000-20003".parse::<PortRange>().unwrap().pairs(), 2);
        assert_eq!(PortRange::new(1024, 65535).unwrap().pairs(), 32_256);
        for word in ["20001-20004", "20000-20002", "20000", "80-99", "30000-20001"] {
            assert_eq!(word.parse::<PortRange>(), Err(BadPortRange), "{word}");
        }
    }
}
