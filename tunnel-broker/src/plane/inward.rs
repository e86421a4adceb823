//! From the IPv4 side to the inside.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::mmsg::{Inbox, Outbox, Outgoing};
use super::outward;
use super::user::Shared;
use crate::tunnel::{self, Segments, Verdict};

/// Runs until the plane stops.
///
/// # Errors
/// The socket is gone.
pub(super) fn run(shared: &Shared) -> io::Result<()> {
    let mut inbox = Inbox::new();
    let mut segments = Segments::default();
    let mut packets = Vec::new();
    let mut verdicts = Vec::new();
    let mut outbox = Outbox::new();
    loop {
        let count = match inbox.receive(shared.socket.as_fd()) {
            // The socket was shut down, or has nothing to say.
            _ if shared.is_stopping() => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for index in 0..count {
            let before = segments.len();
            let Some(packet) = inbox.at_mut(index) else { continue };
            if tunnel::finish(packet, shared.mtu, &mut segments) {
                shared.merged.fetch_add(1, Ordering::Relaxed);
                packets.extend((before..segments.len()).map(Place::Segment));
            } else {
                packets.push(Place::Inbox(index));
            }
        }
        {
            let now = Instant::now();
            let mut relay = shared.relay();
            verdicts.extend(packets.iter().map(|place| {
                let packet = match *place {
                    Place::Inbox(index) => inbox.at_mut(index),
                    Place::Segment(index) => segments.at_mut(index),
                };
                relay.decapsulate(packet.unwrap_or_default(), now)
            }));
        }
        let judged = packets.iter().zip(&verdicts).filter_map(|(place, verdict)| {
            let packet = match *place {
                Place::Inbox(index) => inbox.at(index),
                Place::Segment(index) => segments.at(index),
            };
            Some((packet?, verdict))
        });
        let mut is_turned = false;
        for (packet, verdict) in judged.clone() {
            match verdict {
                Verdict::Inside(range) => shared.to_inside(packet.get(range.clone()).unwrap_or_default()),
                Verdict::Tunnel(..) | Verdict::RefuseTunnel(..) => is_turned = true,
                Verdict::RefuseInside(..) | Verdict::Drop(_) => {}
            }
        }
        if is_turned {
            let turned = judged.filter_map(|(packet, verdict)| match verdict {
                Verdict::Tunnel(header, range) => {
                    Some(Outgoing { header, inner: packet.get(range.clone())? })
                }
                Verdict::RefuseTunnel(_, header, error) => Some(Outgoing { header, inner: error }),
                Verdict::Inside(_) | Verdict::RefuseInside(..) | Verdict::Drop(_) => None,
            });
            outward::send(shared, &mut outbox, turned);
        }
        packets.clear();
        verdicts.clear();
        segments.clear();
    }
}

/// Where a packet of the batch lies.
#[derive(Clone, Copy)]
enum Place {
    Inbox(usize),
    Segment(usize),
}
