//! The relay's metrics. Handles are looked up once a worker; a session adds to them in lumps.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use super::Side;
use super::statistics::DropReason;

/// Describes the relay's metrics to the recorder; to be called once, after it is installed.
pub fn describe_metrics() {
    describe_counter!(PACKETS, Unit::Count, "RTP and RTCP datagrams relayed, by direction");
    describe_counter!(DROPPED, Unit::Count, "Datagrams on media ports that were not relayed, by reason");
    describe_gauge!(SESSIONS, Unit::Count, "Media sessions open");
    describe_gauge!(
        PORTS_FREE,
        Unit::Count,
        "Media port pairs neither in use nor resting, all addresses together"
    );
}

/// The handles of one worker.
#[derive(Clone)]
pub(super) struct Gauges {
    packets: [Counter; 2],
    dropped: [Counter; DropReason::ALL.len()],
    pub(super) sessions: Gauge,
    pub(super) ports_free: Gauge,
}

impl Gauges {
    pub(super) fn new() -> Self {
        Gauges {
            packets: ["a_to_b", "b_to_a"].map(|direction| counter!(PACKETS, "direction" => direction)),
            dropped: DropReason::ALL.map(|reason| counter!(DROPPED, "reason" => reason.label())),
            sessions: gauge!(SESSIONS),
            ports_free: gauge!(PORTS_FREE),
        }
    }
}

impl std::fmt::Debug for Gauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gauges").finish_non_exhaustive()
    }
}

/// What a session has yet to add to the metrics.
#[derive(Debug, Default)]
pub(super) struct Tally {
    packets: [u64; 2],
    dropped: [u64; DropReason::ALL.len()],
    pending: u32,
}

impl Tally {
    pub(super) fn relayed(&mut self, from: Side) {
        let [a, b] = &mut self.packets;
        match from {
            Side::A => *a += 1,
            Side::B => *b += 1,
        }
        self.pending += 1;
    }

    pub(super) fn dropped(&mut self, reason: DropReason) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += 1;
        }
        self.pending += 1;
    }

    /// Whether enough has gathered to be worth adding.
    pub(super) fn is_due(&self) -> bool {
        self.pending >= LUMP
    }

    pub(super) fn flush(&mut self, gauges: &Gauges) {
        if self.pending == 0 {
            return;
        }
        let counts = self.packets.iter().chain(&self.dropped);
        for (count, counter) in counts.zip(gauges.packets.iter().chain(&gauges.dropped)) {
            if *count > 0 {
                counter.increment(*count);
            }
        }
        *self = Tally::default();
    }
}

const PACKETS: &str = "centrex6_relay_packets_total";
const DROPPED: &str = "centrex6_relay_dropped_total";
const SESSIONS: &str = "centrex6_relay_sessions";
const PORTS_FREE: &str = "centrex6_relay_ports_free";
/// Datagrams of a session between two additions: about a second of one call.
const LUMP: u32 = 100;
