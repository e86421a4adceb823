//! Kamailio between us and a gateway, and between phones and us.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use user_agent::{Gateway, GatewayConfig, Phone};

use crate::support::{Credentials, Kamailio, Node, have, phone, register, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_behind_a_record_routing_proxy() {
    if !have("kamailio") {
        return;
    }
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    node.add_number("+81355550101", &line);
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // The gateway must know the proxy, and the proxy the gateway: the gateway's port is found first.
    let spare = Gateway::bind(GatewayConfig::new(nobody, node.trunk_side)).unwrap();
    let place = spare.local_addr();
    drop(spare);
    let values = [
        ("GATEWAY", place.to_string()),
        ("GATEWAY_PORT", place.port().to_string()),
        ("TRUNK_SIDE", node.trunk_side.to_string()),
    ];
    let carrier = Kamailio::start("trunk.cfg", Ipv4Addr::LOCALHOST.into(), &values);
    let gateway = Gateway::bind(GatewayConfig::new(place, carrier.local)).unwrap();
    node.add_trunk("carrier", &[carrier.local]);
    let phone = phone(&node, &line).await;

    let call = soon("the call begins", phone.call("0312345678", Default::default())).await.unwrap();
    soon("the gateway answers", call.answered()).await.unwrap();
    let other = soon("the gateway has the call", gateway.next_call()).await;
    soon("media flows", call.media().await_received(10)).await;
    soon("the gateway hangs up", other.hangup()).await.unwrap();
    soon("the phone is told", call.ended()).await.unwrap();

    let call = soon("the call begins", gateway.call("0355550101", Default::default())).await.unwrap();
    soon("the phone answers", call.answered()).await.unwrap();
    let other = soon("the phone has the call", phone.next_call()).await;
    soon("media flows", call.media().await_received(10)).await;
    soon("the phone hangs up", other.hangup()).await.unwrap();
    soon("the gateway is told", call.ended()).await.unwrap();

    let records = node.call_records(2);
    let told = records.iter().map(|record| (&record["result"], &record["ended_by"])).collect::<Vec<_>>();
    assert!(told.iter().all(|told| *told == (&"answered".into(), &"callee".into())), "{records:#?}");
}

/// RFC 3327 §5: the registration's Path becomes the Route of calls to the phone.
#[tokio::test(flavor = "multi_thread")]
async fn phones_behind_an_edge_proxy() {
    if !have("kamailio") {
        return;
    }
    let node = Node::start();
    let [caller, callee] = node.add_lines(["101", "102"]);
    let values = [("REGISTRAR", node.proxy.to_string()), ("REGISTRAR_PORT", node.proxy.port().to_string())];
    let edge = Kamailio::start("edge.cfg", Ipv6Addr::LOCALHOST.into(), &values);
    let behind = |line: &Credentials| {
        Phone::bind(line.config(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), edge.local)).unwrap()
    };
    let (caller, callee) = (behind(&caller), behind(&callee));
    register(&caller).await;
    register(&callee).await;
    let call = soon("the call begins", caller.call("102", Default::default())).await.unwrap();
    soon("the phone answers", call.answered()).await.unwrap();
    let other = soon("the phone has the call", callee.next_call()).await;
    soon("media flows", call.media().await_received(10)).await;
    let invite = other.invite().unwrap();
    assert_eq!(invite.values("Record-Route").len(), 3, "the edge on both its ways, and we between");
    soon("the called phone hangs up", other.hangup()).await.unwrap();
    soon("the caller is told", call.ended()).await.unwrap();
    assert_eq!(node.call_record()["result"], "answered");
}
