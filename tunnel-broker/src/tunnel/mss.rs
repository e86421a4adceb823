//! The maximum segment size that a TCP connection announces, lowered to what fits into the tunnel.
//!
//! A SYN says how long the segments may be that its sender takes (RFC 9293 §3.7.1). Hosts on an Ethernet say 1,440; lowered to the
//! tunnel's MTU less the two headers, the connection never learns by lost packets and ICMPv6 errors that the tunnel is narrower.

use super::extension::{self, TCP};
use super::packet::{INNER_HEADER, Inner};

/// Lowers the segment size that a SYN or a SYN-ACK announces to what fits into packets of `mtu` bytes, and corrects its checksum. It is
/// never raised; fragments, and everything that is not a sound SYN with that option, are left alone.
pub(super) fn clamp(packet: &mut [u8], inner: &Inner, mtu: u16) {
    if inner.next_header == extension::UDP {
        return;
    }
    let Some(payload) = packet.get_mut(INNER_HEADER..inner.len) else { return };
    let Some(upper) = extension::upper(inner.next_header, payload) else { return };
    if upper.protocol != TCP || upper.is_fragment {
        return;
    }
    if let Some(segment) = payload.get_mut(upper.offset..) {
        clamp_segment(segment, mtu.saturating_sub(HEADERS));
    }
}

fn clamp_segment(segment: &mut [u8], max: u16) {
    let Some(&[_, _, _, _, _, _, _, _, _, _, _, _, data_offset, flags]) = segment.first_chunk::<14>() else {
        return;
    };
    let header_len = usize::from(data_offset >> 4) * 4;
    if flags & SYN == 0 || header_len > segment.len() {
        return;
    }
    let mut at = TCP_HEADER;
    while let Some(options) = segment.get_mut(at..header_len) {
        let len = match options {
            [NO_OPERATION, ..] => 1,
            [MAXIMUM_SEGMENT_SIZE, 4, high, low, ..] => {
                let announced = u16::from_be_bytes([*high, *low]);
                if announced > max {
                    [*high, *low] = max.to_be_bytes();
                    correct_checksum(segment, announced, max, at % 2 == 1);
                }
                4
            }
            [END, ..] | [] | [_] => return,
            [_, len, ..] if *len < 2 => return,
            [_, len, ..] => usize::from(*len),
        };
        at += len;
    }
}

/// RFC 1624, equation 3. Two bytes at an odd place belong to two words of the sum, with their halves swapped; the sum of one's
/// complements takes them together all the same (RFC 1071 §2 (B)).
fn correct_checksum(segment: &mut [u8], before: u16, after: u16, is_odd: bool) {
    let (before, after) = if is_odd { (before.swap_bytes(), after.swap_bytes()) } else { (before, after) };
    let Some(field) = segment.get_mut(16..18).and_then(|field| field.first_chunk_mut::<2>()) else { return };
    let sum = u32::from(!u16::from_be_bytes(*field)) + u32::from(!before) + u32::from(after);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    *field = (!(sum as u16)).to_be_bytes();
}

/// The IPv6 header and the TCP header without options.
const HEADERS: u16 = 60;
const TCP_HEADER: usize = 20;
const SYN: u8 = 0x02;
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::packet::{checksum, parse_inner};
    use super::*;

    const ACK: u8 = 0x10;

    /// A TCP packet with these options (a multiple of four bytes) and a right checksum, behind these extension headers.
    fn tcp(first: u8, extensions: &[u8], flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
        let mut segment = vec![0x13, 0xc4, 0x9a, 0x01, 1, 2, 3, 4, 5, 6, 7, 8];
        segment.extend([(5 + options.len() as u8 / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(options);
        segment.extend(data);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(((extensions.len() + segment.len()) as u16).to_be_bytes());
        packet.extend([first, 64]);
        packet.extend([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        packet.extend(extensions);
        let sum = tcp_sum(&packet, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        packet.extend(segment);
        packet
    }

    /// The checksum over a segment and its pseudo-header; zero when the one inside is right.
    fn tcp_sum(packet: &[u8], segment: &[u8]) -> u16 {
        let len = (segment.len() as u32).to_be_bytes();
        checksum(&[&packet[8..40], &len, &[0, 0, 0, TCP], segment])
    }

    fn clamped(mut packet: Vec<u8>, mtu: u16) -> Vec<u8> {
        let inner = parse_inner(&packet).unwrap();
        clamp(&mut packet, &inner, mtu);
        packet
    }

    fn mss(value: u16) -> [u8; 4] {
        let [high, low] = value.to_be_bytes();
        [MAXIMUM_SEGMENT_SIZE, 4, high, low]
    }

    #[test]
    fn a_syn_and_a_syn_ack_are_lowered() {
        for flags in [SYN, SYN | ACK, SYN | 0xc0] {
            let packet = clamped(tcp(TCP, &[], flags, &mss(1440), &[]), 1280);
            assert_eq!(packet, tcp(TCP, &[], flags, &mss(1220), &[]), "{flags:#x}");
        }
    }

    #[test]
    fn what_is_low_enough_stays() {
        for value in [0, 536, 1219, 1220] {
            let packet = tcp(TCP, &[], SYN, &mss(value), &[]);
            assert_eq!(clamped(packet.clone(), 1280), packet, "{value}");
        }
    }

    #[test]
    fn other_segments_and_protocols_stay() {
        for flags in [ACK, 0, 0x04, 0x18] {
            let packet = tcp(TCP, &[], flags, &mss(1440), &[]);
            assert_eq!(clamped(packet.clone(), 1280), packet, "{flags:#x}");
        }
        for protocol in [17, 58, 50, 59] {
            let packet = tcp(protocol, &[], SYN, &mss(1440), &[]);
            assert_eq!(clamped(packet.clone(), 1280), packet, "{protocol}");
        }
    }

    #[test]
    fn behind_other_options_at_an_odd_place_and_behind_extension_headers() {
        let with = |value| [&[NO_OPERATION, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8][..], &mss(value), &[END]].concat();
        let packet = clamped(tcp(TCP, &[], SYN, &with(1440), b"fast open"), 1280);
        assert_eq!(packet, tcp(TCP, &[], SYN, &with(1220), b"fast open"));
        let extension = [TCP, 0, 1, 4, 0, 0, 0, 0];
        let packet = clamped(tcp(60, &extension, SYN, &mss(9000), &[]), 1454);
        assert_eq!(packet, tcp(60, &extension, SYN, &mss(1394), &[]));
    }

    #[test]
    fn fragments_stay() {
        for first in [[TCP, 0, 0, 1, 0, 0, 0, 7], [TCP, 0, 0, 0, 0, 0, 0, 7], [TCP, 0, 0, 8, 0, 0, 0, 7]] {
            let packet = tcp(44, &first, SYN, &mss(1440), &[]);
            assert_eq!(clamped(packet.clone(), 1280), packet);
        }
    }

    #[test]
    fn options_that_lie_stay() {
        for options in [
            [2, 3, 0xff, 0xff],
            [2, 5, 0xff, 0xff],
            [END, 2, 4, 0xff],
            [3, 0, 2, 4],
            [3, 1, 2, 4],
            [1, 1, 1, 2],
            [1, 1, 2, 4],
            [1, 2, 4, 0xff],
        ] {
            let packet = tcp(TCP, &[], SYN, &options, &[0xff, 0xff]);
            assert_eq!(clamped(packet.clone(), 1280), packet, "{options:?}");
        }
        let mut short = tcp(TCP, &[], SYN, &mss(1440), &[]);
        short[52] = 0xf0;
        assert_eq!(clamped(short.clone(), 1280), short, "a header longer than the packet");
        short[52] = 0x40;
        assert_eq!(clamped(short.clone(), 1280), short, "a header shorter than it can be");
    }

    fn option() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            3 => any::<u16>().prop_map(|value| mss(value).to_vec()),
            2 => Just(vec![NO_OPERATION]),
            1 => (3u8..20, 2u8..11).prop_map(|(kind, len)| [vec![kind, len], vec![0x55; usize::from(len) - 2]].concat()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_never_raised_and_the_checksum_stays_right(
            options in prop::collection::vec(option(), 0..6), flags: u8, mtu in 1280u16..,
            data in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut options = options.concat();
            options.truncate(40);
            options.resize(options.len().next_multiple_of(4), END);
            let before = tcp(TCP, &[], flags, &options, &data);
            let after = clamped(before.clone(), mtu);
            prop_assert_eq!(tcp_sum(&after, &after[40..]), 0);
            let same = before.iter().zip(&after).enumerate().filter(|(_, (old, new))| old != new).map(|(at, _)| at);
            for at in same {
                prop_assert!((56..58).contains(&at) || (60..60 + options.len()).contains(&at), "{}", at);
            }
            if flags & SYN == 0 {
                prop_assert_eq!(&before, &after);
            }
            // Each option that announces a size keeps it or has the limit.
            let mut at = 60;
            while at + 4 <= 60 + options.len() && before[at] != END {
                if before[at..at + 2] == [MAXIMUM_SEGMENT_SIZE, 4] {
                    let value = |packet: &[u8]| u16::from_be_bytes([packet[at + 2], packet[at + 3]]);
                    let limit = if flags & SYN == 0 { u16::MAX } else { mtu - 60 };
                    prop_assert_eq!(value(&after), value(&before).min(limit));
                }
                at += if before[at] == NO_OPERATION { 1 } else { usize::from(before[at + 1]).max(2) };
            }
        }

        #[test]
        fn nothing_panics(first in prop::sample::select(vec![TCP, 0, 60, 43, 44]), mut payload in prop::collection::vec(any::<u8>(), 1..120)) {
            if let Some(flags) = payload.get_mut(13) {
                *flags |= SYN;
            }
            let mut packet = tcp(first, &payload, SYN, &[], &[]);
            packet.truncate(40 + payload.len());
            packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
            let len = packet.len();
            prop_assert_eq!(clamped(packet, 1280).len(), len);
        }
    }
}
