//! What the watch counts.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use schema::AlarmKind;

use crate::watch::Watch;

/// Publishes the core's numbers.
#[derive(Debug, Default)]
pub(super) struct Metrics;

impl Metrics {
    pub(super) fn publish(&self, watch: &Watch) {
        for (state, count) in watch.states() {
            gauge!(SITES, "state" => state.as_str()).set(count as f64);
        }
        for kind in AlarmKind::ALL {
            let open = watch.open_alarms().filter(|alarm| alarm.kind == *kind).count();
            gauge!(ALARMS, "kind" => kind.as_str()).set(open as f64);
        }
        let counts = watch.counts();
        let probes = |kind: &'static str, result: &'static str, count: u64| {
            counter!(PROBES, "kind" => kind, "result" => result).absolute(count);
        };
        probes("options", "answered", counts.options_answered);
        probes("options", "silent", counts.options_silent);
        probes("echo", "answered", counts.echo_answered);
        probes("echo", "silent", counts.echo_silent);
    }
}

/// Describes the watch's metrics to the recorder.
pub fn describe() {
    describe_gauge!(
        SITES,
        Unit::Count,
        "Sites by state: up, tunnel_down, iad_unreachable, phones_missing, not_seen"
    );
    describe_gauge!(ALARMS, Unit::Count, "Open alarms by kind");
    describe_counter!(
        PROBES,
        Unit::Count,
        "Questions by kind (options, echo) and result (answered, silent). Of a phone that is asked by both, the first answer counts"
    );
}

const SITES: &str = "centrex6_sites";
const ALARMS: &str = "centrex6_alarms";
const PROBES: &str = "centrex6_watch_probes_total";
