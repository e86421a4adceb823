//! What is borne.

use std::time::Duration;

use sip_core::overload::Rate;

use crate::telemetry::Mask;

/// What is borne of one source.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// New requests.
    pub rate: Rate,
    /// Points with which it is slowed; 0 slows nobody.
    pub slow_after: u32,
    /// Points with which it is dropped; 0 drops nobody.
    pub drop_after: u32,
    /// For how long.
    pub drop_for: Duration,
    /// What log lines hide.
    pub mask: Mask,
    /// Sources that are remembered.
    pub max_sources: usize,
}

impl Default for SourceSettings {
    fn default() -> Self {
        SourceSettings {
            rate: Rate::per_second(200),
            slow_after: 100,
            drop_after: 300,
            drop_for: Duration::from_secs(600),
            mask: Mask::default(),
            max_sources: 65_536,
        }
    }
}
