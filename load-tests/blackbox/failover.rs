//! A gateway is down: the next one takes the call, and the first one gets calls again when it lives.

use std::net::UdpSocket;

use user_agent::{Call, CallOptions, Incoming, OptionsPolicy, Phone};

use crate::support::{Node, Setup, Sipp, gateway, have, phone, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_gateway_is_passed_over() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let second = gateway(&node);
    // It takes every datagram and never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    node.add_trunk("carrier", &[silent.local_addr().unwrap(), second.local_addr()]);
    let phone = phone(&node, &line).await;
    talk(&phone).await;
    assert_eq!(second.received().len(), 1);
    let record = node.call_record();
    assert_eq!((&record["result"], &record["status"]), (&"answered".into(), &200.into()), "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_says_503_is_passed_over() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let second = gateway(&node);
    let first = Sipp::gateway("refuse_unavailable.xml").start();
    node.add_trunk("carrier", &[first.local, second.local_addr()]);
    let phone = phone(&node, &line).await;
    talk(&phone).await;
    first.succeed();
    assert_eq!(second.received().len(), 1);
    assert_eq!(node.call_record()["result"], "answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_route_follows_when_a_trunk_is_down() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let (first, second) = (gateway(&node), gateway(&node));
    first.set_default_incoming(Incoming::Status(503));
    for (priority, (name, gateway)) in [("one", &first), ("two", &second)].into_iter().enumerate() {
        let (address, priority) = (gateway.local_addr().to_string(), priority.to_string());
        node.cli(&["trunk", "add", "--name", name, "--gateway", &address]);
        node.cli(&["route", "add", "--prefix", "+81", "--trunk", name, "--priority", &priority]);
    }
    let phone = phone(&node, &line).await;
    talk(&phone).await;
    assert_eq!((first.received().len(), second.received().len()), (1, 1));
    first.set_default_incoming(Incoming::Status(503));
    second.set_default_incoming(Incoming::Status(503));
    let call = soon("the call begins", phone.call("0312345678", CallOptions::default())).await.unwrap();
    let refused = soon("the phone is told", call.answered()).await;
    assert!(matches!(refused, Err(user_agent::UaError::Rejected { status: 503, .. })), "{refused:?}");
    let records = node.call_records(2);
    assert_eq!(records[1]["result"], "failed", "{records:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_find_a_dead_gateway_and_its_return() {
    let node = Setup::new().set("TRANSLATOR__TRUNK_OPTIONS_INTERVAL_S", "1").start();
    let [line] = node.add_lines(["101"]);
    let (first, second) = (gateway(&node), gateway(&node));
    first.set_options(OptionsPolicy::Status(503));
    first.set_default_incoming(Incoming::Silent);
    node.add_trunk("carrier", &[first.local_addr(), second.local_addr()]);
    let phone = phone(&node, &line).await;
    let address = first.local_addr().to_string();
    node.await_log(&["WARN", &address]);
    talk(&phone).await;
    // Down means that it is not even tried.
    assert_eq!((first.received().len(), second.received().len()), (0, 1));

    first.set_options(OptionsPolicy::Ok);
    first.set_default_incoming(Incoming::Answer { after: std::time::Duration::ZERO });
    node.await_log(&["INFO", &address]);
    talk(&phone).await;
    assert_eq!((first.received().len(), second.received().len()), (1, 1));
}

/// A call to the outside that is answered, heard and hung up.
async fn talk(phone: &Phone) -> Call {
    let call = soon("the call begins", phone.call("0312345678", CallOptions::default())).await.unwrap();
    soon("a gateway answers", call.answered()).await.unwrap();
    soon("media flows", call.media().await_received(5)).await;
    soon("the call ends", call.hangup()).await.unwrap();
    call
}
