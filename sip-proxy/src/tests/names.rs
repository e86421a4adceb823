//! Next hops that are known by name.

use std::time::Duration;

use node::dns::{DnsError, Located};
use schema::{Binding, LineId};
use sip_core::flow::Transport;
use sip_core::locate::Hop;
use sip_core::wire::{Message, Method, Name};

use super::harness::*;

const EDGE_1: &str = "[2001:db8:e::1]:5060";
const EDGE_2: &str = "[2001:db8:e::2]:5060";

fn at(places: &[&str]) -> Result<Located, DnsError> {
    let hop = |place: &&str| Hop { transport: Transport::Udp, addr: place.parse().unwrap() };
    Ok(Located { hops: places.iter().map(hop).collect(), valid_for: Duration::from_secs(60) })
}

/// Phone B behind an edge proxy that its Path names.
fn behind_an_edge() -> Harness {
    let harness = Harness::new();
    let old = harness.locations.lookup(LineId(2), Duration::from_secs(1_000_000)).remove(0);
    let path = vec!["<sip:edge.example.net;lr>".to_owned()];
    harness.locations.put(Binding { path, ..Binding::clone(&old) });
    harness
}

fn dial(harness: &mut Harness) {
    harness.call(A, "s1-101", "sip:102@s1.example.net");
}

/// RFC 3263 §4: a Path's host that is a name is looked up.
/// RFC 3263 §4.3: its servers are tried in turn, on 503 and when one is silent, by a new branch with the same request.
#[test]
fn the_servers_behind_a_name_are_tried_in_turn() {
    let mut harness = behind_an_edge();
    harness.names.insert("edge.example.net".to_owned(), at(&[EDGE_1, EDGE_2]));
    dial(&mut harness);
    let one = harness.expect_request(EDGE_1, &Method::Invite);
    assert_eq!(one.text(Name::Route), Some("<sip:edge.example.net;lr>"));
    harness.deliver(EDGE_1, &answer(&one, 503, EDGE_1));
    let two = harness.expect_request(EDGE_2, &Method::Invite);
    assert_eq!(one.request_uri_text(), two.request_uri_text());
    let branch = |message: &Message| message.top_via().unwrap().params.value("branch").unwrap().to_owned();
    assert_ne!(branch(&one), branch(&two));
    harness.deliver(EDGE_2, &answer(&two, 486, EDGE_2));
    harness.expect(A, 486);
    harness.forget();

    dial(&mut harness);
    harness.expect_request(EDGE_1, &Method::Invite);
    harness.wait(5.0);
    harness.expect_request(EDGE_2, &Method::Invite);
}

/// RFC 3263 §4.3: what a server says for the called party is no reason to try the next one.
#[test]
fn an_answer_is_an_answer() {
    let mut harness = behind_an_edge();
    harness.names.insert("edge.example.net".to_owned(), at(&[EDGE_1, EDGE_2]));
    dial(&mut harness);
    let one = harness.expect_request(EDGE_1, &Method::Invite);
    harness.deliver(EDGE_1, &answer(&one, 404, EDGE_1));
    harness.expect(A, 404);
    harness.expect_nothing(EDGE_2);
}

#[test]
fn a_name_that_leads_nowhere_or_to_a_translator_ends_the_call() {
    let mut harness = behind_an_edge();
    dial(&mut harness);
    harness.expect(A, 500);
    harness.names.insert("edge.example.net".to_owned(), at(&[TRANSLATOR_1]));
    dial(&mut harness);
    harness.expect(A, 500);
    harness.expect_nothing(TRANSLATOR_1);
}

/// RFC 3263 §4: the Contact of a dialog may name a host.
#[test]
fn a_contact_by_name_is_reached_within_its_dialog() {
    let mut harness = Harness::new();
    dial(&mut harness);
    let received = harness.expect_request(B, &Method::Invite);
    harness.deliver(B, &answer(&received, 200, B));
    let ok = harness.expect(A, 200);
    harness.deliver(A, &in_dialog(&Method::Ack, 1, A, &ok, true, "sip:102@phone.example.net"));
    harness.expect_nothing(EDGE_1);
    harness.names.insert("phone.example.net".to_owned(), at(&[EDGE_1]));
    harness.deliver(A, &in_dialog(&Method::Ack, 1, A, &ok, true, "sip:102@phone.example.net"));
    harness.expect_request(EDGE_1, &Method::Ack);
    harness.deliver(A, &in_dialog(&Method::Bye, 5, A, &ok, true, "sip:102@phone.example.net"));
    let bye = harness.expect_request(EDGE_1, &Method::Bye);
    harness.deliver(EDGE_1, &answer(&bye, 200, EDGE_1));
    harness.expect(A, 200);
}
