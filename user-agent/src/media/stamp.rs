//! The payload that proves itself: 160 bytes that only their sender can have written so.
//!
//! | bytes | content |
//! | --- | --- |
//! | 0–3 | magic `CX6S` |
//! | 4–11 | stream identifier |
//! | 12–19 | number of the packet in its stream, from 0 |
//! | 20–27 | sender's clock, µs since 1970 |
//! | 28–151 | filler derived from stream and number |
//! | 152–159 | FNV-1a 64 of bytes 0–151 |
//!
//! Every step of FNV-1a is a bijection of its state, so one changed byte always changes the hash.

use crate::ids::mix;

/// Bytes in 20 ms of G.711.
pub(super) const PAYLOAD: usize = 160;

/// What a stamp says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) stream: u64,
    pub(super) number: u64,
    pub(super) sent_at_us: u64,
}

/// Why a payload is not a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotStamped {
    /// It begins like one and is wrong.
    Corrupted,
    /// It does not even begin like one: other audio, or a change in the first bytes.
    Unknown,
}

impl Stamp {
    pub(super) fn write(&self) -> [u8; PAYLOAD] {
        let mut payload = [0; PAYLOAD];
        let fields = [
            MAGIC.to_vec(),
            self.stream.to_be_bytes().to_vec(),
            self.number.to_be_bytes().to_vec(),
            self.sent_at_us.to_be_bytes().to_vec(),
        ];
        let head = fields.iter().flatten().copied();
        let body = head.chain(filler(self.stream, self.number)).take(HASH_AT);
        for (to, byte) in payload.iter_mut().zip(body) {
            *to = byte;
        }
        let (covered, hash) = payload.split_at_mut(HASH_AT);
        hash.copy_from_slice(&fnv1a(covered).to_be_bytes());
        payload
    }

    pub(super) fn read(payload: &[u8]) -> Result<Self, NotStamped> {
        if !payload.starts_with(&MAGIC) {
            return Err(NotStamped::Unknown);
        }
        let (Some(covered), Some(hash), PAYLOAD) =
            (payload.get(..HASH_AT), payload.get(HASH_AT..), payload.len())
        else {
            return Err(NotStamped::Corrupted);
        };
        if hash != fnv1a(covered).to_be_bytes() {
            return Err(NotStamped::Corrupted);
        }
        let field = |at: usize| {
            let bytes = covered.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_be_bytes).ok_or(NotStamped::Corrupted)
        };
        let stamp = Self { stream: field(4)?, number: field(12)?, sent_at_us: field(20)? };
        // The hash already covers the filler; comparing it finds a payload put together from two packets.
        let filled = covered.get(28..).unwrap_or_default();
        if !filled.iter().copied().eq(filler(stamp.stream, stamp.number).take(filled.len())) {
            return Err(NotStamped::Corrupted);
        }
        Ok(stamp)
    }
}

fn filler(stream: u64, number: u64) -> impl Iterator<Item = u8> {
    (0_u64..).flat_map(move |block| mix(stream ^ number.rotate_left(32) ^ block).to_be_bytes())
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

const MAGIC: [u8; 4] = *b"CX6S";
const HASH_AT: usize = PAYLOAD - 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_reads_back() {
        let stamp = Stamp { stream: 7, number: 1 << 40, sent_at_us: 99 };
        assert_eq!(Stamp::read(&stamp.write()), Ok(stamp));
    }

    #[test]
    fn every_single_changed_byte_is_found() {
        let good = Stamp { stream: 7, number: 3, sent_at_us: 99 }.write();
        for at in 0..PAYLOAD {
            for flip in [1_u8, 0x80, 0xff] {
                let mut bad = good;
                bad[at] ^= flip;
                assert!(Stamp::read(&bad).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_wrong_length_is_found() {
        let good = Stamp { stream: 7, number: 3, sent_at_us: 99 }.write();
        assert_eq!(Stamp::read(&good[..159]), Err(NotStamped::Corrupted));
        assert_eq!(Stamp::read(&[]), Err(NotStamped::Unknown));
    }
}
