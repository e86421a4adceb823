//! Packets that an installer's check sends: through the tunnel, past our own routing, and to all nodes of a LAN.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::time::Duration;

use ipnet::Ipv6Net;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout, timeout_at};

/// An echo request, told from others by its identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Echo {
    pub(super) identifier: u16,
    pub(super) source: Ipv6Addr,
    pub(super) target: Ipv6Addr,
}

impl Echo {
    /// The ICMPv6 message (RFC 4443 §4.1), its checksum left to the kernel.
    fn message(&self, sequence: u16) -> Vec<u8> {
        let mut bytes = vec![ECHO_REQUEST, 0, 0, 0];
        bytes.extend(self.identifier.to_be_bytes());
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(DATA);
        bytes
    }

    /// The whole IPv6 packet, which lives for one hop.
    fn packet(&self, sequence: u16) -> Vec<u8> {
        let mut message = self.message(sequence);
        let len = message.len() as u16;
        let pseudo = [
            &self.source.octets()[..],
            &self.target.octets(),
            &[0, 0],
            &len.to_be_bytes(),
            &[0, 0, 0, ICMPV6],
        ];
        let sum = checksum(&[&pseudo.concat(), &message]);
        if let Some(field) = message.get_mut(2..4) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
        let [high, low] = len.to_be_bytes();
        let mut packet = vec![0x60, 0, 0, 0, high, low, ICMPV6, 1];
        packet.extend(self.source.octets());
        packet.extend(self.target.octets());
        packet.extend(message);
        packet
    }

    /// Whether an ICMPv6 message answers this request: with a reply, or with an error about it.
    fn is_answered_by(&self, message: &[u8]) -> bool {
        let about = match *message {
            [ECHO_REPLY, 0, _, _, ref rest @ ..] => rest,
            [UNREACHABLE | TIME_EXCEEDED, _, _, _, _, _, _, _, ref packet @ ..] => {
                let is_ours = packet.get(6) == Some(&ICMPV6)
                    && packet.get(8..24) == Some(&self.source.octets())
                    && packet.get(24..40) == Some(&self.target.octets())
                    && packet.get(40) == Some(&ECHO_REQUEST);
                match packet.get(44..) {
                    Some(rest) if is_ours => rest,
                    _ => return false,
                }
            }
            _ => return false,
        };
        about.first_chunk() == Some(&self.identifier.to_be_bytes())
    }
}

/// Whether raw sockets can be had.
pub(super) fn permitted() -> io::Result<()> {
    icmpv6_socket().map(drop)
}

/// Packets from one address that die at the far end of the tunnel, to several targets in turn: not every router tells of the death of every
/// packet.
#[derive(Debug, Clone)]
pub(super) struct Mayflies {
    /// What is sent; all have the same source.
    pub(super) echoes: Vec<Echo>,
    /// Whoever is in here does not count as an answer: that is this box itself.
    pub(super) inside: Ipv6Net,
}

impl Mayflies {
    fn each(&self) -> impl Iterator<Item = (u16, &Echo)> {
        (0..TRIES).zip(self.echoes.iter().cycle())
    }

    fn is_answer(&self, from: Ipv6Addr, message: &[u8]) -> bool {
        !self.inside.contains(&from) && self.echoes.iter().any(|echo| echo.is_answered_by(message))
    }
}

/// Sends the packets as the kernel routes them, until somebody answers.
pub(super) async fn through_routes(mayflies: &Mayflies) -> io::Result<Option<Ipv6Addr>> {
    let socket = icmpv6_socket()?;
    socket.set_unicast_hops_v6(1)?;
    let source = mayflies.echoes.first().map_or(Ipv6Addr::UNSPECIFIED, |echo| echo.source);
    socket.bind(&SocketAddrV6::new(source, 0, 0, 0).into())?;
    let socket = asynchronous(socket)?;
    for (sequence, echo) in mayflies.each() {
        let to = SocketAddr::from(SocketAddrV6::new(echo.target, 0, 0, 0));
        socket.send_to(&echo.message(sequence), to).await?;
        let until = Instant::now() + PAUSE;
        let mut bytes = [0; 1500];
        while let Ok(received) = timeout_at(until, socket.recv_from(&mut bytes)).await {
            let (len, SocketAddr::V6(from)) = received? else { continue };
            let message = bytes.get(..len).unwrap_or_default();
            if mayflies.is_answer(*from.ip(), message) {
                return Ok(Some(*from.ip()));
            }
        }
    }
    Ok(None)
}

/// The same past our own routing and firewall rules for IPv6: the packets are put into protocol 41 here.
pub(super) async fn directly(mayflies: &Mayflies, server: Ipv4Addr) -> io::Result<Option<Ipv6Addr>> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPV6_IN_IPV4)))?;
    socket.set_nonblocking(true)?;
    socket.connect(&SocketAddrV4::new(server, 0).into())?;
    let socket = asynchronous(socket)?;
    for (sequence, echo) in mayflies.each() {
        socket.send(&echo.packet(sequence)).await?;
        let until = Instant::now() + PAUSE;
        let mut bytes = [0; 2048];
        while let Ok(received) = timeout_at(until, socket.recv(&mut bytes)).await {
            let packet = bytes.get(..received?).unwrap_or_default();
            if let Some((from, message)) = inner_icmpv6(packet)
                && mayflies.is_answer(from, message)
            {
                return Ok(Some(from));
            }
        }
    }
    Ok(None)
}

/// Asks all nodes of a LAN for an echo, and gives who answered from its /64.
pub(super) async fn all_nodes(
    interface: u32,
    source: Ipv6Addr,
    identifier: u16,
) -> io::Result<BTreeSet<Ipv6Addr>> {
    let subnet = Ipv6Net::new_assert(source, 64);
    let socket = icmpv6_socket()?;
    socket.set_multicast_hops_v6(1)?;
    socket.set_multicast_if_v6(interface)?;
    socket.set_multicast_loop_v6(false)?;
    socket.bind(&SocketAddrV6::new(source, 0, 0, 0).into())?;
    let socket = asynchronous(socket)?;
    let echo = Echo { identifier, source, target: ALL_NODES };
    let to = SocketAddr::from(SocketAddrV6::new(ALL_NODES, 0, 0, interface));
    socket.send_to(&echo.message(0), to).await?;
    let mut nodes = BTreeSet::new();
    let mut bytes = [0; 1500];
    let until = Instant::now() + LISTEN;
    while nodes.len() < MAX_NODES
        && let Ok(received) = timeout_at(until, socket.recv_from(&mut bytes)).await
    {
        let (len, SocketAddr::V6(from)) = received? else { continue };
        let is_answer =
            bytes.first() == Some(&ECHO_REPLY) && echo.is_answered_by(bytes.get(..len).unwrap_or_default());
        if is_answer && subnet.contains(from.ip()) && *from.ip() != source {
            nodes.insert(*from.ip());
        }
    }
    Ok(nodes)
}

/// Waits until what was started has had its time.
pub(super) async fn within_listening<T>(what: impl Future<Output = T>) -> Option<T> {
    timeout(LISTEN, what).await.ok()
}

/// An address behind the tunnel that nobody needs to have: the first one of the site next to ours.
pub(super) fn next_door(prefix: Ipv6Net) -> Ipv6Addr {
    let last_bit = match prefix.prefix_len() {
        0 => 0,
        len => 1u128 << (128 - u32::from(len)),
    };
    Ipv6Addr::from_bits((prefix.network().to_bits() ^ last_bit) | 1)
}

fn icmpv6_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// To the reactor every datagram socket is the same.
fn asynchronous(socket: Socket) -> io::Result<UdpSocket> {
    UdpSocket::from_std(OwnedFd::from(socket).into())
}

/// The sender and the ICMPv6 message inside an IPv4 packet, when that is what is inside.
fn inner_icmpv6(packet: &[u8]) -> Option<(Ipv6Addr, &[u8])> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let inner = packet.get(header..)?;
    if inner.first()? >> 4 != 6 || *inner.get(6)? != ICMPV6 {
        return None;
    }
    let source = <[u8; 16]>::try_from(inner.get(8..24)?).ok()?;
    Some((source.into(), inner.get(40..)?))
}

/// RFC 1071. Every part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 =
        words.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
const UNREACHABLE: u8 = 1;
const TIME_EXCEEDED: u8 = 3;
const ICMPV6: u8 = 58;
const IPV6_IN_IPV4: i32 = 41;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const DATA: &[u8] = b"centrex6 iad check";
const TRIES: u16 = 4;
/// How long each try waits. Routers send one ICMPv6 error a second (RFC 4443 §2.4 (f)).
const PAUSE: Duration = Duration::from_millis(1100);
/// How long a LAN is listened to.
const LISTEN: Duration = Duration::from_millis(2500);
/// More phones than a /64 has in any dorm.
const MAX_NODES: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn echo() -> Echo {
        Echo {
            identifier: 0x1234,
            source: "2001:db8:1::1".parse().unwrap(),
            target: "2001:db8:2::1".parse().unwrap(),
        }
    }

    #[test]
    fn a_packet_is_whole_and_its_checksum_is_right() {
        let packet = echo().packet(2);
        assert_eq!(packet[..8], [0x60, 0, 0, 0, 0, 26, 58, 1]);
        assert_eq!(packet[40..42], [128, 0]);
        assert_eq!(packet[44..48], [0x12, 0x34, 0, 2]);
        let pseudo = [&packet[8..40], &[0, 0, 0, 26, 0, 0, 0, 58]].concat();
        assert_eq!(checksum(&[&pseudo, &packet[40..]]), 0);
    }

    #[test]
    fn replies_and_errors_about_it_are_answers() {
        let echo = echo();
        let mut reply = echo.message(0);
        reply[0] = 129;
        assert!(echo.is_answered_by(&reply));
        assert!(!echo.is_answered_by(&echo.message(0)), "the request itself");
        for kind in [1, 3] {
            let error = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &echo.packet(1)].concat();
            assert!(echo.is_answered_by(&error), "{kind}");
            assert!(!echo.is_answered_by(&error[..50]), "cut off");
            let other = Echo { identifier: 9, ..echo };
            assert!(!other.is_answered_by(&error));
            let elsewhere = Echo { target: "2001:db8:3::1".parse().unwrap(), ..echo };
            assert!(!elsewhere.is_answered_by(&error));
        }
        let too_big = [&[2, 0, 0, 0, 0, 0, 5, 0][..], &echo.packet(1)].concat();
        assert!(!echo.is_answered_by(&too_big));
    }

    #[test]
    fn the_answer_inside_an_ipv4_packet_is_found() {
        let inner = echo().packet(0);
        let mut outer = vec![0; 24];
        outer[0] = 0x46;
        let packet = [outer, inner.clone()].concat();
        let (from, message) = inner_icmpv6(&packet).unwrap();
        assert_eq!((from, message), (echo().source, &inner[40..]));
    }

    #[test]
    fn next_door_is_outside_the_site() {
        for (prefix, neighbour) in
            [("2001:db8:1::/48", "2001:db8::1"), ("2001:db8:2::/48", "2001:db8:3::1"), ("::/0", "::1")]
        {
            assert_eq!(next_door(prefix.parse().unwrap()), neighbour.parse::<Ipv6Addr>().unwrap());
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = echo().is_answered_by(&bytes);
            let _ = inner_icmpv6(&bytes);
        }
    }
}
