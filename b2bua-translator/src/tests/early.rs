//! Early dialogs: several at a time, UPDATE in them, and those that end.

use std::time::Duration;

use sip_core::wire::{Message, Method, Name};

use crate::question::Side;
use crate::sdp::Direction;
use crate::testing::harness::*;

const UPDATES: (Name, &str) = (Name::Allow, "INVITE, ACK, BYE, CANCEL, UPDATE, PRACK");
const RELIABLE: [(Name, &str); 2] = [(Name::Require, "100rel"), (Name::RSeq, "1")];

fn offer() -> Option<String> {
    Some(sdp(PHONE_MEDIA, 11_000))
}

fn answer(port: u16) -> Option<String> {
    Some(sdp(GATEWAY_MEDIA, port))
}

/// An early call whose first offer and answer are complete on both legs, both sides taking UPDATE.
fn early_call(harness: &mut Harness) -> (Peer, Peer, Message) {
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial_with(&proxy, offer(), &[(Name::Supported, "100rel"), UPDATES]);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    let [require, rseq] = RELIABLE;
    harness.reply_with(&mut gateway, &out, 183, answer(4_000), &[require, rseq, UPDATES]);
    let early = harness.take_status(PROXY, 183);
    proxy.learn(&invite, &early);
    let rack = format!("{} {} INVITE", early.text(Name::RSeq).unwrap(), early.cseq().unwrap().number);
    harness.ask_with(&mut proxy, Method::Prack, None, &[(Name::RAck, &rack)]);
    harness.take_status(PROXY, 200);
    let prack = harness.take_request(GATEWAY_1, Method::Prack);
    harness.reply(&mut gateway, &prack, 200, None);
    (proxy, gateway, out)
}

fn finish(harness: &mut Harness, proxy: &mut Peer, gateway: &mut Peer, out: &Message) {
    harness.reply(gateway, out, 200, None);
    let ok = harness.take_status(PROXY, 200);
    harness.ack(proxy, &ok, None);
    harness.hang_up_and_settle(proxy, gateway);
}

/// RFC 3261 §12.1.2: each early dialog of a forking gateway is one of its own toward the caller; the one that answers wins, and the
/// relay follows it.
#[test]
fn a_gateway_that_forks() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let mut fork = harness.gateway(GATEWAY_1);
    let invite = harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 183, answer(4_000));
    let first = harness.take_status(PROXY, 183);
    assert_eq!(described(&first).media_address(0).unwrap().1, 20_020);
    harness.reply(&mut fork, &out, 183, answer(4_100));
    let second = harness.take_status(PROXY, 183);
    assert_ne!(first.to_tag(), second.to_tag());
    assert_eq!(harness.last_update(Side::Callee)[0].rtp.unwrap().port(), 4_100);
    assert!(!harness.last_update(Side::Caller)[0].sends, "nobody must talk while it rings");
    harness.reply(&mut gateway, &out, 180, None);
    assert_eq!(harness.take_status(PROXY, 180).to_tag(), first.to_tag());

    // The first answers, without repeating its SDP: what it said early stands in.
    harness.reply(&mut gateway, &out, 200, None);
    assert_eq!(harness.last_update(Side::Callee)[0].rtp.unwrap().port(), 4_000);
    let ok = harness.take_status(PROXY, 200);
    assert_eq!(ok.to_tag(), first.to_tag());
    proxy.learn(&invite, &ok);
    harness.ack(&proxy, &ok, None);
    harness.take_request(GATEWAY_1, Method::Ack);

    // RFC 3261 §13.2.2.4: the other answers too, and is acknowledged and ended.
    harness.reply(&mut fork, &out, 200, answer(4_100));
    let ack = harness.take_request(GATEWAY_1, Method::Ack);
    assert_eq!(ack.to_tag().as_deref(), Some(fork.tag.as_str()));
    let bye = harness.take_request(GATEWAY_1, Method::Bye);
    assert_eq!(bye.to_tag().as_deref(), Some(fork.tag.as_str()));
    harness.reply(&mut fork, &bye, 200, None);
    assert!(harness.nothing_for(PROXY));
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

/// RFC 3261 §13.2.2.4: a fork that was not heard of before may be the one that answers.
#[test]
fn a_fork_that_answers_at_once() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let mut fork = harness.gateway(GATEWAY_1);
    let invite = harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 183, answer(4_000));
    let early = harness.take_status(PROXY, 183);
    harness.reply(&mut fork, &out, 200, answer(4_100));
    let ok = harness.take_status(PROXY, 200);
    assert_ne!(early.to_tag(), ok.to_tag());
    proxy.learn(&invite, &ok);
    harness.ack(&proxy, &ok, None);
    assert_eq!(harness.last_update(Side::Callee)[0].rtp.unwrap().port(), 4_100);
    harness.hang_up_and_settle(&mut proxy, &mut fork);
}

/// RFC 6228 §5: who wants to know is told that an early dialog has ended.
#[test]
fn early_dialogs_that_end() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let mut fork = harness.gateway(GATEWAY_1);
    harness.dial_with(&proxy, offer(), &[(Name::Supported, "199")]);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 180, None);
    let first = harness.take_status(PROXY, 180);
    harness.reply(&mut fork, &out, 180, None);
    let second = harness.take_status(PROXY, 180);
    harness.reply(&mut gateway, &out, 199, None);
    assert_eq!(harness.take_status(PROXY, 199).to_tag(), first.to_tag());
    // The gateway gives up, and the next one is called: what it had begun is over.
    harness.reply(&mut fork, &out, 503, None);
    assert_eq!(harness.take_status(PROXY, 199).to_tag(), second.to_tag());
    let mut next = harness.gateway(GATEWAY_2);
    let out = harness.take_request(GATEWAY_2, Method::Invite);
    harness.reply(&mut next, &out, 180, None);
    let third = harness.take_status(PROXY, 180);
    assert!(third.to_tag() != first.to_tag() && third.to_tag() != second.to_tag());
}

#[test]
fn early_dialogs_are_bounded() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    let mut tags = std::collections::HashSet::new();
    for _ in 0..100 {
        let mut fork = harness.gateway(GATEWAY_1);
        harness.reply(&mut fork, &out, 180, None);
        tags.insert(harness.take_status(PROXY, 180).to_tag());
    }
    assert_eq!(tags.len(), 8);
}

/// RFC 3311 §5.1: UPDATE changes a session before the answer, from either side.
#[test]
fn update_before_the_answer() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway, out) = early_call(&mut harness);
    let held = sdp_with(PHONE_MEDIA, "m=audio 11000 RTP/AVP 0\r\na=sendonly\r\n");
    harness.ask(&mut proxy, Method::Update, Some(("application/sdp", held)));
    let passed = harness.take_request(GATEWAY_1, Method::Update);
    assert_eq!(described(&passed).direction(0), Direction::SendOnly);
    assert!(!passed.has(Name::SessionExpires), "no session to refresh yet");
    let reply = sdp_with(GATEWAY_MEDIA, "m=audio 4000 RTP/AVP 0\r\na=recvonly\r\n");
    harness.reply(&mut gateway, &passed, 200, Some(reply));
    let done = harness.take_status(PROXY, 200);
    assert_eq!(
        (done.cseq().unwrap().method, described(&done).direction(0)),
        (Method::Update, Direction::RecvOnly)
    );

    let moved = sdp_with(GATEWAY_MEDIA, "m=audio 4800 RTP/AVP 0\r\n");
    harness.ask(&mut gateway, Method::Update, Some(("application/sdp", moved)));
    let passed = harness.take_request(PROXY, Method::Update);
    harness.reply(&mut proxy, &passed, 200, offer());
    harness.take_status(GATEWAY_1, 200);
    assert_eq!(harness.last_update(Side::Callee)[0].rtp.unwrap().port(), 4_800);
    finish(&mut harness, &mut proxy, &mut gateway, &out);
}

/// RFC 3311 §5.2: an offer that meets one of ours gets 491; a second one of the same side gets 500 with Retry-After.
#[test]
fn early_updates_that_meet() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway, out) = early_call(&mut harness);
    harness.ask(&mut proxy, Method::Update, Some(("application/sdp", sdp(PHONE_MEDIA, 12_000))));
    let passed = harness.take_request(GATEWAY_1, Method::Update);
    harness.ask(&mut gateway, Method::Update, Some(("application/sdp", sdp(GATEWAY_MEDIA, 4_800))));
    harness.take_status(GATEWAY_1, 491);
    harness.ask(&mut proxy, Method::Update, Some(("application/sdp", sdp(PHONE_MEDIA, 12_002))));
    assert!(harness.take_status(PROXY, 500).has(Name::RetryAfter));
    harness.reply(&mut gateway, &passed, 491, None);
    harness.take_status(PROXY, 491);
    finish(&mut harness, &mut proxy, &mut gateway, &out);
}

/// RFC 3311 §5.2: before the first offer is answered there is no room for another.
#[test]
fn an_update_before_the_first_answer() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 180, None);
    let early = harness.take_status(PROXY, 180);
    proxy.learn(&invite, &early);
    harness.ask(&mut proxy, Method::Update, Some(("application/sdp", sdp(PHONE_MEDIA, 12_000))));
    assert!(harness.take_status(PROXY, 500).has(Name::RetryAfter));
    harness.ask(&mut gateway, Method::Update, Some(("application/sdp", sdp(GATEWAY_MEDIA, 4_800))));
    harness.take_status(GATEWAY_1, 491);
    // Without an offer it is a matter of one leg.
    harness.ask(&mut gateway, Method::Update, None);
    harness.take_status(GATEWAY_1, 200);
    assert!(harness.nothing_for(PROXY));
}

/// RFC 3311 §5.2: a gateway that moves its media before the answer is followed, although the phone knows no UPDATE; what the phone
/// would have to agree to is refused for now.
#[test]
fn an_early_update_that_the_phone_cannot_take() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    let [require, rseq] = RELIABLE;
    harness.reply_with(&mut gateway, &out, 183, answer(4_000), &[require, rseq, UPDATES]);
    let prack = harness.take_request(GATEWAY_1, Method::Prack);
    harness.reply(&mut gateway, &prack, 200, None);
    harness.forget_sent();
    let moved = sdp_with("192.0.2.78", "m=audio 4800 RTP/AVP 0 8\r\n");
    harness.ask(&mut gateway, Method::Update, Some(("application/sdp", moved)));
    let done = harness.take_status(GATEWAY_1, 200);
    assert_eq!(described(&done).media_address(0).unwrap().1, 21_020);
    assert!(harness.nothing_for(PROXY));
    assert_eq!(harness.last_update(Side::Callee)[0].rtp.unwrap().to_string(), "192.0.2.78:4800");
    let held = sdp_with(GATEWAY_MEDIA, "m=audio 4800 RTP/AVP 0 8\r\na=sendonly\r\n");
    harness.ask(&mut gateway, Method::Update, Some(("application/sdp", held)));
    assert!(harness.take_status(GATEWAY_1, 500).has(Name::RetryAfter));
    harness.reply(&mut gateway, &out, 200, None);
    let ok = harness.take_status(PROXY, 200);
    assert!(!ok.body().is_empty());
    proxy.learn(&invite, &ok);
    harness.ack(&proxy, &ok, None);
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

/// RFC 3311 §5.1: in an answered call an offer in UPDATE becomes a re-INVITE where the other side takes no UPDATE.
#[test]
fn an_update_toward_a_side_that_knows_none() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.ask(&mut proxy, Method::Update, Some(("application/sdp", sdp(PHONE_MEDIA, 12_000))));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 200, answer(4_000));
    harness.take_request(GATEWAY_1, Method::Ack);
    let done = harness.take_status(PROXY, 200);
    assert_eq!(done.cseq().unwrap().method, Method::Update);
    assert_eq!(harness.last_update(Side::Caller)[0].rtp.unwrap().port(), 12_000);
    // One that says it takes UPDATE, and does not.
    harness.ask_with(&mut gateway, Method::Options, None, &[]);
    harness.ask_with(&mut gateway, Method::Update, None, &[]);
    harness.forget_sent();
    harness.ask(&mut proxy, Method::Update, Some(("application/sdp", sdp(PHONE_MEDIA, 12_002))));
    let out = harness.take_request(GATEWAY_1, Method::Update);
    harness.reply(&mut gateway, &out, 405, None);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 200, answer(4_000));
    harness.take_status(PROXY, 200);
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

/// RFC 6086 §4.2.1: INFO passes in an early dialog as well, each fork's to its own.
#[test]
fn info_before_the_answer() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway, out) = early_call(&mut harness);
    harness.ask(&mut proxy, Method::Info, Some(("application/dtmf-relay", "Signal=1\r\n".into())));
    let passed = harness.take_request(GATEWAY_1, Method::Info);
    harness.reply(&mut gateway, &passed, 200, None);
    harness.take_status(PROXY, 200);
    finish(&mut harness, &mut proxy, &mut gateway, &out);
}

/// RFC 3261 §15: the caller may end an early dialog by BYE, the called side may not.
#[test]
fn bye_before_the_answer() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway, out) = early_call(&mut harness);
    harness.ask(&mut gateway, Method::Bye, None);
    harness.take_status(GATEWAY_1, 481);
    harness.ask(&mut proxy, Method::Bye, None);
    harness.take_status(PROXY, 200);
    harness.take_status(PROXY, 487);
    harness.take_request(GATEWAY_1, Method::Cancel);
    harness.reply(&mut gateway, &out, 487, None);
    harness.pass(Duration::from_secs(120));
    harness.assert_over();
}
