//! Offers and answers: hold, resume, new media, delayed offers, glare, UPDATE, and what passes beside them.

use std::time::Duration;

use schema::EndedBy;
use sip_core::wire::{Method, Name};

use crate::question::Side;
use crate::sdp::Direction;
use crate::testing::harness::*;

const HOLD: &str = "m=audio 11000 RTP/AVP 0 8\r\na=sendonly\r\n";
const HELD: &str = "m=audio 4000 RTP/AVP 0\r\na=recvonly\r\n";

fn body(sdp: String) -> Option<(&'static str, String)> {
    Some(("application/sdp", sdp))
}

#[test]
fn hold_and_resume_by_the_caller() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.ask(&mut proxy, Method::Invite, body(sdp_with(PHONE_MEDIA, HOLD)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(out.cseq().unwrap().number, 2);
    let offer = described(&out);
    assert_eq!(offer.direction(0), Direction::SendOnly);
    assert_eq!(offer.origin().unwrap().version, b"2", "one more than the first body");
    harness.reply(&mut gateway, &out, 200, Some(sdp_with(GATEWAY_MEDIA, HELD)));
    harness.take_request(GATEWAY_1, Method::Ack);
    let ok = harness.take_status(PROXY, 200);
    assert_eq!(described(&ok).direction(0), Direction::RecvOnly);
    harness.ack(&proxy, &ok, None);
    assert!(!harness.last_update(Side::Callee)[0].sends, "who is on hold may be silent");
    harness.ask(&mut proxy, Method::Invite, body(sdp(PHONE_MEDIA, 11_000)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    let ok = harness.take_status(PROXY, 200);
    harness.ack(&proxy, &ok, None);
    assert!(harness.last_update(Side::Callee)[0].sends);
    harness.hang_up(&mut proxy, &mut gateway);
}

#[test]
fn old_hold_by_the_called_party() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.ask(&mut gateway, Method::Invite, body(sdp("0.0.0.0", 4_000)));
    let out = harness.take_request(PROXY, Method::Invite);
    let offer = described(&out);
    assert_eq!(offer.direction(0), Direction::SendOnly);
    assert_eq!(offer.media_address(0).unwrap().0.to_string(), "2001:db8:1::9");
    harness.reply(
        &mut proxy,
        &out,
        200,
        Some(sdp_with(PHONE_MEDIA, "m=audio 11000 RTP/AVP 0\r\na=recvonly\r\n")),
    );
    harness.take_request(PROXY, Method::Ack);
    let ok = harness.take_status(GATEWAY_1, 200);
    harness.ack(&gateway, &ok, None);
    assert_eq!(harness.last_update(Side::Callee)[0].rtp, None);
    harness.hang_up(&mut proxy, &mut gateway);
}

#[test]
fn a_refused_offer_changes_nothing() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    let before = harness.world.updates.len();
    harness.ask(&mut proxy, Method::Invite, body(sdp(PHONE_MEDIA, 12_000)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 488, None);
    harness.take_request(GATEWAY_1, Method::Ack);
    harness.take_status(PROXY, 488);
    assert_eq!(harness.world.updates.len(), before);
    harness.hang_up(&mut proxy, &mut gateway);
}

#[test]
fn a_new_stream_gets_ports() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    let two = "m=audio 11000 RTP/AVP 0\r\nm=image 11002 udptl t38\r\n";
    harness.ask(&mut proxy, Method::Invite, body(sdp_with(PHONE_MEDIA, two)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    let offer = described(&out);
    assert_eq!(offer.media_address(1).unwrap().1, 21_022);
    harness.reply(
        &mut gateway,
        &out,
        200,
        Some(sdp_with(GATEWAY_MEDIA, "m=audio 0 RTP/AVP 0\r\nm=image 4002 udptl t38\r\n")),
    );
    let ok = harness.take_status(PROXY, 200);
    assert!(described(&ok).is_rejected(0) && !described(&ok).is_rejected(1));
    harness.ack(&proxy, &ok, None);
    assert_eq!(harness.last_update(Side::Callee).len(), 2);
    harness.hang_up(&mut proxy, &mut gateway);
}

#[test]
fn a_new_stream_without_ports_is_refused_alone() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.world.exhausted = true;
    let two = "m=audio 11000 RTP/AVP 0\r\nm=video 11002 RTP/AVP 96\r\n";
    harness.ask(&mut proxy, Method::Invite, body(sdp_with(PHONE_MEDIA, two)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert!(!described(&out).is_rejected(0) && described(&out).is_rejected(1));
    harness.reply(
        &mut gateway,
        &out,
        200,
        Some(sdp_with(GATEWAY_MEDIA, "m=audio 4000 RTP/AVP 0\r\nm=video 0 RTP/AVP 96\r\n")),
    );
    let ok = harness.take_status(PROXY, 200);
    harness.ack(&proxy, &ok, None);
    harness.hang_up(&mut proxy, &mut gateway);
}

#[test]
fn more_streams_than_a_call_may_have() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let many = "m=audio 11000 RTP/AVP 0\r\n".repeat(6);
    harness.dial(&proxy, "+81901234567", Some(sdp_with(PHONE_MEDIA, &many)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    let rejected: Vec<bool> = (0..6).map(|index| described(&out).is_rejected(index)).collect();
    assert_eq!(rejected, [false, false, false, false, true, true]);
}

#[test]
fn a_delayed_offer_passes_end_to_end() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial(&proxy, "+81901234567", None);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert!(out.body().is_empty());
    let early = harness.reply(&mut gateway, &out, 183, Some(sdp(GATEWAY_MEDIA, 4_000)));
    assert!(!early.body().is_empty());
    assert!(harness.take_status(PROXY, 183).body().is_empty(), "it could not be answered");
    harness.reply(&mut gateway, &out, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    assert!(harness.nothing_for(GATEWAY_1), "the ACK waits for the answer");
    let ok = harness.take_status(PROXY, 200);
    assert_eq!(described(&ok).media_address(0).unwrap().1, 20_020);
    harness.reply(&mut gateway, &out, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    assert!(harness.nothing_for(GATEWAY_1), "also when the answer is sent again");
    proxy.learn(&invite, &ok);
    harness.ack(&proxy, &ok, Some(sdp(PHONE_MEDIA, 11_000)));
    let ack = harness.take_request(GATEWAY_1, Method::Ack);
    assert_eq!(described(&ack).media_address(0).unwrap().1, 21_020);
    assert!(harness.last_update(Side::Caller)[0].sends);
    harness.hang_up(&mut proxy, &mut gateway);
}

#[test]
fn a_delayed_offer_whose_answer_never_comes() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial(&proxy, "+81901234567", None);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    let ok = harness.take_status(PROXY, 200);
    proxy.learn(&invite, &ok);
    harness.ack(&proxy, &ok, None);
    let ack = harness.take_request(GATEWAY_1, Method::Ack);
    assert!(described(&ack).is_rejected(0), "an answer that refuses everything");
    for (peer, at) in [(&mut proxy, PROXY), (&mut gateway, GATEWAY_1)] {
        let bye = harness.take_request(at, Method::Bye);
        harness.reply(peer, &bye, 200, None);
    }
    harness.assert_over();
    assert_eq!(harness.record().ended_by, Some(EndedBy::Platform));
}

#[test]
fn a_delayed_offer_in_a_reinvite() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.ask(&mut gateway, Method::Invite, None);
    let out = harness.take_request(PROXY, Method::Invite);
    assert!(out.body().is_empty());
    harness.reply(&mut proxy, &out, 200, Some(sdp(PHONE_MEDIA, 11_000)));
    let ok = harness.take_status(GATEWAY_1, 200);
    assert!(harness.nothing_for(PROXY));
    harness.ack(&gateway, &ok, Some(sdp(GATEWAY_MEDIA, 4_200)));
    let ack = harness.take_request(PROXY, Method::Ack);
    assert_eq!(described(&ack).media_address(0).unwrap().1, 20_020);
    assert_eq!(harness.last_update(Side::Callee)[0].rtp.unwrap().port(), 4_200);
    harness.hang_up(&mut proxy, &mut gateway);
}

#[test]
fn both_offer_at_once() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.ask(&mut proxy, Method::Invite, body(sdp(PHONE_MEDIA, 12_000)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.ask(&mut gateway, Method::Invite, body(sdp(GATEWAY_MEDIA, 4_400)));
    harness.take_status(GATEWAY_1, 491);
    harness.reply(&mut gateway, &out, 491, None);
    harness.take_request(GATEWAY_1, Method::Ack);
    harness.forget_sent();
    // Toward the called side we chose the Call-ID: 2.1 to 4 s (RFC 3261 §14.1).
    harness.pass(Duration::from_millis(2_050));
    while let Some(message) = harness.try_take(GATEWAY_1) {
        assert!(!message.is_request(), "{message:?}");
    }
    harness.pass(Duration::from_secs(2));
    let again = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(again.cseq().unwrap().number, 3);
    assert_eq!(again.body(), out.body());
    assert!(
        harness
            .try_take(PROXY)
            .is_none_or(|message| message.status().is_some_and(|status| status.code() == 100))
    );
    harness.reply(&mut gateway, &again, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    let ok = harness.take_status(PROXY, 200);
    harness.ack(&proxy, &ok, None);
    harness.hang_up(&mut proxy, &mut gateway);
}

#[test]
fn endless_glare_is_passed_on() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.ask(&mut gateway, Method::Invite, body(sdp(GATEWAY_MEDIA, 4_400)));
    for cseq in 1..=4 {
        // Retransmissions of the one before may come first.
        let mut out = harness.take_request(PROXY, Method::Invite);
        while out.cseq().unwrap().number != cseq {
            out = harness.take_request(PROXY, Method::Invite);
        }
        harness.reply(&mut proxy, &out, 491, None);
        harness.pass(Duration::from_millis(2_010));
    }
    harness.take_status(GATEWAY_1, 491);
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

#[test]
fn a_second_offer_before_the_first_is_done() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.ask(&mut proxy, Method::Invite, body(sdp(PHONE_MEDIA, 12_000)));
    harness.take_request(GATEWAY_1, Method::Invite);
    harness.ask(&mut proxy, Method::Invite, body(sdp(PHONE_MEDIA, 12_002)));
    assert!(harness.take_status(PROXY, 500).has(Name::RetryAfter));
    // Hanging up in the middle answers what is open.
    harness.ask(&mut proxy, Method::Bye, None);
    harness.take_status(PROXY, 487);
    let bye = harness.take_request(GATEWAY_1, Method::Bye);
    harness.reply(&mut gateway, &bye, 200, None);
    harness.assert_over();
}

#[test]
fn a_cancelled_reinvite() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    let reinvite = harness.ask(&mut proxy, Method::Invite, body(sdp(PHONE_MEDIA, 12_000)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 100, None);
    let cancel = sip_core::wire::Builder::request(&Method::Cancel, reinvite.request_uri_text())
        .header(Name::Via, reinvite.top_via().unwrap())
        .copy(&reinvite, Name::Route)
        .header(Name::MaxForwards, "70")
        .copy(&reinvite, Name::From)
        .copy(&reinvite, Name::To)
        .copy(&reinvite, Name::CallId)
        .header(Name::CSeq, format!("{} CANCEL", reinvite.cseq().unwrap().number))
        .finish();
    harness.send(&proxy, &cancel);
    let passed = harness.take_request(GATEWAY_1, Method::Cancel);
    harness.reply(&mut gateway, &passed, 200, None);
    harness.reply(&mut gateway, &out, 487, None);
    harness.take_status(PROXY, 487);
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

#[test]
fn a_side_that_lost_the_call() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.ask(&mut proxy, Method::Invite, body(sdp(PHONE_MEDIA, 12_000)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 481, None);
    harness.take_status(PROXY, 481);
    for (peer, at) in [(&mut proxy, PROXY), (&mut gateway, GATEWAY_1)] {
        let bye = harness.take_request(at, Method::Bye);
        harness.reply(peer, &bye, 200, None);
    }
    harness.assert_over();
}

#[test]
fn update_with_and_without_an_offer() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.ask_with(&mut proxy, Method::Update, None, &[(Name::Allow, "INVITE, UPDATE")]);
    harness.take_status(PROXY, 200);
    harness.ask(&mut gateway, Method::Update, body(sdp(GATEWAY_MEDIA, 4_600)));
    let out = harness.take_request(PROXY, Method::Update);
    assert_eq!(described(&out).media_address(0).unwrap().0.to_string(), "2001:db8:1::9");
    // An offer is open: no other one may come.
    harness.ask(&mut proxy, Method::Invite, body(sdp(PHONE_MEDIA, 12_000)));
    harness.take_status(PROXY, 491);
    harness.reply(&mut proxy, &out, 200, Some(sdp(PHONE_MEDIA, 11_000)));
    let ok = harness.take_status(GATEWAY_1, 200);
    assert_eq!(described(&ok).media_address(0).unwrap().1, 21_020);
    assert!(ok.has(Name::Contact));
    assert_eq!(harness.last_update(Side::Callee)[0].rtp.unwrap().port(), 4_600);
    harness.ask(&mut proxy, Method::Update, None);
    assert!(harness.take_status(PROXY, 200).has(Name::Contact), "a new target is between this side and us");
    assert!(harness.nothing_for(GATEWAY_1));
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

#[test]
fn info_and_message_pass() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    let tone = "Signal=5\r\nDuration=160\r\n";
    harness.ask(&mut proxy, Method::Info, Some(("application/dtmf-relay", tone.into())));
    let out = harness.take_request(GATEWAY_1, Method::Info);
    assert_eq!(out.text(Name::ContentType), Some("application/dtmf-relay"));
    assert_eq!(&out.body()[..], tone.as_bytes());
    assert!(!String::from_utf8_lossy(out.bytes()).contains("2001:db8"));
    harness.reply(&mut gateway, &out, 200, None);
    harness.take_status(PROXY, 200);
    harness.ask(&mut gateway, Method::Message, Some(("text/plain", "hello".into())));
    let out = harness.take_request(PROXY, Method::Message);
    assert_eq!(&out.body()[..], b"hello");
    harness.pass(Duration::from_secs(33));
    harness.take_status(GATEWAY_1, 408);
    harness.ask(&mut gateway, Method::Options, None);
    assert!(harness.take_status(GATEWAY_1, 200).has(Name::Allow));
    harness.ask(&mut gateway, Method::Refer, None);
    harness.take_status(GATEWAY_1, 405);
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

#[test]
fn requests_out_of_order_are_refused() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    let mut stale = gateway.dialog.clone().unwrap();
    harness.ask(&mut gateway, Method::Options, None);
    harness.ask(&mut gateway, Method::Options, None);
    harness.forget_sent();
    let via = sip_core::wire::header::Via::new(sip_core::flow::Transport::Udp, gateway.address, "z9hG4bKold");
    let old = stale.request(&Method::Info, via, None).finish();
    harness.send(&gateway, &old);
    assert!(harness.take_status(GATEWAY_1, 500).has(Name::RetryAfter));
    harness.hang_up(&mut proxy, &mut gateway);
}

/// RFC 3261 §14.1: the side that met with 491 and comes by itself first is served, and who asked before it gets its 491.
#[test]
fn who_comes_first_after_glare() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.ask(&mut proxy, Method::Invite, body(sdp(PHONE_MEDIA, 12_000)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.ask(&mut gateway, Method::Invite, body(sdp(GATEWAY_MEDIA, 4_400)));
    harness.take_status(GATEWAY_1, 491);
    harness.reply(&mut gateway, &out, 491, None);
    harness.pass(Duration::from_millis(500));
    harness.forget_sent();
    // The gateway did not choose the Call-ID, so that its pause is the shorter one.
    harness.ask(&mut gateway, Method::Invite, body(sdp(GATEWAY_MEDIA, 4_400)));
    harness.take_status(PROXY, 491);
    let out = harness.take_request(PROXY, Method::Invite);
    harness.reply(&mut proxy, &out, 200, Some(sdp(PHONE_MEDIA, 11_000)));
    let ok = harness.take_status(GATEWAY_1, 200);
    harness.ack(&gateway, &ok, None);
    harness.pass(Duration::from_secs(5));
    while let Some(message) = harness.try_take(GATEWAY_1) {
        assert!(!message.is(&Method::Invite), "{message:?}");
    }
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

/// RFC 3261 §14.1: a re-INVITE that says again what stands is answered on its own leg, with what stands.
#[test]
fn a_refresh_by_reinvite_is_a_matter_of_one_leg() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    let updates = harness.world.updates.len();
    harness.ask(&mut proxy, Method::Invite, body(sdp(PHONE_MEDIA, 11_000)));
    let ok = harness.take_status(PROXY, 200);
    assert_eq!(described(&ok).origin().unwrap().version, b"1", "nothing has changed");
    assert!(harness.nothing_for(GATEWAY_1));
    harness.ack(&proxy, &ok, None);
    assert_eq!(harness.world.updates.len(), updates);
    harness.hang_up(&mut proxy, &mut gateway);
}
