//! Gateways that fail, and failures that are the called party's.

use std::time::Duration;

use schema::{CallResult, EndedBy, TrunkId};
use sip_core::wire::header::Reason;
use sip_core::wire::{Method, Name};

use crate::testing::harness::*;

fn offer() -> Option<String> {
    Some(sdp(PHONE_MEDIA, 11_000))
}

#[test]
fn a_gateway_that_is_busy_is_left_for_the_next() {
    let mut harness = Harness::new();
    let mut proxy = harness.proxy();
    let mut first = harness.gateway(GATEWAY_1);
    let mut second = harness.gateway(GATEWAY_2);
    let invite = harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut first, &out, 503, None);
    harness.take_request(GATEWAY_1, Method::Ack);
    let out = harness.take_request(GATEWAY_2, Method::Invite);
    assert_eq!(harness.world.opened, 1, "the ports are used again");
    harness.reply(&mut second, &out, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    let ok = harness.take_status(PROXY, 200);
    proxy.learn(&invite, &ok);
    harness.ack(&proxy, &ok, None);
    harness.hang_up(&mut proxy, &mut second);
}

#[test]
fn a_gateway_that_does_not_reply_is_left_after_the_connect_limit() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let mut first = harness.gateway(GATEWAY_1);
    harness.dial(&proxy, "+81901234567", offer());
    let abandoned = harness.take_request(GATEWAY_1, Method::Invite);
    harness.pass(Duration::from_millis(3_999));
    assert!(harness.nothing_for(GATEWAY_2));
    harness.pass(Duration::from_millis(2));
    let out = harness.take_request(GATEWAY_2, Method::Invite);

    // The first one wakes up: it is cancelled, and what it answers nevertheless is ended.
    harness.forget_sent();
    harness.reply(&mut first, &abandoned, 180, None);
    harness.take_request(GATEWAY_1, Method::Cancel);
    assert!(harness.nothing_for(PROXY));
    harness.reply(&mut first, &abandoned, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
    harness.take_request(GATEWAY_1, Method::Ack);
    let bye = harness.take_request(GATEWAY_1, Method::Bye);
    harness.reply(&mut first, &bye, 200, None);

    let mut second = harness.gateway(GATEWAY_2);
    harness.reply(&mut second, &out, 486, None);
    harness.take_status(PROXY, 486);
    harness.pass(Duration::from_secs(120));
    harness.assert_over();
    assert_eq!(harness.record().result, CallResult::Busy);
}

#[test]
fn another_trunk_of_another_family_takes_over() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let (mut first, mut second) = (harness.gateway(GATEWAY_1), harness.gateway(GATEWAY_2));
    let mut third = harness.gateway(GATEWAY_V6);
    harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut first, &out, 503, None);
    let out = harness.take_request(GATEWAY_2, Method::Invite);
    harness.reply(&mut second, &out, 408, None);
    let out = harness.take_request(GATEWAY_V6, Method::Invite);
    assert_eq!(described(&out).media_address(0).unwrap().0.to_string(), "2001:db8:9::9");
    assert_eq!((harness.world.opened, harness.world.closed), (2, 1), "ports of the other family");
    assert_eq!(harness.shared.trunks.calls(TrunkId(1)), 0);
    assert_eq!(harness.shared.trunks.calls(TrunkId(2)), 1);
    harness.reply(&mut third, &out, 503, None);
    let refused = harness.take_status(PROXY, 503);
    assert!(refused.has(Name::RetryAfter));
    harness.pass(Duration::from_secs(40));
    harness.assert_over();
    let record = harness.record();
    assert_eq!((record.status, record.result), (Some(503), CallResult::Failed));
    assert_eq!((record.ended_by, record.trunk), (Some(EndedBy::Platform), Some(TrunkId(2))));
}

#[test]
fn what_the_called_party_says_is_final() {
    for (status, wanted, result) in [
        (486, 486, CallResult::Busy),
        (404, 404, CallResult::Rejected),
        (603, 603, CallResult::Rejected),
        (480, 480, CallResult::NoAnswer),
        (407, 502, CallResult::Failed),
        (302, 502, CallResult::Failed),
    ] {
        let mut harness = Harness::new();
        let proxy = harness.proxy();
        let mut gateway = harness.gateway(GATEWAY_1);
        harness.dial(&proxy, "+81901234567", offer());
        let out = harness.take_request(GATEWAY_1, Method::Invite);
        harness.reply(&mut gateway, &out, status, None);
        harness.take_status(PROXY, wanted);
        assert!(harness.nothing_for(GATEWAY_2));
        harness.pass(Duration::from_secs(40));
        harness.assert_over();
        let record = harness.record();
        assert_eq!((record.status, record.result), (Some(wanted), result));
        assert_eq!(record.ended_by, Some(EndedBy::Callee));
    }
}

#[test]
fn a_cause_of_q850_passes_and_speaks() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    let refusal = gateway.response(&out, 503, None);
    let refusal = refusal.edit().append(Name::Reason, "Q.850;cause=17;text=\"User busy\"").finish();
    harness.send(&gateway, &refusal);
    let busy = harness.take_status(PROXY, 486);
    assert_eq!(busy.all::<Reason>().flatten().next().unwrap().cause, Some(17));
    assert!(harness.nothing_for(GATEWAY_2));
}

#[test]
fn a_number_without_a_route() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    harness.dial(&proxy, "+15551234567", offer());
    harness.take_status(PROXY, 404);
    harness.pass(Duration::from_secs(40));
    harness.assert_over();
    assert_eq!(harness.world.opened, 0);
    assert_eq!((harness.record().status, harness.record().trunk), (Some(404), None));
}

#[test]
fn where_every_gateway_is_down_they_are_tried_all_the_same() {
    let mut harness = Harness::new();
    for gateway in [GATEWAY_1, GATEWAY_2, GATEWAY_V6] {
        harness.shared.trunks.failed(gateway.parse().unwrap(), 1);
    }
    let proxy = harness.proxy();
    harness.dial(&proxy, "+81901234567", offer());
    harness.take_request(GATEWAY_1, Method::Invite);
    harness.pass(Duration::from_secs(20));
    harness.take_request(GATEWAY_2, Method::Invite);
    harness.take_status(PROXY, 503);
    harness.pass(Duration::from_secs(60));
    harness.assert_over();
    assert_eq!(harness.record().result, CallResult::Failed);
}

#[test]
fn a_gateway_that_is_down_is_skipped() {
    let mut harness = Harness::new();
    harness.shared.trunks.failed(GATEWAY_1.parse().unwrap(), 1);
    let proxy = harness.proxy();
    harness.dial(&proxy, "+81901234567", offer());
    harness.take_request(GATEWAY_2, Method::Invite);
    assert!(harness.nothing_for(GATEWAY_1));
}

#[test]
fn a_transport_error_is_a_reason_to_try_the_next() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    harness.dial(&proxy, "+81901234567", offer());
    let failed = harness.transmit_of(GATEWAY_1);
    harness.input(sip_core::core::Input::TransmitFailed(failed));
    harness.take_request(GATEWAY_2, Method::Invite);
}

#[test]
fn a_full_trunk_is_skipped() {
    let mut harness = Harness::new();
    let mut trunk = (*harness.shared.directory.trunk(TrunkId(1)).unwrap()).clone();
    trunk.max_calls = Some(1);
    harness.shared.directory.apply(&schema::Change::PutTrunk(trunk));
    let (mut proxy, mut gateway) = harness.call_up();
    let other = harness.proxy();
    harness.dial(&other, "+81907654321", offer());
    let out = harness.take_request(GATEWAY_V6, Method::Invite);
    let mut six = harness.gateway(GATEWAY_V6);
    harness.reply(&mut six, &out, 486, None);
    harness.take_status(PROXY, 486);
    // Calls from the trunk are counted as well.
    let caller = harness.gateway(GATEWAY_1);
    let invite = harness.invite(&caller, &format!("sip:0312340101@{OUTSIDE}"), "<sip:a@192.0.2.1>", offer());
    harness.send(&caller, &invite);
    harness.take_status(GATEWAY_1, 503);
    harness.hang_up_and_settle(&mut proxy, &mut gateway);
}

#[test]
fn exhausted_ports() {
    let mut harness = Harness::new();
    harness.world.exhausted = true;
    let proxy = harness.proxy();
    harness.dial(&proxy, "+81901234567", offer());
    harness.take_status(PROXY, 503);
    assert!(harness.nothing_for(GATEWAY_1));
    harness.pass(Duration::from_secs(40));
    harness.assert_over();
    assert_eq!(harness.record().reason, "no media ports");
}

#[test]
fn no_common_codec() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 200, Some(sdp_with(GATEWAY_MEDIA, "m=audio 4000 RTP/AVP 18\r\n")));
    harness.take_request(GATEWAY_1, Method::Ack);
    let bye = harness.take_request(GATEWAY_1, Method::Bye);
    harness.take_status(PROXY, 488);
    harness.reply(&mut gateway, &bye, 200, None);
    harness.assert_over();
    assert_eq!(harness.record().status, Some(488));
}

#[test]
fn nothing_that_can_be_relayed() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    for body in [
        sdp_with(PHONE_MEDIA, "m=message 7000 TCP/MSRP *\r\n"),
        sdp_with(PHONE_MEDIA, "m=audio 0 RTP/AVP 0\r\n"),
        sdp_with(PHONE_MEDIA, "m=audio x RTP/AVP 0\r\n"),
        "not sdp".to_owned(),
    ] {
        harness.dial(&proxy, "+81901234567", Some(body));
        harness.take_status(PROXY, 488);
    }
    assert!(harness.nothing_for(GATEWAY_1));
    assert_eq!(harness.world.records.len(), 4);
}

#[test]
fn a_phone_that_rings_too_long() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let mut gateway = harness.gateway(GATEWAY_1);
    harness.dial(&proxy, "+81901234567", offer());
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    harness.reply(&mut gateway, &out, 180, None);
    harness.pass(Duration::from_secs(181));
    let cancel = harness.take_request(GATEWAY_1, Method::Cancel);
    harness.reply(&mut gateway, &cancel, 200, None);
    harness.reply(&mut gateway, &out, 487, None);
    harness.take_status(PROXY, 480);
    harness.pass(Duration::from_secs(120));
    harness.assert_over();
    assert_eq!(harness.record().result, CallResult::NoAnswer);
}

#[test]
fn an_inbound_call_goes_to_the_next_proxy() {
    let mut settings = settings();
    let other = "[2001:db8:1::11]:5060";
    settings.proxies.extend([address(PROXY), address(other)]);
    let mut harness = Harness::with(settings, 1);
    let caller = harness.gateway(GATEWAY_1);
    let invite = harness.invite(&caller, &format!("sip:0312340101@{OUTSIDE}"), "<sip:a@192.0.2.1>", offer());
    harness.send(&caller, &invite);
    let out = harness.take_request(PROXY, Method::Invite);
    let mut proxy = harness.proxy();
    harness.reply(&mut proxy, &out, 503, None);
    harness.take_request(other, Method::Invite);
}

#[test]
fn a_request_too_long_for_datagrams_goes_over_tcp() {
    let mut harness = Harness::new();
    let mut trunk = (*harness.shared.directory.trunk(TrunkId(1)).unwrap()).clone();
    trunk.max_udp_bytes = Some(1_000);
    harness.shared.directory.apply(&schema::Change::PutTrunk(trunk));
    let proxy = harness.proxy();
    let long = format!("m=audio 11000 RTP/AVP 0\r\n{}", "a=x-filler:0123456789\r\n".repeat(40));
    harness.dial(&proxy, "+81901234567", Some(sdp_with(PHONE_MEDIA, &long)));
    let (flow, out) = loop {
        let (flow, message) = harness.try_take_any().expect("an INVITE");
        if message.is(&Method::Invite) {
            break (flow, message);
        }
    };
    assert_eq!(flow.transport, sip_core::flow::Transport::Tcp);
    assert_eq!(out.top_via().unwrap().transport, "TCP");
    assert!(out.text(Name::Contact).unwrap().contains("transport=tcp"));
}

#[test]
fn failed_calls_take_a_gateway_down_before_the_keep_alive_does() {
    let mut settings = settings();
    settings.keep_alive = crate::settings::KeepAlive::default();
    let mut harness = Harness::with(settings, 1);
    harness.pass(Duration::from_millis(1));
    let proxy = harness.proxy();
    for _ in 0..2 {
        harness.dial(&proxy, "110", offer());
        harness.forget_sent();
    }
    harness.pass(Duration::from_millis(4_001));
    assert!(!harness.shared.trunks.is_up(GATEWAY_1.parse().unwrap()));
    harness.forget_sent();
    harness.dial(&proxy, "110", offer());
    assert!(harness.nothing_for(GATEWAY_1));
    harness.take_request(GATEWAY_2, Method::Invite);
}
