//! The data plane's counters as metrics.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use tokio::time::{MissedTickBehavior, interval};

use crate::control::Executor;
use crate::plane::PlaneCounters;
use crate::tunnel::DropReason;

/// Publishes the counters again and again, for as long as it is polled.
pub(super) async fn publish(executor: Arc<Executor>) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        set(&executor.plane().counters());
        gauge!(TUNNELS).set(executor.tunnels() as f64);
    }
}

fn set(counters: &PlaneCounters) {
    let PlaneCounters { relay, send, overflows, .. } = counters;
    for (direction, packets, bytes) in [
        ("from_sites", relay.to_inside, relay.bytes_to_inside),
        ("to_sites", relay.to_tunnel, relay.bytes_to_tunnel),
        ("between_sites", relay.turned, relay.bytes_turned),
    ] {
        counter!(PACKETS, "direction" => direction).absolute(packets);
        counter!(BYTES, "direction" => direction).absolute(bytes);
    }
    for reason in DropReason::ALL {
        counter!(DROPPED, "reason" => reason.label()).absolute(relay.dropped(reason));
    }
    for (reason, packets) in [
        ("send_not_permitted", send.not_permitted),
        ("send_no_buffers", send.no_buffers),
        ("send_too_long", send.too_long),
        ("send_unreachable", send.unreachable),
        ("send_other", send.other),
        ("send_inside", send.inside),
        ("overflow", *overflows),
    ] {
        counter!(DROPPED, "reason" => reason).absolute(packets);
    }
    counter!(ERRORS, "outcome" => "sent").absolute(relay.errors_sent);
    counter!(ERRORS, "outcome" => "held_back").absolute(relay.errors_held_back);
}

/// Explains the metrics to whoever reads them.
pub fn describe_metrics() {
    describe_gauge!(TUNNELS, "Tunnels that the tunnel server holds");
    describe_counter!(PACKETS, "IPv6 packets carried, by direction");
    describe_counter!(BYTES, "Their bytes, without the outer IPv4 header");
    describe_counter!(DROPPED, "Packets dropped, by reason");
    describe_counter!(ERRORS, "ICMPv6 errors, sent or held back because there were too many");
}

const TUNNELS: &str = "centrex6_tunnels";
const PACKETS: &str = "centrex6_tunnel_packets_total";
const BYTES: &str = "centrex6_tunnel_bytes_total";
const DROPPED: &str = "centrex6_tunnel_dropped_total";
const ERRORS: &str = "centrex6_tunnel_icmp_errors_total";
/// How old the metrics are at most.
const EVERY: Duration = Duration::from_secs(2);
