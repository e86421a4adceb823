//! Gateways that are known by name.

use std::time::Duration;

use node::dns::{DnsError, Located};
use schema::{Change, Route, RouteId, Trunk, TrunkId};
use sip_core::flow::Transport;
use sip_core::locate::Hop;
use sip_core::wire::Method;

use crate::testing::harness::*;

/// A harness whose calls to +33 go to `gw.example.net`.
fn named() -> Harness {
    let harness = Harness::new();
    let mut trunk = Trunk::draft("named", vec![], vec!["gw.example.net".parse().unwrap()]);
    trunk.id = TrunkId(3);
    trunk.media_networks = vec!["192.0.2.0/24".parse().unwrap()];
    harness.shared.directory.apply(&Change::PutTrunk(trunk));
    let mut route = Route::new("+33", 0, TrunkId(3)).unwrap();
    route.id = RouteId(9);
    harness.shared.directory.apply(&Change::PutRoute(route));
    harness
}

fn at(places: &[&str]) -> Result<Located, DnsError> {
    let hops =
        places.iter().map(|place| Hop { transport: Transport::Udp, addr: place.parse().unwrap() }).collect();
    Ok(Located { hops, valid_for: Duration::from_secs(3_600) })
}

fn offer() -> Option<String> {
    Some(sdp(PHONE_MEDIA, 11_000))
}

/// RFC 3263 §4.3: the next place is tried on 503, by a new branch with the same request.
/// RFC 3263 §4: the name stays in the Request-URI.
#[test]
fn the_places_behind_a_name_are_tried_in_turn() {
    let mut harness = named();
    harness.world.names.insert("gw.example.net".into(), at(&["192.0.2.71:5060", "192.0.2.72:5060"]));
    harness.pass(Duration::from_secs(3));
    let proxy = harness.proxy();
    let (mut first, mut second) = (harness.gateway("192.0.2.71:5060"), harness.gateway("192.0.2.72:5060"));
    harness.dial(&proxy, "+33123456789", offer());
    let one = harness.take_request("192.0.2.71:5060", Method::Invite);
    assert_eq!(one.request_uri_text(), "sip:+33123456789@gw.example.net;user=phone");
    harness.reply(&mut first, &one, 503, None);
    let two = harness.take_request("192.0.2.72:5060", Method::Invite);
    assert_eq!(two.request_uri_text(), one.request_uri_text());
    harness.reply(&mut second, &two, 486, None);
    harness.take_status(PROXY, 486);
}

/// RFC 3263 §4.3: the next place is tried when one does not answer.
#[test]
fn a_silent_place_is_passed_over() {
    let mut harness = named();
    harness.world.names.insert("gw.example.net".into(), at(&["192.0.2.71:5060", "192.0.2.72:5060"]));
    harness.pass(Duration::from_secs(3));
    let proxy = harness.proxy();
    harness.dial(&proxy, "+33123456789", offer());
    harness.take_request("192.0.2.71:5060", Method::Invite);
    harness.pass(Duration::from_secs(5));
    harness.take_request("192.0.2.72:5060", Method::Invite);
}

#[test]
fn a_name_that_leads_elsewhere_is_followed_and_one_without_an_answer_stays() {
    let mut harness = named();
    let known = |harness: &Harness| {
        let trunk = harness.shared.directory.trunk(TrunkId(3)).unwrap();
        let gateways = harness.shared.trunks.gateways_of(&trunk);
        gateways.iter().map(|(gateway, _)| gateway.address.to_string()).collect::<Vec<_>>()
    };
    let name = || "gw.example.net".to_owned();
    harness.world.names.insert(name(), at(&["192.0.2.71:5060"]));
    harness.pass(Duration::from_secs(3));
    assert_eq!(known(&harness), ["192.0.2.71:5060"]);
    harness.world.names.insert(name(), at(&["192.0.2.75:5060"]));
    harness.pass(Duration::from_secs(40));
    assert_eq!(known(&harness), ["192.0.2.75:5060"]);
    // Who calls from there is the trunk, and nobody else.
    let gateway = harness.gateway("192.0.2.75:5060");
    let invite = harness.invite(&gateway, &format!("sip:+81399999999@{OUTSIDE}"), "<sip:a@b>", offer());
    harness.send(&gateway, &invite);
    harness.take_request(PROXY, Method::Invite);
    let unanswered = DnsError::Unanswered { name: name(), reason: "no answer".into() };
    harness.world.names.insert(name(), Err(unanswered));
    harness.pass(Duration::from_secs(100));
    assert_eq!(known(&harness), ["192.0.2.75:5060"]);
    harness.world.names.remove("gw.example.net");
    harness.pass(Duration::from_secs(100));
    assert!(known(&harness).is_empty());
    let stranger = harness.gateway("192.0.2.75:5060");
    let invite = harness.invite(&stranger, &format!("sip:+81399999999@{OUTSIDE}"), "<sip:a@b>", offer());
    harness.send(&stranger, &invite);
    harness.take_status("192.0.2.75:5060", 403);
}
