//! Calls to one phone of a line by its GRUU.

use schema::{Binding, LineId};
use sip_core::ids::{IdSource, WorkerId};
use sip_core::wire::{Method, Uri};

use super::harness::*;

const B2: &str = "[2001:db8:1::202]:5060";
const ONE: &str = "urn:uuid:00000000-0000-1000-8000-000A95A0E128";
const TWO: &str = "urn:uuid:00000000-0000-1000-8000-000A95A0E129";

/// Line 102 has two phones, at B and B2.
fn two_phones() -> Harness {
    let harness = Harness::new();
    for (urn, source) in [(ONE, B), (TWO, B2)] {
        harness.locations.put(binding(urn, source, "r"));
    }
    harness.locations.remove(LineId(2), "sip:102@[2001:db8:1::102]:5060");
    harness
}

fn binding(urn: &str, source: &str, call_id: &str) -> Binding {
    Binding {
        line: LineId(2),
        contact: format!("sip:102@{source};x=y"),
        call_id: call_id.to_owned(),
        cseq: 1,
        q: 1000,
        expires_at: 2_000_000,
        stored_until: 2_000_000,
        path: Vec::new(),
        received: format!("UDP {PROXY} {source}"),
        user_agent: None,
        instance: Some(format!("\"<{urn}>\"")),
        reg_id: None,
        source: None,
    }
}

fn temporary(harness: &Harness, binding: &Binding) -> String {
    let aor: Uri = "sip:102@s1.example.net".parse().unwrap();
    let mut ids = IdSource::new(WorkerId(0), [6; 32]);
    let gruu = &harness.core.settings.registrar.gruu;
    gruu.temporary(aor.sip().unwrap(), binding, &mut ids).unwrap().to_string()
}

/// RFC 5627 §6.1: a request to a GRUU goes to that phone alone, public or temporary.
#[test]
fn one_phone_is_called() {
    let mut harness = two_phones();
    let temporary = temporary(&harness, &binding(TWO, B2, "r"));
    for (uri, rings, silent) in [(format!("sip:102@s1.example.net;gr={ONE}"), B, B2), (temporary, B2, B)] {
        harness.call(A, "s1-101", &uri);
        let invite = harness.expect_request(rings, &Method::Invite);
        assert_eq!(invite.request_uri_text(), format!("sip:102@{rings};x=y"));
        harness.expect_nothing(silent);
        harness.deliver(rings, &answer(&invite, 486, rings));
        harness.expect_request(rings, &Method::Ack);
        harness.expect(A, 486);
    }
}

/// RFC 5627 §6.1: a GRUU whose phone is not registered is answered with 480, and one that is not good with 404.
#[test]
fn nobody_is_called() {
    let mut harness = two_phones();
    let own = temporary(&harness, &binding(ONE, B, "before"));
    let forged = own.replacen("tgruu.", "tgruu.0", 1);
    for (uri, status) in [
        ("sip:102@s1.example.net;gr=urn:uuid:another".to_owned(), 480),
        (format!("sip:999@s1.example.net;gr={ONE}"), 404),
        // The phone has registered anew.
        (own, 404),
        (forged, 404),
    ] {
        let invite = harness.request(&Method::Invite, A, "101@s1.example.net", &uri);
        harness.send_as(A, "s1-101", &invite);
        harness.expect(A, status);
        harness.expect_nothing(B);
        harness.expect_nothing(B2);
    }
}

/// RFC 5627 §6.1: in a dialog, too, whose target is a GRUU.
#[test]
fn a_dialog_with_a_gruu() {
    let mut harness = two_phones();
    let gruu = format!("sip:102@s1.example.net;gr={TWO}");
    harness.call(A, "s1-101", &gruu);
    let invite = harness.expect_request(B2, &Method::Invite);
    harness.deliver(B2, &answer(&invite, 200, B2));
    let ok = harness.expect(A, 200);
    harness.deliver(A, &in_dialog(&Method::Ack, 2, A, &ok, true, &gruu));
    harness.expect_request(B2, &Method::Ack);
    harness.deliver(A, &in_dialog(&Method::Bye, 3, A, &ok, true, &gruu));
    let bye = harness.expect_request(B2, &Method::Bye);
    harness.deliver(B2, &answer(&bye, 200, B2));
    harness.expect(A, 200);
    harness.expect_nothing(B);
}
