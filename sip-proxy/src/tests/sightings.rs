//! Valid credentials from outside the site: refused, and told to the store.

use std::sync::Arc;

use schema::{Change, LineId, SaveError, Site};
use sip_core::wire::Method;

use super::harness::*;
use crate::fixture;
use crate::settings::Settings;

/// Site 1 is 2001:db8:1::/48.
fn harness() -> Harness {
    let directory = fixture::build();
    let site = Site::clone(&*directory.site_by_domain("s1.example.net").unwrap());
    directory.apply(&Change::PutSite(Site { prefix: "2001:db8:1::/48".parse().ok(), ..site }));
    Harness::over(Settings::for_tests(), Arc::new(directory))
}

/// Sends a REGISTER of line 101 with the right password.
fn register(harness: &mut Harness, from: &str) {
    let request = harness.register(from, "101@s1.example.net", "s1-101", fixture::PASSWORD);
    harness.deliver(from, &request);
}

#[test]
fn a_phone_at_the_wrong_site_is_refused_and_seen_once() {
    let mut harness = harness();
    register(&mut harness, A);
    harness.expect(A, 200);
    assert!(harness.sightings.is_empty(), "it is where it belongs");
    register(&mut harness, C);
    harness.expect(C, 403);
    assert_eq!(harness.sightings.len(), 1);
    let seen = &harness.sightings[0];
    assert_eq!((seen.line, seen.source, seen.seen_at), (LineId(1), addr(C).ip(), 1_000_000_000));
    // It tries again and again, by calls as well.
    let invite = harness.request(&Method::Invite, C, "101@s1.example.net", "sip:102@s1.example.net");
    harness.send_as(C, "s1-101", &invite);
    harness.expect(C, 403);
    register(&mut harness, C);
    harness.expect(C, 403);
    assert_eq!(harness.sightings.len(), 1);
    harness.wait(601.0);
    register(&mut harness, C);
    assert_eq!(harness.sightings.len(), 2, "still there");
    harness.wait(11.0);
    register(&mut harness, STRANGER);
    harness.expect(STRANGER, 403);
    assert_eq!(harness.sightings.last().map(|seen| seen.source), Some(addr(STRANGER).ip()));
}

#[test]
fn strangers_cause_no_write() {
    let mut harness = harness();
    let wrong = harness.register(STRANGER, "101@s1.example.net", "s1-101", "guessed");
    harness.deliver(STRANGER, &wrong);
    harness.expect(STRANGER, 403);
    let unknown = harness.register(STRANGER, "999@s1.example.net", "s1-999", fixture::PASSWORD);
    harness.deliver(STRANGER, &unknown);
    harness.expect(STRANGER, 403);
    // What was overheard and is sent again from elsewhere.
    let heard = harness.register(A, "101@s1.example.net", "s1-101", fixture::PASSWORD);
    harness.deliver(A, &heard);
    harness.expect(A, 200);
    harness.wait(60.0);
    harness.deliver(STRANGER, &heard);
    harness.expect(STRANGER, 401);
    assert!(harness.sightings.is_empty());
}

#[test]
fn a_store_that_is_away_delays_no_refusal() {
    let mut harness = harness();
    harness.save = Err(SaveError::Away);
    register(&mut harness, C);
    harness.expect(C, 403);
    assert!(harness.sightings.is_empty());
    harness.save = Ok(());
    register(&mut harness, C);
    harness.expect(C, 403);
    assert_eq!(harness.sightings.len(), 1, "the next request tries again");
}
