//! A call from dorm to dorm: RTP goes from phone to phone, through both tunnels.

use load_tests::lab::Party;
use load_tests::lab::plan::Access;

use crate::support::{PATIENCE, Readable, dorms, until, up};

#[test]
fn rtp_crosses_both_tunnels_both_ways() {
    let Some(lab) = up(&dorms(2, 1, Access::Own)) else { return };
    let relayed = || {
        // From one tunnel into another.
        lab.tunnel().good().metrics().good().value(PACKETS, "direction=\"between_sites\"")
    };
    let before = relayed();
    let call = lab.call(Party::Phone(1, 1), Party::Phone(2, 1)).good();
    call.await_audio(100, PATIENCE).good();
    let [caller, callee] = call.media();
    let address = |party| lab.station(party).good().state().address.unwrap();
    assert_eq!(callee.heard_from.unwrap().ip(), address(Party::Phone(1, 1)), "nobody is between them");
    assert_eq!(caller.heard_from.unwrap().ip(), address(Party::Phone(2, 1)));
    let report = call.hang_up().good();
    assert!(report.is_intact(), "{report:?}");
    let sent = (report.there.sent + report.back.sent) as f64;
    // The metrics are a moment old.
    until("the tunnel server has counted the call's RTP", PATIENCE, || {
        (relayed() - before >= sent).then_some(())
    });
}

const PACKETS: &str = "centrex6_tunnel_packets_total";
