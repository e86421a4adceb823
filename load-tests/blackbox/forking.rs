//! A line with several phones.

use std::time::Duration;

use crate::support::{Node, phone, soon};
use user_agent::{CallPhase, Incoming};

#[tokio::test(flavor = "multi_thread")]
async fn all_ring_and_the_losers_are_told() {
    let node = Node::start();
    let [caller, called] = node.add_lines(["101", "102"]);
    let caller = phone(&node, &caller).await;
    let (slow, quick) = (phone(&node, &called).await, phone(&node, &called).await);
    slow.set_incoming(Incoming::RingForever);
    quick.set_incoming(Incoming::Answer { after: Duration::from_millis(300) });
    let call = soon("the call begins", caller.call("102", Default::default())).await.unwrap();
    soon("one answers", call.answered()).await.unwrap();
    let loser = soon("the other one rang", slow.next_call()).await;
    soon("the other one is told", loser.ended()).await.unwrap_err();
    assert!(matches!(loser.phase(), CallPhase::Failed { .. }), "{:?}", loser.phase());
    soon("media flows", call.media().await_received(10)).await;
    soon("the caller hangs up", call.hangup()).await.unwrap();
    let winner = soon("the quick one had the call", quick.next_call()).await;
    soon("the quick one is told", winner.ended()).await.unwrap();
    let record = node.call_record();
    assert_eq!((&record["result"], &record["status"]), (&"answered".into(), &200.into()), "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_busy_phone_does_not_end_the_others_ringing() {
    let node = Node::start();
    let [caller, called] = node.add_lines(["101", "102"]);
    let caller = phone(&node, &caller).await;
    let (busy, free) = (phone(&node, &called).await, phone(&node, &called).await);
    busy.set_incoming(Incoming::Busy);
    free.set_incoming(Incoming::Answer { after: Duration::from_millis(300) });
    let call = soon("the call begins", caller.call("102", Default::default())).await.unwrap();
    soon("the free one answers", call.answered()).await.unwrap();
    soon("the caller hangs up", call.hangup()).await.unwrap();
    assert_eq!((busy.received().len(), free.received().len()), (1, 1));
    assert_eq!(node.call_record()["result"], "answered");
}
