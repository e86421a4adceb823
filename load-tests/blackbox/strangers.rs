//! Who is not one of ours gets nothing: no call, no relaying, no ear in somebody's media.

use std::net::{SocketAddr, UdpSocket};

use user_agent::{Call, CallOptions, DirectionReport, UaError};

use crate::support::{Node, Sipp, gateway, have, phone, soon, unregistered};

#[test]
fn an_unknown_gateway_cannot_call() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    node.add_number("+81355550101", &line);
    // The only trunk is elsewhere.
    node.add_trunk("carrier", &["127.0.0.77:5060".parse().unwrap()]);
    // Neither over the trunk side nor past the proxy over the inner side.
    for side in [node.trunk_side, node.translator] {
        let call = Sipp::new("gateway_call_refused.xml", side)
            .key("dialled", "+81355550101")
            .key("caller", "1")
            .run();
        assert_eq!(call.final_status(), 403, "{side}");
    }
    let outward = Sipp::new("gateway_call_refused.xml", node.translator)
        .key("dialled", "+81312345678")
        .key("caller", "1");
    assert_eq!(outward.run().final_status(), 403);
    // At the proxy, who is no translator must know a line's password.
    let call = Sipp::new("gateway_call_refused.xml", node.proxy)
        .key("dialled", "+81355550101")
        .key("caller", "1")
        .run();
    assert_eq!(call.final_status(), 407);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_not_relayed_to_foreign_hosts() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let caller = unregistered(&node, &line);
    let other = UdpSocket::bind("[::1]:0").unwrap();
    other.set_nonblocking(true).unwrap();
    for target in [format!("sip:101@{}", other.local_addr().unwrap()), "sip:101@example.org".to_owned()] {
        let call = soon("the call begins", caller.call(&target, CallOptions::default())).await.unwrap();
        let refused = soon("the call is refused", call.answered()).await;
        assert!(matches!(refused, Err(UaError::Rejected { status: 403 | 404, .. })), "{target}: {refused:?}");
    }
    assert!(other.recv(&mut [0; 1]).is_err(), "the proxy sent something to a foreign host");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_media_does_not_get_into_a_call() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let gateway = gateway(&node);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    let call = soon("the call begins", phone.call("0312345678", CallOptions::default())).await.unwrap();
    soon("the gateway answers", call.answered()).await.unwrap();
    let other = soon("the gateway has the call", gateway.next_call()).await;
    soon("media flows", call.media().await_received(10)).await;
    soon("media flows", other.media().await_received(10)).await;

    // On the phone's side another port of the phone's address, on the trunk's side another address than the gateway's.
    let (inner, outer) = (relay_of(&call), relay_of(&other));
    let strangers = [("[::1]:0", inner), ("127.0.0.2:0", outer)]
        .map(|(local, relay)| (UdpSocket::bind(local).unwrap(), relay));
    for number in 0..50_u8 {
        for (stranger, relay) in &strangers {
            let mut packet = vec![0x80, 0, 0, number, 0, 0, 0, number, 1, 2, 3, 4];
            packet.resize(172, number);
            stranger.send_to(&packet, relay).unwrap();
        }
    }
    let heard = [call.media().report().received, other.media().report().received];
    soon("media goes on", call.media().await_received(heard[0] + 20)).await;
    soon("media goes on", other.media().await_received(heard[1] + 20)).await;
    soon("the call ends", call.hangup()).await.unwrap();
    for (from, to) in [(&call, &other), (&other, &call)] {
        let (from, to) = (from.media().report(), to.media().report());
        assert_eq!((&to.heard, to.corrupted, to.foreign), (&vec![from.stream], 0, 0), "{to:?}");
        assert!(DirectionReport::between(&from, &to).from_sender);
    }
    let record = node.call_record();
    let stream = &record["media"]["streams"][0];
    let dropped = |way: &str, why: &str| stream[way]["dropped"][why].as_u64().unwrap();
    assert_eq!((dropped("a_to_b", "other_source"), dropped("b_to_a", "stranger")), (50, 50), "{record:#}");
}

/// Where the relay takes this side's RTP.
fn relay_of(call: &Call) -> SocketAddr {
    call.media().report().sends_to.unwrap()
}
