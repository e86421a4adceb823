//! From the inside to the IPv4 side.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use tun_rs::SyncDevice;

use super::mmsg::{self, BATCH};
use super::user::Shared;
use crate::tunnel::{OuterHeader, Verdict};

/// What the thread waits with, and what wakes it up.
pub(super) fn poll(device: &SyncDevice) -> io::Result<(Poll, Waker)> {
    let poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&device.as_raw_fd()), DEVICE, Interest::READABLE)?;
    let waker = Waker::new(poll.registry(), WAKE)?;
    Ok((poll, waker))
}

/// Runs until the plane stops.
///
/// # Errors
/// The device is gone.
pub(super) fn run(shared: &Shared, mut poll: Poll) -> io::Result<()> {
    let mut events = Events::with_capacity(2);
    let mut buffers = vec![[0u8; SLOT]; BATCH].into_boxed_slice();
    let mut lens = [0usize; BATCH];
    let mut verdicts = Vec::new();
    let mut outbox = Outbox::default();
    loop {
        let mut count = 0;
        let mut is_empty = false;
        for (buffer, len) in buffers.iter_mut().zip(&mut lens) {
            match shared.device.recv(buffer) {
                Ok(read) => *len = read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_empty = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                Err(error) => return Err(error),
            }
            count += 1;
        }
        if count > 0 {
            let now = Instant::now();
            {
                let mut relay = shared.relay();
                let packets = buffers.iter_mut().zip(&lens).take(count);
                verdicts.extend(
                    packets.map(|(buffer, &len)| {
                        relay.encapsulate(buffer.get_mut(..len).unwrap_or_default(), now)
                    }),
                );
            }
            for (buffer, verdict) in buffers.iter().zip(verdicts.drain(..)) {
                match verdict {
                    Verdict::Tunnel(header, range) => {
                        if let Some(inner) = buffer.get(range) {
                            outbox.push(&header, inner);
                        }
                    }
                    Verdict::RefuseInside(_, error) => {
                        if shared.device.send(&error).is_err() {
                            shared.errors.inside();
                        }
                    }
                    Verdict::Inside(_) | Verdict::RefuseTunnel(..) | Verdict::Drop(_) => {}
                }
            }
            outbox.send(shared);
        }
        if is_empty {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        if shared.is_stopping() {
            return Ok(());
        }
    }
}

/// Packets on their way to the IPv4 side.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    packets: Vec<(std::ops::Range<usize>, Ipv4Addr)>,
}

impl Outbox {
    pub(super) fn push(&mut self, header: &OuterHeader, inner: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&header.bytes);
        self.bytes.extend_from_slice(inner);
        self.packets.push((start..self.bytes.len(), header.destination));
    }

    /// Sends everything. What cannot be sent is counted and keeps nothing else back.
    pub(super) fn send(&mut self, shared: &Shared) {
        let mut at = 0;
        while let Some(rest) = self.packets.get(at..)
            && !rest.is_empty()
        {
            let batch =
                rest.iter().map(|(range, to)| (self.bytes.get(range.clone()).unwrap_or_default(), *to));
            match mmsg::send(shared.socket.as_fd(), batch) {
                Ok(sent) => at += sent.max(1),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    shared.errors.outside(&error);
                    at += 1;
                }
            }
        }
        self.bytes.clear();
        self.packets.clear();
    }
}

const DEVICE: Token = Token(0);
const WAKE: Token = Token(1);
/// Bytes for one packet from the device.
const SLOT: usize = 65_536;
