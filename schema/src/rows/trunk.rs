use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{InvalidRow, TrunkId, check_id, check_name, ensure, is_digits};

/// A carrier's gateways, with what we accept from them and send to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trunk {
    /// The row's number.
    pub id: TrunkId,
    /// What people call it; unique.
    pub name: String,
    /// Where calls are sent, the preferred one first; all of one address family.
    pub gateways: Vec<Gateway>,
    /// Gateways that are known by name, after those above: the DNS says where they are (RFC 3263).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<GatewayHost>,
    /// Where its signalling may come from, beside the gateways themselves.
    #[serde(default)]
    pub sources: Vec<IpNet>,
    /// Where its media may come from.
    #[serde(default)]
    pub media_networks: Vec<IpNet>,
    /// How many calls it may carry at once over the whole platform; nothing means no limit.
    #[serde(default)]
    pub max_calls: Option<u32>,
    /// The largest request sent to it over UDP, in bytes; nothing means the path's own limit.
    #[serde(default)]
    pub max_udp_bytes: Option<u32>,
    /// The name that certificates of its gateways must have: those that we connect to (instead of their host or address), and the one
    /// that a connection from it shows. Nothing means that its connections are known by their source alone.
    #[serde(default)]
    pub certificate_name: Option<String>,
    /// The codecs that may pass between it and the phones, by their encoding names (`PCMA`, `opus`, `t38` for fax), without regard to
    /// case; tones (RFC 4733) always may. None named: all may.
    #[serde(default)]
    pub codecs: Vec<String>,
    /// Whether it may send a call elsewhere, by a transfer (REFER) or a redirection (3xx): we call the new number over this trunk,
    /// at its owner's cost.
    #[serde(default)]
    pub may_redirect: bool,
    /// The caller's number shown to it when the line has none of its own.
    #[serde(default)]
    pub default_caller: Option<String>,
    /// Whether calls are sent to it and taken from it.
    #[serde(default = "yes")]
    pub enabled: bool,
}

impl Trunk {
    /// A new trunk that takes signalling from its gateways only, and media from nowhere else.
    ///
    /// # Errors
    /// As [`check`](Trunk::check).
    pub fn new(name: &str, gateways: Vec<Gateway>) -> Result<Trunk, InvalidRow> {
        let trunk = Trunk::draft(name, gateways, Vec::new());
        trunk.check().map(|()| trunk)
    }

    /// The same, not checked yet: gateways that are known by name need media networks, too.
    pub fn draft(name: &str, gateways: Vec<Gateway>, hosts: Vec<GatewayHost>) -> Trunk {
        let media_networks = gateways.iter().map(|gateway| IpNet::from(gateway.address.ip())).collect();
        Trunk {
            id: TrunkId::NEW,
            name: name.to_owned(),
            gateways,
            hosts,
            sources: Vec::new(),
            media_networks,
            max_calls: None,
            max_udp_bytes: None,
            certificate_name: None,
            codecs: Vec::new(),
            may_redirect: false,
            default_caller: None,
            enabled: true,
        }
    }

    /// Whether the trunk may be stored.
    ///
    /// # Errors
    /// The first field that is not valid, with what to give instead.
    pub fn check(&self) -> Result<(), InvalidRow> {
        check_id("trunk id", self.id.0)?;
        check_name("trunk name", &self.name)?;
        let count = |len: usize| len.to_string();
        let gateways = self.gateways.len() + self.hosts.len();
        ensure((1..=16).contains(&gateways), "trunk gateways", &count(gateways), "give 1 to 16 gateways")?;
        if let Some(host) = self.hosts.first() {
            ensure(
                !self.media_networks.is_empty(),
                "trunk gateway",
                &host.to_string(),
                "say which networks its media comes from: a name tells nothing of them",
            )?;
        }
        for gateway in &self.gateways {
            let ip = gateway.address.ip();
            ensure(
                gateway.address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast(),
                "trunk gateway",
                &gateway.to_string(),
                "use a host's own address and a port",
            )?;
            ensure(
                gateway.family() == self.family(),
                "trunk gateway",
                &gateway.to_string(),
                "use gateways of one address family in a trunk, and a second trunk for the other family",
            )?;
        }
        ensure(
            self.sources.len() <= 64,
            "trunk sources",
            &count(self.sources.len()),
            "give at most 64 networks",
        )?;
        ensure(
            self.media_networks.len() <= 64,
            "trunk media networks",
            &count(self.media_networks.len()),
            "give at most 64 networks",
        )?;
        let udp = self.max_udp_bytes.unwrap_or(1300);
        ensure(
            (500..=65_000).contains(&udp),
            "trunk max_udp_bytes",
            &udp.to_string(),
            "use 500 to 65000 bytes",
        )?;
        ensure(self.codecs.len() <= 32, "trunk codecs", &count(self.codecs.len()), "name at most 32 codecs")?;
        for codec in &self.codecs {
            // RFC 8866 §9: an encoding name is a token.
            let is_name = (1..=40).contains(&codec.len())
                && codec.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._+".contains(&byte));
            ensure(is_name, "trunk codec", codec, "use an encoding name, like PCMA, G729, opus or t38")?;
        }
        let name = self.certificate_name.as_deref().unwrap_or("a");
        ensure(is_host_name(name), "trunk certificate name", name, "use a host name, like gw.example.net")?;
        let caller = self.default_caller.as_deref().unwrap_or("0");
        let digits = caller.strip_prefix('+').unwrap_or(caller);
        ensure(is_digits(digits, 1, 15), "trunk default caller", caller, "use a number, like +81312345678")
    }

    /// The address family of its gateways.
    pub fn family(&self) -> Family {
        self.gateways.first().map_or(Family::V4, Gateway::family)
    }

    /// Whether signalling from this address may be the trunk's.
    pub fn may_signal_from(&self, ip: IpAddr) -> bool {
        self.gateways.iter().any(|gateway| gateway.address.ip() == ip)
            || self.sources.iter().any(|net| net.contains(&ip))
    }

    /// Whether a connection whose certificate vouches for these names, given in lower case, may be the trunk's.
    pub fn is_vouched_for(&self, names: &[String]) -> bool {
        self.certificate_name
            .as_ref()
            .is_none_or(|own| names.iter().any(|name| own.eq_ignore_ascii_case(name)))
    }

    /// Whether media from this address may be the trunk's.
    pub fn may_send_media_from(&self, ip: IpAddr) -> bool {
        self.media_networks.iter().any(|net| net.contains(&ip))
    }
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Where a trunk's calls are sent. Written `udp:192.0.2.1:5060`; the transport and the port may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gateway {
    /// How.
    pub transport: GatewayTransport,
    /// Where.
    pub address: SocketAddr,
}

/// How a gateway is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GatewayTransport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream under TLS.
    Tls,
}

impl Gateway {
    /// The family of its address.
    pub fn family(&self) -> Family {
        if self.address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// A gateway that is known by name. Written `gw.example.net`, `tls:gw.example.net` or `udp:gw.example.net:5062`: without a transport and a port
/// the DNS says both.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GatewayHost {
    /// How, where that is fixed.
    pub transport: Option<GatewayTransport>,
    /// Its name, in lower case.
    pub host: String,
    /// Its port, where that is fixed.
    pub port: Option<u16>,
}

impl fmt::Display for GatewayHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(transport) = self.transport {
            write!(f, "{transport}:")?;
        }
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl FromStr for GatewayHost {
    type Err = BadGateway;

    fn from_str(text: &str) -> Result<Self, BadGateway> {
        let (transport, rest) = GatewayTransport::split(text);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse::<u16>().ok().filter(|port| *port != 0))),
            None => (rest, None),
        };
        // What ends in digits alone is an address that was mistyped.
        let is_name =
            is_host_name(host) && !host.rsplit('.').next().is_some_and(|last| is_digits(last, 0, 253));
        match port {
            Some(None) => Err(BadGateway::of(text)),
            _ if !is_name => Err(BadGateway::of(text)),
            port => Ok(GatewayHost { transport, host: host.to_ascii_lowercase(), port: port.flatten() }),
        }
    }
}

/// A gateway, known by address or by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GatewayPlace {
    /// By address.
    Address(Gateway),
    /// By name.
    Name(GatewayHost),
}

impl GatewayPlace {
    /// Those of each kind, in their order.
    pub fn split(places: Vec<GatewayPlace>) -> (Vec<Gateway>, Vec<GatewayHost>) {
        let (mut gateways, mut hosts) = (Vec::new(), Vec::new());
        for place in places {
            match place {
                GatewayPlace::Address(gateway) => gateways.push(gateway),
                GatewayPlace::Name(host) => hosts.push(host),
            }
        }
        (gateways, hosts)
    }
}

impl fmt::Display for GatewayPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GatewayPlace::Address(gateway) => gateway.fmt(f),
            GatewayPlace::Name(host) => host.fmt(f),
        }
    }
}

impl FromStr for GatewayPlace {
    type Err = BadGateway;

    fn from_str(text: &str) -> Result<Self, BadGateway> {
        let address = text.parse().map(GatewayPlace::Address);
        address.or_else(|_| text.parse().map(GatewayPlace::Name))
    }
}

impl fmt::Display for GatewayTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GatewayTransport::Udp => "udp",
            GatewayTransport::Tcp => "tcp",
            GatewayTransport::Tls => "tls",
        })
    }
}

impl GatewayTransport {
    fn split(text: &str) -> (Option<GatewayTransport>, &str) {
        let all = [GatewayTransport::Udp, GatewayTransport::Tcp, GatewayTransport::Tls];
        let found = all.into_iter().find_map(|transport| {
            let rest = text.strip_prefix(&transport.to_string())?.strip_prefix(':')?;
            Some((Some(transport), rest))
        });
        found.unwrap_or((None, text))
    }
}

impl From<SocketAddr> for Gateway {
    fn from(address: SocketAddr) -> Self {
        Gateway { transport: GatewayTransport::Udp, address }
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = self.transport;
        write!(f, "{transport}:{}", self.address)
    }
}

/// Text that names no gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no gateway: write an address and a port, like 192.0.2.1:5060 or tcp:[2001:db8::1]:5060, or a name like gw.example.net"
)]
pub struct BadGateway(String);

impl BadGateway {
    fn of(text: &str) -> BadGateway {
        BadGateway(text.chars().take(80).collect())
    }
}

impl FromStr for Gateway {
    type Err = BadGateway;

    fn from_str(text: &str) -> Result<Self, BadGateway> {
        let (transport, rest) = GatewayTransport::split(text);
        let transport = transport.unwrap_or(GatewayTransport::Udp);
        let port = if transport == GatewayTransport::Tls { DEFAULT_TLS_PORT } else { DEFAULT_PORT };
        let bare = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(rest);
        let address = rest.parse().or_else(|_| bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port)));
        match address {
            Ok(address) => Ok(Gateway { transport, address }),
            Err(_) => Err(BadGateway::of(text)),
        }
    }
}

/// Stored and shown as they are written.
macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Gateway, GatewayHost, GatewayPlace);

fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn yes() -> bool {
    true
}

/// RFC 3261 §19.1.2.
const DEFAULT_PORT: u16 = 5060;
const DEFAULT_TLS_PORT: u16 = 5061;

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(text: &str) -> Gateway {
        text.parse().expect("a gateway")
    }

    #[test]
    fn gateways_are_read_and_written() {
        assert_eq!(gateway("192.0.2.1").to_string(), "udp:192.0.2.1:5060");
        assert_eq!(gateway("tcp:[2001:db8::1]:5070").to_string(), "tcp:[2001:db8::1]:5070");
        assert_eq!(gateway("[2001:db8::1]").to_string(), "udp:[2001:db8::1]:5060");
        assert_eq!(gateway("2001:db8::1").to_string(), "udp:[2001:db8::1]:5060");
        assert_eq!(gateway("tls:192.0.2.1").to_string(), "tls:192.0.2.1:5061");
        for bad in ["", "gw.example.net", "192.0.2.1:port", "ws:192.0.2.1"] {
            assert!(bad.parse::<Gateway>().is_err(), "{bad}");
        }
    }

    #[test]
    fn gateways_are_known_by_name_too() {
        for (text, shown) in [
            ("GW.example.net", "gw.example.net"),
            ("tls:gw.example.net", "tls:gw.example.net"),
            ("udp:gw.example.net:5062", "udp:gw.example.net:5062"),
        ] {
            let place: GatewayPlace = text.parse().expect("a place");
            assert!(matches!(place, GatewayPlace::Name(_)));
            assert_eq!(place.to_string(), shown);
        }
        assert!(matches!("192.0.2.1".parse(), Ok(GatewayPlace::Address(_))));
        for bad in [
            "",
            "192.0.2",
            "192.0.2.300",
            "gw.example.net:0",
            "gw..net",
            "ws:gw.example.net",
            "gw net",
            "[::1",
        ] {
            assert!(bad.parse::<GatewayPlace>().is_err(), "{bad}");
        }
        let trunk = Trunk::draft("carrier", vec![], vec!["gw.example.net".parse().expect("a host")]);
        let words = trunk.check().expect_err("no media").to_string();
        assert!(words.contains("media"), "{words}");
        let trunk = Trunk { media_networks: vec!["192.0.2.0/24".parse().expect("a network")], ..trunk };
        assert!(trunk.check().is_ok());
    }

    #[test]
    fn a_trunk_has_one_family() {
        let trunk = Trunk::new("carrier", vec![gateway("192.0.2.1"), gateway("192.0.2.2")]).expect("valid");
        assert_eq!(trunk.family(), Family::V4);
        assert!(
            trunk.may_signal_from([192, 0, 2, 2].into()) && !trunk.may_signal_from([192, 0, 2, 3].into())
        );
        assert!(trunk.is_vouched_for(&[]));
        let named = Trunk { certificate_name: Some("GW.example.net".into()), ..trunk.clone() };
        assert!(named.check().is_ok() && named.is_vouched_for(&["a.net".into(), "gw.example.net".into()]));
        assert!(!named.is_vouched_for(&["example.net".into()]));
        assert!(Trunk { certificate_name: Some("two words".into()), ..trunk.clone() }.check().is_err());
        assert!(Trunk { codecs: vec!["AMR-WB".into()], ..trunk.clone() }.check().is_ok());
        assert!(Trunk { codecs: vec!["PCMA/8000".into()], ..trunk.clone() }.check().is_err());
        assert!(trunk.may_send_media_from([192, 0, 2, 1].into()));
        assert!(Trunk::new("carrier", vec![gateway("192.0.2.1"), gateway("2001:db8::1")]).is_err());
        assert!(Trunk::new("carrier", vec![]).is_err());
        assert!(Trunk::new("carrier", vec![gateway("192.0.2.1:0")]).is_err());
    }
}
