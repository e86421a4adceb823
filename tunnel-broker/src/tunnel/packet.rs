//! The two headers of a tunnelled packet.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::counters::DropReason;

/// Length of an IPv6 header, bytes.
pub(super) const INNER_HEADER: usize = 40;
/// Length of an IPv4 header without options, bytes.
pub(super) const OUTER_HEADER: usize = 20;

/// An IPv4 header that goes before an inner packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OuterHeader {
    /// The header's bytes, checksum included. The identification is zero: a raw socket with `IP_HDRINCL` fills it in, and the
    /// checksum with it. Fragmentation is allowed (RFC 4213 §3.2.1: the tunnel's MTU is static).
    pub bytes: [u8; OUTER_HEADER],
    /// Where it leads.
    pub destination: Ipv4Addr,
}

impl OuterHeader {
    /// A header for an inner packet of that many bytes; `None` when they do not fit into an IPv4 packet.
    pub(super) fn new(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        tos: u8,
        inner_len: usize,
        ttl: u8,
    ) -> Option<OuterHeader> {
        let [len_high, len_low] = u16::try_from(inner_len.checked_add(OUTER_HEADER)?).ok()?.to_be_bytes();
        let [s0, s1, s2, s3] = source.octets();
        let [d0, d1, d2, d3] = destination.octets();
        #[rustfmt::skip]
        let header = |[sum_high, sum_low]: [u8; 2]| [
            0x45, tos, len_high, len_low,
            0, 0, 0, 0,
            ttl, PROTOCOL, sum_high, sum_low,
            s0, s1, s2, s3,
            d0, d1, d2, d3,
        ];
        let checksum = checksum(&[&header([0, 0])]);
        Some(OuterHeader { bytes: header(checksum.to_be_bytes()), destination })
    }
}

/// What matters of an IPv4 packet that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outer {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) tos: u8,
    /// Where the inner packet lies.
    pub(super) payload: Range<usize>,
}

/// Reads an IPv4 packet with protocol 41 (RFC 791, RFC 4213 §3.5).
pub(super) fn parse_outer(packet: &[u8]) -> Result<Outer, DropReason> {
    use DropReason::{OuterFragment, OuterMalformed};
    let &[first, tos, l0, l1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
        packet.first_chunk::<20>().ok_or(OuterMalformed)?;
    let header_len = usize::from(first & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([l0, l1]));
    let header = packet.get(..header_len).ok_or(OuterMalformed)?;
    let is_sound = first >> 4 == 4
        && header_len >= 20
        && (header_len..=packet.len()).contains(&total_len)
        && protocol == PROTOCOL
        && checksum(&[header]) == 0;
    if !is_sound {
        return Err(OuterMalformed);
    }
    if u16::from_be_bytes([f0, f1]) & 0x3fff != 0 {
        return Err(OuterFragment);
    }
    Ok(Outer {
        source: Ipv4Addr::new(s0, s1, s2, s3),
        destination: Ipv4Addr::new(d0, d1, d2, d3),
        tos,
        payload: header_len..total_len,
    })
}

/// What matters of an IPv6 packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inner {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    pub(super) traffic_class: u8,
    pub(super) hop_limit: u8,
    pub(super) next_header: u8,
    /// Its length, header included; what is behind that is padding.
    pub(super) len: usize,
}

/// Reads an IPv6 packet (RFC 8200 §3). Jumbograms are not taken.
pub(super) fn parse_inner(packet: &[u8]) -> Result<Inner, DropReason> {
    use DropReason::InnerMalformed;
    let (&header, _) = packet.split_first_chunk::<INNER_HEADER>().ok_or(InnerMalformed)?;
    let (&[b0, b1, _, _, l0, l1, next_header, hop_limit], addresses) =
        header.split_first_chunk::<8>().ok_or(InnerMalformed)?;
    let (&source, destination) = addresses.split_first_chunk::<16>().ok_or(InnerMalformed)?;
    let &destination = destination.first_chunk::<16>().ok_or(InnerMalformed)?;
    let len = INNER_HEADER + usize::from(u16::from_be_bytes([l0, l1]));
    let is_jumbo = len == INNER_HEADER && next_header == 0;
    if b0 >> 4 != 6 || len > packet.len() || is_jumbo {
        return Err(InnerMalformed);
    }
    Ok(Inner {
        source: source.into(),
        destination: destination.into(),
        traffic_class: b0 << 4 | b1 >> 4,
        hop_limit,
        next_header,
        len,
    })
}

/// Writes a traffic class into an IPv6 header.
pub(super) fn set_traffic_class(packet: &mut [u8], class: u8) {
    if let Some([b0, b1]) = packet.first_chunk_mut::<2>() {
        *b0 = (*b0 & 0xf0) | class >> 4;
        *b1 = (*b1 & 0x0f) | class << 4;
    }
}

/// Writes a hop limit into an IPv6 header.
pub(super) fn set_hop_limit(packet: &mut [u8], hop_limit: u8) {
    if let Some(byte) = packet.get_mut(7) {
        *byte = hop_limit;
    }
}

/// Whether an address has no place in a tunnel, as a source or as a destination: unspecified, loopback and IPv4-compatible
/// (`::/96`), IPv4-mapped (`::ffff:0:0/96`), 6to4 (`2002::/16`), link-local, site-local, multicast.
pub(super) fn is_forbidden(address: Ipv6Addr) -> bool {
    matches!(
        address.segments(),
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x2002 | 0xfe80..=0xfeff | 0xff00..=0xffff, ..]
    )
}

/// The Internet checksum over all parts; all but the last have an even length (RFC 1071).
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        let (pairs, rest) = part.as_chunks::<2>();
        sum += pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum::<u64>();
        sum += rest.first().map_or(0, |&last| u64::from(last) << 8);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// IPv6 in IPv4 (RFC 4213 §3.5).
const PROTOCOL: u8 = 41;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const DESTINATION: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

    fn outer(inner: &[u8]) -> Vec<u8> {
        let header = OuterHeader::new(SOURCE, DESTINATION, 0xb8, inner.len(), 64).unwrap();
        [&header.bytes, inner].concat()
    }

    #[test]
    fn an_outer_header_byte_for_byte() {
        let header = OuterHeader::new(SOURCE, DESTINATION, 0xb8, 80, 64).unwrap();
        let bytes = [0x45, 0xb8, 0, 100, 0, 0, 0, 0, 64, 41, 0x8d, 0x7d, 192, 0, 2, 1, 198, 51, 100, 7];
        assert_eq!(header.bytes, bytes);
        assert_eq!(OuterHeader::new(SOURCE, DESTINATION, 0, 65_516, 64), None);
    }

    #[test]
    fn an_outer_header_is_checked() {
        let good = outer(&[1, 2, 3, 4]);
        let expected = Outer { source: SOURCE, destination: DESTINATION, tos: 0xb8, payload: 20..24 };
        assert_eq!(parse_outer(&good), Ok(expected));
        let padded = [&good[..], &[0; 10]].concat();
        assert_eq!(parse_outer(&padded).unwrap().payload, 20..24, "padding is cut off");
        let broken = |at: usize, value: u8| {
            let mut packet = good.clone();
            packet[at] = value;
            packet[10] = 0;
            packet[11] = 0;
            let sum = checksum(&[&packet[..20]]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            parse_outer(&packet)
        };
        assert_eq!(broken(0, 0x65), Err(DropReason::OuterMalformed), "version");
        assert_eq!(broken(0, 0x44), Err(DropReason::OuterMalformed), "header length");
        assert_eq!(broken(3, 25), Err(DropReason::OuterMalformed), "longer than what came");
        assert_eq!(broken(3, 19), Err(DropReason::OuterMalformed), "shorter than its header");
        assert_eq!(broken(9, 17), Err(DropReason::OuterMalformed), "protocol");
        assert_eq!(broken(6, 0x20), Err(DropReason::OuterFragment), "more fragments");
        assert_eq!(broken(7, 1), Err(DropReason::OuterFragment), "a later fragment");
        assert!(broken(6, 0x40).is_ok(), "don't fragment is no fragment");
        let mut packet = good.clone();
        packet[8] = 63;
        assert_eq!(parse_outer(&packet), Err(DropReason::OuterMalformed), "checksum");
        assert_eq!(parse_outer(&good[..19]), Err(DropReason::OuterMalformed));
    }

    #[test]
    fn options_in_the_outer_header_are_skipped() {
        let mut packet = outer(&[]);
        packet.extend([1, 1, 1, 0, 0xaa]);
        packet[0] = 0x46;
        packet[3] = 25;
        packet[10] = 0;
        packet[11] = 0;
        let sum = checksum(&[&packet[..24]]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(parse_outer(&packet).unwrap().payload, 24..25);
    }

    #[test]
    fn forbidden_addresses() {
        for text in [
            "::",
            "::1",
            "::192.0.2.1",
            "::ffff:192.0.2.1",
            "2002:c000:201::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
        ] {
            assert!(is_forbidden(text.parse().unwrap()), "{text}");
        }
        for text in ["2001:db8::1", "2003::1", "fd00::1", "::1:0:0:1", "64:ff9b::1", "2400::"] {
            assert!(!is_forbidden(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn rfc_1071_example() {
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03], &[0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        assert_eq!(checksum(&[&[0xff]]), 0x00ff);
    }

    proptest! {
        #[test]
        fn traffic_class_and_hop_limit_touch_nothing_else(mut bytes in prop::collection::vec(any::<u8>(), 40..60), class: u8, hop: u8) {
            bytes[0] = 0x60 | bytes[0] & 0x0f;
            bytes[4] = 0;
            bytes[5] = 0;
            bytes[6] = 59;
            let before = bytes.clone();
            set_traffic_class(&mut bytes, class);
            set_hop_limit(&mut bytes, hop);
            let inner = parse_inner(&bytes).unwrap();
            prop_assert_eq!((inner.traffic_class, inner.hop_limit), (class, hop));
            let old = parse_inner(&before).unwrap();
            set_traffic_class(&mut bytes, old.traffic_class);
            set_hop_limit(&mut bytes, old.hop_limit);
            prop_assert_eq!(bytes, before);
        }
    }
}
