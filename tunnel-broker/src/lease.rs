//! What broker and tunnel server say to each other about a tunnel.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

/// Names one tunnel for its whole life, moves included. Never used twice, not even after a restart of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TunnelId(pub u64);

/// The two ends of a tunnel in IPv4. Protocol 41 has no ports: this pair is all that tells one tunnel from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Outer {
    /// The far end: on a tunnel server, the site's public address.
    pub client: Ipv4Addr,
    /// Our own end.
    pub server: Ipv4Addr,
}

/// The numbered ends of the tunnel link itself (DTCP type `host`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Link {
    /// The far end's address.
    pub client: Ipv6Addr,
    /// Our own address on the link.
    pub server: Ipv6Addr,
}

/// What may come out of a tunnel and is routed into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// The site's prefix.
    pub prefix: Option<Ipv6Net>,
    /// The link's addresses.
    pub link: Option<Link>,
}

impl Grant {
    /// Whether the far end may send from `address`, and is sent what is addressed to it (RFC 4213 §3.6, RFC 2827).
    pub fn covers(&self, address: Ipv6Addr) -> bool {
        self.networks().any(|network| network.contains(&address))
    }

    /// The networks behind the tunnel.
    pub fn networks(&self) -> impl Iterator<Item = Ipv6Net> + use<> {
        let link = self.link.map(|link| Ipv6Net::from(link.client));
        self.prefix.map(|prefix| prefix.trunc()).into_iter().chain(link)
    }
}
