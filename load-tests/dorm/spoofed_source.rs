//! Packets that a dorm may not send: they die at the tunnel server, each counted with its reason.

use load_tests::lab::spoof;

use crate::support::{PATIENCE, Readable, one_dorm, until, up};

#[test]
fn a_spoofed_inner_source_is_dropped_and_counted() {
    let Some(mut lab) = up(&one_dorm(1)) else { return };
    let iad = lab.iad(1).good().namespace().clone();
    let dropped =
        |reason: &str| lab.tunnel().good().metrics().good().value(DROPPED, &format!("reason=\"{reason}\""));
    for (source, reason) in [
        // Another site's prefix, an address of somebody else, and what may never come out of a tunnel.
        ("2001:db8:ffff::1", "spoofed_source"),
        ("2001:4860::1", "spoofed_source"),
        ("fe80::1", "forbidden_source"),
    ] {
        let before = dropped(reason);
        spoof::send(&iad, source.parse().unwrap(), 5).good();
        until(&format!("5 packets from {source} counted as {reason}"), PATIENCE, || {
            (dropped(reason) - before >= 5.0).then_some(())
        });
    }
}

const DROPPED: &str = "centrex6_tunnel_dropped_total";
