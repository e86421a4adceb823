//! `[dns]`: who is asked for names.

use std::net::SocketAddr;
use std::time::Duration;

use super::reader::Section;

/// `[dns]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// The resolvers; without any the system's.
    pub servers: Vec<SocketAddr>,
    /// How long one may take.
    pub timeout: Duration,
    /// Answers that each worker remembers.
    pub cache: u64,
    /// The longest that an answer is good for, whatever its own time to live.
    pub max_ttl: Duration,
    /// The longest that the lack of an answer is remembered.
    pub negative_ttl: Duration,
}

impl Dns {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Dns::default();
        let dns = Dns {
            servers: section.list("servers", default.servers),
            timeout: section.millis("timeout_ms", default.timeout, 100..=30_000),
            cache: section.integer("cache", default.cache, 16..=1_000_000),
            max_ttl: section.seconds("max_ttl_s", default.max_ttl, 1..=86_400),
            negative_ttl: section.seconds("negative_ttl_s", default.negative_ttl, 1..=3_600),
        };
        if dns.servers.iter().any(|server| server.port() == 0) {
            section.refuse("servers", "needs an address and a port, such as \"[2001:db8::53]:53\"");
        }
        dns
    }
}

impl Default for Dns {
    fn default() -> Self {
        Dns {
            servers: vec![],
            timeout: Duration::from_secs(2),
            cache: 1_024,
            max_ttl: Duration::from_secs(3_600),
            negative_ttl: Duration::from_secs(30),
        }
    }
}
