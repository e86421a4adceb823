//! Packets that an honest IAD would not send: made by hand, and put on protocol 41 beside the agent.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::error::LabError;
use super::namespace::Namespace;
use super::plan::{CENTRE, TUNNEL_SERVER};

/// Sends so many IPv6 packets to the centre with this inner source, from an IAD's namespace to the tunnel server.
///
/// # Errors
/// When the system refuses.
pub fn send(iad: &Namespace, source: Ipv6Addr, count: u32) -> Result<(), LabError> {
    let packet = packet(source, CENTRE);
    let send = || -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPV6_IN_IPV4)))?;
        (0..count)
            .try_for_each(|_| socket.send_to(&packet, &SocketAddr::from((TUNNEL_SERVER, 0)).into()).map(drop))
    };
    iad.inside(send)?.map_err(LabError::io(format!("send on protocol 41 from {}", iad.name())))
}

/// An IPv6 packet without payload (RFC 8200 §3, next header 59).
fn packet(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, NO_NEXT_HEADER, HOP_LIMIT];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet
}

const IPV6_IN_IPV4: i32 = 41;
const NO_NEXT_HEADER: u8 = 59;
const HOP_LIMIT: u8 = 64;
