//! Calls in both directions that succeed, and what each side gets to see.

use std::time::Duration;

use schema::{CallResult, Direction, EndedBy, LineId, TrunkId};
use sip_core::wire::{Method, Name};

use crate::question::Side;
use crate::relay::SourcePolicy;
use crate::testing::harness::*;

#[test]
fn an_outbound_call() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial(&proxy, "+81901234567", Some(sdp(PHONE_MEDIA, 11_000)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(out.request_uri_text(), "sip:0901234567@192.0.2.1:5060;user=phone");
    assert_eq!(out.text(Name::MaxForwards), Some("67"));
    let from = out.from().unwrap();
    assert_eq!(from.uri.to_string(), "sip:+81312340101@198.51.100.9");
    assert_eq!(out.text(Name::PAssertedIdentity), Some("<sip:+81312340101@198.51.100.9>"));
    let offer = described(&out);
    let (ip, port, rtcp) = offer.media_address(0).unwrap();
    assert_eq!((ip.to_string().as_str(), port, rtcp.port()), ("198.51.100.9", 21_020, 21_021));

    harness.reply(&mut gateway, &out, 100, None);
    harness.reply(&mut gateway, &out, 180, None);
    let ringing = harness.take_status(PROXY, 180);
    assert!(ringing.has(Name::RecordRoute) && ringing.has(Name::Contact) && ringing.to_tag().is_some());
    harness.pass(Duration::from_secs(3));
    harness.reply(&mut gateway, &out, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    harness.take_request(GATEWAY_1, Method::Ack);
    let ok = harness.take_status(PROXY, 200);
    let (ip, port, _) = described(&ok).media_address(0).unwrap();
    assert_eq!((ip.to_string().as_str(), port), ("2001:db8:1::9", 20_020));
    proxy.learn(&invite, &ok);
    harness.ack(&proxy, &ok, None);
    harness.pass(Duration::from_secs(60));
    harness.forget_sent();

    let phone = &harness.last_update(Side::Caller)[0];
    assert_eq!(phone.sources, SourcePolicy::Exact(PHONE_MEDIA.parse().unwrap()));
    assert_eq!(phone.rtp, Some(format!("[{PHONE_MEDIA}]:11000").parse().unwrap()));
    assert!(phone.sends);
    let trunk = &harness.last_update(Side::Callee)[0];
    assert_eq!(trunk.sources, SourcePolicy::Networks(vec!["192.0.2.0/24".parse().unwrap()]));

    harness.hang_up(&mut proxy, &mut gateway);
    let record = harness.record();
    assert_eq!((record.result, record.status), (CallResult::Answered, Some(200)));
    assert_eq!((record.ended_by, record.direction), (Some(EndedBy::Caller), Direction::Outbound));
    assert_eq!((record.line, record.trunk), (Some(LineId(1)), Some(TrunkId(1))));
    assert_eq!((record.caller.as_str(), record.callee.as_str()), ("+81312340101", "+81901234567"));
    assert_eq!(record.answered_at.unwrap() - record.started_at, 3_000);
    assert_eq!(record.talked_ms(), Some(60_000));
    assert_eq!(record.media["session"], 1);
}

#[test]
fn nothing_of_the_inside_is_shown() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let invite = harness.dial(&proxy, "+81901234567", Some(sdp(PHONE_MEDIA, 11_000)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    let text = String::from_utf8_lossy(out.bytes()).into_owned();
    for hidden in [
        "2001:db8",
        "s042",
        "Phone 1.0",
        "Record-Route",
        "replaces",
        "gruu",
        "o=peer",
        invite.call_id().unwrap(),
    ] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
    assert_eq!(out.all::<sip_core::wire::header::Via>().count(), 1);
}

#[test]
fn an_inbound_call() {
    let mut harness = Harness::new();
    let mut gateway = harness.gateway(GATEWAY_2);
    let mut proxy = harness.proxy();
    let invite = harness.invite(
        &gateway,
        &format!("sip:0312340101@{OUTSIDE}"),
        "\"Taro\" <sip:09011112222@192.0.2.2>",
        Some(sdp(GATEWAY_MEDIA, 4_000)),
    );
    harness.send(&gateway, &invite);
    let out = harness.take_request(PROXY, Method::Invite);
    assert_eq!(out.request_uri_text(), format!("sip:+81312340101@{PROXY}"));
    assert_eq!(out.from().unwrap().uri.to_string(), "sip:+819011112222@[2001:db8:1::9]");
    assert_eq!(out.text(Name::PAssertedIdentity), Some("\"Taro\" <sip:+819011112222@[2001:db8:1::9]>"));
    assert!(!String::from_utf8_lossy(out.bytes()).contains("192.0.2."));
    assert_eq!(described(&out).media_address(0).unwrap().0.to_string(), "2001:db8:1::9");

    // The proxy answers through itself: requests of the dialog go to it.
    let mut ok = proxy.response(&out, 200, Some(sdp(PHONE_MEDIA, 11_000)));
    ok = ok.edit().append(Name::RecordRoute, format!("<sip:{PROXY};lr>")).finish();
    harness.send(&proxy, &ok);
    let ack = harness.take_request(PROXY, Method::Ack);
    assert_eq!(ack.text(Name::Route), Some(format!("<sip:{PROXY};lr>").as_str()));
    let answered = harness.take_status(GATEWAY_2, 200);
    gateway.learn(&invite, &answered);
    harness.ack(&gateway, &answered, None);
    assert_eq!(
        harness.last_update(Side::Callee)[0].sources,
        SourcePolicy::Exact(PHONE_MEDIA.parse().unwrap())
    );
    assert_eq!(harness.shared.trunks.calls(TrunkId(1)), 1);

    // The phone hangs up.
    harness.ask(&mut proxy, Method::Bye, None);
    let bye = harness.take_request(GATEWAY_2, Method::Bye);
    harness.reply(&mut gateway, &bye, 200, None);
    harness.assert_over();
    let record = harness.record();
    assert_eq!((record.direction, record.ended_by), (Direction::Inbound, Some(EndedBy::Callee)));
    assert_eq!((record.line, record.trunk), (Some(LineId(1)), Some(TrunkId(1))));
    assert_eq!((record.caller.as_str(), record.callee.as_str()), ("+819011112222", "+81312340101"));
}

#[test]
fn an_ipv6_trunk_and_a_short_number() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    harness.dial(&proxy, "+442071234567", Some(sdp(PHONE_MEDIA, 11_000)));
    let out = harness.take_request(GATEWAY_V6, Method::Invite);
    assert_eq!(out.request_uri_text(), "sip:+442071234567@[2001:db8:ff::1]:5060;user=phone");
    assert_eq!(described(&out).media_address(0).unwrap().0.to_string(), "2001:db8:9::9");
    let other = harness.proxy();
    harness.dial(&other, "110", Some(sdp(PHONE_MEDIA, 11_002)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(out.request_uri_text(), "sip:110@192.0.2.1:5060;user=phone");
}

#[test]
fn a_caller_who_wants_to_stay_unknown() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let invite = harness.invite(
        &proxy,
        &format!("sip:+81901234567@{INSIDE}"),
        "<sip:101@s042.example.net>",
        Some(sdp(PHONE_MEDIA, 11_000)),
    );
    let invite = invite
        .edit()
        .append(Name::Privacy, "id")
        .append(Name::PAssertedIdentity, "<sip:101@s042.example.net>")
        .finish();
    harness.send(&proxy, &invite);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(out.from().unwrap().uri.to_string(), "sip:anonymous@anonymous.invalid");
    assert_eq!(out.text(Name::Privacy), Some("id"));
    assert_eq!(out.text(Name::PAssertedIdentity), Some("<sip:+81312340101@198.51.100.9>"));
}

#[test]
fn a_line_without_a_number_shows_the_trunks() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let invite =
        harness.invite(&proxy, &format!("sip:+81901234567@{INSIDE}"), "<sip:102@s042.example.net>", None);
    let invite = invite.edit().append(Name::PAssertedIdentity, "<sip:102@s042.example.net>").finish();
    harness.send(&proxy, &invite);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(out.from().unwrap().uri.to_string(), "sip:+81312340000@198.51.100.9");
}

#[test]
fn an_answer_whose_sdp_came_early() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    harness.dial(&proxy, "+81901234567", Some(sdp(PHONE_MEDIA, 11_000)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 183, Some(sdp(GATEWAY_MEDIA, 4_000)));
    harness.reply(&mut gateway, &out, 200, None);
    let ok = harness.take_status(PROXY, 200);
    assert_eq!(described(&ok).media_address(0).unwrap().1, 20_020);
}

#[test]
fn the_answer_is_sent_again_until_acknowledged() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial(&proxy, "+81901234567", Some(sdp(PHONE_MEDIA, 11_000)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    let answer = harness.reply(&mut gateway, &out, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    let ack = harness.take_request(GATEWAY_1, Method::Ack);
    let ok = harness.take_status(PROXY, 200);
    // T1 doubling: 0.5, 1.5, 3.5 s.
    for (after, wanted) in [(499, 0), (2, 1), (998, 0), (2, 1), (1_998, 0), (2, 1)] {
        harness.pass(Duration::from_millis(after));
        let mut seen = 0;
        while let Some(again) = harness.try_take(PROXY) {
            assert_eq!(again.bytes(), ok.bytes());
            seen += 1;
        }
        assert_eq!(seen, wanted, "{after}");
    }
    // The gateway lost our ACK.
    harness.send(&gateway, &answer);
    assert_eq!(harness.take(GATEWAY_1).bytes(), ack.bytes());
    assert!(harness.nothing_for(PROXY), "a repeated answer goes no further");
    proxy.learn(&invite, &ok);
    harness.ack(&proxy, &ok, None);
    harness.pass(Duration::from_secs(10));
    assert!(harness.nothing_for(PROXY));
    harness.hang_up(&mut proxy, &mut gateway);
}

#[test]
fn without_an_ack_the_call_ends() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    harness.dial(&proxy, "+81901234567", Some(sdp(PHONE_MEDIA, 11_000)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    harness.pass(Duration::from_secs(33));
    let bye = harness.take_request(GATEWAY_1, Method::Bye);
    harness.reply(&mut gateway, &bye, 200, None);
    let mut proxy = proxy;
    let bye = harness.take_request(PROXY, Method::Bye);
    harness.reply(&mut proxy, &bye, 200, None);
    harness.assert_over();
    assert_eq!(harness.record().ended_by, Some(EndedBy::Platform));
    assert_eq!(harness.record().result, CallResult::Answered);
}

#[test]
fn silence_ends_a_call() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.silence(Side::Callee);
    for (peer, at) in [(&mut proxy, PROXY), (&mut gateway, GATEWAY_1)] {
        let bye = harness.take_request(at, Method::Bye);
        assert_eq!(bye.text(Name::Reason), Some("Q.850;cause=102;text=\"Media time-out\""));
        harness.reply(peer, &bye, 200, None);
    }
    harness.assert_over();
    let record = harness.record();
    assert_eq!((record.ended_by, record.reason.as_str()), (Some(EndedBy::Platform), "media time-out"));
}
