//! CANCEL and BYE, also when they cross something.

use std::time::Duration;

use schema::{CallResult, EndedBy};
use sip_core::wire::header::Via;
use sip_core::wire::{Builder, Message, Method, Name};

use crate::testing::harness::*;

fn offer() -> Option<String> {
    Some(sdp(PHONE_MEDIA, 11_000))
}

fn cancel(invite: &Message) -> Message {
    let via: Via = invite.top_via().unwrap();
    Builder::request(&Method::Cancel, invite.request_uri_text())
        .header(Name::Via, via)
        .header(Name::MaxForwards, "70")
        .copy(invite, Name::From)
        .copy(invite, Name::To)
        .copy(invite, Name::CallId)
        .header(Name::CSeq, "1 CANCEL")
        .header(Name::Reason, "SIP;cause=200;text=\"Call completed elsewhere\"")
        .finish()
}

#[test]
fn the_caller_gives_up() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 180, None);
    harness.send(&proxy, &cancel(&invite));
    harness.take_status(PROXY, 200);
    harness.take_status(PROXY, 487);
    let cancelled = harness.take_request(GATEWAY_1, Method::Cancel);
    assert!(cancelled.text(Name::Reason).unwrap().contains("cause=200"));
    harness.reply(&mut gateway, &cancelled, 200, None);
    harness.reply(&mut gateway, &out, 487, None);
    harness.pass(Duration::from_secs(120));
    harness.assert_over();
    let record = harness.record();
    assert_eq!((record.result, record.status), (CallResult::Cancelled, Some(487)));
    assert_eq!((record.ended_by, record.answered_at), (Some(EndedBy::Caller), None));
}

#[test]
fn the_caller_gives_up_before_the_ports_are_there() {
    let mut harness = Harness::new();
    harness.world.slow = true;
    let proxy = harness.proxy();
    let invite = harness.dial(&proxy, "+81901234567", offer());
    harness.send(&proxy, &cancel(&invite));
    harness.take_status(PROXY, 487);
    harness.answer_all();
    assert!(harness.nothing_for(GATEWAY_1));
    harness.pass(Duration::from_secs(40));
    harness.assert_over();
    assert_eq!(harness.world.opened, 1);
    assert_eq!(harness.record().result, CallResult::Cancelled);
}

#[test]
fn a_cancel_that_crosses_the_answer() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 180, None);
    harness.send(&proxy, &cancel(&invite));
    harness.take_status(PROXY, 487);
    harness.take_request(GATEWAY_1, Method::Cancel);
    harness.reply(&mut gateway, &out, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    let ack = harness.take_request(GATEWAY_1, Method::Ack);
    let bye = harness.take_request(GATEWAY_1, Method::Bye);
    // The answer comes once more: its ACK was lost.
    harness.reply(&mut gateway, &out, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    assert_eq!(harness.take_request(GATEWAY_1, Method::Ack).bytes(), ack.bytes());
    assert!(harness.nothing_for(GATEWAY_1), "one BYE is enough");
    harness.reply(&mut gateway, &bye, 200, None);
    harness.pass(Duration::from_secs(120));
    harness.assert_over();
    assert_eq!(harness.record().result, CallResult::Cancelled);
}

#[test]
fn a_cancel_after_the_answer_changes_nothing() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    let ok = harness.take_status(PROXY, 200);
    harness.send(&proxy, &cancel(&invite));
    harness.forget_sent();
    proxy.learn(&invite, &ok);
    harness.ack(&proxy, &ok, None);
    harness.hang_up(&mut proxy, &mut gateway);
    assert_eq!(harness.record().result, CallResult::Answered);
}

#[test]
fn the_called_party_hangs_up() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    let number = harness.count();
    let via = Via::new(sip_core::flow::Transport::Udp, gateway.address, &format!("z9hG4bKbye{number}"));
    let bye = gateway.dialog.as_mut().unwrap().request(&Method::Bye, via, None);
    let bye = bye.header(Name::Reason, "Q.850;cause=16;text=\"Normal call clearing\"").finish();
    harness.send(&gateway, &bye);
    harness.take_status(GATEWAY_1, 200);
    let passed = harness.take_request(PROXY, Method::Bye);
    assert_eq!(passed.text(Name::Reason), Some("Q.850;cause=16;text=\"Normal call clearing\""));
    assert_eq!(passed.text(Name::Route), Some(format!("<sip:{PROXY};lr>").as_str()));
    harness.reply(&mut proxy, &passed, 200, None);
    harness.assert_over();
    assert_eq!(harness.record().ended_by, Some(EndedBy::Callee));
}

#[test]
fn both_hang_up_at_once() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.ask(&mut proxy, Method::Bye, None);
    let bye = harness.take_request(GATEWAY_1, Method::Bye);
    harness.ask(&mut gateway, Method::Bye, None);
    harness.take_status(GATEWAY_1, 200);
    harness.reply(&mut gateway, &bye, 481, None);
    harness.take_status(PROXY, 200);
    assert!(harness.nothing_for(PROXY));
    harness.assert_over();
    assert_eq!(harness.record().ended_by, Some(EndedBy::Caller));
}

#[test]
fn the_called_party_hangs_up_before_the_caller_acknowledged() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    let ok = harness.take_status(PROXY, 200);
    harness.ask(&mut gateway, Method::Bye, None);
    assert!(harness.nothing_for(PROXY), "BYE waits for the ACK");
    proxy.learn(&invite, &ok);
    harness.ack(&proxy, &ok, None);
    let bye = harness.take_request(PROXY, Method::Bye);
    harness.reply(&mut proxy, &bye, 200, None);
    harness.assert_over();
}

#[test]
fn bye_in_the_early_dialog_is_a_cancel() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 180, None);
    let ringing = harness.take_status(PROXY, 180);
    proxy.learn(&invite, &ringing);
    harness.ask(&mut proxy, Method::Bye, None);
    harness.take_status(PROXY, 200);
    harness.take_status(PROXY, 487);
    harness.take_request(GATEWAY_1, Method::Cancel);
    harness.reply(&mut gateway, &out, 487, None);
    harness.pass(Duration::from_secs(120));
    harness.assert_over();
    assert_eq!(harness.record().result, CallResult::Cancelled);
}

#[test]
fn a_gateway_that_does_not_answer_bye() {
    let mut harness = Harness::new();
    let (mut proxy, _gateway) = harness.call_up();
    harness.ask(&mut proxy, Method::Bye, None);
    assert_eq!(harness.core_active(), 1);
    harness.pass(Duration::from_secs(33));
    harness.assert_over();
}

#[test]
fn the_longest_call() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.pass(Duration::from_secs(12 * 3600 + 1));
    for (peer, at) in [(&mut proxy, PROXY), (&mut gateway, GATEWAY_1)] {
        let bye = harness.take_request(at, Method::Bye);
        harness.reply(peer, &bye, 200, None);
    }
    harness.assert_over();
}

#[test]
fn a_world_that_never_answers_does_not_keep_the_call() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.world.slow = true;
    harness.ask(&mut proxy, Method::Bye, None);
    let bye = harness.take_request(GATEWAY_1, Method::Bye);
    harness.reply(&mut gateway, &bye, 200, None);
    harness.pass(Duration::from_secs(85));
    assert_eq!(harness.core_active(), 0);
    harness.answer_all();
    assert_eq!(harness.world.records.len(), 1);
}
