//! Which nonce counts have been used: a bounded memory with no way round it.

use std::collections::BTreeMap;

/// Names a nonce, in the order in which nonces were issued: the time of issue in ms and the random part.
pub(super) type Key = (u64, u64);

/// The counts used of at most `capacity` nonces.
///
/// When it is full, the nonce issued first goes, and with it every nonce issued before that one is refused for good:
/// else a count used before could be used again after its nonce was forgotten.
#[derive(Debug)]
pub(super) struct Window {
    nonces: BTreeMap<Key, Counts>,
    capacity: usize,
    /// The newest nonce that was forgotten.
    forgotten: Option<Key>,
}

impl Window {
    /// A window over at most `capacity` nonces, one at least.
    pub(super) fn new(capacity: usize) -> Window {
        Window { nonces: BTreeMap::new(), capacity: capacity.max(1), forgotten: None }
    }

    /// Notes that a right response has used this count; false when the count was used, is too old, or the nonce is forgotten.
    pub(super) fn note(&mut self, key: Key, count: u32) -> bool {
        if let Some(counts) = self.nonces.get_mut(&key) {
            return counts.note(count);
        }
        if self.forgotten.is_some_and(|forgotten| key <= forgotten) {
            return false;
        }
        if self.nonces.len() >= self.capacity {
            // A nonce older than all in a full window would be the one to go, so it does not come in.
            if self.nonces.first_key_value().is_some_and(|(oldest, _)| key < *oldest) {
                return false;
            }
            if let Some((oldest, _)) = self.nonces.pop_first() {
                self.forget(oldest);
            }
        }
        self.nonces.insert(key, Counts { highest: count, below: 0 });
        true
    }

    /// Drops the nonces issued before `time` (ms), which have expired.
    pub(super) fn expire(&mut self, time: u64) {
        while let Some(oldest) = self.nonces.first_entry().filter(|entry| entry.key().0 < time) {
            let (oldest, _) = oldest.remove_entry();
            self.forget(oldest);
        }
    }

    /// How many nonces are remembered.
    pub(super) fn len(&self) -> usize {
        self.nonces.len()
    }

    fn forget(&mut self, key: Key) {
        self.forgotten = self.forgotten.max(Some(key));
    }
}

/// The highest count used, and which of the 64 below it, as in an anti-replay window (RFC 4303 §3.4.3): requests that
/// overtake each other are taken, each once.
#[derive(Debug)]
struct Counts {
    highest: u32,
    /// Bit n stands for the count `highest - 1 - n`.
    below: u64,
}

impl Counts {
    fn note(&mut self, count: u32) -> bool {
        if count > self.highest {
            let step = count - self.highest;
            // The old highest becomes the bit at step - 1.
            self.below = self.below.checked_shl(step).unwrap_or(0) | 1u64.checked_shl(step - 1).unwrap_or(0);
            self.highest = count;
            return true;
        }
        let Some(bit) = (self.highest - count).checked_sub(1).and_then(|at| 1u64.checked_shl(at)) else {
            return false;
        };
        let fresh = self.below & bit == 0;
        self.below |= bit;
        fresh
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_count_once_in_any_order() {
        let mut window = Window::new(4);
        let taken = [3, 1, 2, 3, 1, 70, 6, 5, 70, 71].map(|count| window.note((1, 1), count));
        assert_eq!(taken, [true, true, true, false, false, true, true, false, false, true]);
    }

    #[test]
    fn what_is_forgotten_stays_forgotten() {
        let mut window = Window::new(2);
        for issued in [10, 20, 30] {
            assert!(window.note((issued, 0), 1));
        }
        assert_eq!(window.len(), 2);
        assert!(!window.note((10, 0), 1), "evicted");
        assert!(!window.note((5, 0), 1), "older than the evicted one");
        assert!(!window.note((15, 0), 1), "older than all in a full window");
        assert!(window.note((20, 0), 2));
        window.expire(25);
        assert_eq!(window.len(), 1);
        assert!(!window.note((20, 0), 3), "expired");
    }

    proptest! {
        /// No pair of nonce and count is ever taken twice, and the window never grows past its bound.
        #[test]
        fn never_twice(uses in proptest::collection::vec((0u64..12, 1u32..200), 0..400), capacity in 1usize..8) {
            let mut window = Window::new(capacity);
            let mut taken = HashSet::new();
            for (nonce, count) in uses {
                if window.note((nonce, 0), count) {
                    prop_assert!(taken.insert((nonce, count)));
                }
                prop_assert!(window.len() <= capacity);
            }
        }

        /// Counts that overtake each other by less than 64 are all taken.
        #[test]
        fn overtaking_is_fine(start in 1u32..1000, order in Just((0u32..64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut window = Window::new(1);
            for offset in order {
                prop_assert!(window.note((1, 1), start + offset));
            }
        }
    }
}
