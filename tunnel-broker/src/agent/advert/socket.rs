//! The ICMPv6 socket of one LAN.

use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::message::{Advertisement, Message, SOLICITATION, TYPE_ADVERTISEMENT, TYPE_SOLICITATION};

/// Sends and receives advertisements and solicitations on one interface.
#[derive(Debug)]
pub(crate) struct AdvertSocket {
    /// A raw ICMPv6 socket: to the reactor every datagram socket is the same.
    socket: UdpSocket,
    interface: u32,
    mac: Option<[u8; 6]>,
}

impl AdvertSocket {
    /// Opens the socket on an interface.
    pub(crate) fn open(name: &str, interface: u32, mac: Option<[u8; 6]>) -> io::Result<AdvertSocket> {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.set_nonblocking(true)?;
        // A raw socket sees every ICMPv6 message of the machine: only the two types are let through. The program reads the first byte.
        let accept = |kind: u8, or_skip: u8| SockFilter::new(BPF_JEQ, 0, or_skip, kind.into());
        socket.attach_filter(&[
            SockFilter::new(BPF_LOAD_BYTE, 0, 0, 0),
            accept(TYPE_SOLICITATION, 1),
            SockFilter::new(BPF_RETURN, 0, 0, u32::MAX),
            accept(TYPE_ADVERTISEMENT, 1),
            SockFilter::new(BPF_RETURN, 0, 0, u32::MAX),
            SockFilter::new(BPF_RETURN, 0, 0, 0),
        ])?;
        socket.bind_device(Some(name.as_bytes()))?;
        // RFC 4861 §4.2: 255, or nobody believes it.
        socket.set_unicast_hops_v6(255)?;
        socket.set_multicast_hops_v6(255)?;
        socket.set_multicast_if_v6(interface)?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_recv_hoplimit_v6(true)?;
        for group in [ALL_ROUTERS, ALL_NODES] {
            match socket.join_multicast_v6(&group, interface) {
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Err(error),
                _ => {}
            }
        }
        let socket = UdpSocket::from_std(OwnedFd::from(socket).into())?;
        Ok(AdvertSocket { socket, interface, mac })
    }

    /// The interface's index.
    pub(crate) fn interface(&self) -> u32 {
        self.interface
    }

    /// Lets the programs of this machine hear what is sent, too.
    pub(crate) fn loop_back(&self) -> io::Result<()> {
        SockRef::from(&self.socket).set_multicast_loop_v6(true)
    }

    /// Sends an advertisement to all nodes of the LAN.
    pub(crate) fn send(&self, advertisement: &Advertisement) -> io::Result<()> {
        let bytes = Advertisement { mac: self.mac, ..advertisement.clone() }.to_bytes();
        self.socket.try_send_to(&bytes, SocketAddrV6::new(ALL_NODES, 0, 0, self.interface).into())?;
        Ok(())
    }

    /// Asks all routers of the LAN for their advertisements (RFC 4861 §4.1).
    pub(crate) async fn solicit(&self) -> io::Result<()> {
        let to = SocketAddr::from(SocketAddrV6::new(ALL_ROUTERS, 0, 0, self.interface));
        self.socket.send_to(&SOLICITATION, to).await?;
        Ok(())
    }

    /// Waits for the next message that is sound.
    pub(crate) async fn receive(&self) -> io::Result<(Ipv6Addr, Message)> {
        loop {
            let received = self.socket.async_io(Interest::READABLE, || receive(&self.socket)).await?;
            if let Some(received) = received {
                return Ok(received);
            }
        }
    }
}

fn receive(socket: &UdpSocket) -> io::Result<Option<(Ipv6Addr, Message)>> {
    let mut bytes = [0; MAX_MESSAGE];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut control = nix::cmsg_space!(i32);
    let received =
        recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let hop_limit = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv6HopLimit(limit) => u8::try_from(limit).ok(),
        _ => None,
    });
    let source = received.address.map(|address| address.ip());
    let len = received.bytes;
    let Some((source, bytes)) = source.zip(bytes.get(..len)) else { return Ok(None) };
    Ok(Message::parse(bytes, source, hop_limit).map(|message| (source, message)))
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Bytes; what is longer is cut, and then not understood.
const MAX_MESSAGE: usize = 1500;
/// `BPF_LD | BPF_B | BPF_ABS`.
const BPF_LOAD_BYTE: u16 = 0x30;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const BPF_JEQ: u16 = 0x15;
/// `BPF_RET | BPF_K`.
const BPF_RETURN: u16 = 0x06;
