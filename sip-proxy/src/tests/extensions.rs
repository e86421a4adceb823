//! Extensions of SIP that pass through the proxy, or that it takes part in.

use sip_core::wire::header::{Reason, RecordRoute, SessionExpires};
use sip_core::wire::{Message, Method, Name};

use super::harness::*;
use crate::settings::Settings;

const B2: &str = "[2001:db8:1::202]:5060";

/// An INVITE of A to B with further headers, as it goes out and as B gets it.
fn called(harness: &mut Harness, headers: &[(Name, &str)]) -> (Message, Message) {
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:102@s1.example.net");
    let invite = with(&invite, headers);
    let sent = harness.send_as(A, "s1-101", &invite);
    harness.expect(A, 100);
    let received = harness.expect_request(B, &Method::Invite);
    (sent, received)
}

fn with(message: &Message, headers: &[(Name, &str)]) -> Message {
    let mut edit = message.edit();
    for (name, value) in headers {
        edit.append(*name, value);
    }
    edit.finish()
}

/// RFC 4028 §8.1: an INVITE without Session-Expires gets one, and a long one is lowered.
/// RFC 4028 §8.2: the proxy answers for a server that knows no session timer.
#[test]
fn a_session_timer_is_asked_for() {
    let mut harness = Harness::new();
    let (_, received) = called(&mut harness, &[(Name::Supported, "timer")]);
    assert_eq!(received.header(), Ok(Some(SessionExpires::new(1800, None))));
    harness.deliver(B, &answer(&received, 200, B));
    let ok = harness.expect(A, 200);
    assert_eq!(ok.text(Name::SessionExpires), Some("1800;refresher=uac"));
    assert_eq!(ok.text(Name::Require), Some("timer"));
    // A refresh in the dialog is treated alike.
    let update = in_dialog(&Method::Update, 3, A, &ok, true, "sip:phone@[2001:db8:1::102]:5060");
    let update = with(&update, &[(Name::SessionExpires, "7200;refresher=uac"), (Name::Supported, "timer")]);
    harness.deliver(A, &update);
    let received = harness.expect_request(B, &Method::Update);
    assert_eq!(received.text(Name::SessionExpires), Some("1800;refresher=uac"));
    harness.deliver(B, &with(&answer(&received, 200, B), &[(Name::SessionExpires, "1800;refresher=uac")]));
    assert!(!harness.expect(A, 200).has(Name::Require));
    // Nobody refreshes any more: the call is over when both ends think so.
    harness.wait(1800.0);
    assert!(harness.records.is_empty());
    harness.wait(70.0);
    assert_eq!(harness.records.len(), 1);
}

/// RFC 4028 §8.1: an interval under our minimum gets 422 with Min-SE, in a dialog too.
#[test]
fn a_session_interval_that_is_too_small() {
    let mut harness = Harness::new();
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:102@s1.example.net");
    let invite = with(&invite, &[(Name::SessionExpires, "30"), (Name::Supported, "timer")]);
    harness.send_as(A, "s1-101", &invite);
    assert_eq!(harness.expect(A, 422).text(Name::MinSe), Some("90"));
    harness.expect_nothing(B);
    let (_, received) = called(&mut harness, &[]);
    harness.deliver(B, &answer(&received, 200, B));
    let ok = harness.expect(A, 200);
    let update = in_dialog(&Method::Update, 3, A, &ok, true, "sip:phone@[2001:db8:1::102]:5060");
    harness.deliver(A, &with(&update, &[(Name::SessionExpires, "30"), (Name::Supported, "timer")]));
    harness.expect(A, 422);
    // The callee's own 422 is the caller's business.
    let (_, received) = called(&mut harness, &[]);
    harness.deliver(B, &with(&answer(&received, 422, B), &[(Name::MinSe, "3600")]));
    assert_eq!(harness.expect(A, 422).text(Name::MinSe), Some("3600"));
}

/// RFC 3262 §3: reliable provisional responses, PRACK and its answer pass the proxy in the dialog that they belong to.
/// RFC 3311 §5: UPDATE passes the proxy in an early dialog.
#[test]
fn reliable_provisional_responses_pass() {
    let mut harness = Harness::new();
    let (_, received) = called(&mut harness, &[(Name::Supported, "100rel"), (Name::Require, "100rel")]);
    assert_eq!(received.text(Name::Require), Some("100rel"), "what a user agent must support is not ours");
    let progress = with(&answer(&received, 183, B), &[(Name::Require, "100rel"), (Name::RSeq, "813520")]);
    harness.deliver(B, &progress);
    let progress = harness.expect(A, 183);
    assert_eq!((progress.text(Name::RSeq), progress.text(Name::Require)), (Some("813520"), Some("100rel")));
    let target = "sip:phone@[2001:db8:1::102]:5060";
    let prack = in_dialog(&Method::Prack, 3, A, &progress, true, target);
    harness.deliver(A, &with(&prack, &[(Name::RAck, "813520 2 INVITE")]));
    let received_prack = harness.expect_request(B, &Method::Prack);
    assert_eq!(received_prack.text(Name::RAck), Some("813520 2 INVITE"));
    harness.deliver(B, &answer(&received_prack, 200, B));
    harness.expect(A, 200);
    let update = in_dialog(&Method::Update, 4, A, &progress, true, target);
    harness.deliver(A, &update);
    let update = harness.expect_request(B, &Method::Update);
    harness.deliver(B, &answer(&update, 200, B));
    harness.expect(A, 200);
    harness.deliver(B, &answer(&received, 200, B));
    harness.expect(A, 200);
}

/// RFC 3891 §3: Replaces passes the proxy as it stands; whose dialog it names is the callee's business.
/// RFC 3911 §4: Join passes the proxy as it stands.
/// RFC 3261 §8.2.2.3: Require is for user agents; a proxy does not look at it.
#[test]
fn replaces_and_join_pass() {
    let mut harness = Harness::new();
    let replaces = "425928@bobster.example.org;to-tag=7743;from-tag=6472;early-only";
    let join = "12adf2f34456gs5;to-tag=12345;from-tag=54321";
    for (name, value, required) in
        [(Name::Replaces, replaces, "replaces"), (Name::Other("Join"), join, "join")]
    {
        let (_, received) = called(&mut harness, &[(name, value), (Name::Require, required)]);
        assert_eq!((received.text(name), received.text(Name::Require)), (Some(value), Some(required)));
        harness.deliver(B, &answer(&received, 420, B));
        harness.expect_request(B, &Method::Ack);
        harness.expect(A, 420);
    }
}

/// RFC 3261 §16.7: every provisional response of a fork goes upstream, each with the To tag of its own early dialog.
/// RFC 6228 §6: the early dialog of a branch that fails is told to be over, with the reason.
#[test]
fn several_early_dialogs() {
    let mut harness = Harness::new();
    harness.bind(2, "sip:102@[2001:db8:1::202]:5060", 1000, B2);
    let (invite, one) = called(&mut harness, &[(Name::Supported, "199")]);
    let two = harness.expect_request(B2, &Method::Invite);
    harness.deliver(B, &answer(&one, 180, B));
    let tag_one = harness.expect(A, 180).to_tag();
    harness.deliver(B2, &answer(&two, 183, B2));
    let tag_two = harness.expect(A, 183).to_tag();
    assert_ne!(tag_one, tag_two);
    harness.deliver(B, &answer(&one, 486, B));
    harness.expect_request(B, &Method::Ack);
    let ended = harness.expect(A, 199);
    assert_eq!((ended.to_tag(), ended.required::<Reason>().unwrap().cause), (tag_one, Some(486)));
    assert_eq!(ended.top_via().unwrap().branch(), invite.top_via().unwrap().branch());
    harness.deliver(B2, &answer(&two, 200, B2));
    assert_eq!(harness.expect(A, 200).to_tag(), tag_two);
    // Who does not know 199 gets none, and who wants it reliably neither.
    for headers in [&[][..], &[(Name::Supported, "199"), (Name::Require, "100rel")]] {
        let (_, one) = called(&mut harness, headers);
        let two = harness.expect_request(B2, &Method::Invite);
        harness.deliver(B, &answer(&one, 180, B));
        harness.expect(A, 180);
        harness.deliver(B, &answer(&one, 486, B));
        harness.expect_request(B, &Method::Ack);
        harness.expect_nothing(A);
        harness.deliver(B2, &answer(&two, 486, B2));
        harness.expect_request(B2, &Method::Ack);
        harness.expect(A, 486);
    }
}

/// RFC 3261 §8.2.2.2: a REGISTER that comes a second time by another path is answered with 482.
#[test]
fn a_merged_register() {
    let mut harness = Harness::with(Settings::for_tests());
    let register = harness.request(&Method::Register, A, "101@s1.example.net", "sip:s1.example.net");
    harness.deliver(A, &register);
    harness.expect(A, 401);
    let mut via = register.top_via().unwrap();
    via.params.set("branch", Some("z9hG4bKanother"));
    harness.deliver(A, &register.edit().set(Name::Via, &via).finish());
    harness.expect(A, 482);
    // The same path is a retransmission.
    harness.deliver(A, &register);
    harness.expect(A, 401);
}

/// RFC 3261 §8.2.2.3: a server that does not support what is required names all of it in Unsupported.
#[test]
fn what_is_required_of_ourselves() {
    let mut harness = Harness::new();
    let options = harness.request(&Method::Options, STRANGER, "x@y", "sip:[2001:db8::1]:5060");
    harness.deliver(STRANGER, &with(&options, &[(Name::Require, "foo, path"), (Name::Require, "bar")]));
    let refused = harness.expect(STRANGER, 420);
    let unsupported: Vec<&[u8]> = refused.raws(Name::Unsupported).collect();
    assert_eq!(unsupported, [b"foo", b"bar"]);
    // RFC 3261 §11.2.
    let options = harness.request(&Method::Options, STRANGER, "x@y", "sip:[2001:db8::1]:5060");
    harness.deliver(STRANGER, &options);
    let ok = harness.expect(STRANGER, 200);
    for name in ["Allow", "Accept", "Accept-Encoding", "Accept-Language", "Supported"] {
        assert!(ok.has(Name::Other(name)), "{name}");
    }
}

/// RFC 5658 §3: where the address families of both sides differ, each side gets a Record-Route that it can reach.
#[test]
fn a_phone_of_the_other_family() {
    let mut settings = Settings::for_tests();
    settings.listeners.push(node::listener::Listener::udp("192.0.2.80:5060".parse().unwrap()));
    let mut harness = Harness::with(settings);
    let v4 = "192.0.2.102:5060";
    harness.bind(2, "sip:102@192.0.2.102:5060", 1000, v4);
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(v4, &Method::Invite);
    let hosts = |message: &Message| -> Vec<String> {
        let routes = message.all::<RecordRoute>().map(Result::unwrap);
        routes.map(|route| route.uri.sip().unwrap().host_port.to_string()).collect()
    };
    assert_eq!(hosts(&received), ["192.0.2.80:5060", "[2001:db8::1]:5060"]);
    assert_eq!(received.top_via().unwrap().sent_by.to_string(), "192.0.2.80:5060");
    harness.deliver_from("192.0.2.80:5060", v4, &answer(&received, 200, v4));
    let ok = harness.expect(A, 200);
    // From either side, by the value that faces it.
    harness.deliver(A, &in_dialog(&Method::Ack, 2, A, &ok, true, "sip:phone@192.0.2.102:5060"));
    assert!(!harness.expect_request(v4, &Method::Ack).has(Name::Route));
    let bye = in_dialog(&Method::Bye, 1, v4, &ok, false, "sip:101@[2001:db8:1::101]:5060");
    harness.deliver_from("192.0.2.80:5060", v4, &bye);
    assert!(!harness.expect_request(A, &Method::Bye).has(Name::Route));
}
