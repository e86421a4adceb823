//! What was answered with 200 is on disk.

use user_agent::{CallOptions, Phone};

use crate::support::{Node, phone, soon};

#[tokio::test(flavor = "multi_thread")]
async fn bindings_and_records_survive_a_restart() {
    let mut node = Node::start();
    let [caller, called] = node.add_lines(["101", "102"]);
    let (caller, called) = (phone(&node, &caller).await, phone(&node, &called).await);
    talk(&caller).await;
    soon("the phone had the call", called.next_call()).await;
    node.call_records(1);
    node.restart();
    assert_eq!(node.registered(), 2);
    node.call_records(1);
    // Neither phone registers again.
    talk(&caller).await;
    soon("the phone has the call", called.next_call()).await;
    node.call_records(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_survive_a_crash() {
    let mut node = Node::start();
    let [caller, called, gone] = node.add_lines(["101", "102", "103"]);
    let (caller, called) = (phone(&node, &caller).await, phone(&node, &called).await);
    let gone = phone(&node, &gone).await;
    soon("a phone de-registers", gone.unregister()).await.unwrap();
    node.crash();
    assert_eq!(node.registered(), 2);
    talk(&caller).await;
    soon("the phone has the call", called.next_call()).await;
}

async fn talk(caller: &Phone) {
    let call = soon("the call begins", caller.call("102", CallOptions::default())).await.unwrap();
    soon("the phone answers", call.answered()).await.unwrap();
    soon("the call ends", call.hangup()).await.unwrap();
}
