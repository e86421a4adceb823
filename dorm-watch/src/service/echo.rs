//! ICMPv6 echo (RFC 4443 §4), by whichever socket the system permits.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::io::Ticket;

/// Opens a socket for echo: one for "ping" where the system permits (net.ipv4.ping_group_range), else a raw one, which takes CAP_NET_RAW.
///
/// # Errors
/// When neither is permitted; the error is the second's.
pub(super) fn open(from: Ipv6Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::ICMPV6))
        .or_else(|_| Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(SocketAddrV6::new(from, 0, 0, 0)).into())?;
    // Both kinds are datagram sockets to whoever reads and writes them.
    Ok(socket.into())
}

/// An echo request that carries the ticket. The kernel fills the checksum in (RFC 3542 §3.1), and a ping socket's identifier.
pub(super) fn request(ticket: Ticket) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    let (head, data) = packet.split_at_mut(8);
    head.copy_from_slice(&[ECHO_REQUEST, 0, 0, 0, 0xc6, 0xc6, 0, ticket.0 as u8]);
    let (mark, number) = data.split_at_mut(MARK.len());
    mark.copy_from_slice(MARK);
    number.copy_from_slice(&ticket.0.to_be_bytes());
    packet
}

/// The question that an ICMPv6 message answers.
pub(super) fn answered(message: &[u8]) -> Option<Ticket> {
    let (head, data) = message.split_at_checked(8)?;
    if head.first() != Some(&ECHO_REPLY) {
        return None;
    }
    let number = data.strip_prefix(MARK)?;
    Some(Ticket(u64::from_be_bytes(number.try_into().ok()?)))
}

/// Where an echo request goes: such a socket knows no ports.
pub(super) fn destination(target: Ipv6Addr) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(target), 0)
}

/// RFC 4443 §4.1, §4.2.
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
/// What our requests begin with: others on this machine ping too.
const MARK: &[u8; 8] = b"c6 watch";
const LENGTH: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_carries_its_ticket_back() {
        let mut packet = request(Ticket(0x0123_4567_89ab_cdef));
        assert_eq!(answered(&packet), None, "a request is no reply");
        packet[0] = ECHO_REPLY;
        assert_eq!(answered(&packet), Some(Ticket(0x0123_4567_89ab_cdef)));
        for end in 0..packet.len() {
            assert_eq!(answered(&packet[..end]), None, "cut after {end} bytes");
        }
        packet[8] ^= 1;
        assert_eq!(answered(&packet), None, "somebody else's ping");
    }
}
