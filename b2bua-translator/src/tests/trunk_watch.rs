//! OPTIONS keep-alive.

use std::time::Duration;

use sip_core::wire::{Method, Name};

use crate::settings::KeepAlive;
use crate::testing::harness::*;

fn watching() -> Harness {
    let mut settings = settings();
    settings.keep_alive = KeepAlive::default();
    let mut harness = Harness::with(settings, 1);
    harness.pass(Duration::from_millis(1));
    harness
}

#[test]
fn every_gateway_is_asked() {
    let mut harness = watching();
    for gateway in [GATEWAY_1, GATEWAY_2, GATEWAY_V6] {
        let options = harness.take_request(gateway, Method::Options);
        assert!(options.has(Name::Contact));
        let mut peer = harness.gateway(gateway);
        // Whatever it says, it lives.
        harness.reply(&mut peer, &options, 404, None);
    }
    harness.pass(Duration::from_secs(29));
    assert!(harness.nothing_for(GATEWAY_1));
    harness.pass(Duration::from_secs(2));
    harness.take_request(GATEWAY_1, Method::Options);
}

#[test]
fn a_silent_gateway_goes_down_and_comes_back() {
    let mut harness = watching();
    let up = |harness: &Harness| harness.shared.trunks.is_up(GATEWAY_1.parse().unwrap());
    harness.pass(Duration::from_secs(5));
    assert!(up(&harness), "one failure is no proof");
    harness.pass(Duration::from_secs(14));
    assert!(!up(&harness));
    harness.pass(Duration::from_secs(40));
    assert!(!up(&harness));
    harness.forget_sent();
    harness.pass(Duration::from_secs(10));
    let mut peer = harness.gateway(GATEWAY_1);
    while let Some(options) = harness.try_take(GATEWAY_1) {
        harness.reply(&mut peer, &options, 200, None);
    }
    assert!(up(&harness));
}

#[test]
fn a_gateway_that_says_503_is_down() {
    let mut harness = watching();
    for _ in 0..2 {
        let options = harness.take_request(GATEWAY_1, Method::Options);
        let mut peer = harness.gateway(GATEWAY_1);
        harness.reply(&mut peer, &options, 503, None);
        harness.pass(Duration::from_secs(11));
    }
    assert!(!harness.shared.trunks.is_up(GATEWAY_1.parse().unwrap()));
}

#[test]
fn a_new_trunk_is_found() {
    let mut harness = watching();
    let mut trunk = schema::Trunk::new("new", vec!["192.0.2.50".parse().unwrap()]).unwrap();
    trunk.id = schema::TrunkId(9);
    harness.shared.directory.apply(&schema::Change::PutTrunk(trunk));
    harness.pass(Duration::from_secs(11));
    harness.take_request("192.0.2.50:5060", Method::Options);
}
