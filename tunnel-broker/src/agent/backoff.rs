//! How long to wait before the next try.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Waits that double from 1 s to 60 s, each somewhere between half and the whole of it, so that the boxes of a whole region do not come back
/// in step after the broker was away.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure.
    pub(super) fn next_wait(&mut self, rng: &mut impl Rng) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(16)).min(LAST);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// Begins anew: the last try was a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_differ() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::default();
        for whole in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let wait = backoff.next_wait(&mut rng).as_secs_f64();
            assert!((f64::from(whole) / 2.0..=f64::from(whole)).contains(&wait), "{whole}: {wait}");
        }
        for _ in 0..1000 {
            assert!(backoff.next_wait(&mut rng) <= LAST);
        }
        backoff.reset();
        assert!(backoff.next_wait(&mut rng) <= FIRST);
        let mut other = StdRng::seed_from_u64(2);
        assert_ne!(Backoff::default().next_wait(&mut rng), Backoff::default().next_wait(&mut other));
    }
}
