//! Identifiers that nobody can guess twice: tags, branches, Call-IDs, SSRCs.

/// A small generator (splitmix64) seeded by the system; for identifiers of a simulator, not for secrets.
#[derive(Debug)]
pub(crate) struct Ids(u64);

impl Ids {
    pub(crate) fn new() -> Self {
        // A system without randomness still gets values from its clock: these are identifiers, not secrets.
        Self(
            getrandom::u64().unwrap_or_else(|_| {
                std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64)
            }),
        )
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// Sixteen hexadecimal digits.
    pub(crate) fn token(&mut self) -> String {
        format!("{:016x}", self.next_u64())
    }

    /// A factor between 0.5 and 1.5, for intervals that must not beat together.
    pub(crate) fn spread(&mut self) -> f64 {
        0.5 + (self.next_u32() as f64) / (u32::MAX as f64)
    }
}

/// The finishing step of splitmix64.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
