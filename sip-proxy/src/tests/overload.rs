//! Too much of everything: what is refused, and what is not.

use node::config::Admission;
use sip_core::wire::header::Via;
use sip_core::wire::{Message, Method, Name};

use super::harness::*;
use crate::fixture;
use crate::settings::Settings;

fn admission() -> Admission {
    Admission { site_calls_per_second: 0, source_requests_per_second: 0, ..Admission::default() }
}

fn limited(admission: Admission) -> Harness {
    let mut harness = Harness::limited(Settings::for_tests(), fixture::directory(), admission);
    harness.bind(1, "sip:101@[2001:db8:1::101]:5060", 1000, A);
    harness.bind(2, "sip:102@[2001:db8:1::102]:5060", 1000, B);
    harness
}

/// The response of a translator with what it says of its load.
fn loaded(request: &Message, status: u16, from: &str, oc: &str) -> Message {
    let mut via: Via = request.top_via().unwrap();
    assert!(via.params.has("oc") && via.params.value("oc").is_none(), "{via}");
    let [loss, sequence] = oc.split(' ').collect::<Vec<_>>()[..] else { panic!("{oc}") };
    via.params.set("oc", Some(loss));
    via.params.set("oc-validity", Some("60000"));
    via.params.set("oc-seq", Some(sequence));
    answer(request, status, from).edit().replace_first(Name::Via, via).finish()
}

/// RFC 7339 §5.4: a translator that is overloaded gets no more calls, for as long as it says.
/// RFC 7339 §5.9: calls for help go there all the same.
/// RFC 7339 §4.1: what it says goes no further than to us.
#[test]
fn a_translator_says_that_it_is_overloaded() {
    let mut harness = limited(admission());
    for (translator, other) in [(TRANSLATOR_2, TRANSLATOR_1), (TRANSLATOR_1, "")] {
        harness.call(A, "s1-101", "sip:0312345678@s1.example.net");
        let invite = harness.expect_request(translator, &Method::Invite);
        harness.deliver(translator, &loaded(&invite, 486, translator, "100 10.0"));
        harness.expect_request(translator, &Method::Ack);
        let busy = harness.expect(A, 486);
        assert!(!busy.bytes().windows(3).any(|word| word == b"oc="), "{busy:?}");
        if !other.is_empty() {
            // Whose turn it would be does not matter.
            harness.call(A, "s1-101", "sip:0312345678@s1.example.net");
            let invite = harness.expect_request(other, &Method::Invite);
            harness.deliver(other, &answer(&invite, 486, other));
            harness.expect_request(other, &Method::Ack);
            harness.expect(A, 486);
        }
    }
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:0312345678@s1.example.net");
    harness.send_as(A, "s1-101", &invite);
    assert!(harness.expect(A, 503).has(Name::RetryAfter));
    harness.forget();
    harness.call(A, "s1-101", "sip:119@s1.example.net");
    let taken = [TRANSLATOR_1, TRANSLATOR_2].into_iter().filter(|to| harness.has_sent(to)).count();
    assert_eq!(taken, 1, "help is called");
    harness.wait(61.0);
    harness.forget();
    harness.call(A, "s1-101", "sip:0312345678@s1.example.net");
    let taken = [TRANSLATOR_1, TRANSLATOR_2].into_iter().filter(|to| harness.has_sent(to)).count();
    assert_eq!(taken, 1, "it holds for so long");
}

#[test]
fn a_site_makes_so_many_calls_a_second() {
    let mut harness = limited(Admission { site_calls_per_second: 2, ..admission() });
    let mut last = None;
    for _ in 0..4 {
        harness.call(A, "s1-101", "sip:102@s1.example.net");
        last = Some(harness.expect_request(B, &Method::Invite));
    }
    let invite = harness.request(&Method::Invite, B, "102@s1.example.net", "sip:101@s1.example.net");
    harness.send_as(B, "s1-102", &invite);
    assert!(harness.expect(B, 503).has(Name::RetryAfter), "another line of the site");
    // Another site, a call for help, and a call that is up.
    harness.bind(4, "sip:201@[2001:db8:2::201]:5060", 1000, C);
    harness.call(C, "s2-201", "sip:41102@s2.example.net");
    harness.call(A, "s1-101", "sip:119@s1.example.net");
    harness.forget();
    harness.deliver(B, &answer(&last.unwrap(), 200, B));
    let ok = harness.expect(A, 200);
    harness.deliver(A, &in_dialog(&Method::Bye, 9, A, &ok, true, "sip:phone@[2001:db8:1::102]:5060"));
    harness.expect_request(B, &Method::Bye);
    harness.wait(1.0);
    harness.forget();
    harness.call(A, "s1-101", "sip:102@s1.example.net");
}

#[test]
fn all_together_make_so_many_calls_a_second() {
    let mut harness = limited(Admission { calls_per_second: 1, ..admission() });
    for _ in 0..2 {
        harness.call(A, "s1-101", "sip:102@s1.example.net");
    }
    let invite = harness.request(
        &Method::Invite,
        TRANSLATOR_1,
        "x@example.org",
        "sip:+81355550201@[2001:db8::1]:5060",
    );
    harness.deliver(TRANSLATOR_1, &invite);
    assert!(harness.expect(TRANSLATOR_1, 503).has(Name::RetryAfter));
    harness.call(A, "s1-101", "sip:110@s1.example.net");
}

#[test]
fn a_source_sends_so_many_requests_a_second() {
    let mut harness = limited(Admission { source_requests_per_second: 2, trusted: vec![], ..admission() });
    let send = |harness: &mut Harness, uri: &str| {
        let invite = harness.request(&Method::Invite, STRANGER, "x@example.org", uri);
        harness.deliver(STRANGER, &invite);
        harness.take(STRANGER).status().unwrap().code()
    };
    let statuses: Vec<u16> = (0..6).map(|_| send(&mut harness, "sip:102@s1.example.net")).collect();
    assert_eq!(statuses, [407, 407, 407, 407, 503, 503]);
    assert_eq!(send(&mut harness, "sip:110@s1.example.net"), 407, "a call for help");
    harness.call(A, "s1-101", "sip:102@s1.example.net");
    harness.wait(1.0);
    harness.forget();
    assert_eq!(send(&mut harness, "sip:102@s1.example.net"), 407);
}

#[test]
fn a_scanner_is_heard_no_more() {
    let mut harness = limited(Admission { scanner_slow_after: 50, scanner_drop_after: 80, ..admission() });
    // Bad passwords, users that there are not, and what is for somebody else.
    for (user, password) in [("s1-101", "wrong"), ("s9-999", "x")] {
        let request = harness.register(STRANGER, "101@s1.example.net", user, password);
        harness.deliver(STRANGER, &request);
        harness.expect(STRANGER, 403);
    }
    for _ in 0..3 {
        let options = harness.request(&Method::Options, STRANGER, "x@y", "sip:100@example.org");
        harness.deliver(STRANGER, &options);
        harness.expect(STRANGER, 403);
    }
    let options = harness.request(&Method::Options, STRANGER, "x@y", "sip:[2001:db8::1]:5060");
    harness.deliver(STRANGER, &options);
    harness.expect(STRANGER, 200);
    // Slowed: one request a second.
    let options = options_of(&mut harness);
    harness.deliver(STRANGER, &options);
    harness.expect_nothing(STRANGER);
    harness.wait(1.0);
    let options = options_of(&mut harness);
    harness.deliver(STRANGER, &options);
    harness.expect(STRANGER, 200);
    for _ in 0..100 {
        let options = options_of(&mut harness);
        harness.deliver(STRANGER, &options);
    }
    harness.wait(60.0);
    let options = options_of(&mut harness);
    harness.deliver(STRANGER, &options);
    harness.expect_nothing(STRANGER);
    // Phones are heard, and one that mistypes its password is not locked out once it is registered.
    harness.call(A, "s1-101", "sip:102@s1.example.net");
}

fn options_of(harness: &mut Harness) -> Message {
    harness.request(&Method::Options, STRANGER, "x@y", "sip:[2001:db8::1]:5060")
}

#[test]
fn a_registered_phone_is_never_a_scanner() {
    let mut harness = limited(Admission { scanner_slow_after: 20, scanner_drop_after: 30, ..admission() });
    // A phone that had a wrong password at first.
    let wrong = harness.register(A, "101@s1.example.net", "s1-101", "wrong");
    harness.deliver(A, &wrong);
    harness.expect(A, 403);
    let right = harness.register(A, "101@s1.example.net", "s1-101", fixture::PASSWORD);
    harness.deliver(A, &right);
    harness.expect(A, 200);
    for _ in 0..20 {
        let options = harness.request(&Method::Options, A, "x@y", "sip:100@example.org");
        harness.deliver(A, &options);
        harness.expect(A, 403);
    }
}

#[test]
fn full_tables_take_what_matters() {
    let mut settings = Settings::for_tests();
    settings.limits.max_contexts = 4;
    let mut harness = Harness::over(settings, fixture::directory());
    harness.bind(2, "sip:102@[2001:db8:1::102]:5060", 1000, B);
    for _ in 0..4 {
        harness.call(A, "s1-101", "sip:102@s1.example.net");
    }
    let invite = harness.request(&Method::Invite, A, "101@s1.example.net", "sip:102@s1.example.net");
    harness.send_as(A, "s1-101", &invite);
    harness.expect(A, 503);
    harness.call(A, "s1-101", "sip:119@s1.example.net");
}
