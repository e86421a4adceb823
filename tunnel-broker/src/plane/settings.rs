//! What a plane is told at its start.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

use crate::tunnel::{MIN_MTU, Settings};

/// What a plane is told at its start.
#[derive(Debug, Clone)]
pub struct PlaneSettings {
    /// The name of the TUN device, 1 to 15 bytes. It is made at the start and gone with the plane.
    pub device: String,
    /// Our end of the tunnels in IPv4: only what is sent to this address is received. `0.0.0.0` receives on every address of the
    /// machine, for an end whose address changes.
    pub local: Ipv4Addr,
    /// The source of the ICMPv6 errors that the plane sends. It need not be on the device, but then it answers no ping.
    pub address: Ipv6Addr,
    /// The networks on the inside, as [`Settings::own`].
    pub own: Vec<Ipv6Net>,
    /// The MTU of the device and of every tunnel, bytes, 1280 at least.
    pub mtu: u16,
    /// How many tunnels there can be.
    pub capacity: usize,
    /// Whether the maximum segment size that TCP connections announce is lowered to what fits into a tunnel.
    pub clamp_mss: bool,
}

impl PlaneSettings {
    /// Settings with the usual values: MTU 1280, 10,000 tunnels, segment size clamped, no network of our own.
    pub fn new(device: impl Into<String>, local: Ipv4Addr, address: Ipv6Addr) -> PlaneSettings {
        PlaneSettings {
            device: device.into(),
            local,
            address,
            own: Vec::new(),
            mtu: MIN_MTU,
            capacity: 10_000,
            clamp_mss: true,
        }
    }

    pub(super) fn relay(&self) -> Settings {
        Settings { clamp_mss: self.clamp_mss, ..Settings::new(self.address, self.own.clone()) }
    }
}
