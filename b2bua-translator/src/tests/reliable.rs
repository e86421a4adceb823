//! Reliable provisional responses (RFC 3262), each leg with them or without.

use std::time::Duration;

use schema::EndedBy;
use sip_core::wire::header::{RAck, RSeq};
use sip_core::wire::{Message, Method, Name};

use crate::question::Side;
use crate::sdp::Direction;
use crate::testing::harness::*;

const RELIABLE: (Name, &str) = (Name::Require, "100rel");
const FIRST: (Name, &str) = (Name::RSeq, "1");
const KNOWS: &[(Name, &str)] = &[(Name::Supported, "100rel")];
const REQUIRES: &[(Name, &str)] = &[(Name::Require, "100rel")];

fn offer() -> Option<String> {
    Some(sdp(PHONE_MEDIA, 11_000))
}

fn answer() -> Option<String> {
    Some(sdp(GATEWAY_MEDIA, 4_000))
}

fn rack_for(response: &Message) -> String {
    let rseq = response.header::<RSeq>().unwrap().expect("a number").0;
    RAck { rseq, cseq: response.cseq().unwrap().number, method: Method::Invite }.to_string()
}

/// The caller's PRACK for a reliable response, which makes its early dialog.
fn prack(
    harness: &mut Harness,
    proxy: &mut Peer,
    invite: &Message,
    response: &Message,
    body: Option<String>,
) -> Message {
    if proxy.dialog.is_none() {
        proxy.learn(invite, response);
    }
    let rack = rack_for(response);
    harness.ask_with(proxy, Method::Prack, body, &[(Name::RAck, &rack)])
}

/// RFC 3262 §4: the early dialog's client acknowledges a reliable response with PRACK.
/// RFC 3262 §3: a caller that does not know 100rel gets its provisional responses as ever.
#[test]
fn the_gateway_is_reliable_and_the_phone_is_not() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(out.text(Name::Supported), Some("100rel, timer"));
    harness.reply_with(&mut gateway, &out, 183, answer(), &[RELIABLE, (Name::RSeq, "7711")]);
    let prack = harness.take_request(GATEWAY_1, Method::Prack);
    assert_eq!(prack.text(Name::RAck), Some("7711 1 INVITE"));
    assert_eq!((prack.cseq().unwrap().number, prack.to_tag().as_deref()), (2, Some(gateway.tag.as_str())));
    harness.reply(&mut gateway, &prack, 200, None);
    let early = harness.take_status(PROXY, 183);
    assert!(!early.has(Name::Require) && !early.has(Name::RSeq) && !early.body().is_empty());

    // A copy, and one that has left another out, are dropped (RFC 3262 §4).
    harness.reply_with(&mut gateway, &out, 183, answer(), &[RELIABLE, (Name::RSeq, "7711")]);
    harness.reply_with(&mut gateway, &out, 180, None, &[RELIABLE, (Name::RSeq, "7713")]);
    assert!(harness.nothing_for(GATEWAY_1) && harness.nothing_for(PROXY));
    harness.reply_with(&mut gateway, &out, 180, None, &[RELIABLE, (Name::RSeq, "7712")]);
    let prack = harness.take_request(GATEWAY_1, Method::Prack);
    assert_eq!(prack.text(Name::RAck), Some("7712 1 INVITE"));
    harness.reply(&mut gateway, &prack, 200, None);
    harness.take_status(PROXY, 180);

    // The answer was given reliably and need not come again; the phone still wants it.
    harness.reply(&mut gateway, &out, 200, None);
    let ok = harness.take_status(PROXY, 200);
    assert_eq!(described(&ok).media_address(0).unwrap().1, 20_020);
    proxy.learn(&invite, &ok);
    harness.ack(&proxy, &ok, None);
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

/// RFC 3262 §3: where the caller requires it, every provisional response but 100 is reliable, and sent again until its PRACK.
#[test]
fn the_phone_is_reliable_and_the_gateway_is_not() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial_with(&proxy, offer(), REQUIRES);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert!(!out.has(Name::Require));
    harness.reply(&mut gateway, &out, 180, None);
    harness.reply(&mut gateway, &out, 183, answer());
    let ringing = harness.take_status(PROXY, 180);
    assert_eq!(ringing.text(Name::Require), Some("100rel"));
    assert!(harness.nothing_for(PROXY), "the next one waits for the PRACK");
    harness.pass(Duration::from_millis(501));
    assert_eq!(harness.take(PROXY).bytes(), ringing.bytes(), "sent again after T1");

    prack(&mut harness, &mut proxy, &invite, &ringing, None);
    let early = harness.take_status(PROXY, 183);
    let done = harness.take_status(PROXY, 200);
    assert_eq!(done.cseq().unwrap().method, Method::Prack);
    let number = |message: &Message| message.header::<RSeq>().unwrap().unwrap().0;
    assert_eq!(number(&early), number(&ringing) + 1);
    assert!(harness.nothing_for(GATEWAY_1), "the gateway knows nothing of PRACK");
    // A PRACK for what is acknowledged already, or never was sent.
    prack(&mut harness, &mut proxy, &invite, &ringing, None);
    harness.take_status(PROXY, 481);

    // RFC 3262 §3: the 2xx waits for the PRACK of a response with a description.
    harness.reply(&mut gateway, &out, 200, answer());
    harness.take_request(GATEWAY_1, Method::Ack);
    assert!(harness.nothing_for(PROXY));
    prack(&mut harness, &mut proxy, &invite, &early, None);
    harness.take_status(PROXY, 200);
    let ok = harness.take_status(PROXY, 200);
    assert_eq!(ok.cseq().unwrap().method, Method::Invite);
    assert!(ok.body().is_empty(), "the answer was given reliably");
    harness.ack(&proxy, &ok, None);
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

/// RFC 3262 §3: a caller that supports it gets reliably what the gateway sent reliably, and every description.
#[test]
fn where_it_is_optional_only_what_matters_is_reliable() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    harness.dial_with(&proxy, offer(), KNOWS);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 180, None);
    assert!(!harness.take_status(PROXY, 180).has(Name::RSeq));
    harness.reply(&mut gateway, &out, 183, answer());
    assert!(harness.take_status(PROXY, 183).has(Name::RSeq));
}

/// RFC 3262 §3: without a PRACK in 64 × T1 the INVITE is refused with 5xx.
#[test]
fn a_phone_that_never_acknowledges() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    harness.dial_with(&proxy, offer(), REQUIRES);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 180, None);
    harness.pass(Duration::from_secs(33));
    harness.take_status(PROXY, 504);
    let cancel = harness.take_request(GATEWAY_1, Method::Cancel);
    harness.reply(&mut gateway, &cancel, 200, None);
    harness.reply(&mut gateway, &out, 487, None);
    harness.pass(Duration::from_secs(120));
    harness.assert_over();
    let record = harness.record();
    assert_eq!((record.status, record.ended_by), (Some(504), Some(EndedBy::Platform)));
    assert_eq!(record.reason, "no PRACK");
}

/// RFC 3262 §3: the same when the called party has answered meanwhile: its leg is hung up.
#[test]
fn an_answer_that_waits_for_a_prack_in_vain() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    harness.dial_with(&proxy, offer(), REQUIRES);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 183, answer());
    harness.reply(&mut gateway, &out, 200, answer());
    harness.take_request(GATEWAY_1, Method::Ack);
    harness.pass(Duration::from_secs(33));
    harness.take_status(PROXY, 504);
    let bye = harness.take_request(GATEWAY_1, Method::Bye);
    harness.reply(&mut gateway, &bye, 200, None);
    harness.pass(Duration::from_secs(120));
    harness.assert_over();
}

/// RFC 3262 §5: an offer in a reliable provisional response is answered in its PRACK.
#[test]
fn a_delayed_offer_is_answered_in_a_prack() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial_with(&proxy, None, KNOWS);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(out.text(Name::Supported), Some("100rel, timer"));
    harness.reply_with(&mut gateway, &out, 183, answer(), &[RELIABLE, FIRST]);
    assert!(harness.nothing_for(GATEWAY_1), "its PRACK brings the answer");
    let early = harness.take_status(PROXY, 183);
    assert_eq!(described(&early).media_address(0).unwrap().1, 20_020);
    prack(&mut harness, &mut proxy, &invite, &early, offer());
    let passed = harness.take_request(GATEWAY_1, Method::Prack);
    assert_eq!(passed.text(Name::RAck), Some("1 1 INVITE"));
    assert_eq!(described(&passed).media_address(0).unwrap().1, 21_020);
    harness.reply(&mut gateway, &passed, 200, None);
    harness.take_status(PROXY, 200);
    harness.reply(&mut gateway, &out, 200, None);
    assert!(harness.take_request(GATEWAY_1, Method::Ack).body().is_empty());
    let ok = harness.take_status(PROXY, 200);
    assert!(ok.body().is_empty());
    harness.ack(&proxy, &ok, None);
    assert_eq!(harness.last_update(Side::Caller)[0].rtp.unwrap().port(), 11_000);
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

/// RFC 3262 §5: a phone that cannot answer in a PRACK is not offered anything early: the gateway is not told of 100rel.
#[test]
fn a_delayed_offer_without_100rel_comes_with_the_answer() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    harness.dial(&proxy, "+81901234567", None);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(out.text(Name::Supported), Some("timer"));
}

#[test]
fn a_prack_without_the_answer_ends_the_call() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial_with(&proxy, None, KNOWS);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply_with(&mut gateway, &out, 183, answer(), &[RELIABLE, FIRST]);
    let early = harness.take_status(PROXY, 183);
    prack(&mut harness, &mut proxy, &invite, &early, None);
    harness.take_status(PROXY, 400);
    harness.take_status(PROXY, 488);
    harness.take_request(GATEWAY_1, Method::Cancel);
    harness.reply(&mut gateway, &out, 487, None);
    harness.pass(Duration::from_secs(120));
    harness.assert_over();
}

/// RFC 3262 §5: a PRACK may bring a new offer, whose answer is in its 2xx.
#[test]
fn an_offer_in_a_prack_goes_on_in_our_own() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial_with(&proxy, offer(), KNOWS);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply_with(&mut gateway, &out, 183, answer(), &[RELIABLE, FIRST]);
    let early = harness.take_status(PROXY, 183);
    let held = sdp_with(PHONE_MEDIA, "m=audio 11002 RTP/AVP 0\r\na=inactive\r\n");
    prack(&mut harness, &mut proxy, &invite, &early, Some(held));
    let passed = harness.take_request(GATEWAY_1, Method::Prack);
    assert_eq!(described(&passed).direction(0), Direction::Inactive);
    assert!(harness.nothing_for(PROXY), "the PRACK is answered with the answer");
    let inactive = sdp_with(GATEWAY_MEDIA, "m=audio 4000 RTP/AVP 0\r\na=inactive\r\n");
    harness.reply(&mut gateway, &passed, 200, Some(inactive));
    let done = harness.take_status(PROXY, 200);
    assert_eq!(done.cseq().unwrap().method, Method::Prack);
    assert_eq!(described(&done).direction(0), Direction::Inactive);
    harness.reply(&mut gateway, &out, 200, None);
    let ok = harness.take_status(PROXY, 200);
    harness.ack(&proxy, &ok, None);
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

/// RFC 3262 §5: where the gateway knows no 100rel, an offer that only moves the phone's media is answered by us; any other is refused.
#[test]
fn an_offer_in_a_prack_that_cannot_go_on() {
    for (media, status) in [
        ("m=audio 11002 RTP/AVP 0 8\r\n", 200),
        ("m=audio 11002 RTP/AVP 0 8\r\na=sendonly\r\n", 488),
        ("m=audio 11002 RTP/AVP 9\r\n", 488),
    ] {
        let mut harness = Harness::new();
        let mut proxy = harness.proxy();
        let mut gateway = harness.gateway(GATEWAY_1);
        let invite = harness.dial_with(&proxy, offer(), KNOWS);
        let out = harness.take_request(GATEWAY_1, Method::Invite);
        harness.reply(&mut gateway, &out, 183, answer());
        let early = harness.take_status(PROXY, 183);
        prack(&mut harness, &mut proxy, &invite, &early, Some(sdp_with(PHONE_MEDIA, media)));
        let done = harness.take_status(PROXY, status);
        assert_eq!(done.cseq().unwrap().method, Method::Prack);
        let moved = harness.last_update(Side::Caller)[0].rtp.unwrap().port() == 11_002;
        assert_eq!((moved, !done.body().is_empty()), (status == 200, status == 200), "{media}");
        harness.reply(&mut gateway, &out, 200, answer());
        let ok = harness.take_status(PROXY, 200);
        harness.ack(&proxy, &ok, None);
        harness.hang_up_and_settle(&mut proxy, &mut gateway);
    }
}

/// RFC 3262 §3: a PRACK that is late for the final response is still acknowledged.
#[test]
fn a_prack_after_the_answer() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial_with(&proxy, offer(), REQUIRES);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 180, None);
    let ringing = harness.take_status(PROXY, 180);
    harness.reply(&mut gateway, &out, 200, answer());
    let ok = harness.take_status(PROXY, 200);
    assert!(!ok.body().is_empty());
    prack(&mut harness, &mut proxy, &invite, &ringing, None);
    assert_eq!(harness.take_status(PROXY, 200).cseq().unwrap().method, Method::Prack);
    harness.ack(&proxy, &ok, None);
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

/// RFC 3262 §3: a trunk that calls in can be the reliable side as well.
#[test]
fn an_inbound_call_from_a_reliable_trunk() {
    let mut harness = Harness::new();
    let mut caller = harness.gateway(GATEWAY_1);
    let mut proxy = harness.proxy();
    let uri = format!("sip:0312340101@{OUTSIDE}");
    let invite = harness.invite(&caller, &uri, "<sip:a@192.0.2.1>", answer());
    let invite = invite.edit().append(Name::Supported, "100rel").finish();
    harness.send(&caller, &invite);
    let out = harness.take_request(PROXY, Method::Invite);
    harness.reply_with(&mut proxy, &out, 183, offer(), &[RELIABLE, FIRST]);
    let early = harness.take_status(GATEWAY_1, 183);
    caller.learn(&invite, &early);
    let rack = rack_for(&early);
    harness.ask_with(&mut caller, Method::Prack, None, &[(Name::RAck, &rack)]);
    harness.take_status(GATEWAY_1, 200);
    let passed = harness.take_request(PROXY, Method::Prack);
    harness.reply(&mut proxy, &passed, 200, None);
    harness.reply(&mut proxy, &out, 200, None);
    let ok = harness.take_status(GATEWAY_1, 200);
    harness.ack(&caller, &ok, None);
    harness.take_request(PROXY, Method::Ack);
    harness.ask(&mut caller, Method::Bye, None);
    let bye = harness.take_request(PROXY, Method::Bye);
    harness.reply(&mut proxy, &bye, 200, None);
    harness.pass(Duration::from_secs(40));
    harness.assert_over();
}
