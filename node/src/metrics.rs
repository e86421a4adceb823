//! The metrics of a role's workers.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
};
use metrics::{gauge, histogram};
use sip_core::ids::WorkerId;

/// Handles on one worker's metrics, looked up once.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) datagrams_received: Counter,
    pub(crate) datagrams_sent: Counter,
    pub(crate) keep_alives: Counter,
    pub(crate) handed_over: Counter,
    pub(crate) handover_queue: Gauge,
    pub(crate) timers_armed: Gauge,
    pub(crate) active: Gauge,
    pub(crate) ask_seconds: Histogram,
    pub(crate) connections_opened: Counter,
    pub(crate) connections_open: Gauge,
    pub(crate) stream_messages_received: Counter,
    pub(crate) stream_messages_sent: Counter,
    pub(crate) dropped_garbage: Counter,
    pub(crate) dropped_oversize: Counter,
    pub(crate) dropped_handover_full: Counter,
    pub(crate) dropped_send_full: Counter,
    pub(crate) dropped_send_failed: Counter,
    pub(crate) dropped_unreachable: Counter,
    pub(crate) refused_total: Counter,
    pub(crate) refused_source: Counter,
    pub(crate) handshakes_refused: Counter,
    pub(crate) handshakes_timed_out: Counter,
    pub(crate) closed_framing: Counter,
    pub(crate) closed_idle: Counter,
}

impl Metrics {
    pub(crate) fn new(role: &str, worker: WorkerId) -> Self {
        let role = role.to_owned();
        let worker = worker.0.to_string();
        let dropped = |reason: &'static str| counter!(DROPPED, "role" => role.clone(), "reason" => reason);
        let refused = |reason: &'static str| counter!(REFUSED, "role" => role.clone(), "reason" => reason);
        let closed = |reason: &'static str| counter!(CLOSED, "role" => role.clone(), "reason" => reason);
        let handshake =
            |reason: &'static str| counter!(HANDSHAKES, "role" => role.clone(), "reason" => reason);
        Metrics {
            datagrams_received: counter!(RECEIVED, "role" => role.clone()),
            datagrams_sent: counter!(SENT, "role" => role.clone()),
            keep_alives: counter!(KEEP_ALIVES, "role" => role.clone()),
            handed_over: counter!(HANDED_OVER, "role" => role.clone()),
            handover_queue: gauge!(HANDOVER_QUEUE, "role" => role.clone(), "worker" => worker.clone()),
            timers_armed: gauge!(TIMERS, "role" => role.clone(), "worker" => worker.clone()),
            active: gauge!(ACTIVE, "role" => role.clone(), "worker" => worker),
            ask_seconds: histogram!(ASK, "role" => role.clone()),
            connections_opened: counter!(CONNECTIONS_OPENED, "role" => role.clone()),
            connections_open: gauge!(CONNECTIONS_OPEN, "role" => role.clone()),
            stream_messages_received: counter!(STREAM_RECEIVED, "role" => role.clone()),
            stream_messages_sent: counter!(STREAM_SENT, "role" => role.clone()),
            dropped_garbage: dropped("garbage"),
            dropped_oversize: dropped("oversize"),
            dropped_handover_full: dropped("handover_full"),
            dropped_send_full: dropped("send_full"),
            dropped_send_failed: dropped("send_failed"),
            dropped_unreachable: dropped("unreachable"),
            refused_total: refused("total"),
            refused_source: refused("source"),
            handshakes_refused: handshake("refused"),
            handshakes_timed_out: handshake("timed_out"),
            closed_framing: closed("framing"),
            closed_idle: closed("idle"),
        }
    }
}

/// Describes the metrics of all workers to the recorder.
pub(crate) fn describe() {
    let count = Unit::Count;
    describe_counter!(RECEIVED, count, "Datagrams received");
    describe_counter!(SENT, count, "Datagrams given to the system for sending");
    describe_counter!(KEEP_ALIVES, count, "Keep-alives received (RFC 5626), which are no messages");
    describe_counter!(
        DROPPED,
        count,
        "Messages dropped by the shell: garbage (no SIP), oversize, handover_full and send_full (a queue was full), send_failed \
         (the system refused), unreachable (no socket or connection for the address)"
    );
    describe_counter!(
        HANDED_OVER,
        count,
        "Messages that arrived at one worker and were handed to their owner"
    );
    describe_gauge!(HANDOVER_QUEUE, count, "Messages that wait for a worker after others received them");
    describe_gauge!(TIMERS, count, "Timers armed");
    describe_gauge!(ACTIVE, count, "Calls and transactions alive");
    describe_histogram!(ASK, Unit::Seconds, "From a core's question to the world's answer");
    describe_counter!(CONNECTIONS_OPENED, count, "Stream connections accepted or opened");
    describe_gauge!(CONNECTIONS_OPEN, count, "Stream connections open now");
    describe_counter!(STREAM_RECEIVED, count, "Messages received over streams");
    describe_counter!(STREAM_SENT, count, "Messages sent over streams");
    describe_counter!(
        REFUSED,
        count,
        "Stream connections refused by the limit in all (total) or by source (source)"
    );
    describe_counter!(HANDSHAKES, count, "TLS handshakes that failed: refused by either side, or timed_out");
    describe_counter!(
        CLOSED,
        count,
        "Stream connections closed by us: idle, or no message boundary was found (framing)"
    );
}

const RECEIVED: &str = "centrex6_datagrams_received_total";
const SENT: &str = "centrex6_datagrams_sent_total";
const KEEP_ALIVES: &str = "centrex6_keep_alives_total";
const DROPPED: &str = "centrex6_messages_dropped_total";
const HANDED_OVER: &str = "centrex6_messages_handed_over_total";
const HANDOVER_QUEUE: &str = "centrex6_handover_queue_messages";
const TIMERS: &str = "centrex6_timers_armed";
const ACTIVE: &str = "centrex6_worker_active";
const ASK: &str = "centrex6_ask_duration_seconds";
const CONNECTIONS_OPENED: &str = "centrex6_connections_opened_total";
const CONNECTIONS_OPEN: &str = "centrex6_connections_open";
const STREAM_RECEIVED: &str = "centrex6_stream_messages_received_total";
const STREAM_SENT: &str = "centrex6_stream_messages_sent_total";
const REFUSED: &str = "centrex6_connections_refused_total";
const CLOSED: &str = "centrex6_connections_closed_total";
const HANDSHAKES: &str = "centrex6_tls_handshakes_failed_total";
