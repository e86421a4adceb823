//! An outer packet in pieces (RFC 791 §3.2).
//!
//! A raw socket fragments nothing that was given with its header. Tunnels are so narrow that this matters on the rarest of lines only,
//! where the first link is narrower than 1,300 bytes; there the packet goes in pieces that every link takes.

use std::ops::Range;

use super::packet::{OUTER_HEADER, OuterHeader, checksum};

impl OuterHeader {
    /// This header and what stands behind it, `inner_len` bytes, as fragments of at most 576 bytes: a header for each and its part of
    /// what stands behind. `id` tells the packet from others on the way: it is not zero, and not used again soon.
    pub fn fragments(self, inner_len: usize, id: u16) -> impl Iterator<Item = (OuterHeader, Range<usize>)> {
        (0..inner_len).step_by(PIECE).filter_map(move |start| {
            let end = inner_len.min(start + PIECE);
            let offset = u16::try_from(start / 8).ok()? | if end < inner_len { MORE } else { 0 };
            let len = u16::try_from(OUTER_HEADER + end - start).ok()?;
            let mut bytes = self.bytes;
            bytes[2..4].copy_from_slice(&len.to_be_bytes());
            bytes[4..6].copy_from_slice(&id.to_be_bytes());
            bytes[6..8].copy_from_slice(&offset.to_be_bytes());
            bytes[10..12].fill(0);
            let sum = checksum(&[&bytes]);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            Some((OuterHeader { bytes, destination: self.destination }, start..end))
        })
    }
}

/// Bytes behind the header: as many multiples of eight as fit into the 576 bytes that every host takes.
const PIECE: usize = 552;
const MORE: u16 = 0x2000;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn header(len: usize) -> OuterHeader {
        let (source, destination) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 7));
        OuterHeader::new(source, destination, 0xb8, len, 64).unwrap()
    }

    #[test]
    fn three_pieces_of_a_full_packet() {
        let pieces: Vec<_> = header(1280).fragments(1280, 0xbeef).collect();
        let ranges: Vec<_> = pieces.iter().map(|(_, range)| range.clone()).collect();
        assert_eq!(ranges, [0..552, 552..1104, 1104..1280]);
        let words: Vec<_> = pieces.iter().map(|(header, _)| &header.bytes[2..8]).collect();
        assert_eq!(
            words,
            [
                &[2, 60, 0xbe, 0xef, 0x20, 0][..],
                &[2, 60, 0xbe, 0xef, 0x20, 69],
                &[0, 196, 0xbe, 0xef, 0, 138]
            ]
        );
    }

    proptest! {
        #[test]
        fn put_together_they_are_what_was_there(len in 1usize..=65_515, id in 1u16..) {
            let whole = header(len);
            let mut next = 0;
            for (piece, range) in whole.fragments(len, id) {
                prop_assert_eq!(range.start, next);
                next = range.end;
                prop_assert!(OUTER_HEADER + range.len() <= 576);
                prop_assert_eq!(checksum(&[&piece.bytes]), 0);
                let word = |at: usize| u16::from_be_bytes([piece.bytes[at], piece.bytes[at + 1]]);
                prop_assert_eq!(usize::from(word(2)), OUTER_HEADER + range.len());
                prop_assert_eq!(word(4), id);
                prop_assert_eq!(usize::from(word(6) & 0x1fff) * 8, range.start);
                prop_assert_eq!(word(6) & MORE != 0, next < len);
                prop_assert_eq!((&piece.bytes[8..10], &piece.bytes[12..]), (&whole.bytes[8..10], &whole.bytes[12..]));
            }
            prop_assert_eq!(next, len);
        }
    }
}
