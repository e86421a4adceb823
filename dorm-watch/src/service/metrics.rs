//! What the watch counts.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use schema::AlarmKind;

use crate::io::Method;
use crate::watch::Watch;

/// Publishes the core's numbers.
pub(super) fn publish(watch: &Watch) {
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

/// Tells once whether the system permits echo.
pub(super) fn publish_echo(can_echo: bool) {
    gauge!(ECHO).set(if can_echo { 1.0 } else { 0.0 });
}

/// Counts a question that this machine could not send.
pub(super) fn count_unsent(method: Method) {
    let kind = match method {
        Method::Options => "options",
        Method::Echo => "echo",
    };
    counter!(UNSENT, "kind" => kind).increment(1);
}

/// Describes the watch's metrics to the recorder.
pub fn describe() {
    describe_gauge!(
        SITES,
        Unit::Count,
        "Sites by state: up, tunnel_down, iad_unreachable, phones_missing, not_seen"
    );
    describe_gauge!(ALARMS, Unit::Count, "Open alarms by kind");
    describe_counter!(PROBES, Unit::Count, "Questions by kind (options, echo) and result (answered, silent)");
    describe_counter!(
        UNSENT,
        Unit::Count,
        "Questions that this machine could not send, by kind: no route, or no room in the socket"
    );
    describe_gauge!(
        ECHO,
        "Whether ICMPv6 echo requests can be sent: 1, or 0 when the system refuses or [watch] echo is off"
    );
}

const SITES: &str = "centrex6_sites";
const ALARMS: &str = "centrex6_alarms";
const PROBES: &str = "centrex6_watch_probes_total";
const UNSENT: &str = "centrex6_watch_probes_unsent_total";
const ECHO: &str = "centrex6_watch_echo_permitted";
