//! Registering, draining, and too much of everything.

use schema::SaveError;
use sip_core::core::{Core, Input};
use sip_core::wire::header::Contact;
use sip_core::wire::{Method, Name};

use super::harness::*;
use crate::fixture;
use crate::settings::Settings;

#[test]
fn a_phone_registers_and_is_called() {
    let mut harness = Harness::with(Settings::for_tests());
    let request = harness.register(A, "101@s1.example.net", "s1-101", fixture::PASSWORD);
    harness.deliver(A, &request);
    let ok = harness.expect(A, 200);
    assert_eq!(ok.all::<Contact>().count(), 1);
    harness.call(A, "s1-101", "sip:101@s1.example.net");
    harness.expect_request(A, &Method::Invite);
}

#[test]
fn nobody_registers_for_others_or_elsewhere() {
    let mut harness = Harness::with(Settings::for_tests());
    let request = harness.register(A, "102@s1.example.net", "s1-101", fixture::PASSWORD);
    harness.deliver(A, &request);
    harness.expect(A, 403);
    let request = harness.request(&Method::Register, A, "101@s1.example.net", "sip:example.org");
    harness.deliver(A, &request);
    harness.expect(A, 403);
}

#[test]
fn a_store_that_is_busy() {
    let mut harness = Harness::with(Settings::for_tests());
    harness.save = Err(SaveError::Busy);
    let request = harness.register(A, "101@s1.example.net", "s1-101", fixture::PASSWORD);
    harness.deliver(A, &request);
    assert!(harness.expect(A, 503).has(Name::RetryAfter));
}

#[test]
fn draining_lets_calls_end() {
    let mut harness = Harness::new();
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    harness.input(Input::Drain);
    harness.deliver(B, &answer(&received, 200, B));
    let ok = harness.expect(A, 200);
    let invite = harness.request(&Method::Invite, C, "201@s2.example.net", "sip:102@centrex6.example");
    harness.deliver(C, &invite);
    assert!(harness.expect(C, 503).has(Name::RetryAfter));
    harness.deliver(A, &in_dialog(&Method::Ack, 2, A, &ok, true, "sip:phone@[2001:db8:1::102]:5060"));
    harness.expect_request(B, &Method::Ack);
    harness.wait(60.0);
    assert_eq!(harness.core.active(), 1, "the call is up");
    harness.deliver(A, &in_dialog(&Method::Bye, 3, A, &ok, true, "sip:phone@[2001:db8:1::102]:5060"));
    let bye = harness.expect_request(B, &Method::Bye);
    harness.deliver(B, &answer(&bye, 200, B));
    harness.wait(64.0);
    assert_eq!(harness.core.active(), 0);
    assert_eq!(harness.records.len(), 1);
}

#[test]
fn too_much_under_way_is_refused() {
    let mut settings = Settings::for_tests();
    settings.limits.max_contexts = 1;
    let mut harness = Harness::with(settings);
    harness.bind(2, "sip:102@[2001:db8:1::102]:5060", 1000, B);
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:102@s1.example.net");
    harness.send_as(A, "s1-101", &invite);
    assert!(harness.expect(A, 503).has(Name::RetryAfter));
    // The client table of the layer is the other bound.
    let mut settings = Settings::for_tests();
    settings.transactions.max_transactions = 2;
    let mut harness = Harness::with(settings);
    for n in 0..3 {
        harness.bind(
            2,
            &format!("sip:102@[2001:db8:1::30{n}]:5060"),
            1000,
            &format!("[2001:db8:1::30{n}]:5060"),
        );
    }
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    assert_eq!(harness.core.by_client.len(), 2);
}
