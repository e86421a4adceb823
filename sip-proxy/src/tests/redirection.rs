//! Phones that point elsewhere.

use sip_core::wire::header::{Contact, MaxBreadth};
use sip_core::wire::{Message, Method, Name};

use super::harness::*;
use crate::settings::Settings;

fn redirect(request: &Message, contacts: &[&str]) -> Message {
    let moved = answer(request, 302, B).edit().remove(Name::Contact).finish();
    contacts.iter().fold(moved, |moved, contact| moved.edit().append(Name::Contact, contact).finish())
}

/// RFC 3261 §16.7: a 3xx that leads to another line is followed, and the caller hears nothing of it.
#[test]
fn to_another_line() {
    let mut harness = Harness::new();
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    harness.deliver(B, &redirect(&received, &["<sip:201@s2.example.net>"]));
    harness.expect_request(B, &Method::Ack);
    let received = harness.expect_request(C, &Method::Invite);
    assert_eq!(received.request_uri_text(), "sip:201@[2001:db8:2::201]:5060");
    harness.expect_nothing(A);
    harness.deliver(C, &answer(&received, 200, C));
    harness.expect(A, 200);
}

/// RFC 3261 §16.7: contacts that the proxy does not follow are left to the caller.
#[test]
fn to_the_outside() {
    let mut harness = Harness::new();
    for contact in ["<sip:0312345678@s1.example.net>", "<sip:x@example.org>", "<sip:119@s1.example.net>"] {
        let invite = harness.call(A, "s1-101", "sip:102@s1.example.net");
        let received = harness.expect_request(B, &Method::Invite);
        harness.deliver(B, &redirect(&received, &[contact]));
        harness.expect_request(B, &Method::Ack);
        let moved = harness.expect(A, 302);
        assert_eq!(moved.text(Name::Contact), Some(contact));
        harness.deliver(A, &ack_of_failure(&invite, &moved));
        assert!(!harness.has_sent(TRANSLATOR_1) && !harness.has_sent(TRANSLATOR_2));
    }
    // Both kinds in one: who is ours is tried, and the other one remains.
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    harness
        .deliver(B, &redirect(&received, &["<sip:x@example.org>;q=0.9", "<sip:201@s2.example.net>;q=0.1"]));
    let received = harness.expect_request(C, &Method::Invite);
    harness.deliver(C, &answer(&received, 404, C));
    let moved = harness.expect(A, 302);
    let contacts: Vec<Contact> = moved.all().map(Result::unwrap).collect();
    assert_eq!(contacts.len(), 1);
}

/// RFC 3261 §16.7: no target is tried twice, so that redirections end.
#[test]
fn in_a_circle() {
    let mut harness = Harness::new();
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    harness.deliver(B, &redirect(&received, &["<sip:201@s2.example.net>"]));
    let received = harness.expect_request(C, &Method::Invite);
    harness.deliver(C, &redirect(&received, &["<sip:102@s1.example.net>", "<sip:201@s2.example.net>"]));
    harness.expect_request(B, &Method::Ack);
    harness.expect_nothing(B);
    harness.expect(A, 302);
}

/// RFC 5393 §5.3.3: the branches that a redirection makes share the breadth of the branch that they replace.
#[test]
fn within_its_breadth() {
    let mut harness = Harness::new();
    harness.bind(4, "sip:201@[2001:db8:2::301]:5060", 1000, "[2001:db8:2::301]:5060");
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:102@s1.example.net");
    let invite = invite.edit().append(Name::MaxBreadth, 7).finish();
    harness.send_as(A, "s1-101", &invite);
    harness.expect(A, 100);
    let received = harness.expect_request(B, &Method::Invite);
    assert_eq!(received.header(), Ok(Some(MaxBreadth(7))));
    harness.deliver(B, &redirect(&received, &["<sip:201@s2.example.net>"]));
    for phone in [C, "[2001:db8:2::301]:5060"] {
        assert_eq!(
            harness.expect_request(phone, &Method::Invite).header(),
            Ok(Some(MaxBreadth(3))),
            "{phone}"
        );
    }
}

#[test]
fn the_carrier_may_leave_it_to_the_caller() {
    let mut settings = Settings::for_tests();
    settings.follow_redirects = false;
    let mut harness = Harness::with(settings);
    harness.bind(2, "sip:102@[2001:db8:1::102]:5060", 1000, B);
    harness.bind(4, "sip:201@[2001:db8:2::201]:5060", 1000, C);
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    harness.deliver(B, &redirect(&received, &["<sip:201@s2.example.net>"]));
    harness.expect(A, 302);
    harness.expect_nothing(C);
}
