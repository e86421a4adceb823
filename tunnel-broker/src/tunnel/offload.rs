//! What network cards and virtual links leave undone is done.
//!
//! The system merges the segments of a TCP connection that arrive close together, also inside IPv6 in IPv4 (generic receive offload),
//! and a raw socket gets them as one packet of up to 64 KiB, longer than any tunnel. The TCP checksum of such a packet holds the sum of
//! the pseudo-header only, for it was checked already; packets from another guest of the same machine come like that as well, since
//! their sender left the rest to a network card that is none. On the far side of the tunnel they would be lost: so the checksum is
//! completed and the segments are taken apart before anything else is done with the packet.

use std::ops::Range;

use super::extension::{self, TCP, UDP};
use super::packet::{INNER_HEADER, OUTER_HEADER, checksum, parse_inner};

/// Segments that were taken apart, each with its outer header.
#[derive(Debug, Default)]
pub struct Segments {
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
}

impl Segments {
    /// Forgets all; the memory is kept.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ranges.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// One of them, a whole IPv4 packet.
    pub fn at(&self, index: usize) -> Option<&[u8]> {
        self.bytes.get(self.ranges.get(index)?.clone())
    }

    /// The same, to be edited.
    pub fn at_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        self.bytes.get_mut(self.ranges.get(index)?.clone())
    }
}

/// Completes the checksum of a TCP segment or UDP datagram inside a packet from the IPv4 side, where that was left undone. Merged segments
/// are added to `segments` instead, each short enough for an inner packet of `mtu` bytes; `true` says that the packet is there
/// now and nowhere else.
pub fn finish(packet: &mut [u8], mtu: u16, segments: &mut Segments) -> bool {
    let Some(start) = packet.first().map(|first| usize::from(first & 0x0f) * 4) else { return false };
    let Some(bytes) = packet.get_mut(start..) else { return false };
    let Some(mut found) = Unfinished::find(bytes) else { return false };
    if found.protocol == TCP && found.inner_len > usize::from(mtu) {
        return found.take_apart(packet, start, mtu, segments).is_some();
    }
    if let Some(inner) = bytes.get_mut(..found.inner_len) {
        found.complete(inner);
    }
    false
}

/// An IPv6 packet whose checksum covers the pseudo-header only. All places are bytes of it.
struct Unfinished {
    protocol: u8,
    inner_len: usize,
    /// Where the upper-layer header begins.
    upper: usize,
    /// Where its checksum stands.
    field: usize,
}

impl Unfinished {
    fn find(bytes: &[u8]) -> Option<Unfinished> {
        let inner = parse_inner(bytes).ok()?;
        let payload = bytes.get(INNER_HEADER..inner.len)?;
        let upper = extension::upper(inner.next_header, payload).filter(|upper| !upper.is_fragment)?;
        let field = match upper.protocol {
            TCP => TCP_CHECKSUM,
            UDP => UDP_CHECKSUM,
            _ => return None,
        };
        let start = INNER_HEADER + upper.offset;
        let found =
            Unfinished { protocol: upper.protocol, inner_len: inner.len, upper: start, field: start + field };
        let partial = !found.checksum(bytes, &[])?;
        let stands = bytes.get(..inner.len)?.get(found.field..)?.first_chunk::<2>()?;
        (u16::from_be_bytes(*stands) == partial).then_some(found)
    }

    /// The checksum over the pseudo-header (RFC 8200 §8.1) and what is behind it.
    fn checksum(&self, inner: &[u8], behind: &[u8]) -> Option<u16> {
        let addresses = inner.get(8..INNER_HEADER)?;
        let len = u32::try_from(self.inner_len - self.upper).ok()?.to_be_bytes();
        Some(checksum(&[addresses, &len, &[0, 0, 0, self.protocol], behind]))
    }

    fn complete(&mut self, inner: &mut [u8]) -> Option<()> {
        inner.get_mut(self.field..)?.first_chunk_mut::<2>()?.fill(0);
        let sum = self.checksum(inner, inner.get(self.upper..self.inner_len)?)?;
        // In UDP, zero would say that there is no checksum (RFC 768).
        let sum = if self.protocol == UDP && sum == 0 { 0xffff } else { sum };
        *inner.get_mut(self.field..)?.first_chunk_mut::<2>()? = sum.to_be_bytes();
        Some(())
    }

    /// As the sender's system would have cut it (RFC 9293 §3.7): sequence numbers go on, FIN and PSH belong to the last segment, CWR to
    /// the first (RFC 3168 §6.1.2). Nothing is added when the packet cannot be cut.
    fn take_apart(mut self, packet: &[u8], start: usize, mtu: u16, segments: &mut Segments) -> Option<()> {
        let inner = packet.get(start..)?.get(..self.inner_len)?;
        let tcp: &[u8; 20] = inner.get(self.upper..)?.first_chunk()?;
        let &[_, _, _, _, s0, s1, s2, s3, _, _, _, _, data_offset, flags, ..] = tcp;
        let tcp_len = usize::from(data_offset >> 4) * 4;
        let headers = self.upper + tcp_len;
        let step = usize::from(mtu).checked_sub(headers).filter(|&step| step >= MIN_STEP && tcp_len >= 20)?;
        let outer = packet.get(..start).filter(|outer| outer.len() >= OUTER_HEADER)?;
        let (headers, data) = inner.split_at_checked(headers)?;
        let first = u32::from_be_bytes([s0, s1, s2, s3]);
        let count = data.len().div_ceil(step);
        for (index, part) in data.chunks(step).enumerate() {
            let at = segments.bytes.len();
            segments.bytes.extend_from_slice(outer);
            segments.bytes.extend_from_slice(headers);
            segments.bytes.extend_from_slice(part);
            let end = segments.bytes.len();
            let segment = segments.bytes.get_mut(at..end)?;
            let total_len = u16::try_from(segment.len()).ok()?;
            let (outer, inner) = segment.split_at_mut_checked(start)?;
            outer.get_mut(2..4)?.copy_from_slice(&total_len.to_be_bytes());
            outer.get_mut(10..12)?.fill(0);
            let sum = checksum(&[outer]);
            outer.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
            self.inner_len = inner.len();
            let payload_len = u16::try_from(inner.len() - INNER_HEADER).ok()?;
            inner.get_mut(4..6)?.copy_from_slice(&payload_len.to_be_bytes());
            let sequence = first.wrapping_add(u32::try_from(index * step).ok()?);
            let tcp: &mut [u8; 20] = inner.get_mut(self.upper..)?.first_chunk_mut()?;
            tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
            let not_first = if index > 0 { CWR } else { 0 };
            let not_last = if index + 1 < count { FIN | PSH } else { 0 };
            tcp[13] = flags & !not_first & !not_last;
            self.complete(inner)?;
            segments.ranges.push(at..end);
        }
        Some(())
    }
}

/// Places of the checksum in the headers, bytes.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
/// Less data in each segment than that is no connection's wish.
const MIN_STEP: usize = 256;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::super::packet::{OuterHeader, parse_outer};
    use super::*;

    fn outer(inner: &[u8]) -> Vec<u8> {
        let (source, destination) = (Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(192, 0, 2, 1));
        let header = OuterHeader::new(source, destination, 0xb8, inner.len(), 61).unwrap();
        [&header.bytes, inner].concat()
    }

    fn inner(protocol: u8, upper: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x6b, 0x80, 0x12, 0x34];
        packet.extend((upper.len() as u16).to_be_bytes());
        packet.extend([protocol, 57]);
        packet.extend([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        packet.extend(upper);
        packet
    }

    /// Sets the checksum to the sum over the pseudo-header, as a system does that leaves the rest to a card; or to the whole one.
    fn with_sum(mut packet: Vec<u8>, field: usize, is_whole: bool) -> Vec<u8> {
        packet[40 + field..42 + field].fill(0);
        let len = (packet.len() as u32 - 40).to_be_bytes();
        let behind = if is_whole { packet[40..].to_vec() } else { Vec::new() };
        let sum = checksum(&[&packet[8..40], &len, &[0, 0, 0, packet[6]], &behind]);
        let sum = if is_whole { sum } else { !sum };
        packet[40 + field..42 + field].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    fn tcp(sequence: u32, flags: u8, data: &[u8]) -> Vec<u8> {
        let mut segment = vec![0x13, 0xc4, 0x9a, 0x01];
        segment.extend(sequence.to_be_bytes());
        segment.extend([5, 6, 7, 8, 0x80, flags, 1, 0xff, 0, 0, 0, 0]);
        segment.extend([1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
        segment.extend(data);
        inner(TCP, &segment)
    }

    fn udp(data: &[u8]) -> Vec<u8> {
        let len = (8 + data.len() as u16).to_be_bytes();
        inner(UDP, &[&[0x13, 0xc4, 0x13, 0xc4, len[0], len[1], 0, 0], data].concat())
    }

    #[test]
    fn a_finished_packet_stays_as_it_is() {
        for packet in [
            with_sum(tcp(1, 0x18, &[7; 100]), 16, true),
            with_sum(udp(b"voice"), 6, true),
            with_sum(tcp(1, 0x18, &[7; 4000]), 16, true),
            inner(58, &[128, 0, 1, 2]),
            inner(44, &[17, 0, 0, 1, 0, 0, 0, 7, 1, 2, 3, 4, 0, 8, 0, 0]),
        ] {
            let mut packet = outer(&packet);
            let (before, mut segments) = (packet.clone(), Segments::default());
            assert!(!finish(&mut packet, 1280, &mut segments) && segments.is_empty());
            assert_eq!(packet, before);
        }
    }

    #[test]
    fn a_short_packet_gets_the_rest_of_its_checksum() {
        for (packet, field) in [(tcp(1, 0x18, &[7; 101]), 16), (udp(b"voice"), 6)] {
            let mut packet_ = outer(&with_sum(packet.clone(), field, false));
            let mut segments = Segments::default();
            assert!(!finish(&mut packet_, 1280, &mut segments) && segments.is_empty());
            assert_eq!(packet_, outer(&with_sum(packet, field, true)));
        }
    }

    #[test]
    fn a_udp_checksum_is_never_zero() {
        // The two bytes of data are chosen so that the sum is zero.
        let plain = with_sum(udp(&[0, 0]), 6, true);
        let packet = udp(&plain[46..48]);
        let mut packet = outer(&with_sum(packet, 6, false));
        finish(&mut packet, 1280, &mut Segments::default());
        assert_eq!(packet[66..68], [0xff, 0xff]);
    }

    #[test]
    fn merged_segments_come_apart_as_they_were_sent() {
        let data: Vec<u8> = (0..3 * 1208 + 5).map(|byte| byte as u8).collect();
        let mut packet = outer(&with_sum(tcp(u32::MAX - 2000, 0x99, &data), 16, false));
        let mut segments = Segments::default();
        assert!(finish(&mut packet, 1280, &mut segments));
        let sent = [
            (u32::MAX - 2000, 0x90, &data[..1208]),
            (u32::MAX - 792, 0x10, &data[1208..2416]),
            (415, 0x10, &data[2416..3624]),
            (1623, 0x19, &data[3624..]),
        ];
        assert_eq!(segments.len(), sent.len());
        for (index, (sequence, flags, data)) in sent.into_iter().enumerate() {
            let expected = outer(&with_sum(tcp(sequence, flags, data), 16, true));
            assert_eq!(segments.at(index).unwrap(), expected, "{index}");
        }
    }

    #[test]
    fn what_cannot_be_cut_is_left() {
        let mut packet = outer(&with_sum(tcp(1, 0x10, &[7; 3000]), 16, false));
        packet[72] = 0x40;
        assert!(!finish(&mut packet.clone(), 1280, &mut Segments::default()), "no TCP header has 16 bytes");
        packet[72] = 0x80;
        assert!(!finish(&mut packet.clone(), 300, &mut Segments::default()), "no room");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_byte_is_lost_and_every_checksum_is_right(len in 1480usize..60_000, sequence: u32, flags: u8, mtu in 1280u16..1480) {
            let data: Vec<u8> = (0..len).map(|at| (at * 7 + at / 256) as u8).collect();
            let mut packet = outer(&with_sum(tcp(sequence, flags, &data), 16, false));
            let mut segments = Segments::default();
            prop_assert!(finish(&mut packet, mtu, &mut segments));
            let mut joined: Vec<u8> = Vec::new();
            for index in 0..segments.len() {
                let segment = segments.at(index).unwrap();
                let range = parse_outer(segment).unwrap().payload;
                prop_assert_eq!(range.end, segment.len());
                let inner = &segment[range];
                prop_assert!(inner.len() <= usize::from(mtu));
                prop_assert_eq!(parse_inner(inner).unwrap().len, inner.len());
                prop_assert_eq!(inner, &with_sum(inner.to_vec(), 16, true)[..]);
                let at = u32::from_be_bytes(inner[44..48].try_into().unwrap());
                prop_assert_eq!(at, sequence.wrapping_add(joined.len() as u32));
                joined.extend(&inner[72..]);
            }
            prop_assert_eq!(joined, data);
        }

        #[test]
        fn nothing_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200), protocol in prop::sample::select(vec![TCP, UDP, 0, 44]), mtu: u16) {
            finish(&mut bytes.clone(), mtu, &mut Segments::default());
            bytes.resize(bytes.len().max(20), 0);
            let mut packet = outer(&with_sum(inner(protocol, &bytes), 16, false));
            finish(&mut packet, mtu, &mut Segments::default());
        }
    }
}
