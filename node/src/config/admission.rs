//! `[admission]`: how much is taken, and from whom.

use std::time::Duration;

use ipnet::IpNet;
use sip_core::overload::Rate;

use super::reader::Section;
use crate::sources::SourceSettings;

/// `[admission]`. Calls that are up and emergency numbers are never refused by any of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Admission {
    /// New calls of the whole node in a second; 0 for no limit.
    pub calls_per_second: u32,
    /// New calls of one site in a second; 0 for no limit.
    pub site_calls_per_second: u32,
    /// New calls from one trunk in a second; 0 for no limit.
    pub trunk_calls_per_second: u32,
    /// New requests from one address in a second; 0 for no limit.
    pub source_requests_per_second: u32,
    /// Points with which a source is slowed; 0 slows none.
    pub scanner_slow_after: u32,
    /// Points with which a source is dropped; 0 drops none.
    pub scanner_drop_after: u32,
    /// For how long it is dropped.
    pub scanner_drop: Duration,
    /// Networks to which limits for sources and scanners do not apply.
    pub trusted: Vec<IpNet>,
}

impl Admission {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Admission::default();
        let mut rate = |key, value| section.integer(key, value, 0..=1_000_000);
        let admission = Admission {
            calls_per_second: rate("calls_per_second", default.calls_per_second),
            site_calls_per_second: rate("site_calls_per_second", default.site_calls_per_second),
            trunk_calls_per_second: rate("trunk_calls_per_second", default.trunk_calls_per_second),
            source_requests_per_second: rate(
                "source_requests_per_second",
                default.source_requests_per_second,
            ),
            scanner_slow_after: rate("scanner_slow_after", default.scanner_slow_after),
            scanner_drop_after: rate("scanner_drop_after", default.scanner_drop_after),
            scanner_drop: section.seconds("scanner_drop_s", default.scanner_drop, 1..=86_400),
            trusted: section.list("trusted", default.trusted),
        };
        let Admission { scanner_slow_after: slow, scanner_drop_after: drop, .. } = admission;
        if drop > 0 && slow > drop {
            section.refuse("scanner_slow_after", "must not be above scanner_drop_after");
        }
        admission
    }

    /// What is borne of one source.
    pub fn sources(&self) -> SourceSettings {
        SourceSettings {
            rate: Rate::per_second(self.source_requests_per_second),
            slow_after: self.scanner_slow_after,
            drop_after: self.scanner_drop_after,
            drop_for: self.scanner_drop,
            ..SourceSettings::default()
        }
    }
}

impl Default for Admission {
    fn default() -> Self {
        let sources = SourceSettings::default();
        let net = |text: &str| text.parse().ok();
        Admission {
            calls_per_second: 0,
            site_calls_per_second: 50,
            trunk_calls_per_second: 0,
            source_requests_per_second: sources.rate.per_second,
            scanner_slow_after: sources.slow_after,
            scanner_drop_after: sources.drop_after,
            scanner_drop: sources.drop_for,
            trusted: ["::1/128", "127.0.0.0/8"].into_iter().filter_map(net).collect(),
        }
    }
}
