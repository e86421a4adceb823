//! From the IPv4 side to the inside.

use std::io;
use std::time::Instant;

use super::mmsg::Inbox;
use super::outward::Outbox;
use super::user::Shared;
use crate::tunnel::Verdict;

/// Runs until the plane stops.
///
/// # Errors
/// The socket is gone.
pub(super) fn run(shared: &Shared) -> io::Result<()> {
    use std::os::fd::AsFd;

    let mut inbox = Inbox::new();
    let mut outbox = Outbox::default();
    let mut verdicts = Vec::new();
    loop {
        let count = match inbox.receive(shared.socket.as_fd()) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) if shared.is_stopping() => return Ok(()),
            Err(error) => return Err(error),
        };
        if shared.is_stopping() {
            return Ok(());
        }
        let now = Instant::now();
        {
            let mut relay = shared.relay();
            verdicts.extend(inbox.packets(count).map(|packet| relay.decapsulate(packet, now)));
        }
        for (packet, verdict) in inbox.packets(count).zip(verdicts.drain(..)) {
            match verdict {
                Verdict::Inside(range) => {
                    if let Some(inner) = packet.get(range)
                        && shared.device.send(inner).is_err()
                    {
                        shared.errors.inside();
                    }
                }
                Verdict::Tunnel(header, range) => {
                    if let Some(inner) = packet.get(range) {
                        outbox.push(&header, inner);
                    }
                }
                Verdict::RefuseTunnel(_, header, error) => outbox.push(&header, &error),
                Verdict::RefuseInside(..) | Verdict::Drop(_) => {}
            }
        }
        outbox.send(shared);
    }
}
