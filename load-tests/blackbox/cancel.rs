//! The caller gives up while it rings.

use crate::support::{Node, Sipp, gateway, have, phone, soon};
use user_agent::{CallPhase, Incoming};

#[test]
fn the_gateway_is_told() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let ringing = Sipp::gateway("ring_until_cancelled.xml").start();
    node.add_trunk("carrier", &[ringing.local]);
    // The scenario wants 200 for the CANCEL and 487 for the INVITE.
    Sipp::call("call_cancelled.xml", &line, "0312345678", node.proxy).pause(100).run();
    let trace = ringing.succeed();
    assert_eq!(trace.received("CANCEL").len(), 1);
    let record = node.call_record();
    assert_eq!(
        (&record["direction"], &record["result"], &record["status"], &record["ended_by"]),
        (&"outbound".into(), &"cancelled".into(), &487.into(), &"caller".into()),
        "{record:#}"
    );
    assert_eq!(record["answered_at"], serde_json::Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_inside_is_told() {
    let node = Node::start();
    let [caller, called] = node.add_lines(["101", "102"]);
    let (caller, called) = (phone(&node, &caller).await, phone(&node, &called).await);
    called.set_incoming(Incoming::RingForever);
    let call = soon("the call begins", caller.call("102", Default::default())).await.unwrap();
    soon("it rings", call.ringing()).await.unwrap();
    soon("the caller gives up", call.cancel()).await.unwrap();
    let other = soon("the phone has the call", called.next_call()).await;
    soon("the phone stops ringing", other.ended()).await.unwrap_err();
    soon("the caller is told", call.answered()).await.unwrap_err();
    assert!(matches!(call.phase(), CallPhase::Failed { status: 487, .. }), "{:?}", call.phase());
    let record = node.call_record();
    assert_eq!(
        (&record["direction"], &record["result"]),
        (&"internal".into(), &"cancelled".into()),
        "{record:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_called_from_outside_is_told() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    node.add_number("+81355550101", &line);
    let gateway = gateway(&node);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    phone.set_incoming(Incoming::RingForever);
    let call = soon("the call begins", gateway.call("+81355550101", Default::default())).await.unwrap();
    soon("it rings", call.ringing()).await.unwrap();
    soon("the gateway gives up", call.cancel()).await.unwrap();
    let other = soon("the phone has the call", phone.next_call()).await;
    soon("the phone stops ringing", other.ended()).await.unwrap_err();
    soon("the gateway is told", call.answered()).await.unwrap_err();
    assert!(matches!(call.phase(), CallPhase::Failed { status: 487, .. }), "{:?}", call.phase());
    assert_eq!(node.call_record()["result"], "cancelled");
}
