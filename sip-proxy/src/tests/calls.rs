//! One phone calls another.

use schema::{CallResult, Direction, EndedBy};
use sip_core::core::Core;
use sip_core::wire::header::{MaxForwards, PAssertedIdentity, RecordRoute, Via};
use sip_core::wire::{Method, Name};

use super::harness::*;
use crate::settings::Settings;

/// A calls B, who answers. Gives A's INVITE and the 200 as A got it.
fn established(harness: &mut Harness) -> (sip_core::wire::Message, sip_core::wire::Message) {
    let invite = harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    harness.deliver(B, &answer(&received, 180, B));
    harness.expect(A, 180);
    harness.deliver(B, &answer(&received, 200, B));
    let ok = harness.expect(A, 200);
    (invite, ok)
}

#[test]
fn from_invite_to_bye() {
    let mut harness = Harness::new();
    let (invite, ok) = established(&mut harness);
    assert_eq!(ok.all::<Via>().count(), 1);
    assert_eq!(ok.top_via().unwrap().branch(), invite.top_via().unwrap().branch());
    // ACK, re-INVITE and BYE follow the Route, without a new challenge.
    harness.deliver(A, &in_dialog(&Method::Ack, 2, A, &ok, true, "sip:phone@[2001:db8:1::102]:5060"));
    let ack = harness.expect_request(B, &Method::Ack);
    assert!(!ack.has(Name::Route));
    harness.deliver(B, &in_dialog(&Method::Invite, 1, B, &ok, false, "sip:101@[2001:db8:1::101]:5060"));
    harness.expect(B, 100);
    let again = harness.expect_request(A, &Method::Invite);
    assert!(!again.has(Name::RecordRoute), "the route set is fixed");
    harness.deliver(A, &answer(&again, 200, A));
    harness.expect(B, 200);
    assert!(harness.records.is_empty());
    harness.deliver(B, &in_dialog(&Method::Bye, 2, B, &ok, false, "sip:101@[2001:db8:1::101]:5060"));
    let bye = harness.expect_request(A, &Method::Bye);
    harness.deliver(A, &answer(&bye, 200, A));
    harness.expect(B, 200);
    let [record] = harness.records.as_slice() else { panic!("{:?}", harness.records) };
    assert_eq!((record.result, record.direction), (CallResult::Answered, Direction::Internal));
    assert_eq!((record.caller.as_str(), record.callee.as_str()), ("101@s1.example.net", "102"));
    assert_eq!(record.ended_by, Some(EndedBy::Callee));
    assert!(record.answered_at.is_some() && record.ended_at.is_some() && record.check().is_ok());
    harness.forget();
    harness.wait(64.0);
    assert_eq!(harness.core.active(), 0);
    assert!(harness.core.contexts.is_empty() && harness.core.by_client.is_empty());
    assert!(harness.core.by_server.is_empty());
}

#[test]
fn what_the_callee_gets() {
    let mut harness = Harness::new();
    let invite = harness.request(&Method::Invite, A, "anybody@else.example", "sip:102@s1.example.net");
    let invite = invite
        .edit()
        .append(Name::PAssertedIdentity, "<sip:president@example.net>")
        .append(Name::PPreferredIdentity, "<sip:president@example.net>")
        .append(Name::Other("X-Odd"), "  kept,as it is ")
        .set(Name::MaxForwards, 20)
        .finish();
    harness.send_as(A, "s1-101", &invite);
    let received = harness.expect_request(B, &Method::Invite);
    assert_eq!(received.request_uri_text(), "sip:102@[2001:db8:1::102]:5060");
    assert_eq!(received.header::<MaxForwards>(), Ok(Some(MaxForwards(19))));
    assert!(!received.has(Name::ProxyAuthorization) && !received.has(Name::PPreferredIdentity));
    let identities: Vec<String> =
        received.all::<PAssertedIdentity>().flatten().map(|identity| identity.to_string()).collect();
    assert_eq!(identities, ["<sip:101@s1.example.net>"]);
    assert_eq!(received.text(Name::From), invite.text(Name::From));
    assert_eq!(received.text(Name::Other("X-Odd")), Some("kept,as it is"));
    assert_eq!(received.body(), invite.body());
    let route = received.required::<RecordRoute>().unwrap();
    assert!(route.uri.sip().unwrap().is_loose());
    let via = received.top_via().unwrap();
    assert!(via.branch().unwrap().starts_with("z9hG4bKc6w00-"));
    assert_eq!(via.sent_by.to_string(), PROXY);
}

#[test]
fn privacy_hides_the_identity_from_phones() {
    let mut harness = Harness::new();
    let invite = harness.request(&Method::Invite, A, "anonymous@anonymous.invalid", "sip:102@s1.example.net");
    let invite = invite.edit().append(Name::Privacy, "id").finish();
    harness.send_as(A, "s1-101", &invite);
    assert!(!harness.expect_request(B, &Method::Invite).has(Name::PAssertedIdentity));
}

#[test]
fn the_caller_gives_up() {
    let mut harness = Harness::new();
    let invite = harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    harness.deliver(B, &answer(&received, 180, B));
    harness.expect(A, 180);
    let cancel = cancel_of(&invite).edit().append(Name::Reason, "SIP;cause=487;text=\"enough\"").finish();
    harness.deliver(A, &cancel);
    harness.expect(A, 200);
    let cancelled = harness.expect_request(B, &Method::Cancel);
    assert_eq!(cancelled.text(Name::Reason), Some("SIP;cause=487;text=\"enough\""));
    harness.deliver(B, &answer(&cancelled, 200, B));
    harness.deliver(B, &answer(&received, 487, B));
    harness.expect_request(B, &Method::Ack);
    let end = harness.expect(A, 487);
    harness.deliver(A, &ack_of_failure(&invite, &end));
    let [record] = harness.records.as_slice() else { panic!("{:?}", harness.records) };
    assert_eq!((record.result, record.ended_by), (CallResult::Cancelled, Some(EndedBy::Caller)));
    assert_eq!(record.status, Some(487));
}

#[test]
fn an_answer_that_crosses_the_cancel_reaches_the_caller() {
    let mut harness = Harness::new();
    let invite = harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    harness.deliver(B, &answer(&received, 180, B));
    harness.expect(A, 180);
    harness.deliver(A, &cancel_of(&invite));
    harness.expect(A, 200);
    harness.deliver(B, &answer(&received, 200, B));
    harness.expect(A, 200);
    // Even after the caller was told that the call is over.
    let mut settings = Settings::for_tests();
    settings.timers.cancelled = std::time::Duration::from_secs(5);
    let mut harness = Harness::with(settings);
    harness.bind(2, "sip:102@[2001:db8:1::102]:5060", 1000, B);
    let invite = harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    harness.deliver(B, &answer(&received, 180, B));
    harness.expect(A, 180);
    harness.deliver(A, &cancel_of(&invite));
    harness.expect(A, 200);
    harness.wait(5.1);
    harness.expect(A, 487);
    harness.forget();
    harness.deliver(B, &answer(&received, 200, B));
    harness.expect(A, 200);
}

#[test]
fn a_busy_phone_and_one_that_is_not_there() {
    let mut harness = Harness::new();
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    harness.deliver(B, &answer(&received, 486, B));
    harness.expect_request(B, &Method::Ack);
    harness.expect(A, 486);
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:110@centrex6.example");
    harness.send_as(A, "s1-101", &invite);
    harness.expect_request(TRANSLATOR_2, &Method::Invite);
    harness.expect(A, 100);
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:199@s1.example.net");
    harness.send_as(A, "s1-101", &invite);
    harness.expect(A, 404);
    harness.locations.remove_line(schema::LineId(2));
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:102@s1.example.net");
    harness.send_as(A, "s1-101", &invite);
    harness.expect(A, 480);
    let results: Vec<CallResult> = harness.records.iter().map(|record| record.result).collect();
    assert_eq!(results, [CallResult::Busy, CallResult::Rejected, CallResult::NoAnswer]);
}

#[test]
fn a_phone_that_is_switched_off() {
    let mut harness = Harness::new();
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    harness.wait(31.0);
    harness.expect_nothing(A);
    harness.wait(2.0);
    harness.expect(A, 408);
}

#[test]
fn nobody_picks_up() {
    let mut harness = Harness::new();
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    harness.deliver(B, &answer(&received, 180, B));
    harness.expect(A, 180);
    harness.wait(179.0);
    harness.expect_nothing(B);
    harness.wait(2.0);
    let cancel = harness.expect_request(B, &Method::Cancel);
    harness.deliver(B, &answer(&cancel, 200, B));
    harness.deliver(B, &answer(&received, 487, B));
    harness.expect(A, 408);
    assert_eq!(harness.records[0].result, CallResult::NoAnswer);
}

#[test]
fn retransmissions_are_absorbed() {
    let mut harness = Harness::new();
    let invite = harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    harness.deliver(A, &invite);
    harness.expect(A, 100);
    harness.expect_nothing(B);
    harness.wait(0.5);
    assert_eq!(harness.expect_request(B, &Method::Invite).bytes(), received.bytes());
    harness.deliver(B, &answer(&received, 486, B));
    harness.deliver(B, &answer(&received, 486, B));
    harness.expect(A, 486);
    harness.expect_nothing(A);
    assert_eq!(harness.records.len(), 1);
}

#[test]
fn a_lost_call_is_closed() {
    let mut harness = Harness::new();
    established(&mut harness);
    harness.wait(12.0 * 3600.0 + 60.0);
    assert_eq!(harness.records.len(), 1);
    assert_eq!(harness.records[0].ended_by, Some(EndedBy::Platform));
    assert_eq!(harness.core.active(), 0);
}

#[test]
fn other_requests_are_forwarded_too() {
    let mut harness = Harness::new();
    for method in [Method::Message, Method::Options, Method::Other("FOO".into())] {
        let request = harness.request(&method, A, "101@s1.example.net", "sip:102@s1.example.net");
        harness.send_as(A, "s1-101", &request);
        let received = harness.expect_request(B, &method);
        assert!(!received.has(Name::RecordRoute));
        harness.deliver(B, &answer(&received, 200, B));
        harness.expect(A, 200);
    }
    // RFC 4320: no 408 for these.
    let request = harness.request(&Method::Message, A, "101@s1.example.net", "sip:102@s1.example.net");
    harness.send_as(A, "s1-101", &request);
    harness.wait(33.0);
    harness.expect(A, 480);
}

#[test]
fn a_caller_over_tcp_is_found_by_its_connection() {
    let mut harness = Harness::new();
    let tcp = "[2001:db8:1::101]:40001";
    let invite = harness.request(&Method::Invite, tcp, "101@s1.example.net", "sip:102@s1.example.net");
    let via = invite.text(Name::Via).unwrap().replace("UDP", "TCP");
    let invite = invite.edit().set(Name::Via, via).finish();
    harness.deliver_tcp(tcp, 77, &invite);
    let challenge = harness.expect(tcp, 407);
    harness.deliver_tcp(tcp, 77, &ack_of_failure(&invite, &challenge));
    let invite = harness.authorize(&invite, &challenge, "s1-101", crate::fixture::PASSWORD);
    harness.deliver_tcp(tcp, 77, &invite);
    harness.expect(tcp, 100);
    let received = harness.expect_request(B, &Method::Invite);
    assert_eq!(received.all::<RecordRoute>().count(), 2);
    harness.deliver(B, &answer(&received, 200, B));
    let ok = harness.expect(tcp, 200);
    harness.deliver(B, &in_dialog(&Method::Bye, 1, B, &ok, false, "sip:101@[2001:db8:1::101]:5060"));
    let (transmit, bye) = harness.take_transmit("[2001:db8:1::101]:5060");
    assert!(bye.is(&Method::Bye));
    assert_eq!(transmit.flow.connection, Some(sip_core::flow::ConnectionId(77)));
}
