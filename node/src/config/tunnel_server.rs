//! `[tunnel_server]`: the role that holds the tunnels' central ends.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::Ipv6Net;

use super::node::{Node, Role};
use super::reader::Section;

/// `[tunnel_server]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TunnelServer {
    /// Our end of every tunnel; there when this process plays the role.
    pub address: Option<Ipv4Addr>,
    /// Where it stands: sites of the same region are given this server first.
    pub region: String,
    /// The most tunnels at a time.
    pub capacity: usize,
    /// The largest IPv6 packet that a tunnel carries, in bytes.
    pub mtu: u16,
    /// The name of the network device that sites' packets leave by.
    pub device: String,
    /// The networks routed to the device; empty stands for the pool of the address plan.
    pub networks: Vec<Ipv6Net>,
    /// The source of the ICMPv6 errors that sites are sent; `None` stands for an address of this machine.
    pub icmp_source: Option<Ipv6Addr>,
    /// Where brokers of other processes give orders; `None` takes orders of this process only.
    pub control_listen: Option<SocketAddr>,
    /// Whether TCP's maximum segment size is lowered to what a tunnel carries.
    pub clamp_mss: bool,
}

impl TunnelServer {
    pub(super) fn read(section: &mut Section<'_, '_>, node: &Node) -> Self {
        let default = TunnelServer::default();
        let role = TunnelServer {
            address: section.optional("address"),
            region: section.text("region", &default.region),
            capacity: section.integer("capacity", default.capacity, 1..=1_000_000),
            mtu: section.integer("mtu", default.mtu, 1_280..=9_000),
            device: section.text("device", &default.device),
            networks: section.list("networks", default.networks),
            icmp_source: section.optional("icmp_source"),
            control_listen: section.optional("control_listen"),
            clamp_mss: section.flag("clamp_mss", default.clamp_mss),
        };
        let is_device = (1..=MAX_DEVICE).contains(&role.device.len())
            && role.device.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            && ![".", ".."].contains(&role.device.as_str());
        if !is_device {
            section.refuse("device", "must be 1 to 15 letters, digits, '-', '_' and '.'");
        }
        if role.address.is_some_and(|address| {
            address.is_unspecified() || address.is_multicast() || address.is_broadcast()
        }) {
            section.refuse("address", "must be an IPv4 address of this machine that sites can reach");
        }
        if node.plays(Role::TunnelServer) {
            if role.address.is_none() {
                section.refuse(
                    "address",
                    "must be set on a tunnel server: the IPv4 address of this machine to which sites build their tunnels",
                );
            }
            if role.control_listen.is_none() && !node.plays(Role::TunnelBroker) {
                section.refuse(
                    "control_listen",
                    "no broker can give orders to this tunnel server: set it to an address that the broker reaches, or add \
                     \"tunnel-broker\" to node.roles",
                );
            }
        }
        role
    }
}

impl Default for TunnelServer {
    fn default() -> Self {
        TunnelServer {
            address: None,
            region: String::new(),
            capacity: 10_000,
            mtu: 1_280,
            device: "cx6tun".to_owned(),
            networks: vec![],
            icmp_source: None,
            control_listen: None,
            clamp_mss: true,
        }
    }
}

/// The kernel's IFNAMSIZ without the final zero.
const MAX_DEVICE: usize = 15;
