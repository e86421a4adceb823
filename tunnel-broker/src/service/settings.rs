//! What the carrier sets for the broker's shell.

use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

use node::config::TunnelBroker;
use node::telemetry::Mask;

use crate::broker;
use crate::control::{Executor, LinkSettings};
use crate::dtcp::Centre;

/// How the broker is set up.
#[derive(Clone)]
pub struct Settings {
    /// The broker's policy.
    pub broker: broker::Settings,
    /// Where DTCP is served.
    pub listen: Option<SocketAddrV4>,
    /// DTCP inside TLS, if it is served.
    pub tls: Option<TlsSettings>,
    /// The tunnel servers.
    pub servers: Vec<ServerPlace>,
    /// How patient the broker is with them.
    pub link: LinkSettings,
    /// What log lines hide.
    pub mask: Mask,
}

/// DTCP inside TLS (`dtcps`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Where it is served.
    pub listen: Vec<SocketAddrV4>,
    /// The certificate chain, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
}

/// Where a tunnel server is.
#[derive(Clone)]
pub enum ServerPlace {
    /// In this process.
    Here(Arc<Executor>),
    /// It takes orders at this address.
    At(SocketAddr),
}

impl Settings {
    /// As the configuration says; `own` is the tunnel server of this process.
    pub fn from_config(config: &TunnelBroker, own: Option<Arc<Executor>>, mask: Mask) -> Settings {
        let tls = match (&config.tls_certificate, &config.tls_key) {
            (Some(certificate), Some(key)) if !config.tls_listen.is_empty() => Some(TlsSettings {
                listen: config.tls_listen.clone(),
                certificate: certificate.clone(),
                key: key.clone(),
            }),
            _ => None,
        };
        let servers = match config.servers.as_slice() {
            [] => own.into_iter().map(ServerPlace::Here).collect(),
            servers => servers.iter().copied().map(ServerPlace::At).collect(),
        };
        Settings {
            broker: broker::Settings {
                idle_before_login: config.idle_before_login,
                idle_after_login: config.idle_after_login,
                max_failures: config.max_failures,
                failure_delay: config.failure_delay,
                max_connections_per_source: config.max_connections_per_source,
                max_connections: config.max_connections,
                adoption: config.adoption,
                server_grace: config.server_grace,
                centre: Centre { sip: config.centre_sip, dns: config.centre_dns.clone() },
                ..broker::Settings::default()
            },
            listen: config.listen,
            tls,
            servers,
            link: LinkSettings { timeout: config.server_timeout, ..LinkSettings::default() },
            mask,
        }
    }
}
