//! From the inside to the IPv4 side.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use tun_rs::SyncDevice;

use super::mmsg::{BATCH, Outbox, Outgoing};
use super::user::Shared;
use crate::tunnel::Verdict;

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
    let mut packets = Packets::new(shared.mtu);
    let mut verdicts = Vec::with_capacity(BATCH);
    let mut outbox = Outbox::new();
    while !shared.is_stopping() {
        let is_empty = packets.read(&shared.device)?;
        if packets.count > 0 {
            {
                let now = Instant::now();
                let mut relay = shared.relay();
                verdicts.extend(packets.iter_mut().map(|packet| relay.encapsulate(packet, now)));
            }
            for verdict in &verdicts {
                if let Verdict::RefuseInside(_, error) = verdict {
                    shared.to_inside(error);
                }
            }
            let outgoing = packets.iter().zip(&verdicts).filter_map(|(packet, verdict)| match verdict {
                Verdict::Tunnel(header, range) => {
                    Some(Outgoing { header, inner: packet.get(range.clone())? })
                }
                _ => None,
            });
            send(shared, &mut outbox, outgoing);
            verdicts.clear();
        }
        // Readiness is told once each time that the device stops being empty (epoll, edge-triggered).
        if is_empty
            && let Err(error) = poll.poll(&mut events, None)
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(error);
        }
    }
    Ok(())
}

/// Sends everything. What cannot be sent is counted and keeps nothing else back.
pub(super) fn send<'a>(
    shared: &Shared,
    outbox: &mut Outbox,
    mut packets: impl Iterator<Item = Outgoing<'a>> + Clone,
) {
    loop {
        match outbox.send(shared.socket.as_fd(), packets.clone()) {
            Ok(0) => return,
            Ok(sent) => packets.by_ref().take(sent).for_each(drop),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let Some(packet) = packets.next() else { return };
                if error.raw_os_error() == Some(libc::EMSGSIZE) {
                    send_fragments(shared, packet);
                } else {
                    shared.errors.outside(&error);
                }
            }
        }
    }
}

/// The way of a packet that the first link is too narrow for.
fn send_fragments(shared: &Shared, packet: Outgoing<'_>) {
    let id = shared.next_id();
    for (header, range) in packet.header.fragments(packet.inner.len(), id) {
        let part = packet.inner.get(range).unwrap_or_default();
        let to = std::net::SocketAddrV4::new(header.destination, 0).into();
        let bytes = [&header.bytes, part].concat();
        if let Err(error) = shared.socket.send_to(&bytes, &to) {
            shared.errors.outside(&error);
            return;
        }
    }
}

/// A batch of packets from the device.
struct Packets {
    bytes: Box<[u8]>,
    slot: usize,
    lens: [usize; BATCH],
    count: usize,
}

impl Packets {
    fn new(mtu: u16) -> Packets {
        // An odd number of cache lines spreads the slots' beginnings over the processor's cache.
        let slot = (usize::from(mtu).div_ceil(64) | 1) * 64;
        Packets { bytes: vec![0; slot * BATCH].into_boxed_slice(), slot, lens: [0; BATCH], count: 0 }
    }

    /// Reads until the batch is full or the device empty, and says whether it is empty.
    fn read(&mut self, device: &SyncDevice) -> io::Result<bool> {
        self.count = 0;
        for (slot, len) in self.bytes.chunks_exact_mut(self.slot).zip(&mut self.lens) {
            match device.recv(slot) {
                Ok(read) => *len = read.min(self.slot),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
                Err(error) => return Err(error),
            }
            self.count += 1;
        }
        Ok(false)
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let slots = self.bytes.chunks_exact(self.slot).zip(&self.lens).take(self.count);
        slots.map(|(slot, &len)| slot.get(..len).unwrap_or_default())
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let slots = self.bytes.chunks_exact_mut(self.slot).zip(&self.lens).take(self.count);
        slots.map(|(slot, &len)| slot.get_mut(..len).unwrap_or_default())
    }
}

const DEVICE: Token = Token(0);
const WAKE: Token = Token(1);
