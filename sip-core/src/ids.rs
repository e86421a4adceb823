//! Identifiers that we mint: branches, tags, Call-IDs. Each names the worker that owns what it identifies.

use std::fmt::Write;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The magic cookie of RFC 3261 §8.1.1.7.
pub const BRANCH_COOKIE: &str = "z9hG4bK";

/// What marks a branch or Call-ID as ours, before the worker's number.
const MARK: &str = "c6w";

/// A worker's place among the workers of its role in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u8);

/// Mints unpredictable identifiers for one worker.
///
/// The seed comes from the operating system in production, and is fixed in tests.
#[derive(Debug)]
pub struct IdSource {
    worker: WorkerId,
    random: StdRng,
}

impl IdSource {
    /// A source whose identifiers name `worker`.
    pub fn new(worker: WorkerId, seed: [u8; 32]) -> Self {
        IdSource { worker, random: StdRng::from_seed(seed) }
    }

    /// The worker that the identifiers name.
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// A branch parameter (RFC 3261 §8.1.1.7), unique in space and time: `z9hG4bKc6w00-…`.
    pub fn branch(&mut self) -> String {
        let mut branch = String::with_capacity(BRANCH_COOKIE.len() + 40);
        branch.push_str(BRANCH_COOKIE);
        self.write_marked(&mut branch);
        branch
    }

    /// A dialog tag with at least 32 bits of randomness (RFC 3261 §19.3); ours has 64.
    pub fn tag(&mut self) -> String {
        format!("{:016x}", self.random.next_u64())
    }

    /// A Call-ID without a host part, so that it tells nothing of our topology.
    pub fn call_id(&mut self) -> String {
        let mut call_id = String::with_capacity(40);
        self.write_marked(&mut call_id);
        call_id
    }

    /// A random number, for jitter and nonces.
    pub fn next_u64(&mut self) -> u64 {
        self.random.next_u64()
    }

    fn write_marked(&mut self, out: &mut String) {
        let (high, low) = (self.random.next_u64(), self.random.next_u64());
        // Writing to a String cannot fail.
        let _ = write!(out, "{MARK}{:02x}-{high:016x}{low:016x}", self.worker.0);
    }
}

/// The worker that one of our own Call-IDs names, or `None` when it is not ours.
pub fn worker_of_call_id(call_id: &[u8]) -> Option<WorkerId> {
    let rest = call_id.strip_prefix(MARK.as_bytes())?;
    let (digits, rest) = rest.split_at_checked(2)?;
    rest.starts_with(b"-").then_some(())?;
    let digits = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(digits, 16).ok().map(WorkerId)
}

/// The worker that one of our own branches names, or `None` when it is not ours.
pub fn worker_of_branch(branch: &[u8]) -> Option<WorkerId> {
    worker_of_call_id(branch.strip_prefix(BRANCH_COOKIE.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_name_their_worker() {
        let mut ids = IdSource::new(WorkerId(11), [7; 32]);
        assert_eq!(worker_of_branch(ids.branch().as_bytes()), Some(WorkerId(11)));
        assert_eq!(worker_of_call_id(ids.call_id().as_bytes()), Some(WorkerId(11)));
        assert_ne!(ids.tag(), ids.tag());
    }

    #[test]
    fn foreign_identifiers_name_nobody() {
        for foreign in ["", "z9hG4bK", "z9hG4bKc6w", "z9hG4bKc6wzz-1", "z9hG4bKc6w00", "a84b4c76e66710"] {
            assert_eq!(worker_of_branch(foreign.as_bytes()), None, "{foreign}");
        }
    }
}
