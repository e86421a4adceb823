//! Calls through translators, and from them.

use schema::{CallResult, Direction};
use sip_core::core::Core;
use sip_core::wire::header::PAssertedIdentity;
use sip_core::wire::{Method, Name};

use super::harness::*;

#[test]
fn a_call_goes_out_normalised_and_with_an_identity() {
    let mut harness = Harness::new();
    harness.call(A, "s1-101", "sip:03-1234-5678@s1.example.net;user=phone");
    let received = harness.expect_request(TRANSLATOR_2, &Method::Invite);
    assert_eq!(received.request_uri_text(), "sip:+81312345678@[2001:db8::6]:5070");
    assert_eq!(received.required::<PAssertedIdentity>().unwrap().to_string(), "<sip:101@s1.example.net>");
    assert!(received.has(Name::RecordRoute));
    harness.deliver(TRANSLATOR_2, &answer(&received, 200, TRANSLATOR_2));
    let ok = harness.expect(A, 200);
    assert!(harness.core.active() > 0);
    harness.deliver(A, &in_dialog(&Method::Bye, 3, A, &ok, true, "sip:x@[2001:db8::6]:5070"));
    let bye = harness.expect_request(TRANSLATOR_2, &Method::Bye);
    harness.deliver(TRANSLATOR_2, &answer(&bye, 200, TRANSLATOR_2));
    harness.expect(A, 200);
    assert!(harness.records.is_empty(), "the translator writes it");
    // The next call takes the other one.
    harness.call(A, "s1-101", "tel:+81-3-1234-5678");
    harness.expect_request(TRANSLATOR_1, &Method::Invite);
}

#[test]
fn privacy_does_not_hide_the_caller_from_the_translator() {
    let mut harness = Harness::new();
    let invite = harness.request(&Method::Invite, A, "anonymous@anonymous.invalid", "sip:119@s1.example.net");
    let invite = invite.edit().append(Name::Privacy, "id").finish();
    harness.send_as(A, "s1-101", &invite);
    let received = harness.expect_request(TRANSLATOR_2, &Method::Invite);
    assert_eq!(received.request_uri_text(), "sip:119@[2001:db8::6]:5070");
    assert!(received.has(Name::PAssertedIdentity));
}

#[test]
fn another_translator_stands_in() {
    let mut harness = Harness::new();
    let invite = harness.call(A, "s1-101", "sip:0312345678@s1.example.net");
    let received = harness.expect_request(TRANSLATOR_2, &Method::Invite);
    harness.deliver(TRANSLATOR_2, &answer(&received, 503, TRANSLATOR_2));
    harness.expect_nothing(A);
    let received = harness.expect_request(TRANSLATOR_1, &Method::Invite);
    harness.deliver(TRANSLATOR_1, &answer(&received, 486, TRANSLATOR_1));
    let busy = harness.expect(A, 486);
    harness.deliver(A, &ack_of_failure(&invite, &busy));
    // One that is silent is passed over soon.
    harness.forget();
    harness.call(A, "s1-101", "sip:0312345678@s1.example.net");
    harness.expect_request(TRANSLATOR_1, &Method::Invite);
    harness.expect_nothing(TRANSLATOR_2);
    harness.wait(4.1);
    let received = harness.expect_request(TRANSLATOR_2, &Method::Invite);
    harness.deliver(TRANSLATOR_2, &answer(&received, 200, TRANSLATOR_2));
    harness.expect(A, 200);
    assert!(harness.records.is_empty());
}

#[test]
fn no_translator_at_all() {
    let mut harness = Harness::new();
    harness.call(A, "s1-101", "sip:0312345678@s1.example.net");
    harness.wait(8.1);
    assert!(harness.expect(A, 503).has(Name::RetryAfter));
    let [record] = harness.records.as_slice() else { panic!("{:?}", harness.records) };
    assert_eq!((record.result, record.direction), (CallResult::Failed, Direction::Outbound));
}

#[test]
fn all_are_full() {
    let mut harness = Harness::new();
    harness.call(A, "s1-101", "sip:0312345678@s1.example.net");
    for translator in [TRANSLATOR_2, TRANSLATOR_1] {
        let received = harness.expect_request(translator, &Method::Invite);
        harness.deliver(translator, &answer(&received, 503, translator));
    }
    harness.expect(A, 503);
    assert!(harness.records.is_empty(), "they wrote their own");
}

#[test]
fn rights_and_routes() {
    let mut harness = Harness::new();
    for (phone, user, uri, status) in [
        (B, "s1-102", "sip:0312345678@s1.example.net", 403),
        (C, "s2-201", "sip:01012125550123@s2.example.net", 403),
        (A, "s1-101", "sip:01044205550123@s1.example.net", 404),
        (A, "s1-101", "sip:09@s1.example.net", 404),
    ] {
        let invite = harness.request(&Method::Invite, phone, "x@s1.example.net", uri);
        harness.send_as(phone, user, &invite);
        harness.expect(phone, status);
    }
    let results: Vec<(CallResult, Direction)> =
        harness.records.iter().map(|record| (record.result, record.direction)).collect();
    let out = |result| (result, Direction::Outbound);
    assert_eq!(
        results,
        [
            out(CallResult::Rejected),
            out(CallResult::Rejected),
            out(CallResult::Rejected),
            (CallResult::Rejected, Direction::Internal)
        ]
    );
    // An emergency call needs no right.
    harness.call(B, "s1-102", "sip:119@s1.example.net");
}

#[test]
fn a_number_of_ours_is_called_inside() {
    let mut harness = Harness::new();
    harness.call(B, "s1-102", "sip:0355550201@s1.example.net");
    let received = harness.expect_request(C, &Method::Invite);
    assert_eq!(received.request_uri_text(), "sip:201@[2001:db8:2::201]:5060");
}

#[test]
fn a_call_comes_in_from_a_trunk() {
    let mut harness = Harness::new();
    let invite = harness.request(
        &Method::Invite,
        TRANSLATOR_1,
        "+81300000000@x.invalid",
        "sip:+81355550201@[2001:db8::1]:5060",
    );
    let invite = invite.edit().append(Name::PAssertedIdentity, "<sip:+81300000000@[2001:db8::5]>").finish();
    harness.deliver(TRANSLATOR_1, &invite);
    harness.expect(TRANSLATOR_1, 100);
    let received = harness.expect_request(C, &Method::Invite);
    assert_eq!(received.text(Name::PAssertedIdentity), Some("<sip:+81300000000@[2001:db8::5]>"));
    harness.deliver(C, &answer(&received, 180, C));
    harness.expect(TRANSLATOR_1, 180);
    harness.deliver(C, &answer(&received, 200, C));
    let ok = harness.expect(TRANSLATOR_1, 200);
    harness.deliver(C, &in_dialog(&Method::Bye, 1, C, &ok, false, "sip:x@[2001:db8::5]:5070"));
    harness.expect_request(TRANSLATOR_1, &Method::Bye);
    assert!(harness.records.is_empty());
    // Unknown numbers, and ways out again.
    for uri in ["sip:+81355559999@[2001:db8::1]", "sip:0312345678@[2001:db8::1]", "sip:201@[2001:db8::1]"] {
        let invite = harness.request(&Method::Invite, TRANSLATOR_1, "x@x.invalid", uri);
        harness.deliver(TRANSLATOR_1, &invite);
        harness.expect(TRANSLATOR_1, 404);
    }
}

/// RFC 3892 §2.1: what a line asked for by REFER a translator carries out with that line's rights; others are not believed.
#[test]
fn a_translator_speaks_for_the_line_that_referred() {
    let mut harness = Harness::new();
    let refer = |harness: &mut Harness, from: &str, uri: &str, line: &str| {
        let user = "+81901234567@[2001:db8::5]";
        let invite = harness.request(&Method::Invite, from, user, uri);
        let invite = invite.edit().append(Name::ReferredBy, format!("<sip:{line}@s1.example.net>")).finish();
        harness.deliver(from, &invite);
    };
    // 102 may not call outside, 101 may.
    refer(&mut harness, TRANSLATOR_1, "sip:0312345678@s1.example.net", "102");
    harness.expect(TRANSLATOR_1, 403);
    refer(&mut harness, TRANSLATOR_1, "sip:0312345678@s1.example.net", "101");
    let out = harness.expect_request(TRANSLATOR_2, &Method::Invite);
    assert!(out.request_uri_text().starts_with("sip:+81312345678@"));
    harness.expect(TRANSLATOR_1, 100);
    harness.deliver(TRANSLATOR_2, &answer(&out, 486, TRANSLATOR_2));
    harness.expect(TRANSLATOR_1, 486);
    assert!(harness.records.is_empty(), "the translators write them");
    // A phone has to authenticate, whoever it names.
    refer(&mut harness, A, "sip:0312345678@s1.example.net", "101");
    harness.expect(A, 407);
}
