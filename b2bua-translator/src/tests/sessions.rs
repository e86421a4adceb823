//! Session timers (RFC 4028), each leg for itself.

use std::time::Duration;

use schema::EndedBy;
use sip_core::wire::{Method, Name};

use crate::testing::harness::*;

const TIMER: (Name, &str) = (Name::Supported, "timer");
const UPDATES: (Name, &str) = (Name::Allow, "INVITE, ACK, BYE, CANCEL, UPDATE");

fn offer() -> Option<String> {
    Some(sdp(PHONE_MEDIA, 11_000))
}

fn answer() -> Option<String> {
    Some(sdp(GATEWAY_MEDIA, 4_000))
}

/// An answered call; what the phone and the gateway say of timers is given.
fn call(harness: &mut Harness, phone: &[(Name, &str)], trunk: &[(Name, &str)]) -> (Peer, Peer) {
    let mut proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    let invite = harness.dial_with(&proxy, offer(), phone);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply_with(&mut gateway, &out, 200, answer(), trunk);
    let ok = harness.take_status(PROXY, 200);
    proxy.learn(&invite, &ok);
    harness.ack(&proxy, &ok, None);
    harness.forget_sent();
    (proxy, gateway)
}

/// RFC 4028 §7.1, §9: each leg negotiates for itself.
#[test]
fn what_each_leg_agrees() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    harness.dial_with(&proxy, offer(), &[TIMER, (Name::SessionExpires, "600;refresher=uas")]);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(out.text(Name::SessionExpires), Some("1800"));
    assert!(!out.has(Name::Require));
    harness.reply_with(&mut gateway, &out, 200, answer(), &[(Name::SessionExpires, "900;refresher=uas")]);
    let ok = harness.take_status(PROXY, 200);
    assert_eq!(ok.text(Name::SessionExpires), Some("600;refresher=uas"));
    assert!(!ok.has(Name::Require));
    assert_eq!(ok.text(Name::Supported), Some("timer"));
}

/// RFC 4028 §7.4: an INVITE refused with 422 is sent again in the same call with what Min-SE asks for.
#[test]
fn an_interval_that_is_too_small_for_the_gateway() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    harness.dial(&proxy, "+81901234567", offer());
    let first = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply_with(&mut gateway, &first, 422, None, &[(Name::MinSe, "3600")]);
    harness.take_request(GATEWAY_1, Method::Ack);
    let second = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(second.text(Name::SessionExpires), Some("3600"));
    assert_eq!(second.text(Name::MinSe), Some("3600"));
    assert_eq!((second.call_id().unwrap(), second.cseq().unwrap().number), (first.call_id().unwrap(), 2));
    assert_eq!(second.from_tag(), first.from_tag());
    assert_eq!(second.body(), first.body());
    // One that says the same again is not asked a third time.
    harness.reply_with(&mut gateway, &second, 422, None, &[(Name::MinSe, "3600")]);
    harness.take_status(PROXY, 422);
    harness.pass(Duration::from_secs(120));
    harness.assert_over();
}

/// RFC 4028 §9: an interval below our least gets 422, in a new call and in an old one.
#[test]
fn an_interval_that_is_too_small_for_us() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let short = [TIMER, (Name::SessionExpires, "60")];
    harness.dial_with(&proxy, offer(), &short);
    assert_eq!(harness.take_status(PROXY, 422).text(Name::MinSe), Some("90"));
    assert_eq!(harness.core_active(), 0);
    let (mut proxy, mut gateway) = call(&mut harness, &[], &[]);
    for method in [Method::Invite, Method::Update] {
        harness.ask_with(&mut gateway, method, answer(), &short);
        assert_eq!(harness.take_status(GATEWAY_1, 422).text(Name::MinSe), Some("90"));
    }
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

/// RFC 4028 §7.4: we refresh after half of the interval, by UPDATE where the peer takes it, else by INVITE; refreshes of one leg are
/// not heard on the other.
#[test]
fn we_refresh() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = call(&mut harness, &[UPDATES], &[]);
    for round in 0..3 {
        harness.pass(Duration::from_millis(900_001));
        let update = harness.take_request(PROXY, Method::Update);
        assert_eq!(update.text(Name::SessionExpires), Some("1800;refresher=uac"));
        assert!(update.body().is_empty() && update.has(Name::Contact));
        harness.reply(&mut proxy, &update, 200, None);
        let invite = harness.take_request(GATEWAY_1, Method::Invite);
        assert_eq!(invite.text(Name::SessionExpires), Some("1800;refresher=uac"));
        assert_eq!(described(&invite).origin().unwrap().version, b"1", "it says what stands");
        harness.reply(&mut gateway, &invite, 200, answer());
        harness.take_request(GATEWAY_1, Method::Ack);
        assert!(harness.nothing_for(PROXY) && harness.nothing_for(GATEWAY_1), "round {round}");
    }
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

/// RFC 4028 §10: a refresher that falls silent is hung up a little before the interval is over, and the record says why.
#[test]
fn the_peer_should_refresh_and_does_not() {
    let mut harness = Harness::new();
    let expires = (Name::SessionExpires, "120;refresher=uac");
    let (mut proxy, mut gateway) = call(&mut harness, &[TIMER, expires], &[]);
    harness.pass(Duration::from_secs(60));
    harness.ask_with(&mut proxy, Method::Update, None, &[TIMER, expires]);
    assert_eq!(harness.take_status(PROXY, 200).text(Name::SessionExpires), Some("120;refresher=uac"));
    harness.pass(Duration::from_secs(87));
    assert!(harness.nothing_for(PROXY), "120 - 32 s after the refresh");
    harness.pass(Duration::from_secs(2));
    for (peer, at) in [(&mut proxy, PROXY), (&mut gateway, GATEWAY_1)] {
        let bye = harness.take_request(at, Method::Bye);
        assert_eq!(bye.text(Name::Reason), Some("SIP;cause=408;text=\"Session expired\""));
        harness.reply(peer, &bye, 200, None);
    }
    harness.assert_over();
    let record = harness.record();
    assert_eq!(record.reason, "session expired: nobody refreshed it");
    assert_eq!(record.ended_by, Some(EndedBy::Platform));
}

/// RFC 4028 §10: a peer that does not answer our refresh is dead.
#[test]
fn a_refresh_without_an_answer() {
    for updates in [&[UPDATES][..], &[]] {
        let mut harness = Harness::new();
        let (mut proxy, _) = call(&mut harness, &[TIMER], updates);
        harness.pass(Duration::from_secs(901));
        harness.pass(Duration::from_secs(33));
        let bye = harness.take_request(PROXY, Method::Bye);
        harness.reply(&mut proxy, &bye, 200, None);
        harness.pass(Duration::from_secs(120));
        harness.assert_over();
        assert_eq!(harness.record().ended_by, Some(EndedBy::Platform));
    }
}

/// RFC 4028 §7.4: a refresh that meets with something else is tried again, by another method where that is what is wrong; in the end the
/// session expires in its own time.
#[test]
fn refreshes_that_are_refused() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = call(&mut harness, &[TIMER], &[UPDATES]);
    harness.pass(Duration::from_secs(901));
    let update = harness.take_request(GATEWAY_1, Method::Update);
    harness.reply(&mut gateway, &update, 405, None);
    let invite = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &invite, 491, None);
    harness.pass(Duration::from_secs(4));
    let again = harness.take_request(GATEWAY_1, Method::Invite);
    let again = if again.cseq().unwrap() == invite.cseq().unwrap() {
        harness.take_request(GATEWAY_1, Method::Invite)
    } else {
        again
    };
    harness.reply(&mut gateway, &again, 500, None);
    harness.forget_sent();
    harness.pass(Duration::from_secs(11));
    let last = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &last, 422, None);
    harness.forget_sent();
    // While the other side is asked nothing: its own timer is the phone's to refresh.
    harness.ask_with(&mut proxy, Method::Update, None, &[TIMER, (Name::SessionExpires, "7200")]);
    harness.take_status(PROXY, 200);
    loop {
        harness.pass(Duration::from_secs(5));
        let Some(message) = harness.try_take(GATEWAY_1) else { continue };
        if message.is(&Method::Bye) {
            harness.reply(&mut gateway, &message, 200, None);
            break;
        }
        if message.is(&Method::Invite) {
            harness.reply(&mut gateway, &message, 500, None);
        }
    }
    let bye = harness.take_request(PROXY, Method::Bye);
    harness.reply(&mut proxy, &bye, 200, None);
    harness.pass(Duration::from_secs(120));
    harness.assert_over();
    assert_eq!(harness.record().reason, "session expired: nobody refreshed it");
}

/// RFC 4028 §7.4: an offer that we pass on says who refreshes the leg that it goes to.
#[test]
fn offers_keep_the_timer() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = call(&mut harness, &[], &[(Name::SessionExpires, "600;refresher=uas")]);
    harness.ask(&mut proxy, Method::Invite, Some(("application/sdp", sdp(PHONE_MEDIA, 12_000))));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(out.text(Name::SessionExpires), Some("600;refresher=uas"), "the gateway refreshes");
    harness.reply_with(&mut gateway, &out, 200, answer(), &[(Name::SessionExpires, "600;refresher=uas")]);
    let ok = harness.take_status(PROXY, 200);
    assert_eq!(ok.text(Name::SessionExpires), Some("1800;refresher=uas"));
    harness.ack(&proxy, &ok, None);
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

#[test]
fn without_a_policy_nobody_is_asked() {
    let mut settings = settings();
    settings.session.interval = None;
    let mut harness = Harness::with(settings, 1);
    let (mut proxy, mut gateway) = call(&mut harness, &[], &[]);
    harness.pass(Duration::from_secs(7_200));
    assert!(harness.nothing_for(PROXY) && harness.nothing_for(GATEWAY_1));
    harness.hang_up(&mut proxy, &mut gateway);
}
