//! Port pairs and their rest.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

/// A range of port pairs: even RTP ports, each with the odd one after it for RTCP (RFC 3550 §11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first RTP port, even.
    first: u16,
    pairs: u16,
}

impl PortRange {
    /// The pairs that lie wholly within `first..=last`.
    ///
    /// # Errors
    ///
    /// [`PortRangeError`] when not one pair fits, or when the range has port 0.
    pub fn new(first: u16, last: u16) -> Result<Self, PortRangeError> {
        let even = u32::from(first) + u32::from(first & 1);
        let pairs = (u32::from(last) + 1).saturating_sub(even) / 2;
        match (u16::try_from(even), u16::try_from(pairs)) {
            (Ok(even), Ok(pairs)) if first > 0 && pairs > 0 => Ok(PortRange { first: even, pairs }),
            _ => Err(PortRangeError { first, last }),
        }
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        usize::from(self.pairs)
    }

    /// Never: a range has at least one pair.
    pub fn is_empty(&self) -> bool {
        self.pairs == 0
    }

    /// The pairs in order.
    pub fn pairs(&self) -> impl Iterator<Item = PortPair> + use<> {
        let first = self.first;
        (0..self.pairs).map(move |index| PortPair(first + 2 * index))
    }

    /// Cuts the range into equal parts, one a worker; what does not divide goes to the first ones. `None` when there
    /// are fewer pairs than parts.
    pub fn split(&self, parts: u16) -> Option<Vec<PortRange>> {
        let each = self.pairs.checked_div(parts).filter(|each| *each > 0)?;
        let extra = self.pairs % parts;
        let mut first = self.first;
        let mut ranges = Vec::with_capacity(usize::from(parts));
        for index in 0..parts {
            let pairs = each + u16::from(index < extra);
            ranges.push(PortRange { first, pairs });
            // Past the last part this may leave the 16 bits, and is not read again.
            first = first.wrapping_add(2 * pairs);
        }
        Some(ranges)
    }
}

/// A range without a single pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ports {first} to {last} hold no pair of an even port and the next")]
pub struct PortRangeError {
    /// The first port given.
    pub first: u16,
    /// The last port given.
    pub last: u16,
}

/// An even RTP port with the RTCP port after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortPair(u16);

impl PortPair {
    /// The RTP port.
    pub fn rtp(self) -> u16 {
        self.0
    }

    /// The RTCP port.
    pub fn rtcp(self) -> u16 {
        self.0 | 1
    }
}

/// The port pairs of one local address. It has no clock: the caller brings the time, which must not run backwards.
///
/// Pairs are given out in turn, the one that has been free longest first, so that a late packet of an ended call finds
/// nobody. A pair that comes back rests before it is given again.
#[derive(Debug)]
pub struct PortPool {
    rest: Duration,
    free: VecDeque<PortPair>,
    /// In order of release.
    resting: VecDeque<(Instant, PortPair)>,
    used: HashSet<PortPair>,
}

impl PortPool {
    /// A pool with the whole range free.
    pub fn new(range: PortRange, rest: Duration) -> Self {
        PortPool { rest, free: range.pairs().collect(), resting: VecDeque::new(), used: HashSet::new() }
    }

    /// Takes a pair.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] when every pair is in use or resting.
    pub fn take(&mut self, now: Instant) -> Result<PortPair, Exhausted> {
        self.wake(now);
        let resting = self.resting.len();
        let pair = self.free.pop_front().ok_or(Exhausted { used: self.used.len(), resting })?;
        self.used.insert(pair);
        Ok(pair)
    }

    /// Gives a pair back after use; it rests from `now` on. A pair that was not taken is ignored.
    pub fn release(&mut self, pair: PortPair, now: Instant) {
        if self.used.remove(&pair) {
            self.resting.push_back((now, pair));
        }
    }

    /// Gives back a pair that nobody outside has learned of: it needs no rest.
    pub fn put_back(&mut self, pair: PortPair) {
        if self.used.remove(&pair) {
            self.free.push_back(pair);
        }
    }

    /// How many pairs can be taken now.
    pub fn free(&mut self, now: Instant) -> usize {
        self.wake(now);
        self.free.len()
    }

    /// How many pairs are in use.
    pub fn used(&self) -> usize {
        self.used.len()
    }

    fn wake(&mut self, now: Instant) {
        while let Some((since, pair)) = self.resting.front().copied()
            && now.saturating_duration_since(since) >= self.rest
        {
            self.resting.pop_front();
            self.free.push_back(pair);
        }
    }
}

/// No pair is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no free port pair: {used} in use, {resting} resting")]
pub struct Exhausted {
    /// Pairs in use.
    pub used: usize,
    /// Pairs that rest after use.
    pub resting: usize,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_hold_whole_pairs() {
        assert_eq!(
            PortRange::new(30_001, 30_006).unwrap().pairs().map(PortPair::rtp).collect::<Vec<_>>(),
            [30_002, 30_004]
        );
        assert_eq!(PortRange::new(65_534, 65_535).unwrap().len(), 1);
        assert_eq!(PortRange::new(2, 65_535).unwrap().len(), 32_767);
        for (first, last) in [(30_001, 30_002), (30_000, 30_000), (10, 9), (0, 100), (65_535, 65_535)] {
            assert!(PortRange::new(first, last).is_err(), "{first} {last}");
        }
    }

    #[test]
    fn parts_cover_the_range() {
        let range = PortRange::new(10_000, 10_021).unwrap();
        let parts = range.split(4).unwrap();
        assert_eq!(parts.iter().map(PortRange::len).collect::<Vec<_>>(), [3, 3, 3, 2]);
        assert!(parts.iter().flat_map(PortRange::pairs).eq(range.pairs()));
        assert!(range.split(12).is_none() && range.split(0).is_none());
        assert_eq!(PortRange::new(65_530, 65_535).unwrap().split(3).unwrap().len(), 3);
    }

    #[test]
    fn pairs_take_turns_and_rest() {
        let start = Instant::now();
        let rest = Duration::from_secs(30);
        let mut pool = PortPool::new(PortRange::new(30_000, 30_005).unwrap(), rest);
        let first = pool.take(start).unwrap();
        assert_eq!((first.rtp(), first.rtcp()), (30_000, 30_001));
        pool.put_back(first);
        assert_eq!(pool.take(start).unwrap().rtp(), 30_002);
        assert_eq!(pool.take(start).unwrap().rtp(), 30_004);
        assert_eq!(pool.take(start).unwrap(), first);
        assert_eq!(pool.take(start), Err(Exhausted { used: 3, resting: 0 }));

        pool.release(first, start);
        pool.release(first, start);
        assert_eq!(pool.take(start + rest / 2), Err(Exhausted { used: 2, resting: 1 }));
        assert_eq!(pool.free(start + rest), 1);
        assert_eq!(pool.take(start + rest).unwrap(), first);
    }

    proptest! {
        #[test]
        fn no_pair_is_given_twice(steps in proptest::collection::vec((0_u8..3, 0_usize..8, 0_u64..20), 0..200)) {
            let mut now = Instant::now();
            let rest = Duration::from_secs(10);
            let mut pool = PortPool::new(PortRange::new(4_000, 4_015).unwrap(), rest);
            let mut held: Vec<PortPair> = Vec::new();
            let mut freed: Vec<(Instant, PortPair)> = Vec::new();
            for (what, which, wait) in steps {
                now += Duration::from_secs(wait);
                if what > 0 {
                    if let Ok(pair) = pool.take(now) {
                        prop_assert!(!held.contains(&pair));
                        prop_assert!(freed.iter().all(|(at, old)| *old != pair || now - *at >= rest));
                        held.push(pair);
                    } else {
                        prop_assert!(held.len() + freed.iter().filter(|(at, _)| now - *at < rest).count() >= 8);
                    }
                } else if which < held.len() {
                    let pair = held.swap_remove(which);
                    freed.push((now, pair));
                    pool.release(pair, now);
                }
                prop_assert_eq!(pool.used(), held.len());
            }
        }
    }
}
