//! Strangers, what is not understood, and when there is too much.

use sip_core::core::Input;
use sip_core::wire::header::Via;
use sip_core::wire::{Builder, Message, Method, Name};

use crate::testing::harness::*;

fn offer() -> Option<String> {
    Some(sdp(PHONE_MEDIA, 11_000))
}

fn outside_dialog(method: Method, peer: &Peer, number: u32) -> Message {
    Builder::request(&method, format!("sip:{}", peer.local))
        .header(
            Name::Via,
            Via::new(sip_core::flow::Transport::Udp, peer.address, &format!("z9hG4bKout{number}")),
        )
        .header(Name::MaxForwards, "70")
        .header(Name::From, "<sip:a@192.0.2.1>;tag=1")
        .header(Name::To, "<sip:b@192.0.2.9>")
        .header(Name::CallId, format!("out{number}"))
        .header(Name::CSeq, format!("1 {method}"))
        .header(Name::Contact, format!("<sip:peer@{}>", peer.address))
        .finish()
}

#[test]
fn strangers_are_refused() {
    let mut harness = Harness::new();
    for (at, local) in [
        ("[2001:db8:1::10]:5061", INSIDE),
        ("[2001:db8:42:10::101]:5060", INSIDE),
        ("203.0.113.1:5060", OUTSIDE),
        // A trunk's address is no proxy, and a proxy's no trunk.
        (GATEWAY_V6, INSIDE),
        (PROXY, OUTSIDE_V6),
    ] {
        let stranger = Peer::new(at, local, "stranger");
        harness.dial(&stranger, "+81901234567", offer());
        harness.take_status(at, 403);
        let number = harness.count();
        let options = outside_dialog(Method::Options, &stranger, number);
        harness.send(&stranger, &options);
        harness.take_status(at, 403);
    }
    assert!(harness.nothing_for(GATEWAY_1));
    assert!(harness.world.records.is_empty());
}

#[test]
fn a_path_that_leads_here_is_no_way_out() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let uri = format!("sip:+81901234567@{INSIDE}");
    let invite = harness.invite(&proxy, &uri, "<sip:102@s042.example.net>", offer());
    let invite = invite.edit().prepend(Name::Route, format!("<sip:{INSIDE};lr>")).finish();
    harness.send(&proxy, &invite);
    harness.take_status(PROXY, 403);
    assert!(harness.nothing_for(GATEWAY_1));
    assert_eq!(harness.core_active(), 0);
}

#[test]
fn what_we_take_and_what_not() {
    let mut harness = Harness::new();
    let peer = harness.gateway(GATEWAY_1);
    for (method, status) in [
        (Method::Options, 200),
        (Method::Register, 405),
        (Method::Subscribe, 405),
        (Method::Message, 405),
        (Method::Bye, 481),
        (Method::Info, 481),
        (Method::Other("BREW".into()), 501),
    ] {
        let number = harness.count();
        harness.send(&peer, &outside_dialog(method.clone(), &peer, number));
        let response = harness.take_status(GATEWAY_1, status);
        assert_eq!(response.has(Name::Allow), matches!(status, 200 | 405), "{method}");
    }
}

#[test]
fn unknown_dialogs_are_told_so() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    let mut stale = gateway.dialog.clone().unwrap();
    harness.hang_up(&mut proxy, &mut gateway);
    let via = Via::new(sip_core::flow::Transport::Udp, gateway.address, "z9hG4bKstale");
    let contact = sip_core::wire::header::NameAddr::parse("<sip:peer@192.0.2.1>").unwrap();
    let invite = stale.request(&Method::Invite, via, Some(&contact)).finish();
    harness.send(&gateway, &invite);
    harness.take_status(GATEWAY_1, 481);
}

#[test]
fn required_extensions_and_foreign_bodies() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let uri = format!("sip:+81901234567@{INSIDE}");
    let invite = harness.invite(&proxy, &uri, "<sip:101@s042.example.net>", offer());
    let invite = invite.edit().append(Name::Require, "precondition").finish();
    harness.send(&proxy, &invite);
    let refused = harness.take_status(PROXY, 420);
    assert_eq!(refused.text(Name::Unsupported), Some("precondition"));
    let invite = harness.invite(&proxy, &uri, "<sip:101@s042.example.net>", Some("--x".into()));
    let invite = invite.edit().set(Name::ContentType, "multipart/mixed;boundary=x").finish();
    harness.send(&proxy, &invite);
    assert!(harness.take_status(PROXY, 415).has(Name::Accept));
    let invite = harness.invite(&proxy, &uri, "<sip:101@s042.example.net>", offer());
    let invite = invite.edit().set(Name::MaxForwards, 0).finish();
    harness.send(&proxy, &invite);
    harness.take_status(PROXY, 483);
    assert_eq!(harness.core_active(), 0);
}

#[test]
fn too_many_calls() {
    let mut settings = settings();
    settings.max_calls = 1;
    let mut harness = Harness::with(settings, 1);
    let (mut proxy, mut gateway) = harness.call_up();
    let other = harness.proxy();
    harness.dial(&other, "+81901234567", offer());
    assert!(harness.take_status(PROXY, 503).has(Name::RetryAfter));
    harness.hang_up(&mut proxy, &mut gateway);
    harness.dial(&other, "+81901234567", offer());
    harness.take_request(GATEWAY_1, Method::Invite);
}

#[test]
fn a_draining_translator_takes_no_calls_and_keeps_its_own() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    harness.input(Input::Drain);
    assert_eq!(harness.core_active(), 1);
    let other = harness.proxy();
    harness.dial(&other, "+81901234567", offer());
    assert!(harness.take_status(PROXY, 503).has(Name::RetryAfter));
    harness.hang_up(&mut proxy, &mut gateway);
    assert_eq!(harness.core_active(), 0);
}

#[test]
fn a_stopping_translator_hangs_up_and_writes_the_record() {
    let mut harness = Harness::new();
    let _call = harness.call_up();
    harness.input(Input::Stop);
    for side in [PROXY, GATEWAY_1] {
        let bye = harness.take_request(side, Method::Bye);
        assert!(
            bye.text(sip_core::wire::Name::Reason).is_some_and(|reason| reason.contains("cause=41")),
            "{bye:?}"
        );
    }
    let record = harness.record();
    assert_eq!(
        (record.reason.as_str(), record.ended_by),
        ("the node stopped", Some(schema::EndedBy::Platform))
    );
}
