//! A look at what comes out of the tunnel: a packet socket that the kernel lets only SIP through to.

use std::io;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::UdpSocket;

/// Receives copies of the UDP datagrams that come out of a device from one port.
#[derive(Debug)]
pub(super) struct Tap {
    socket: UdpSocket,
}

impl Tap {
    /// Opens it on a device, by its index.
    pub(super) fn open(device: u32, port: u16) -> io::Result<Tap> {
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(ETH_P_IPV6_ON_THE_WIRE)))?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&[
            SockFilter::new(LOAD_WORD, 0, 0, ARRIVED_AT),
            // Each of these skips to the last line when it is not equal.
            SockFilter::new(JUMP_UNLESS_EQUAL, 0, 5, device),
            SockFilter::new(LOAD_BYTE, 0, 0, NEXT_HEADER),
            SockFilter::new(JUMP_UNLESS_EQUAL, 0, 3, UDP),
            SockFilter::new(LOAD_HALF, 0, 0, SOURCE_PORT),
            SockFilter::new(JUMP_UNLESS_EQUAL, 0, 1, port.into()),
            SockFilter::new(RETURN, 0, 0, MAX_BYTES as u32),
            SockFilter::new(RETURN, 0, 0, 0),
        ])?;
        Ok(Tap { socket: UdpSocket::from_std(OwnedFd::from(socket).into())? })
    }

    /// The next packet, from its IPv6 header on, cut where it is long.
    pub(super) async fn receive<'a>(&self, bytes: &'a mut [u8; MAX_BYTES]) -> io::Result<&'a [u8]> {
        let len = self.socket.recv(bytes).await?;
        Ok(bytes.get(..len).unwrap_or_default())
    }
}

/// SIP's headers are in the first bytes; what the filter lets through is no longer than this.
pub(super) const MAX_BYTES: usize = 2048;
/// `ETH_P_IPV6` in the order of the network: only what arrives is seen then, not what leaves.
const ETH_P_IPV6_ON_THE_WIRE: i32 = 0x86dd_u16.to_be() as i32;
/// The index of the device, as an ancillary load (`SKF_AD_OFF + SKF_AD_IFINDEX`).
const ARRIVED_AT: u32 = (-0x1000_i32 + 8) as u32;
const NEXT_HEADER: u32 = 6;
const SOURCE_PORT: u32 = 40;
const UDP: u32 = 17;
/// `BPF_LD | BPF_W | BPF_ABS`, and the same for half a word and a byte.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
/// `BPF_JMP | BPF_JEQ | BPF_K`, with nothing skipped when it is equal.
const JUMP_UNLESS_EQUAL: u16 = 0x15;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;
