//! Datagrams get lost between phone, platform and gateway: retransmissions make up for it.

use std::net::SocketAddr;
use std::time::Duration;

use user_agent::{CallOptions, Gateway, GatewayConfig, Phone, PhoneConfig};

use crate::support::{LossyRelay, Setup, Sipp, have, soon};

#[tokio::test(flavor = "multi_thread")]
async fn calls_succeed_with_a_fifth_of_all_datagrams_lost() {
    let node = Setup::new().set("SIP__T1_MS", &T1.as_millis().to_string()).start();
    let [line] = node.add_lines(["101"]);
    let toward_proxy = LossyRelay::start(node.proxy, LOSS, 1).await;
    let gateway = GatewayConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), node.trunk_side);
    let gateway = Gateway::bind(GatewayConfig { t1: T1, ..gateway }).unwrap();
    let toward_gateway = LossyRelay::start(gateway.local_addr(), LOSS, 2).await;
    node.add_trunk("carrier", &[toward_gateway.front]);
    let config = line.config(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0)), toward_proxy.front);
    let phone = Phone::bind(PhoneConfig { t1: T1, ..config }).unwrap();
    crate::support::register(&phone).await;
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        calls.push(soon("the call begins", phone.call("0312345678", CallOptions::default())).await.unwrap());
    }
    for call in &calls {
        soon("the gateway answers", call.answered()).await.unwrap();
    }
    for call in &calls {
        soon("the call ends", call.hangup()).await.unwrap();
    }
    // Each INVITE was taken once, however often it came.
    assert_eq!(gateway.received().len(), CALLS);
    let records = node.call_records(CALLS);
    assert!(records.iter().all(|record| record["result"] == "answered"), "{records:#?}");
    let dropped = (toward_proxy.dropped(), toward_gateway.dropped());
    assert!(dropped.0 > 5 && dropped.1 > 1, "{dropped:?}");
}

#[test]
fn sipp_loses_some_of_what_it_sends_and_receives() {
    if !have("sipp") {
        return;
    }
    let node = Setup::new().set("SIP__T1_MS", "200").start();
    let [line] = node.add_lines(["101"]);
    let calls = 10;
    let gateway = Sipp::gateway("answer.xml").calls(calls).args(&["-lost", "10"]).start();
    node.add_trunk("carrier", &[gateway.local]);
    let caller = Sipp::call("call.xml", &line, "0312345678", node.proxy)
        .calls(calls)
        .args(&["-lost", "10", "-r", "50"]);
    caller.pause(100).run();
    let records = node.call_records(calls as usize);
    assert!(records.iter().all(|record| record["result"] == "answered"), "{records:#?}");
}

/// Retransmissions start early, so that the test ends soon.
const T1: Duration = Duration::from_millis(100);
/// Percent.
const LOSS: u64 = 20;
const CALLS: usize = 12;
