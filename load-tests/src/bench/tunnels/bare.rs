//! The bare loop: the system calls of the data plane and nothing between them. A process of its own.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use anyhow::Context;
use clap::Args;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt};
use socket2::Socket;
use tun_rs::{DeviceBuilder, SyncDevice};

use super::wire::{outer, raw_socket};

#[derive(Args)]
pub(crate) struct LoopArgs {
    /// The TUN device to make
    #[arg(long)]
    device: String,
    /// Our address
    #[arg(long)]
    local: Ipv4Addr,
    /// Where everything goes
    #[arg(long)]
    remote: Ipv4Addr,
}

/// Gives every packet from a TUN device an IPv4 header and sends it, and the other way round, without a look at what is in them. Ends when
/// standard input does.
pub(crate) fn run_loop(args: &LoopArgs) -> anyhow::Result<()> {
    let builder = DeviceBuilder::new().name(&args.device).mtu(MTU);
    let device = builder.with(|linux| _ = linux.tx_queue_len(QUEUE)).build_sync().context("no TUN device")?;
    device.set_nonblocking(true)?;
    let socket = raw_socket(args.local)?;
    setsockopt(&socket, RcvBufForce, &BUFFER)?;
    println!("ready");
    std::thread::scope(|scope| {
        let ends = [scope.spawn(|| to_inside(&socket, &device)), {
            let header = outer(args.local, args.remote);
            let remote = SockaddrIn::from(SocketAddrV4::new(args.remote, 0));
            let (socket, device) = (&socket, &device);
            scope.spawn(move || to_tunnel(socket, device, &header, remote))
        }];
        let _ = io::stdin().read_to_end(&mut Vec::new());
        if ends.iter().any(|end| end.is_finished()) {
            eprintln!("load-tests: the bare loop had ended before");
        }
        // Both wait for packets, and for nothing else.
        std::process::exit(0)
    })
}

fn to_inside(socket: &Socket, device: &SyncDevice) -> anyhow::Result<()> {
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut packets = vec![[0u8; SLOT]; BATCH];
    let mut lens = [0; BATCH];
    loop {
        let mut slices: Vec<_> = packets.iter_mut().map(|packet| [IoSliceMut::new(packet)]).collect();
        let got =
            recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)?;
        let mut count = 0;
        for (message, len) in got.zip(&mut lens) {
            *len = message.bytes;
            count += 1;
        }
        for (packet, &len) in packets.iter().zip(&lens).take(count) {
            let _ = packet.get(OUTER..len).map(|inner| device.send(inner));
        }
    }
}

fn to_tunnel(
    socket: &Socket,
    device: &SyncDevice,
    header: &[u8; OUTER],
    remote: SockaddrIn,
) -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&device.as_raw_fd()), Token(0), Interest::READABLE)?;
    let mut events = Events::with_capacity(1);
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut packets = vec![[0u8; SLOT]; BATCH];
    let mut lens = [0; BATCH];
    let remotes = [Some(remote); BATCH];
    loop {
        let mut count = 0;
        let is_empty = loop {
            let (Some(packet), Some(len)) = (packets.get_mut(count), lens.get_mut(count)) else {
                break false;
            };
            match device.recv(packet) {
                Ok(read) => *len = read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(error) => return Err(error.into()),
            }
            count += 1;
        };
        if count > 0 {
            let filled = packets.iter().zip(&lens).take(count);
            let slices: Vec<_> = filled
                .map(|(packet, &len)| {
                    [IoSlice::new(header), IoSlice::new(packet.get(..len).unwrap_or_default())]
                })
                .collect();
            let flags = MsgFlags::empty();
            sendmmsg(socket.as_raw_fd(), &mut headers, slices.iter(), remotes, [], flags)?;
        }
        if is_empty {
            poll.poll(&mut events, None)?;
        }
    }
}

/// As the data plane's: packets of a batch, packets that wait at the device, bytes that wait at the socket.
const BATCH: usize = 64;
const QUEUE: u32 = 4096;
const BUFFER: usize = 8 << 20;
/// Bytes; an odd number of cache lines.
const SLOT: usize = 33 * 64;
/// Bytes of an IPv4 header.
const OUTER: usize = 20;
const MTU: u16 = 1280;
