//! Phones and gateways against each other, a small registrar and a lossy relay, in both families.

mod calls;
mod hostile;
mod lossy;
mod media;
mod raw;
mod registration;
mod server;

use std::{future::Future, time::Duration};

use user_agent::{Gateway, GatewayConfig, Phone, PhoneConfig};

/// Loopback with a free port, in both families.
const FAMILIES: [&str; 2] = ["[::1]:0", "127.0.0.1:0"];

/// Fails instead of hanging; long enough for a busy machine.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("within half a minute")
}

fn gateway(local: &str) -> Gateway {
    let local = local.parse().expect("an address");
    Gateway::bind(GatewayConfig::new(local, local)).expect("a socket")
}

/// A phone whose proxy is that gateway.
fn phone(gateway: &Gateway) -> Phone {
    Phone::bind(phone_config(gateway.local_addr())).expect("a socket")
}

fn phone_config(proxy: std::net::SocketAddr) -> PhoneConfig {
    let local = std::net::SocketAddr::new(proxy.ip(), 0);
    PhoneConfig::new(local, proxy, "101", "s042.example.net", "secret")
}
