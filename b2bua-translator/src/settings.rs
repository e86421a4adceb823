//! What an operator decides about the translator.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use node::telemetry::Mask;
use sip_core::flow::Transport;
use sip_core::transaction;

/// Settings of all workers of one translator.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's name, for call records.
    pub node: String,
    /// Where the proxies reach us, and where the phones' media does.
    pub inside: Face,
    /// Where IPv4 trunks reach us; without it they are not used.
    pub outside_v4: Option<Face>,
    /// Where IPv6 trunks reach us; without it they are not used.
    pub outside_v6: Option<Face>,
    /// The proxies: the only ones who may call from the inside, by exact address and port; calls from trunks go to the
    /// first that answers.
    pub proxies: Vec<SocketAddr>,
    /// How national numbers from trunks are read.
    pub country: Country,
    /// Emergency numbers: calls to them are taken whatever is full.
    pub emergency: Vec<String>,
    /// Timers and bounds of the transactions.
    pub transaction: transaction::Settings,
    /// Calls at once in this process; more get 503.
    pub max_calls: usize,
    /// Media sections relayed in a call; further ones are refused with port 0.
    pub max_streams: usize,
    /// How long a gateway may take to its first response: then the next one is tried, and an OPTIONS counts as failed.
    pub connect_limit: Duration,
    /// How long a call may ring.
    pub ring_limit: Duration,
    /// How long a call may last: the end of calls whose parties died while on hold.
    pub call_limit: Duration,
    /// What Retry-After says in a 503, in whole seconds on the wire.
    pub retry_after: Duration,
    /// How trunks are watched.
    pub keep_alive: KeepAlive,
    /// The session timers that we ask for and take.
    pub session: SessionPolicy,
    /// What log lines hide.
    pub mask: Mask,
}

impl Settings {
    /// Settings with the usual limits, and without a face toward trunks.
    pub fn new(node: &str, inside: Face, proxies: Vec<SocketAddr>) -> Settings {
        Settings {
            node: node.to_owned(),
            inside,
            outside_v4: None,
            outside_v6: None,
            proxies,
            country: Country::default(),
            emergency: Vec::new(),
            transaction: transaction::Settings::default(),
            max_calls: 2_000,
            max_streams: 4,
            connect_limit: Duration::from_secs(4),
            ring_limit: Duration::from_secs(180),
            call_limit: Duration::from_secs(12 * 3600),
            retry_after: Duration::from_secs(5),
            keep_alive: KeepAlive::default(),
            session: SessionPolicy::default(),
            mask: Mask::default(),
        }
    }

    /// The face toward a gateway or proxy, by the family of its address and by nothing else.
    pub fn outside(&self, remote: IpAddr) -> Option<Face> {
        if remote.is_ipv4() { self.outside_v4 } else { self.outside_v6 }
    }
}

/// Our two addresses on one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Face {
    /// Where we listen for SIP, as others shall write it: never a wildcard address.
    pub signalling: SocketAddr,
    /// Where the relay's ports are.
    pub media: IpAddr,
    /// The port over TCP, when it is another one.
    pub tcp: Option<u16>,
    /// The port over TLS.
    pub tls: Option<u16>,
}

impl Face {
    /// A face with one port for all transports.
    pub fn new(signalling: SocketAddr, media: IpAddr) -> Face {
        Face { signalling, media, tcp: None, tls: None }
    }

    /// Where we listen for a transport.
    pub fn at(&self, transport: Transport) -> SocketAddr {
        let port = match transport {
            Transport::Tcp => self.tcp,
            Transport::Tls => self.tls,
            Transport::Udp | Transport::Ws | Transport::Wss => None,
        };
        SocketAddr::new(self.signalling.ip(), port.unwrap_or(self.signalling.port()))
    }

    /// Whether what came in at this local address came in here. The port and the family decide, so that a listener on a
    /// wildcard address counts with each of its addresses.
    pub fn listens_at(&self, local: SocketAddr) -> bool {
        let ports = [Some(self.signalling.port()), self.tcp, self.tls];
        ports.contains(&Some(local.port())) && self.signalling.is_ipv4() == local.is_ipv4()
    }
}

/// How numbers are dialled in a country (ITU-T E.123 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Country {
    /// The country code: `81`. Empty where no national number shall be read.
    pub code: String,
    /// What is dialled before a national number: `0`. May be empty.
    pub national_prefix: String,
    /// What is dialled before an international number: `010`. May be empty.
    pub international_prefix: String,
}

impl Default for Country {
    /// Japan.
    fn default() -> Self {
        Country { code: "81".into(), national_prefix: "0".into(), international_prefix: "010".into() }
    }
}

impl Country {
    /// The E.164 number, with its plus sign, that a dialled one means; `None` for what is no telephone number or too
    /// short to be more than a local service.
    pub fn e164(&self, dialled: &str) -> Option<String> {
        let bare = dialled.strip_prefix('+').unwrap_or(dialled);
        if bare.is_empty() || !bare.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        if dialled.starts_with('+') {
            return valid(dialled.to_owned());
        }
        let after = |prefix: &str| bare.strip_prefix(prefix).filter(|_| !prefix.is_empty());
        if let Some(number) = after(&self.international_prefix) {
            return valid(format!("+{number}"));
        }
        if self.code.is_empty() {
            return None;
        }
        after(&self.national_prefix).and_then(|number| valid(format!("+{}{number}", self.code)))
    }
}

/// How sessions are refreshed (RFC 4028), on each leg for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionPolicy {
    /// The interval that we ask for, in seconds; `None` asks for none, and peers may still.
    pub interval: Option<u32>,
    /// The shortest interval that we take, in seconds.
    pub min: u32,
}

impl Default for SessionPolicy {
    /// What RFC 4028 §4 and §5 recommend.
    fn default() -> Self {
        SessionPolicy { interval: Some(1_800), min: 90 }
    }
}

/// How a trunk's gateways are watched with OPTIONS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// How often a gateway is asked; zero asks never, and every gateway counts as up.
    pub every: Duration,
    /// How often a gateway that is down is asked.
    pub retry_every: Duration,
    /// How many failures in a row take it down.
    pub failures: u32,
}

impl Default for KeepAlive {
    fn default() -> Self {
        KeepAlive { every: Duration::from_secs(30), retry_every: Duration::from_secs(10), failures: 2 }
    }
}

/// ITU-T E.164 §6: at most 15 digits, the first not zero; fewer than seven are no subscriber's number.
fn valid(number: String) -> Option<String> {
    let digits = number.len().saturating_sub(1);
    ((7..=15).contains(&digits) && !number.starts_with("+0")).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_of_a_country() {
        let japan = Country::default();
        for (dialled, wanted) in [
            ("+81312345678", Some("+81312345678")),
            ("0312345678", Some("+81312345678")),
            ("010442071234567", Some("+442071234567")),
            ("110", None),
            ("0120", None),
            ("312345678", None),
            ("+0312345678", None),
            ("alice", None),
            ("", None),
            ("+", None),
        ] {
            assert_eq!(japan.e164(dialled).as_deref(), wanted, "{dialled}");
        }
        let nowhere =
            Country { code: "".into(), national_prefix: "".into(), international_prefix: "".into() };
        assert_eq!(nowhere.e164("0312345678"), None);
        assert_eq!(nowhere.e164("+81312345678").as_deref(), Some("+81312345678"));
    }

    #[test]
    fn a_face_takes_every_address_of_its_listener() {
        let face = Face::new("[2001:db8::9]:5060".parse().unwrap(), "2001:db8::9".parse().unwrap());
        let with_tls = Face { tls: Some(5061), ..face };
        assert!(with_tls.listens_at("[2001:db8::9]:5061".parse().unwrap()));
        assert_eq!(with_tls.at(Transport::Tls), "[2001:db8::9]:5061".parse().unwrap());
        assert_eq!(with_tls.at(Transport::Tcp), face.signalling);
        assert!(face.listens_at("[2001:db8::77]:5060".parse().unwrap()));
        assert!(!face.listens_at("[2001:db8::9]:5061".parse().unwrap()));
        assert!(!face.listens_at("192.0.2.1:5060".parse().unwrap()));
    }
}
