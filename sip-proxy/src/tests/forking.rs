//! One line, several phones.

use sip_core::wire::header::Reason;
use sip_core::wire::{Method, Name, StatusCode};

use super::harness::*;

const B2: &str = "[2001:db8:1::202]:5060";
const B3: &str = "[2001:db8:1::203]:5060";

fn harness() -> Harness {
    let mut harness = Harness::new();
    harness.bind(2, "sip:102@[2001:db8:1::202]:5060", 1000, B2);
    harness.bind(2, "sip:102@[2001:db8:1::203]:5060", 300, B3);
    harness
}

#[test]
fn all_ring_and_one_answers() {
    let mut harness = harness();
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    let (one, two) =
        (harness.expect_request(B, &Method::Invite), harness.expect_request(B2, &Method::Invite));
    harness.expect_nothing(B3);
    assert_ne!(one.top_via().unwrap().branch(), two.top_via().unwrap().branch());
    harness.deliver(B, &answer(&one, 180, B));
    harness.deliver(B2, &answer(&two, 183, B2));
    harness.expect(A, 180);
    harness.expect(A, 183);
    harness.deliver(B2, &answer(&two, 200, B2));
    let ok = harness.expect(A, 200);
    assert!(ok.to_tag().unwrap().contains("202"));
    let cancel = harness.expect_request(B, &Method::Cancel);
    let reason = cancel.required::<Reason>().unwrap();
    assert_eq!((reason.cause, reason.text.as_deref()), (Some(200), Some("Call completed elsewhere")));
    harness.deliver(B, &answer(&cancel, 200, B));
    harness.deliver(B, &answer(&one, 487, B));
    harness.expect_request(B, &Method::Ack);
    harness.expect_nothing(A);
    harness.expect_nothing(B3);
}

/// RFC 3261 §16.6: contacts of a lower q have their turn after the others.
#[test]
fn the_next_preference_has_its_turn() {
    let mut harness = harness();
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    let (one, two) =
        (harness.expect_request(B, &Method::Invite), harness.expect_request(B2, &Method::Invite));
    harness.deliver(B, &answer(&one, 486, B));
    harness.expect_nothing(B3);
    harness.deliver(B2, &answer(&two, 480, B2));
    let three = harness.expect_request(B3, &Method::Invite);
    harness.deliver(B3, &answer(&three, 404, B3));
    harness.expect(A, 486);
}

/// RFC 3261 §16.7: a 6xx ends the fork, and is what the caller hears.
#[test]
fn one_declines_for_all() {
    let mut harness = harness();
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    let (one, two) =
        (harness.expect_request(B, &Method::Invite), harness.expect_request(B2, &Method::Invite));
    harness.deliver(B, &answer(&one, 180, B));
    harness.deliver(B2, &answer(&two, 603, B2));
    let cancel = harness.expect_request(B, &Method::Cancel);
    harness.deliver(B, &answer(&cancel, 200, B));
    harness.deliver(B, &answer(&one, 487, B));
    harness.expect(A, 180);
    harness.expect(A, 603);
    harness.expect_nothing(B3);
}

/// RFC 3261 §16.7: a 3xx that is not followed goes to the caller, and a 503 becomes a 500.
#[test]
fn a_phone_that_redirects_or_is_overloaded() {
    let mut harness = Harness::new();
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    harness.deliver(B, &answer(&received, 302, B));
    // Not followed: a phone must not spend the platform's money.
    harness.expect(A, 302);
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    harness.expect_request(B, &Method::Ack);
    let received = harness.expect_request(B, &Method::Invite);
    harness.deliver(B, &answer(&received, 503, B));
    harness.expect(A, 500);
}

#[test]
fn the_callers_own_other_phone() {
    let mut harness = Harness::new();
    harness.bind(1, "sip:101@[2001:db8:1::202]:5060", 1000, B2);
    harness.call(A, "s1-101", "sip:101@s1.example.net");
    harness.expect_request(A, &Method::Invite);
    harness.expect_request(B2, &Method::Invite);
}

/// RFC 5393 §5.3.3: no more branches at a time than Max-Breadth allows.
#[test]
fn the_breadth_is_kept() {
    let mut harness = harness();
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:102@s1.example.net");
    let narrow = invite.edit().append(Name::MaxBreadth, 1).finish();
    harness.send_as(A, "s1-101", &narrow);
    assert_eq!([B, B2].into_iter().filter(|phone| harness.has_sent(phone)).count(), 1);
    let none = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:102@s1.example.net");
    let none = none.edit().append(Name::MaxBreadth, 0).finish();
    harness.expect(A, 100);
    harness.send_as(A, "s1-101", &none);
    harness.expect(A, StatusCode::MAX_BREADTH_EXCEEDED.code());
}
