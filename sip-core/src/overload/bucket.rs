//! Token buckets.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run, in one second; 0 for as often as it likes.
    pub per_second: u32,
    /// At once, after a rest.
    pub burst: u32,
}

impl Rate {
    /// So often in a second, and at once what falls due in two.
    pub fn per_second(per_second: u32) -> Rate {
        Rate { per_second, burst: per_second.saturating_mul(2) }
    }

    /// Whether there is no bound.
    pub fn is_unlimited(self) -> bool {
        self.per_second == 0
    }
}

/// What is left of a rate.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(now: Instant, rate: Rate) -> Bucket {
        Bucket { tokens: f64::from(rate.burst), at: now }
    }

    /// Takes one, when there is one.
    pub fn take(&mut self, now: Instant, rate: Rate) -> bool {
        if rate.is_unlimited() {
            return true;
        }
        self.fill(now, rate);
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        }
        is_there
    }

    /// How much of it is used, 0 to 1.
    pub fn used(&mut self, now: Instant, rate: Rate) -> f64 {
        if rate.is_unlimited() {
            return 0.0;
        }
        self.fill(now, rate);
        1.0 - self.tokens / f64::from(rate.burst.max(1))
    }

    fn fill(&mut self, now: Instant, rate: Rate) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * f64::from(rate.per_second)).min(f64::from(rate.burst));
        self.at = self.at.max(now);
    }
}

/// One rate for each of many, shared between workers: sites, trunks. There are as many buckets as keys that were ever used, so keys
/// must be ours to give.
#[derive(Debug)]
pub struct Rates<K> {
    rate: Rate,
    buckets: Mutex<HashMap<K, Bucket>>,
}

impl<K: Eq + Hash> Rates<K> {
    /// All full.
    pub fn new(rate: Rate) -> Rates<K> {
        Rates { rate, buckets: Mutex::default() }
    }

    /// Takes one of `key`'s, when there is one.
    pub fn take(&self, now: Instant, key: K) -> bool {
        self.with(now, key, true, |bucket, rate| bucket.take(now, rate))
    }

    /// How much of `key`'s is used, 0 to 1.
    pub fn used(&self, now: Instant, key: K) -> f64 {
        self.with(now, key, 0.0, |bucket, rate| bucket.used(now, rate))
    }

    fn with<T>(&self, now: Instant, key: K, unlimited: T, verb: impl FnOnce(&mut Bucket, Rate) -> T) -> T {
        if self.rate.is_unlimited() {
            return unlimited;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        verb(buckets.entry(key).or_insert_with(|| Bucket::new(now, self.rate)), self.rate)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let (now, rate) = (Instant::now(), Rate { per_second: 10, burst: 3 });
        let mut bucket = Bucket::new(now, rate);
        assert_eq!((0..5).filter(|_| bucket.take(now, rate)).count(), 3);
        assert!(bucket.used(now, rate) > 0.99);
        let later = now + Duration::from_millis(250);
        assert_eq!((0..5).filter(|_| bucket.take(later, rate)).count(), 2);
        assert!(bucket.used(later + Duration::from_secs(9), rate) < 0.01);
        // A clock that stands still or goes back gives nothing.
        assert_eq!((0..9).filter(|_| bucket.take(now, rate)).count(), 3);
        let unlimited = Rate::per_second(0);
        assert!((0..100).all(|_| bucket.take(now, unlimited)));
    }

    #[test]
    fn keys_do_not_share() {
        let (now, rates) = (Instant::now(), Rates::new(Rate { per_second: 1, burst: 1 }));
        assert!(rates.take(now, 1) && !rates.take(now, 1) && rates.take(now, 2));
        assert!(rates.used(now, 1) > 0.99 && rates.used(now, 3) < 0.01);
        let unlimited = Rates::new(Rate::per_second(0));
        assert!((0..9).all(|_| unlimited.take(now, 1)) && unlimited.buckets.lock().unwrap().is_empty());
    }
}
