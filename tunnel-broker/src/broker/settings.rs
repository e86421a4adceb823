//! What the carrier sets for its broker.

use std::time::Duration;

use crate::dtcp::Centre;

/// The broker's policy.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a client may be silent before it has a tunnel.
    pub idle_before_login: Duration,
    /// How long a client may be silent while it has a tunnel. Clients `ping` every 60 s.
    pub idle_after_login: Duration,
    /// Failed logins on one connection before it is closed.
    pub max_failures: u8,
    /// How long after the last allowed failure the connection is closed. For so long, too, a connection that failed to log in
    /// keeps its place among its source's connections when the client leaves by itself.
    pub failure_delay: Duration,
    /// Lines of any kind on one connection before it has a tunnel.
    pub max_lines_before_login: u8,
    /// Connections from one IPv4 address at a time.
    pub max_connections_per_source: usize,
    /// Connections in all at a time.
    pub max_connections: usize,
    /// Accounts being looked up at a time.
    pub max_lookups: usize,
    /// How long a tunnel stands that was found on a server at the broker's start and whose site has not logged in again.
    pub adoption: Duration,
    /// How long a tunnel server may be away before its sites are sent elsewhere.
    pub server_grace: Duration,
    /// What sites are told on `centre`.
    pub centre: Centre,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            idle_before_login: Duration::from_secs(60),
            idle_after_login: Duration::from_secs(300),
            max_failures: 3,
            failure_delay: Duration::from_secs(3),
            max_lines_before_login: 32,
            max_connections_per_source: 8,
            max_connections: 20_000,
            max_lookups: 1_024,
            adoption: Duration::from_secs(180),
            server_grace: Duration::from_secs(10),
            centre: Centre::default(),
        }
    }
}
