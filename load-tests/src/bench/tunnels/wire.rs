//! Senders and receiver: processes of their own, so that their processor time is not the subject's.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use clap::{Args, ValueEnum};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

#[derive(Args)]
pub(crate) struct SendArgs {
    /// Which end sends
    #[arg(long)]
    side: Side,
    /// Through how many tunnels, one after the other
    #[arg(long)]
    tunnels: u32,
    /// Packets per second; 0 sends as fast as it goes
    #[arg(long)]
    rate: u32,
    /// For how long, in milliseconds
    #[arg(long)]
    millis: u64,
}

#[derive(Args)]
pub(crate) struct ReceiveArgs {
    /// The far end of the tunnel
    #[arg(long)]
    address: Ipv4Addr,
}

/// How long packets took from the core to the end of their tunnel.
#[derive(Serialize, Deserialize)]
pub(super) struct Delays {
    pub(super) packets: usize,
    pub(super) median_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) longest_us: f64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Side {
    Sites,
    Core,
}

/// Sends datagrams of a call's size: from the sites they go in tunnels, from the core to the sites' phones. Prints how many.
pub(crate) fn send(args: &SendArgs) -> anyhow::Result<()> {
    let send: Box<dyn Fn(u32) -> bool> = match args.side {
        Side::Sites => {
            let socket = raw_socket(Ipv4Addr::new(192, 0, 2, 2))?;
            let server = Ipv4Addr::new(192, 0, 2, 1);
            let to = SocketAddrV4::new(server, 0).into();
            let packets: Vec<_> = (0..args.tunnels).map(|number| tunnelled(number, server)).collect();
            Box::new(move |number| {
                packets.get(number as usize).is_some_and(|packet| socket.send_to(packet, &to).is_ok())
            })
        }
        Side::Core => {
            let socket = UdpSocket::bind("[2001:db8:fffe::2]:0")?;
            let phones: Vec<_> =
                (0..args.tunnels).map(|number| SocketAddrV6::new(phone(number), 5004, 0, 0)).collect();
            Box::new(move |number| {
                let mut data = [7; PAYLOAD];
                data[..STAMP].copy_from_slice(&nanos().to_ne_bytes());
                phones.get(number as usize).is_some_and(|phone| socket.send_to(&data, phone).is_ok())
            })
        }
    };
    let started = Instant::now();
    let end = started + Duration::from_millis(args.millis);
    let gap = if args.rate == 0 { Duration::ZERO } else { Duration::from_secs(1) / args.rate };
    let (mut due, mut now, mut sent) = (started, started, 0u64);
    for number in (0..args.tunnels).cycle() {
        // Evenly, as many calls send: a sleep would be too coarse.
        while now < due {
            std::hint::spin_loop();
            now = Instant::now();
        }
        if now >= end {
            break;
        }
        sent += u64::from(send(number));
        due += gap;
        now = Instant::now();
    }
    writeln!(std::io::stdout(), "{sent}")?;
    Ok(())
}

/// Takes what comes out of a tunnel until standard input ends, and prints how long it took.
pub(crate) fn receive(args: &ReceiveArgs) -> anyhow::Result<()> {
    let socket = raw_socket(args.address)?;
    setsockopt(&socket, RcvBufForce, &(8 << 20))?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut output = std::io::stdout();
    writeln!(output, "ready")?;
    let is_over = AtomicBool::new(false);
    let mut delays: Vec<u64> = Vec::with_capacity(1 << 20);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            is_over.store(true, Ordering::Release);
        });
        let mut packet = [0; 2048];
        loop {
            let len = (&socket).read(&mut packet);
            let now = nanos();
            match len {
                Ok(len) => {
                    let data = packet.get(..len).and_then(|packet| packet.get(HEADERS..));
                    let stamp = data.and_then(|data| data.first_chunk::<STAMP>());
                    delays.extend(stamp.map(|stamp| now.saturating_sub(u64::from_ne_bytes(*stamp))));
                }
                Err(_) if is_over.load(Ordering::Acquire) => break,
                Err(_) => {}
            }
        }
    });
    delays.sort_unstable();
    let at = |share: f64| {
        let index = (delays.len().saturating_sub(1) as f64 * share) as usize;
        delays.get(index).map_or(0.0, |&nanos| nanos as f64 / 1e3)
    };
    let found = Delays {
        packets: delays.len(),
        median_us: at(0.5),
        p99_us: at(0.99),
        p999_us: at(0.999),
        longest_us: at(1.0),
    };
    writeln!(output, "{}", serde_json::to_string(&found)?)?;
    Ok(())
}

/// The time, the same in every process.
fn nanos() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64
}

pub(super) fn raw_socket(local: Ipv4Addr) -> anyhow::Result<Socket> {
    let socket =
        Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(41))).context("no raw socket: not root?")?;
    socket.set_header_included_v4(true)?;
    socket.bind(&SocketAddrV4::new(local, 0).into())?;
    Ok(socket)
}

/// The IPv4 header of a tunnelled packet. A raw socket fills in the length, the identification and the checksum.
pub(super) fn outer(source: Ipv4Addr, destination: Ipv4Addr) -> [u8; 20] {
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (source.octets(), destination.octets());
    [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 41, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3]
}

/// A datagram from a site's phone to the core, in its tunnel.
fn tunnelled(number: u32, server: Ipv4Addr) -> Vec<u8> {
    let site = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + number);
    let mut packet = outer(site, server).to_vec();
    let len = ((8 + PAYLOAD) as u16).to_be_bytes();
    packet.extend([0x60, 0, 0, 0, len[0], len[1], 17, 64]);
    packet.extend(phone(number).octets());
    packet.extend(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 5).octets());
    // Nobody looks at the checksum on the way.
    packet.extend([0x13, 0x8c, 0x13, 0x8c, len[0], len[1], 0x12, 0x34]);
    packet.extend([7; PAYLOAD]);
    packet
}

/// A phone behind a tunnel.
fn phone(number: u32) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(number) << 80 | 0xaa)
}

/// RTP with 20 ms of G.711.
const PAYLOAD: usize = 172;
/// The first bytes of it tell when it was sent.
const STAMP: usize = 8;
/// Before it stand an IPv4, an IPv6 and a UDP header.
const HEADERS: usize = 20 + 40 + 8;
