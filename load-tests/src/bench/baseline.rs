//! The baseline of the relay: the least that a program in user space can do to forward datagrams. One thread, one poll, no look at what
//! is in them.
//!
//! It is a child process of the benchmark (`load-tests forward`), so that its processor time is measured like the node's.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use clap::Args;
use load_tests::process::Process;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

#[derive(Args)]
pub(crate) struct ForwardArgs {
    /// How many calls to forward: each has an IPv6 and an IPv4 side, with RTP and RTCP
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    calls: u32,
}

/// A running forwarder. Dropping it ends the process.
pub(super) struct Forwarder {
    child: Child,
    /// Where each call's IPv6 side and IPv4 side send.
    pub(super) calls: Vec<(SocketAddr, SocketAddr)>,
}

impl Forwarder {
    /// Starts it and learns its ports.
    pub(super) fn start(calls: usize) -> anyhow::Result<Forwarder> {
        let own = std::env::current_exe().context("this program does not know where it lies")?;
        let mut child = Command::new(own)
            .args(["forward", "--calls", &calls.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the forwarder")?;
        let output = child.stdout.take().context("the forwarder has no output")?;
        let mut forwarder = Forwarder { child, calls: Vec::new() };
        for line in BufReader::new(output).lines().take(calls) {
            let line = line?;
            let (v6, v4) = line.split_once(' ').context("the forwarder says something else")?;
            forwarder.calls.push((v6.parse()?, v4.parse()?));
        }
        anyhow::ensure!(forwarder.calls.len() == calls, "the forwarder ended before it was ready");
        Ok(forwarder)
    }

    pub(super) fn process(&self) -> Process {
        Process::new(self.child.id())
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Prints a line of two addresses a call, and forwards until standard input ends.
pub(crate) fn forward(args: &ForwardArgs) -> anyhow::Result<()> {
    rlimit::increase_nofile_limit(u64::MAX).context("cannot raise the limit of open files")?;
    let mut sides = Vec::new();
    let mut output = io::stdout().lock();
    for _ in 0..args.calls {
        let (v6, v4) = (bind_pair(Ipv6Addr::LOCALHOST.into())?, bind_pair(Ipv4Addr::LOCALHOST.into())?);
        writeln!(output, "{} {}", v6[0].local_addr()?, v4[0].local_addr()?)?;
        // RTP of both sides, then RTCP of both sides: the other end is always the neighbour.
        let ([rtp6, rtcp6], [rtp4, rtcp4]) = (v6, v4);
        for socket in [rtp6, rtp4, rtcp6, rtcp4] {
            socket.set_nonblocking(true)?;
            sides.push(Side { socket: UdpSocket::from_std(socket), peer: None });
        }
    }
    output.flush()?;
    drop(output);
    std::thread::spawn(|| {
        // Whoever started us has ended, or wants us to.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    serve(sides)
}

/// A socket, and whom its other side has heard from last.
struct Side {
    socket: UdpSocket,
    peer: Option<SocketAddr>,
}

fn serve(mut sides: Vec<Side>) -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1_024);
    for (at, side) in sides.iter_mut().enumerate() {
        poll.registry().register(&mut side.socket, Token(at), Interest::READABLE)?;
    }
    let mut buffer = [0; 2_048];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            let at = event.token().0;
            while let Some(Ok((length, from))) = sides.get(at).map(|side| side.socket.recv_from(&mut buffer))
            {
                if let Some(side) = sides.get_mut(at) {
                    side.peer = Some(from);
                }
                let (Some(other), Some(datagram)) = (sides.get(at ^ 1), buffer.get(..length)) else {
                    continue;
                };
                if let Some(peer) = other.peer {
                    // A full buffer loses the datagram, as it would in the network.
                    let _ = other.socket.send_to(datagram, peer);
                }
            }
        }
    }
}

/// An even port and the next.
fn bind_pair(ip: IpAddr) -> io::Result<[StdSocket; 2]> {
    for _ in 0..TRIES {
        let one = StdSocket::bind((ip, 0))?;
        let port = one.local_addr()?.port();
        if let Ok(other) = StdSocket::bind((ip, port ^ 1)) {
            return Ok(if port.is_multiple_of(2) { [one, other] } else { [other, one] });
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

const TRIES: usize = 64;
