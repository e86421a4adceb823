//! What the carrier sets for registrations.

use std::time::Duration;

use node::telemetry::Mask;
use sip_core::auth::Algorithm;
use sip_core::wire::header::NameAddr;

use crate::GruuKey;

/// The registrar's policy.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's name. Bindings carry it, because only the node that a phone registered at can answer on the same flow.
    pub node: String,
    /// The platform's one digest realm, never a site's domain.
    pub realm: String,
    /// Digest algorithms in the order in which they are offered.
    pub algorithms: Vec<Algorithm>,
    /// The shortest registration that is taken; shorter ones get 423 (RFC 3261 §10.3, step 7).
    pub min_expires: Duration,
    /// The longest registration that is granted.
    pub max_expires: Duration,
    /// What is granted when the phone names none.
    pub default_expires: Duration,
    /// Bindings that one line may have at a time.
    pub max_bindings: usize,
    /// Routes that phones are told to take for their requests (RFC 3608), the first to visit first; each a loose router's URI.
    pub service_route: Vec<NameAddr>,
    /// How often a phone shall give a sign of life on a stream that is one of its flows (RFC 5626 §4.4.1).
    pub flow_timer: Duration,
    /// Makes GRUUs (RFC 5627).
    pub gruu: GruuKey,
    /// What log lines hide.
    pub mask: Mask,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            node: "node1".to_owned(),
            realm: "centrex6".to_owned(),
            algorithms: vec![Algorithm::Md5],
            min_expires: Duration::from_secs(60),
            max_expires: Duration::from_secs(7200),
            default_expires: Duration::from_secs(3600),
            max_bindings: 8,
            service_route: Vec::new(),
            flow_timer: Duration::from_secs(120),
            gruu: GruuKey::new([0; 32]),
            mask: Mask::default(),
        }
    }
}
