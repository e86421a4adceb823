//! Hold and resume through the translator.

use user_agent::{Call, CallEvent, CallOptions, HoldStyle, Phone};

use crate::support::{Node, Sipp, gateway, have, phone, soon};

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_hold_in_every_spelling() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let gateway = gateway(&node);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    let mut inside = call(&phone).await;
    let mut outside = soon("the gateway has the call", gateway.next_call()).await;
    for style in [HoldStyle::SendOnly, HoldStyle::Inactive, HoldStyle::ZeroAddress] {
        hold_and_resume(&inside, &mut outside, style).await;
        hold_and_resume(&outside, &mut inside, style).await;
    }
    soon("the call ends", inside.hangup()).await.unwrap();
    soon("the gateway is told", outside.ended()).await.unwrap();
    for side in [&inside, &outside] {
        assert_eq!(side.media().report().corrupted, 0);
    }
    assert_eq!(node.call_record()["result"], "answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_holds_a_phone() {
    let node = Node::start();
    let [caller, called] = node.add_lines(["101", "102"]);
    let (caller, called) = (phone(&node, &caller).await, phone(&node, &called).await);
    let mut one = soon("the call begins", caller.call("102", CallOptions::default())).await.unwrap();
    soon("it is answered", one.answered()).await.unwrap();
    let mut two = soon("the phone has the call", called.next_call()).await;
    hold_and_resume(&one, &mut two, HoldStyle::SendOnly).await;
    hold_and_resume(&two, &mut one, HoldStyle::ZeroAddress).await;
    soon("the call ends", two.hangup()).await.unwrap();
    soon("the other is told", one.ended()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sipp_as_a_gateway_holds() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let gateway = Sipp::gateway("answer_hold.xml").key("nowhere", "0.0.0.0").pause(100).start();
    node.add_trunk("carrier", &[gateway.local]);
    let phone = phone(&node, &line).await;
    let mut call = call(&phone).await;
    for event in [CallEvent::Held, CallEvent::Resumed, CallEvent::Held, CallEvent::Resumed] {
        await_event(&mut call, &event).await;
    }
    soon("the gateway hangs up", call.ended()).await.unwrap();
    let trace = gateway.succeed();
    let answers: Vec<String> = trace.received("200").iter().map(|traced| traced.body()).collect();
    // A held side does not send, and says so (RFC 3264 §8.4); the last answer is the one to BYE.
    assert!(answers[0].contains("a=recvonly") || answers[0].contains("a=inactive"), "{}", answers[0]);
    for (index, answer) in answers.iter().take(4).enumerate() {
        assert!(answer.contains("IN IP4 127.0.0.1") && !answer.contains("IP6"), "{index}: {answer}");
    }
}

/// One side holds the other and takes it back; then both hear each other again.
async fn hold_and_resume(holder: &Call, held: &mut Call, style: HoldStyle) {
    soon("hold is answered", holder.hold_as(style))
        .await
        .unwrap_or_else(|error| panic!("{style:?}: {error}"));
    await_event(held, &CallEvent::Held).await;
    soon("resume is answered", holder.resume()).await.unwrap_or_else(|error| panic!("{style:?}: {error}"));
    await_event(held, &CallEvent::Resumed).await;
    for side in [holder, held] {
        let heard = side.media().report().received;
        soon("media flows again", side.media().await_received(heard + 10)).await;
    }
}

async fn await_event(call: &mut Call, wanted: &CallEvent) {
    let found = async {
        while let Some(event) = call.next_event().await {
            if event == *wanted {
                return true;
            }
        }
        false
    };
    assert!(soon(&format!("{wanted:?}"), found).await, "the call ended without {wanted:?}");
}

async fn call(phone: &Phone) -> Call {
    let call = soon("the call begins", phone.call("0312345678", CallOptions::default())).await.unwrap();
    soon("the gateway answers", call.answered()).await.unwrap();
    call
}
