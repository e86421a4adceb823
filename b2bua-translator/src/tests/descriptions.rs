//! What descriptions and bodies of all kinds become on their way through a call.

use schema::Change;
use sip_core::wire::{Message, Method, Name};

use crate::question::Side;
use crate::testing::harness::*;

fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.body()).into_owned()
}

/// A carrier that takes these codecs.
fn with_codecs(codecs: &[&str]) -> Harness {
    let harness = Harness::new();
    let mut carrier = (*harness.shared.directory.trunk(schema::TrunkId(1)).unwrap()).clone();
    carrier.codecs = codecs.iter().map(|name| (*name).to_owned()).collect();
    harness.shared.directory.apply(&Change::PutTrunk(carrier));
    harness
}

/// RFC 3264 §8.3.1: a section changes from speech to fax and back in its place.
#[test]
fn fax_takes_the_place_of_speech() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    let fax = sdp_with(
        GATEWAY_MEDIA,
        "m=image 4004 udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n",
    );
    harness.ask(&mut gateway, Method::Invite, Some(("application/sdp", fax)));
    let out = harness.take_request(PROXY, Method::Invite);
    assert!(text(&out).contains("udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n"));
    let answer = sdp_with(PHONE_MEDIA, "m=image 11004 udptl t38\r\na=T38FaxVersion:0\r\n");
    harness.reply(&mut proxy, &out, 200, Some(answer));
    let ok = harness.take_status(GATEWAY_1, 200);
    harness.ack(&gateway, &ok, None);
    for side in [Side::Caller, Side::Callee] {
        let update = &harness.last_update(side)[0];
        assert!(!update.is_rtp && update.rtp.is_some());
    }
    harness.hang_up(&mut proxy, &mut gateway);
}

/// RFC 3264 §5.1: toward the trunk only its codecs are offered, and tones.
#[test]
fn only_the_trunks_codecs_are_offered() {
    let mut harness = with_codecs(&["PCMA"]);
    let (proxy, mut gateway) = (harness.proxy(), harness.gateway(GATEWAY_1));
    let media =
        "m=audio 11000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\nm=video 11002 RTP/AVP 31\r\n";
    harness.dial(&proxy, "+81901234567", Some(sdp_with(PHONE_MEDIA, media)));
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    let body = text(&out);
    assert!(body.contains(" RTP/AVP 8 101\r\n") && body.contains("m=video 0 RTP/AVP 31\r\n"), "{body}");
    // A gateway that answers with what was taken out has answered nothing.
    let answer = "m=audio 4000 RTP/AVP 0\r\nm=video 0 RTP/AVP 31\r\n";
    harness.reply(&mut gateway, &out, 200, Some(sdp_with(GATEWAY_MEDIA, answer)));
    harness.take_status(PROXY, 488);
    let bye = harness.take_request(GATEWAY_1, Method::Bye);
    harness.reply(&mut gateway, &bye, 200, None);
}

/// RFC 3261 §21.4.26: without one allowed codec the call gets 488, and no gateway of the trunk hears of it.
#[test]
fn a_call_without_an_allowed_codec_is_refused() {
    let mut harness = with_codecs(&["opus"]);
    let gateway = harness.gateway(GATEWAY_1);
    let invite = harness.invite(
        &gateway,
        &format!("sip:0312340101@{OUTSIDE}"),
        "<sip:a@192.0.2.1>",
        Some(sdp(GATEWAY_MEDIA, 4_000)),
    );
    harness.send(&gateway, &invite);
    harness.take_status(GATEWAY_1, 488);
    assert!(harness.nothing_for(PROXY));
    let proxy = harness.proxy();
    harness.dial(&proxy, "110", Some(sdp(PHONE_MEDIA, 11_000)));
    harness.take_status(PROXY, 488);
}

/// RFC 3312 §11: `precondition` may be required, and is refused with 420.
/// RFC 3312 §8: an offer whose mandatory preconditions cannot be met gets 580.
#[test]
fn preconditions_are_refused() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let required = [(Name::Require, "precondition")];
    harness.dial_with(&proxy, Some(sdp(PHONE_MEDIA, 11_000)), &required);
    let refused = harness.take_status(PROXY, 420);
    assert_eq!(refused.text(Name::Unsupported).unwrap(), "precondition");

    let mandatory = "m=audio 11000 RTP/AVP 0\r\na=curr:qos e2e none\r\na=des:qos mandatory e2e sendrecv\r\n";
    let proxy = harness.proxy();
    harness.dial_with(&proxy, Some(sdp_with(PHONE_MEDIA, mandatory)), &[]);
    harness.take_status(PROXY, 580);

    // What is optional does not stop the call, and stays on its leg.
    let optional = mandatory.replace("mandatory", "optional");
    let proxy = harness.proxy();
    harness.dial_with(&proxy, Some(sdp_with(PHONE_MEDIA, &optional)), &[]);
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert!(!text(&out).contains("qos"), "{}", text(&out));
}

/// RFC 3312 §8: an offer in a re-INVITE or UPDATE that cannot be met gets 580, and the call goes on.
#[test]
fn preconditions_in_a_call_are_refused() {
    let mut harness = Harness::new();
    let (mut proxy, mut gateway) = harness.call_up();
    let mandatory = "m=audio 11000 RTP/AVP 0\r\na=des:qos mandatory local sendrecv\r\n";
    for method in [Method::Invite, Method::Update] {
        harness.ask(&mut proxy, method, Some(("application/sdp", sdp_with(PHONE_MEDIA, mandatory))));
        harness.take_status(PROXY, 580);
    }
    harness.hang_up(&mut proxy, &mut gateway);
}

/// RFC 5621 §3.1: a description within several parts is used, and goes on alone.
#[test]
fn a_body_of_several_parts() {
    let mut harness = Harness::new();
    let proxy = harness.proxy();
    let parts = |handling: &str| {
        format!(
            "--x\r\nContent-Type: application/sdp\r\n\r\n{}\r\n--x\r\nContent-Type: application/pidf+xml\r\n\
             Content-Disposition: render;handling={handling}\r\n\r\n<presence/>\r\n--x--\r\n",
            sdp(PHONE_MEDIA, 11_000)
        )
    };
    for handling in ["required", "optional"] {
        let uri = format!("sip:+81901234567@{INSIDE}");
        let bare = harness.invite(&proxy, &uri, "<sip:101@s042.example.net>", Some("x".into()));
        let kind = "multipart/mixed;boundary=x";
        let invite = bare.edit().set(Name::ContentType, kind).body(parts(handling).into()).finish();
        harness.send(&proxy, &invite);
        if handling == "required" {
            let reply = harness.take_status(PROXY, 415);
            assert!(reply.text(Name::Accept).unwrap().contains("multipart/mixed"));
        }
    }
    let out = harness.take_request(GATEWAY_1, Method::Invite);
    assert_eq!(out.text(Name::ContentType).unwrap(), "application/sdp");
    assert_eq!(described(&out).media_address(0).unwrap().0.to_string(), "198.51.100.9");
    assert!(!text(&out).contains("presence"));
}
