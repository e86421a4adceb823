//! A plane's counters as metrics of the process.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::PlaneCounters;
use crate::tunnel::DropReason;

/// Hands one plane's counters to the process's metrics. A new plane gets a new one of these, and the metrics count on.
#[derive(Debug, Default)]
pub struct PlaneMetrics {
    /// What was handed over last.
    last: PlaneCounters,
}

impl PlaneMetrics {
    /// For a plane that was started just now; describes the metrics, too.
    pub fn new() -> PlaneMetrics {
        describe();
        PlaneMetrics::default()
    }

    /// Hands over what [`super::DataPlane::counters`] says now: every second or so, and once more at the end.
    pub fn publish(&mut self, now: PlaneCounters) {
        let last = std::mem::replace(&mut self.last, now);
        let (relay, was) = (&self.last.relay, &last.relay);
        for (direction, packets, bytes) in [
            (
                "in",
                relay.to_inside.saturating_sub(was.to_inside),
                relay.bytes_to_inside.saturating_sub(was.bytes_to_inside),
            ),
            (
                "out",
                relay.to_tunnel.saturating_sub(was.to_tunnel),
                relay.bytes_to_tunnel.saturating_sub(was.bytes_to_tunnel),
            ),
            (
                "turned",
                relay.turned.saturating_sub(was.turned),
                relay.bytes_turned.saturating_sub(was.bytes_turned),
            ),
        ] {
            counter!(PACKETS, "direction" => direction).increment(packets);
            counter!(BYTES, "direction" => direction).increment(bytes);
        }
        for reason in DropReason::ALL {
            let dropped = relay.dropped(reason).saturating_sub(was.dropped(reason));
            counter!(DROPS, "reason" => reason.label()).increment(dropped);
        }
        for ((reason, count), (_, before)) in unsent(&self.last).into_iter().zip(unsent(&last)) {
            counter!(DROPS, "reason" => reason).increment(count.saturating_sub(before));
        }
        for (outcome, count, before) in [
            ("sent", relay.errors_sent, was.errors_sent),
            ("held_back", relay.errors_held_back, was.errors_held_back),
        ] {
            counter!(ERRORS, "outcome" => outcome).increment(count.saturating_sub(before));
        }
        counter!(MERGED).increment(self.last.merged.saturating_sub(last.merged));
        gauge!(TUNNELS).set(self.last.tunnels as f64);
    }
}

/// Packets that the system lost or did not take, by the reason in metrics.
fn unsent(counters: &PlaneCounters) -> [(&'static str, u64); 7] {
    let send = counters.send;
    [
        ("receive_full", counters.overflows),
        ("send_not_permitted", send.not_permitted),
        ("send_no_buffers", send.no_buffers),
        ("send_too_long", send.too_long),
        ("send_unreachable", send.unreachable),
        ("send_failed", send.other),
        ("inside_failed", send.inside),
    ]
}

fn describe() {
    let (count, bytes) = (Unit::Count, Unit::Bytes);
    describe_counter!(
        PACKETS,
        count,
        "Inner packets that came out of tunnels (in), went into them (out), or from one into another (turned)"
    );
    describe_counter!(BYTES, bytes, "Their bytes, without the IPv4 header");
    describe_counter!(
        DROPS,
        count,
        "Packets that did not pass, by reason; receive_full, send_* and inside_failed are packets that the system lost or did not take"
    );
    describe_counter!(
        ERRORS,
        count,
        "ICMPv6 errors about dropped packets that were sent, or held back because there were too many"
    );
    describe_counter!(
        MERGED,
        count,
        "Packets that the system had merged from TCP segments, taken apart again"
    );
    describe_gauge!(TUNNELS, count, "Tunnels raised now");
}

const PACKETS: &str = "centrex6_tunnel_packets_total";
const BYTES: &str = "centrex6_tunnel_bytes_total";
const DROPS: &str = "centrex6_tunnel_drops_total";
const ERRORS: &str = "centrex6_tunnel_icmp_errors_total";
const MERGED: &str = "centrex6_tunnel_merged_total";
const TUNNELS: &str = "centrex6_tunnels";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_counted_on_and_a_new_plane_begins_at_nothing() {
        let handle = node::telemetry::install_metrics().unwrap();
        let counters = |packets| {
            let mut counters = PlaneCounters { tunnels: 3, overflows: packets, ..Default::default() };
            counters.relay.to_tunnel = packets;
            counters.relay.bytes_to_tunnel = packets * 200;
            counters
        };
        let mut metrics = PlaneMetrics::new();
        metrics.publish(counters(5));
        metrics.publish(counters(7));
        metrics.publish(counters(7));
        PlaneMetrics::new().publish(counters(2));
        let text = handle.render();
        for line in [
            "centrex6_tunnel_packets_total{direction=\"out\"} 9",
            "centrex6_tunnel_packets_total{direction=\"turned\"} 0",
            "centrex6_tunnel_bytes_total{direction=\"out\"} 1800",
            "centrex6_tunnel_drops_total{reason=\"receive_full\"} 9",
            "centrex6_tunnel_drops_total{reason=\"spoofed_source\"} 0",
            "centrex6_tunnels 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
