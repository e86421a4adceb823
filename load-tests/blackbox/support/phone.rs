//! Simulated phones and gateways, bound to a node.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use user_agent::{Gateway, GatewayConfig, Phone, PhoneConfig};

use super::{Credentials, Node, soon};

/// A phone with a binding at the node.
pub(crate) async fn phone(node: &Node, line: &Credentials) -> Phone {
    let phone = unregistered(node, line);
    register(&phone).await;
    phone
}

/// A phone without a binding: it can call.
pub(crate) fn unregistered(node: &Node, line: &Credentials) -> Phone {
    let local = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    Phone::bind(line.config(local, node.proxy)).unwrap()
}

/// Registers a phone.
pub(crate) async fn register(phone: &Phone) {
    soon("a phone registers", phone.register())
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", phone.aor()));
}

/// A gateway on IPv4 that answers every call.
pub(crate) fn gateway(node: &Node) -> Gateway {
    Gateway::bind(GatewayConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), node.trunk_side)).unwrap()
}

impl Credentials {
    /// A phone's settings for this line.
    pub(crate) fn config(&self, local: SocketAddr, proxy: SocketAddr) -> PhoneConfig {
        let config = PhoneConfig::new(local, proxy, &self.extension, &self.domain, &self.password);
        PhoneConfig { auth_user: self.auth_user.clone(), ..config }
    }
}
