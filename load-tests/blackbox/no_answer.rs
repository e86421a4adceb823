//! Nobody answers.

use std::time::Duration;

use crate::support::{Node, gateway, phone, soon};
use user_agent::{CallOptions, CallPhase, Incoming, UaError};

#[tokio::test(flavor = "multi_thread")]
async fn the_network_gives_up() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let gateway = gateway(&node);
    gateway.set_default_incoming(Incoming::RingThen { after: Duration::from_millis(200), status: 480 });
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    let call = soon("the call begins", phone.call("0312345678", CallOptions::default())).await.unwrap();
    let refused = soon("the phone is told", call.answered()).await;
    assert!(matches!(refused, Err(UaError::Rejected { status: 480, .. })), "{refused:?}");
    let record = node.call_record();
    assert_eq!((&record["result"], &record["status"]), (&"no_answer".into(), &480.into()), "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_gives_up() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let gateway = gateway(&node);
    gateway.set_default_incoming(Incoming::RingForever);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    let options = CallOptions { ring_timeout: Some(Duration::from_millis(700)), ..CallOptions::default() };
    let call = soon("the call begins", phone.call("0312345678", options)).await.unwrap();
    soon("it rings", call.ringing()).await.unwrap();
    soon("the phone gives up", call.answered()).await.unwrap_err();
    assert!(matches!(call.phase(), CallPhase::Failed { status: 487, .. }), "{:?}", call.phase());
    let other = soon("the gateway has the call", gateway.next_call()).await;
    soon("the gateway stops ringing", other.ended()).await.unwrap_err();
    assert_eq!(node.call_record()["result"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_is_heard_before_the_end() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let gateway = gateway(&node);
    gateway.set_default_incoming(Incoming::Announce { after: Duration::from_secs(1), status: 404 });
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    let call = soon("the call begins", phone.call("0312345678", CallOptions::default())).await.unwrap();
    soon("the announcement is heard", call.media().await_received(10)).await;
    let refused = soon("the phone is told", call.answered()).await;
    assert!(matches!(refused, Err(UaError::Rejected { status: 404, .. })), "{refused:?}");
    let record = node.call_record();
    assert_eq!((&record["result"], &record["status"]), (&"rejected".into(), &404.into()), "{record:#}");
}
