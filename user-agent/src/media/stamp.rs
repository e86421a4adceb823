//! The payload that proves itself: 160 bytes that only their sender can have written so.
//!
//! | 64-bit word | content |
//! | --- | --- |
//! | 0 | magic `CX6STAMP` |
//! | 1 | stream identifier |
//! | 2 | number of the packet in its stream, from 0 |
//! | 3 | sender's clock, µs since 1970 |
//! | 4–18 | filler derived from stream and number |
//! | 19 | hash of words 0–18 |
//!
//! Every step of the hash is a bijection of its state, so one changed word always changes it.

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
        let mut words = [0; WORDS];
        let [magic, stream, number, sent_at_us, filled @ .., hash] = &mut words;
        (*magic, *stream, *number, *sent_at_us) = (MAGIC, self.stream, self.number, self.sent_at_us);
        for (at, word) in (0..).zip(filled) {
            *word = filler(self.stream, self.number, at);
        }
        *hash = 0;
        let sum = hash_of(&words);
        let mut payload = [0; PAYLOAD];
        let (chunks, _) = payload.as_chunks_mut::<8>();
        for (chunk, word) in chunks.iter_mut().zip(words) {
            *chunk = word.to_be_bytes();
        }
        if let Some(last) = chunks.last_mut() {
            *last = sum.to_be_bytes();
        }
        payload
    }

    pub(super) fn read(payload: &[u8]) -> Result<Self, NotStamped> {
        if !payload.starts_with(&MAGIC.to_be_bytes()) {
            return Err(NotStamped::Unknown);
        }
        let payload: &[u8; PAYLOAD] = payload.try_into().map_err(|_| NotStamped::Corrupted)?;
        let mut words = [0; WORDS];
        for (word, chunk) in words.iter_mut().zip(payload.as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*chunk);
        }
        let [_, stream, number, sent_at_us, filled @ .., hash] = words;
        let mut right = hash == hash_of(&words);
        // The hash already covers the filler; comparing it finds a payload put together from two packets.
        for (at, word) in (0..).zip(filled) {
            right &= word == filler(stream, number, at);
        }
        if right { Ok(Self { stream, number, sent_at_us }) } else { Err(NotStamped::Corrupted) }
    }
}

fn filler(stream: u64, number: u64, at: u64) -> u64 {
    mix(stream ^ number.rotate_left(32) ^ at)
}

/// Over all words but the last.
fn hash_of(words: &[u64; WORDS]) -> u64 {
    let [covered @ .., _] = words;
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for word in covered {
        hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    hash
}

const WORDS: usize = PAYLOAD / 8;
const MAGIC: u64 = u64::from_be_bytes(*b"CX6STAMP");

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
