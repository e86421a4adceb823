//! `[sip]`: what all roles share of SIP.

use std::time::Duration;

use sip_core::{transaction, wire};

use super::reader::Section;

/// `[sip]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sip {
    /// The realm of every challenge (RFC 8760), one for the whole platform.
    pub realm: String,
    /// What our User-Agent and Server header fields say; empty for none.
    pub user_agent: String,
    /// The longest message taken, in bytes.
    pub max_message_bytes: usize,
    /// The most header fields taken in a message.
    pub max_headers: usize,
    /// T1 of RFC 3261 §17.1.1.1: the round-trip time that is reckoned with.
    pub t1: Duration,
    /// T2: the longest interval between retransmissions.
    pub t2: Duration,
    /// T4: how long a message may stay in the network.
    pub t4: Duration,
    /// Limits on stream connections.
    pub stream: StreamLimits,
}

/// Limits on stream connections, each per role, and who may open WebSockets.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamLimits {
    /// The most connections in all.
    pub max_connections: usize,
    /// The most connections from one address.
    pub max_connections_per_source: usize,
    /// A connection without a message or keep-alive for so long is closed.
    pub idle: Duration,
    /// How long opening a connection may take.
    pub connect: Duration,
    /// How long the handshakes of a connection (TLS, WebSocket) may take.
    pub handshake: Duration,
    /// Pages from these origins may open WebSockets; without any, all may.
    pub origins: Vec<String>,
    /// How often a WebSocket's client is asked for a sign of life.
    pub ping: Duration,
}

impl Sip {
    /// The timers and limits of a role's transaction layer; what else it sets is the role's own.
    pub fn transactions(&self) -> transaction::Settings {
        transaction::Settings {
            t1: self.t1,
            t2: self.t2,
            t4: self.t4,
            limits: wire::Limits {
                max_bytes: self.max_message_bytes,
                max_headers: self.max_headers,
                ..wire::Limits::default()
            },
            ..transaction::Settings::default()
        }
    }

    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Sip::default();
        let sip = Sip {
            realm: section.text("realm", &default.realm),
            user_agent: section.text("user_agent", &default.user_agent),
            max_message_bytes: section.integer(
                "max_message_bytes",
                default.max_message_bytes,
                1_500..=65_535,
            ),
            max_headers: section.integer("max_headers", default.max_headers, 16..=1_024),
            t1: section.millis("t1_ms", default.t1, 10..=10_000),
            t2: section.millis("t2_ms", default.t2, 10..=60_000),
            t4: section.millis("t4_ms", default.t4, 10..=60_000),
            stream: StreamLimits::read(section),
        };
        if sip.realm.is_empty() || sip.realm.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
            section.refuse("realm", "must be text without quotes, backslashes and control characters");
        }
        if sip.user_agent.chars().any(char::is_control) {
            section.refuse("user_agent", "must not hold control characters");
        }
        if sip.t2 < sip.t1 {
            section.refuse("t2_ms", "must not be shorter than t1_ms");
        }
        sip
    }
}

impl StreamLimits {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let default = StreamLimits::default();
        StreamLimits {
            max_connections: section.integer("max_connections", default.max_connections, 1..=1_000_000),
            max_connections_per_source: section.integer(
                "max_connections_per_source",
                default.max_connections_per_source,
                1..=1_000_000,
            ),
            idle: section.seconds("connection_idle_s", default.idle, 10..=86_400),
            connect: section.millis("connect_ms", default.connect, 100..=32_000),
            handshake: section.millis("handshake_ms", default.handshake, 100..=60_000),
            origins: section.list("websocket_origins", default.origins),
            ping: section.seconds("websocket_ping_s", default.ping, 5..=86_400),
        }
    }
}

impl Default for Sip {
    fn default() -> Self {
        Sip {
            realm: "centrex6".to_owned(),
            user_agent: "Centrex6".to_owned(),
            max_message_bytes: 65_535,
            max_headers: 128,
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            stream: StreamLimits::default(),
        }
    }
}

impl Default for StreamLimits {
    fn default() -> Self {
        StreamLimits {
            max_connections: 20_000,
            max_connections_per_source: 1_000,
            idle: Duration::from_secs(900),
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            origins: vec![],
            ping: Duration::from_secs(60),
        }
    }
}
