//! Datagrams get lost between phone, platform and gateway: retransmissions make up for it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use user_agent::{Call, CallOptions, Gateway, GatewayConfig, Phone, PhoneConfig};

use crate::support::{Loss, LossyRelay, Node, Setup, register, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_of_all_datagrams() {
    let loss = |seed| Loss::Percent { percent: 20, seed };
    let lossy = Lossy::new(loss(1), loss(2)).await;
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        calls.push(lossy.call().await);
    }
    for call in &calls {
        soon("the gateway answers", call.answered()).await.unwrap();
    }
    for call in &calls {
        soon("the call ends", call.hangup()).await.unwrap();
    }
    lossy.assert_good(CALLS);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_datagram_once() {
    let lossy = Lossy::new(Loss::FirstCopy, Loss::FirstCopy).await;
    for number in 1..=2 {
        let call = lossy.call().await;
        soon("the gateway answers", call.answered()).await.unwrap();
        let other = soon("the gateway has the call", lossy.gateway.next_call()).await;
        let (first, second) = if number == 1 { (&call, &other) } else { (&other, &call) };
        soon("hold is answered", first.hold()).await.unwrap();
        soon("one side hangs up", first.hangup()).await.unwrap();
        soon("the other side is told", second.ended()).await.unwrap();
    }
    let call = lossy.call().await;
    soon("it rings or is answered", call.ringing()).await.unwrap();
    soon("the call ends", call.hangup()).await.unwrap();
    lossy.assert_good(3);
}

/// A phone and a gateway behind relays that lose datagrams.
struct Lossy {
    node: Node,
    phone: Phone,
    gateway: Gateway,
    toward_proxy: LossyRelay,
    toward_gateway: LossyRelay,
}

impl Lossy {
    async fn new(toward_proxy: Loss, toward_gateway: Loss) -> Lossy {
        let node = Setup::new().set("SIP__T1_MS", &T1.as_millis().to_string()).start();
        let [line] = node.add_lines(["101"]);
        let toward_proxy = LossyRelay::start(node.proxy, toward_proxy).await;
        let config = GatewayConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), node.trunk_side);
        let gateway = Gateway::bind(GatewayConfig { t1: T1, ..config }).unwrap();
        let toward_gateway = LossyRelay::start(gateway.local_addr(), toward_gateway).await;
        node.add_trunk("carrier", &[toward_gateway.front]);
        let config = line.config(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), toward_proxy.front);
        let phone = Phone::bind(PhoneConfig { t1: T1, ..config }).unwrap();
        register(&phone).await;
        Lossy { node, phone, gateway, toward_proxy, toward_gateway }
    }

    async fn call(&self) -> Call {
        soon("the call begins", self.phone.call("0312345678", CallOptions::default())).await.unwrap()
    }

    /// So many calls were answered, and datagrams were lost indeed.
    fn assert_good(&self, calls: usize) {
        // Each INVITE was taken once, however often it came.
        assert_eq!(self.gateway.received().len(), calls);
        let records = self.node.call_records(calls);
        assert!(records.iter().all(|record| record["result"] == "answered"), "{records:#?}");
        let dropped = (self.toward_proxy.dropped(), self.toward_gateway.dropped());
        assert!(dropped.0 > 5 && dropped.1 > 1, "{dropped:?}");
    }
}

/// Retransmissions start early, so that the tests end soon.
const T1: Duration = Duration::from_millis(100);
const CALLS: usize = 12;
