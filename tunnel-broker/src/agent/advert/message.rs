//! Router advertisements and solicitations on the wire (RFC 4861 §4.1, §4.2 and §4.6, RFC 8106 §5.1).
//!
//! The kernel computes the ICMPv6 checksum of what a raw socket sends, and checks that of what it receives (RFC 3542 §3.1).

use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::Ipv6Net;

/// What an advertisement says. Times are whole seconds on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advertisement {
    /// How long we are a default router; zero: not at all.
    pub(crate) router_lifetime: Duration,
    /// The sender's MAC.
    pub(crate) mac: Option<[u8; 6]>,
    /// The MTU that everybody on the link uses.
    pub(crate) mtu: Option<u32>,
    /// Prefixes from which addresses are made.
    pub(crate) prefixes: Vec<Prefix>,
    /// DNS servers, and for how long.
    pub(crate) dns: Vec<Ipv6Addr>,
    pub(crate) dns_lifetime: Duration,
}

/// A prefix that is on the link (L) and from which addresses are made (A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) prefix: Ipv6Net,
    pub(crate) valid: Duration,
    pub(crate) preferred: Duration,
}

/// A host asks for an advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Solicitation;

/// What arrived at the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Solicitation(Solicitation),
    Advertisement(Advertisement),
}

impl Advertisement {
    /// The ICMPv6 message, its checksum left to the kernel.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![TYPE_ADVERTISEMENT, 0, 0, 0, CUR_HOP_LIMIT, 0];
        let router_lifetime = u16::try_from(self.router_lifetime.as_secs()).unwrap_or(u16::MAX);
        bytes.extend(router_lifetime.to_be_bytes());
        // Reachable time and retransmission timer: not specified by this router.
        bytes.extend([0; 8]);
        if let Some(mac) = self.mac {
            bytes.extend([OPTION_SOURCE_MAC, 1]);
            bytes.extend(mac);
        }
        if let Some(mtu) = self.mtu {
            bytes.extend([OPTION_MTU, 1, 0, 0]);
            bytes.extend(mtu.to_be_bytes());
        }
        for prefix in &self.prefixes {
            bytes.extend([OPTION_PREFIX, 4, prefix.prefix.prefix_len(), FLAG_ON_LINK | FLAG_AUTONOMOUS]);
            bytes.extend(seconds(prefix.valid));
            bytes.extend(seconds(prefix.preferred));
            bytes.extend([0; 4]);
            bytes.extend(prefix.prefix.network().octets());
        }
        if !self.dns.is_empty() {
            let dns = self.dns.get(..MAX_DNS).unwrap_or(&self.dns);
            bytes.extend([OPTION_RDNSS, 1 + 2 * dns.len() as u8, 0, 0]);
            bytes.extend(seconds(self.dns_lifetime));
            for server in dns {
                bytes.extend(server.octets());
            }
        }
        bytes
    }
}

impl Message {
    /// Reads a message as a host or router must (RFC 4861 §6.1.1, §6.1.2); nothing when it is to be ignored.
    pub(crate) fn parse(bytes: &[u8], source: Ipv6Addr, hop_limit: Option<u8>) -> Option<Message> {
        // Only a neighbour can send with 255: every router on the way would have counted it down.
        if hop_limit != Some(255) {
            return None;
        }
        let (&[kind, code], _) = bytes.split_first_chunk()?;
        match (kind, code) {
            (TYPE_SOLICITATION, 0) => {
                let options = options(bytes.get(SOLICITATION_LEN..)?)?;
                let names_mac = options.iter().any(|(kind, _)| *kind == OPTION_SOURCE_MAC);
                if source.is_unspecified() && names_mac {
                    return None;
                }
                Some(Message::Solicitation(Solicitation))
            }
            (TYPE_ADVERTISEMENT, 0) if source.is_unicast_link_local() => {
                Some(Message::Advertisement(Advertisement::parse(bytes)?))
            }
            _ => None,
        }
    }
}

impl Advertisement {
    fn parse(bytes: &[u8]) -> Option<Advertisement> {
        let (&[_, _, _, _, _, _, l0, l1, _, _, _, _, _, _, _, _], rest) =
            bytes.split_first_chunk::<ADVERTISEMENT_LEN>()?;
        let mut advertisement = Advertisement {
            router_lifetime: Duration::from_secs(u16::from_be_bytes([l0, l1]).into()),
            mac: None,
            mtu: None,
            prefixes: Vec::new(),
            dns: Vec::new(),
            dns_lifetime: Duration::ZERO,
        };
        for (kind, body) in options(rest)? {
            match (kind, body) {
                (OPTION_SOURCE_MAC, mac) => advertisement.mac = mac.try_into().ok(),
                (OPTION_MTU, &[_, _, a, b, c, d]) => {
                    advertisement.mtu = Some(u32::from_be_bytes([a, b, c, d]));
                }
                (OPTION_PREFIX, body) => advertisement.prefixes.extend(Prefix::parse(body)),
                (OPTION_RDNSS, &[_, _, a, b, c, d, ref servers @ ..]) => {
                    advertisement.dns_lifetime = Duration::from_secs(u32::from_be_bytes([a, b, c, d]).into());
                    let servers =
                        servers.chunks_exact(16).filter_map(|octets| <[u8; 16]>::try_from(octets).ok());
                    advertisement.dns.extend(servers.map(Ipv6Addr::from));
                }
                _ => {}
            }
        }
        Some(advertisement)
    }
}

impl Prefix {
    fn parse(body: &[u8]) -> Option<Prefix> {
        let (&[len, flags, v0, v1, v2, v3, p0, p1, p2, p3, _, _, _, _], network) =
            body.split_first_chunk()?;
        let network = <[u8; 16]>::try_from(network).ok()?;
        if flags & FLAG_AUTONOMOUS == 0 {
            return None;
        }
        Some(Prefix {
            prefix: Ipv6Net::new(Ipv6Addr::from(network), len).ok()?.trunc(),
            valid: Duration::from_secs(u32::from_be_bytes([v0, v1, v2, v3]).into()),
            preferred: Duration::from_secs(u32::from_be_bytes([p0, p1, p2, p3]).into()),
        })
    }
}

/// The options, each with its type and what stands behind its length; nothing when one of them has a length that cannot be.
fn options(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut options = Vec::new();
    while let [kind, len, ..] = *bytes {
        let len = usize::from(len) * 8;
        if len == 0 {
            return None;
        }
        options.push((kind, bytes.get(2..len)?));
        bytes = bytes.get(len..)?;
    }
    bytes.is_empty().then_some(options)
}

fn seconds(time: Duration) -> [u8; 4] {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).to_be_bytes()
}

/// A solicitation without options, its checksum left to the kernel.
pub(super) const SOLICITATION: [u8; 8] = [TYPE_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
pub(super) const TYPE_SOLICITATION: u8 = 133;
pub(super) const TYPE_ADVERTISEMENT: u8 = 134;
const SOLICITATION_LEN: usize = 8;
const ADVERTISEMENT_LEN: usize = 16;
const OPTION_SOURCE_MAC: u8 = 1;
const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;
const OPTION_RDNSS: u8 = 25;
const FLAG_ON_LINK: u8 = 0x80;
const FLAG_AUTONOMOUS: u8 = 0x40;
/// The hop limit that hosts use by default.
const CUR_HOP_LIMIT: u8 = 64;
/// As many as a resolver uses; the option has room for 127.
const MAX_DNS: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Advertisement {
        Advertisement {
            router_lifetime: Duration::from_secs(1800),
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: Some(1280),
            prefixes: vec![Prefix {
                prefix: "2001:db8:1::/64".parse().unwrap(),
                valid: Duration::from_secs(5400),
                preferred: Duration::from_secs(2700),
            }],
            dns: vec!["2001:db8:c::53".parse().unwrap()],
            dns_lifetime: Duration::from_secs(1800),
        }
    }

    fn neighbour() -> Ipv6Addr {
        "fe80::1".parse().unwrap()
    }

    fn solicitation(options: &[u8]) -> Vec<u8> {
        [&[133, 0, 0, 0, 0, 0, 0, 0], options].concat()
    }

    #[test]
    fn an_advertisement_is_written_as_the_rfcs_draw_it() {
        #[rustfmt::skip]
        let expected = [
            134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0,
            1, 1, 2, 0, 0, 0, 0, 1,
            5, 1, 0, 0, 0, 0, 0x05, 0x00,
            3, 4, 64, 0xc0, 0, 0, 0x15, 0x18, 0, 0, 0x0a, 0x8c, 0, 0, 0, 0,
            0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            25, 3, 0, 0, 0, 0, 0x07, 0x08, 0x20, 1, 0xd, 0xb8, 0, 0xc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53,
        ];
        assert_eq!(sample().to_bytes(), expected);
        let read = Message::parse(&expected, neighbour(), Some(255));
        assert_eq!(read, Some(Message::Advertisement(sample())));
    }

    #[test]
    fn what_does_not_come_from_a_neighbour_is_ignored() {
        let ours = sample().to_bytes();
        assert_eq!(Message::parse(&ours, neighbour(), Some(254)), None);
        assert_eq!(Message::parse(&ours, neighbour(), None), None);
        assert_eq!(Message::parse(&ours, "2001:db8::1".parse().unwrap(), Some(255)), None);
        let asked = Some(Message::Solicitation(Solicitation));
        assert_eq!(Message::parse(&solicitation(&[]), neighbour(), Some(255)), asked);
        assert_eq!(Message::parse(&solicitation(&[]), neighbour(), Some(64)), None);
    }

    #[test]
    fn a_solicitation_is_checked_as_section_6_1_1_says() {
        let parse = |bytes: &[u8], source| Message::parse(bytes, source, Some(255)).is_some();
        let mac = [1, 1, 2, 0, 0, 0, 0, 9];
        assert!(parse(&solicitation(&mac), neighbour()));
        assert!(parse(&solicitation(&[]), Ipv6Addr::UNSPECIFIED));
        assert!(!parse(&solicitation(&mac), Ipv6Addr::UNSPECIFIED), "a MAC without an address");
        assert!(!parse(&solicitation(&[])[..7], neighbour()), "too short");
        assert!(!parse(&solicitation(&[1, 0, 0, 0, 0, 0, 0, 0]), neighbour()), "an option of length 0");
        assert!(!parse(&solicitation(&[1, 2, 0, 0, 0, 0, 0, 0]), neighbour()), "an option cut off");
        assert!(!parse(&solicitation(&[1]), neighbour()), "half an option");
        let mut code = solicitation(&[]);
        code[1] = 1;
        assert!(!parse(&code, neighbour()), "another code");
        assert!(parse(&solicitation(&[99, 1, 0, 0, 0, 0, 0, 0]), neighbour()), "an unknown option");
    }

    proptest! {
        #[test]
        fn nothing_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), advertisement: bool) {
            if let Some(kind) = bytes.first_mut() {
                *kind = if advertisement { 134 } else { 133 };
            }
            if let Some(code) = bytes.get_mut(1) {
                *code = 0;
            }
            let _ = Message::parse(&bytes, neighbour(), Some(255));
        }
    }
}
