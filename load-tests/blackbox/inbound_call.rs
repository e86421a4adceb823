//! Calls from an IPv4 gateway to an IPv6 phone.

use std::net::{Ipv4Addr, SocketAddr};

use crate::support::{Node, Sipp, gateway, have, phone, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_number_rings_its_phone() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    node.add_number("+81355550101", &line);
    node.add_trunk("carrier", &[SocketAddr::from((Ipv4Addr::LOCALHOST, 9))]);
    let phone = phone(&node, &line).await;
    let caller = calling(&node, "gateway_call.xml", "+81355550101").pause(200).start();
    let call = soon("the phone has the call", phone.next_call()).await;
    soon("the gateway hangs up", call.ended()).await.unwrap();
    caller.succeed();
    assert!(call.peer().contains("+819012345678"), "{}", call.peer());
    let invite = call.invite().unwrap();
    let sdp = String::from_utf8_lossy(&invite.body).into_owned();
    assert!(sdp.contains("IN IP6 ::1") && !sdp.contains("127.0.0.1"), "{sdp}");
    let record = node.call_record();
    assert_eq!(
        (&record["direction"], &record["result"], &record["callee"], &record["caller"], &record["ended_by"]),
        (
            &"inbound".into(),
            &"answered".into(),
            &"+81355550101".into(),
            &"+819012345678".into(),
            &"caller".into()
        ),
        "{record:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_hear_each_other() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    node.add_number("+81355550101", &line);
    let gateway = gateway(&node);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    let call = soon("the call begins", gateway.call("0355550101", Default::default())).await.unwrap();
    soon("the phone answers", call.answered()).await.unwrap();
    let other = soon("the phone has the call", phone.next_call()).await;
    soon("media flows in", other.media().await_received(30)).await;
    soon("media flows out", call.media().await_received(30)).await;
    soon("the phone hangs up", other.hangup()).await.unwrap();
    soon("the gateway is told", call.ended()).await.unwrap();
    assert_eq!((call.media().report().corrupted, other.media().report().corrupted), (0, 0));
    assert_eq!(call.media().report().heard, [other.media().stream()]);
    assert_eq!(other.media().report().heard, [call.media().stream()]);
}

fn calling(node: &Node, scenario: &str, dialled: &str) -> Sipp {
    Sipp::new(scenario, node.trunk_side).key("dialled", dialled).key("caller", "09012345678")
}
