//! ICMPv6 errors (RFC 4443).

use std::net::Ipv6Addr;

use super::extension::{self, ICMPV6, Upper};
use super::packet::{INNER_HEADER, checksum, parse_inner};

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Destination unreachable, code 3: address unreachable (RFC 4443 §3.1).
    Unreachable,
    /// Packet too big, with the MTU in bytes (RFC 4443 §3.2).
    TooBig(u16),
    /// Time exceeded, code 0: hop limit (RFC 4443 §3.3).
    TimeExceeded,
}

/// The error to be sent to a packet's source, a whole IPv6 packet of at most 1,280 bytes. `None` when a packet of that kind must
/// not be answered with an error (RFC 4443 §2.4 (e)), or when it cannot be told.
pub(super) fn error(fault: Fault, packet: &[u8], from: Ipv6Addr) -> Option<Vec<u8>> {
    let inner = parse_inner(packet).ok()?;
    let packet = packet.get(..inner.len)?;
    if inner.source.is_unspecified() || inner.source.is_multicast() || inner.destination.is_multicast() {
        return None;
    }
    if !may_be_answered(inner.next_header, packet.get(INNER_HEADER..)?) {
        return None;
    }
    let quoted = packet.get(..packet.len().min(MAX_ERROR - INNER_HEADER - 8))?;
    let (kind, code, value) = match fault {
        Fault::Unreachable => (1, 3, 0),
        Fault::TooBig(mtu) => (2, 0, u32::from(mtu)),
        Fault::TimeExceeded => (3, 0, 0),
    };
    let len = u16::try_from(8 + quoted.len()).ok()?;
    let (source, destination) = (from.octets(), inner.source.octets());
    let pseudo = [0, 0, len.to_be_bytes()[0], len.to_be_bytes()[1], 0, 0, 0, ICMPV6];
    let value = value.to_be_bytes();
    let sum = checksum(&[&source, &destination, &pseudo, &[kind, code, 0, 0], &value, quoted]);
    let mut error = Vec::with_capacity(INNER_HEADER + usize::from(len));
    error.extend([0x60, 0, 0, 0]);
    error.extend(len.to_be_bytes());
    error.extend([ICMPV6, HOP_LIMIT]);
    error.extend(source);
    error.extend(destination);
    error.extend([kind, code]);
    error.extend(sum.to_be_bytes());
    error.extend(value);
    error.extend(quoted);
    Some(error)
}

/// ICMPv6 errors and redirects are never answered, nor is what cannot be told.
fn may_be_answered(next_header: u8, payload: &[u8]) -> bool {
    match extension::upper(next_header, payload) {
        Some(Upper { protocol: ICMPV6, offset, .. }) => {
            payload.get(offset).is_some_and(|&kind| kind >= FIRST_INFORMATIONAL && kind != REDIRECT)
        }
        upper => upper.is_some(),
    }
}

/// No error is longer than the smallest MTU of IPv6 (RFC 4443 §2.4 (c)).
const MAX_ERROR: usize = 1280;
const HOP_LIMIT: u8 = 64;
const FIRST_INFORMATIONAL: u8 = 128;
const REDIRECT: u8 = 137;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FROM: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);

    fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([next_header, 64]);
        packet.extend("2001:db8:1::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend("2001:db8:2::2".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend(payload);
        packet
    }

    fn answered(next_header: u8, payload: &[u8]) -> bool {
        error(Fault::TimeExceeded, &packet(next_header, payload), FROM).is_some()
    }

    #[test]
    fn too_big_byte_for_byte() {
        let packet = packet(17, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let error = error(Fault::TooBig(1280), &packet, FROM).unwrap();
        let mut expected = vec![0x60, 0, 0, 0, 0, 56, 58, 64];
        expected.extend([0x20, 1, 0xd, 0xb8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        expected.extend([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        expected.extend([2, 0, 0, 0, 0, 0, 5, 0]);
        expected.extend(&packet);
        // The sum of the pseudo-header and of the message, by hand, in the order of the bytes.
        let mut sum = 56 + 58;
        for part in [&expected[8..40], &expected[40..]] {
            sum += part.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
        }
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        expected[42..44].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(error, expected);
    }

    #[test]
    fn a_long_packet_is_quoted_up_to_1280_bytes() {
        let packet = packet(17, &[7; 1_400]);
        let error = error(Fault::TooBig(1280), &packet, FROM).unwrap();
        assert_eq!(error.len(), 1280);
        assert_eq!(error[48..], packet[..1232]);
        assert_eq!(parse_inner(&error).unwrap().len, 1280);
    }

    #[test]
    fn the_kinds_of_fault() {
        let head = |fault| {
            error(fault, &packet(17, &[]), FROM).map(|error| [error[40], error[41], error[46], error[47]])
        };
        assert_eq!(head(Fault::Unreachable), Some([1, 3, 0, 0]));
        assert_eq!(head(Fault::TooBig(1454)), Some([2, 0, 0x05, 0xae]));
        assert_eq!(head(Fault::TimeExceeded), Some([3, 0, 0, 0]));
    }

    #[test]
    fn errors_redirects_and_later_fragments_are_not_answered() {
        for kind in [1, 2, 3, 4, 127, 137] {
            assert!(!answered(58, &[kind, 0, 0, 0]), "{kind}");
        }
        for kind in [128, 129, 135, 200] {
            assert!(answered(58, &[kind, 0, 0, 0]), "{kind}");
        }
        assert!(answered(17, &[]) && answered(6, &[]) && answered(59, &[]) && answered(50, &[1]));
        let options = [58, 0, 1, 4, 0, 0, 0, 0];
        assert!(!answered(60, &[&options[..], &[1, 0]].concat()), "an error behind an extension header");
        assert!(answered(0, &[&options[..], &[128, 0]].concat()));
        assert!(answered(44, &[17, 0, 0, 1, 0, 0, 0, 1]), "a first fragment");
        assert!(!answered(44, &[17, 0, 0, 9, 0, 0, 0, 1]), "a later one");
        assert!(!answered(43, &[58, 200]), "cut off");
        assert!(!answered(0, &[0, 0, 0, 0, 0, 0, 0, 0].repeat(30)), "a chain without end");
        assert!(!answered(58, &[]));
    }

    #[test]
    fn neither_multicast_nor_nobody_is_answered() {
        let mut to_all = packet(17, &[]);
        to_all[24] = 0xff;
        assert_eq!(error(Fault::TimeExceeded, &to_all, FROM), None);
        let mut from_nobody = packet(17, &[]);
        from_nobody[8..24].fill(0);
        assert_eq!(error(Fault::TimeExceeded, &from_nobody, FROM), None);
    }

    proptest! {
        #[test]
        fn an_error_is_sound_and_never_itself_answered(next: u8, payload in prop::collection::vec(any::<u8>(), 0..1500)) {
            if let Some(packet) = error(Fault::Unreachable, &packet(next, &payload), FROM) {
                let inner = parse_inner(&packet).unwrap();
                prop_assert_eq!(inner.len, packet.len());
                prop_assert!(packet.len() <= 1280);
                let len = (packet.len() as u32 - 40).to_be_bytes();
                prop_assert_eq!(checksum(&[&packet[8..40], &len, &[0, 0, 0, 58], &packet[40..]]), 0);
                prop_assert_eq!(error(Fault::Unreachable, &packet, FROM), None);
            }
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = error(Fault::TimeExceeded, &bytes, FROM);
        }
    }
}
