//! Who may raise a tunnel.

use std::sync::Arc;

use ipnet::Ipv6Net;
use schema::secret::Password;

use crate::dtcp::Kind;
use crate::lease::{Grant, Link};

/// The DTCP credentials of a site, and what the site gets.
#[derive(Debug, Clone)]
pub struct Account {
    /// The user name, unique on the platform.
    pub name: Arc<str>,
    /// DTCP hashes the password itself, so the broker must know it.
    pub password: Password,
    /// The site's region: its tunnel servers are tried first.
    pub region: Arc<str>,
    /// The site's prefix, for the types `network` and `tunnelonly`.
    pub prefix: Option<Ipv6Net>,
    /// The addresses of the tunnel link, for the types `host` and `tunnelonly`.
    pub link: Option<Link>,
}

impl Account {
    /// What a tunnel of this kind may carry. `None` when the account has nothing for it.
    pub(super) fn grant(&self, kind: Kind) -> Option<Grant> {
        let grant = match kind {
            Kind::TunnelOnly => Grant { prefix: self.prefix, link: self.link },
            Kind::Host => Grant { prefix: None, link: Some(self.link?) },
            Kind::Network => Grant { prefix: Some(self.prefix?), link: self.link },
        };
        (grant.prefix.is_some() || grant.link.is_some()).then_some(grant)
    }
}
