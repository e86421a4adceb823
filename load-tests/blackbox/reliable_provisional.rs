//! Reliable provisional responses through the translator: each leg has them for itself.

use crate::support::Legs;
use crate::support::legs::{body_of, media_of};

const RELIABLE: (&str, &str) = ("Require", "100rel");

/// RFC 3262 §4: the translator acknowledges a gateway's reliable response although the phone knows no 100rel.
#[test]
fn the_gateway_is_reliable_and_the_phone_is_not() {
    let mut legs = Legs::start();
    let offer = legs.phone.sdp("");
    let (_, invite) = legs.dial(&[], Some(&offer));
    assert!(invite.header("Supported").unwrap().contains("100rel"));
    let answer = legs.gateway.sdp("");
    legs.gateway.respond(&invite, 183, &[RELIABLE, ("RSeq", "4711")], Some(&answer));
    let prack = legs.gateway.expect_request("PRACK");
    assert_eq!(prack.header("RAck"), Some("4711 1 INVITE"));
    legs.gateway.respond(&prack, 200, &[], None);
    let early = legs.phone.expect(183);
    assert!(early.header("Require").is_none() && early.header("RSeq").is_none());
    // Early media is heard.
    let outside = media_of(&invite);
    legs.gateway.is_heard_by(outside, &legs.phone);
    legs.gateway.respond(&invite, 200, &[], None);
    let ok = legs.phone.expect(200);
    assert!(body_of(&ok).contains("m=audio"), "for this phone it is the answer");
    legs.phone.uac(&ok);
    legs.phone.ack(&ok, None);
    legs.gateway.expect_request("ACK");
    assert_eq!(legs.hang_up()["result"], "answered");
}

/// RFC 3262 §3: a phone that requires 100rel gets every provisional response reliably although the gateway knows none; the answer
/// waits for the PRACK of a description.
#[test]
fn the_phone_is_reliable_and_the_gateway_is_not() {
    let mut legs = Legs::start();
    let offer = legs.phone.sdp("");
    let (_, invite) = legs.dial(&[("Require", "100rel"), ("Supported", "100rel")], Some(&offer));
    assert!(invite.header("Require").is_none());
    legs.gateway.respond(&invite, 180, &[], None);
    let ringing = legs.phone.expect(180);
    assert_eq!(ringing.header("Require"), Some("100rel"));
    legs.phone.uac(&ringing);
    let answer = legs.gateway.sdp("");
    legs.gateway.respond(&invite, 183, &[], Some(&answer));
    let rack = format!("{} 2 INVITE", ringing.header("RSeq").unwrap());
    legs.phone.request("PRACK", &[("RAck", &rack)], None);
    // The gateway's 183 and the answer to the PRACK come in whatever order.
    let [early, acknowledged] = legs.phone.expect_both([183, 200]);
    assert_eq!(acknowledged.cseq().unwrap().1, "PRACK");
    // A PRACK for nothing.
    legs.phone.request("PRACK", &[("RAck", "1 2 INVITE")], None);
    legs.phone.expect(481);

    legs.gateway.respond(&invite, 200, &[], Some(&answer));
    legs.gateway.expect_request("ACK");
    let rack = format!("{} 2 INVITE", early.header("RSeq").unwrap());
    legs.phone.request("PRACK", &[("RAck", &rack)], None);
    assert_eq!(legs.phone.expect(200).cseq().unwrap().1, "PRACK");
    let ok = legs.phone.expect(200);
    assert_eq!(ok.cseq().unwrap().1, "INVITE");
    legs.phone.ack(&ok, None);
    legs.phone.is_heard_by(media_of(&early), &legs.gateway);
    assert_eq!(legs.hang_up()["result"], "answered");
}

/// RFC 3262 §5: an offer in a reliable response is answered in the PRACK, end to end.
#[test]
fn a_delayed_offer_is_answered_in_a_prack() {
    let mut legs = Legs::start();
    let (_, invite) = legs.dial(&[("Supported", "100rel")], None);
    let offer = legs.gateway.sdp("");
    legs.gateway.respond(&invite, 183, &[RELIABLE, ("RSeq", "1")], Some(&offer));
    let early = legs.phone.expect(183);
    legs.phone.uac(&early);
    let answer = legs.phone.sdp("");
    let rack = format!("{} 2 INVITE", early.header("RSeq").unwrap());
    legs.phone.request("PRACK", &[("RAck", &rack)], Some(&answer));
    let prack = legs.gateway.expect_request("PRACK");
    assert!(body_of(&prack).contains("c=IN IP4 127.0.0.1"));
    legs.gateway.respond(&prack, 200, &[], None);
    legs.phone.expect(200);
    legs.gateway.is_heard_by(media_of(&prack), &legs.phone);
    legs.phone.is_heard_by(media_of(&early), &legs.gateway);
    legs.gateway.respond(&invite, 200, &[], None);
    let ok = legs.phone.expect(200);
    legs.phone.ack(&ok, None);
    assert!(body_of(&legs.gateway.expect_request("ACK")).is_empty());
    assert_eq!(legs.hang_up()["result"], "answered");
}
