//! SIGTERM lets running calls finish and takes no new ones.

use user_agent::{Call, CallOptions, EndedBy, Phone, UaError};

use crate::support::{Node, Setup, gateway, phone, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_running_call_finishes_and_new_ones_are_refused() {
    let mut node = Node::start();
    let [line] = node.add_lines(["101"]);
    node.add_number("+81355550101", &line);
    let gateway = gateway(&node);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    let call = talking(&phone).await;
    node.terminate();
    node.await_log(&["draining"]);
    refused(phone.call("0312345678", CallOptions::default()).await).await;
    refused(phone.call("101", CallOptions::default()).await).await;
    refused(gateway.call("+81355550101", CallOptions::default()).await).await;
    let heard = call.media().report().received;
    soon("media goes on", call.media().await_received(heard + 25)).await;
    soon("hold is possible", call.hold()).await.unwrap();
    soon("and resume", call.resume()).await.unwrap();
    soon("the call ends", call.hangup()).await.unwrap();
    assert!(node.await_end().success());
    // The node is gone: the command line reads the store.
    let records = node.cli(&["call", "list", "--result", "answered"]);
    assert_eq!(records.as_array().unwrap().len(), 1, "{records:#}");
    assert_eq!(records[0]["ended_by"], "caller");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once() {
    let mut node = Node::start();
    let [line] = node.add_lines(["101"]);
    let gateway = gateway(&node);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    let call = talking(&phone).await;
    let other = soon("the gateway has the call", gateway.next_call()).await;
    node.terminate();
    node.await_log(&["draining"]);
    node.terminate();
    assert!(node.await_end().success());
    cut(&node, &call, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_has_a_limit() {
    let mut node = Setup::new().set("NODE__DRAIN_LIMIT_S", "1").start();
    let [line] = node.add_lines(["101"]);
    let gateway = gateway(&node);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    let call = talking(&phone).await;
    let other = soon("the gateway has the call", gateway.next_call()).await;
    node.terminate();
    assert!(node.await_end().success());
    cut(&node, &call, &other).await;
}

#[test]
fn an_idle_node_ends_at_once() {
    let mut node = Node::start();
    node.terminate();
    assert!(node.await_end().success());
    assert!(node.log().contains("nothing was cut"), "{}", node.log());
}

/// Both sides got BYE, and the record tells who ended the call.
async fn cut(node: &Node, call: &Call, other: &Call) {
    for (name, side) in [("the gateway", other), ("the phone", call)] {
        let ended = soon(&format!("{name} is told"), side.ended()).await;
        assert_eq!(ended.unwrap(), EndedBy::Remote);
    }
    let record = node.call_record();
    assert_eq!(
        (&record["result"], &record["ended_by"]),
        (&"answered".into(), &"platform".into()),
        "{record:#}"
    );
}

async fn talking(phone: &Phone) -> Call {
    let call = soon("the call begins", phone.call("0312345678", CallOptions::default())).await.unwrap();
    soon("the gateway answers", call.answered()).await.unwrap();
    soon("media flows", call.media().await_received(5)).await;
    call
}

/// 503, with the time after which to try again.
async fn refused(call: Result<Call, UaError>) {
    let call = call.unwrap();
    let refused = soon("the call is refused", call.answered()).await;
    assert!(matches!(refused, Err(UaError::Rejected { status: 503, .. })), "{refused:?}");
    let response = call.response().unwrap();
    assert!(response.header("Retry-After").is_some(), "{response:?}");
}
