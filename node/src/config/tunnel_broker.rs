//! `[tunnel_broker]`: the role that lets sites log in by DTCP and gives each its tunnel.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;
use std::time::Duration;

use super::node::{Node, Role};
use super::reader::Section;

/// `[tunnel_broker]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TunnelBroker {
    /// Where DTCP is served; `None` serves it inside TLS only.
    pub listen: Option<SocketAddrV4>,
    /// Where DTCP inside TLS (`dtcps`) is served.
    pub tls_listen: Vec<SocketAddrV4>,
    /// The certificates for TLS, the broker's own first, in PEM; there when `tls_listen` names an address.
    pub tls_certificate: Option<PathBuf>,
    /// The key of the first certificate, in PEM; there when `tls_listen` names an address.
    pub tls_key: Option<PathBuf>,
    /// Where the tunnel servers take orders; empty stands for the one in this process.
    pub servers: Vec<SocketAddr>,
    /// How long a client may be silent before it has a tunnel.
    pub idle_before_login: Duration,
    /// How long a client may be silent while it has a tunnel.
    pub idle_after_login: Duration,
    /// Failed logins on one connection before it is closed.
    pub max_failures: u8,
    /// How long after the last allowed failure the connection is closed.
    pub failure_delay: Duration,
    /// The most connections at a time.
    pub max_connections: usize,
    /// The most connections from one IPv4 address at a time.
    pub max_connections_per_source: usize,
    /// How long a tunnel that outlived the broker's restart waits for its site to log in again.
    pub adoption: Duration,
    /// How long a tunnel server may be away before its sites are sent elsewhere.
    pub server_grace: Duration,
    /// How long a tunnel server may take for an order before it counts as away.
    pub server_timeout: Duration,
    /// The SIP address that sites are told on `centre`.
    pub centre_sip: Option<SocketAddrV6>,
    /// The name servers that sites are told on `centre`.
    pub centre_dns: Vec<Ipv6Addr>,
}

impl TunnelBroker {
    pub(super) fn read(section: &mut Section<'_, '_>, node: &Node) -> Self {
        let default = TunnelBroker::default();
        let role = TunnelBroker {
            listen: section.parsed_or_none("listen", default.listen),
            tls_listen: section.list("tls_listen", default.tls_listen),
            tls_certificate: section.optional("tls_certificate"),
            tls_key: section.optional("tls_key"),
            servers: section.list("servers", default.servers),
            idle_before_login: section.seconds("idle_before_login_s", default.idle_before_login, 5..=3_600),
            idle_after_login: section.seconds("idle_after_login_s", default.idle_after_login, 10..=86_400),
            max_failures: section.integer("max_failures", default.max_failures, 1..=10),
            failure_delay: section.seconds("failure_delay_s", default.failure_delay, 0..=60),
            max_connections: section.integer("max_connections", default.max_connections, 1..=1_000_000),
            max_connections_per_source: section.integer(
                "max_connections_per_source",
                default.max_connections_per_source,
                1..=1_000_000,
            ),
            adoption: section.seconds("adoption_s", default.adoption, 10..=86_400),
            server_grace: section.seconds("server_grace_s", default.server_grace, 1..=3_600),
            server_timeout: section.millis("server_timeout_ms", default.server_timeout, 100..=60_000),
            centre_sip: section.optional("centre_sip"),
            centre_dns: section.list("centre_dns", default.centre_dns),
        };
        if !role.tls_listen.is_empty() {
            for (key, file) in [("tls_certificate", &role.tls_certificate), ("tls_key", &role.tls_key)] {
                if file.is_none() {
                    section.refuse(key, "must name a file, because tls_listen names an address");
                }
            }
        }
        if role.listen.is_none() && role.tls_listen.is_empty() {
            section.refuse("listen", "must name an address when tls_listen names none");
        }
        if role.centre_dns.len() > MAX_CENTRE_DNS {
            section.refuse("centre_dns", format!("must name at most {MAX_CENTRE_DNS} name servers"));
        }
        if node.plays(Role::TunnelBroker) && role.servers.is_empty() && !node.plays(Role::TunnelServer) {
            section.refuse(
                "servers",
                "this process is no tunnel server: name the control_listen addresses of the tunnel servers here, or add \
                 \"tunnel-server\" to node.roles",
            );
        }
        role
    }
}

impl Default for TunnelBroker {
    fn default() -> Self {
        TunnelBroker {
            listen: Some(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 20_200)),
            tls_listen: vec![],
            tls_certificate: None,
            tls_key: None,
            servers: vec![],
            idle_before_login: Duration::from_secs(60),
            idle_after_login: Duration::from_secs(300),
            max_failures: 3,
            failure_delay: Duration::from_secs(3),
            max_connections: 20_000,
            max_connections_per_source: 8,
            adoption: Duration::from_secs(180),
            server_grace: Duration::from_secs(10),
            server_timeout: Duration::from_secs(3),
            centre_sip: None,
            centre_dns: vec![],
        }
    }
}

/// So many fit a router advertisement and the reply's line.
const MAX_CENTRE_DNS: usize = 4;
