//! Offers of both sides that meet, and offers that come with the answer.

use crate::support::Legs;
use crate::support::legs::{body_of, media_of};
use crate::support::raw::ack_of_failure;

/// RFC 3261 §14.2: an INVITE that meets ours gets 491.
/// RFC 3261 §14.1: ours that met with 491 is sent again after a while.
#[test]
fn both_sides_reinvite_at_once() {
    let mut legs = Legs::start();
    legs.call_up(&[], &[]);
    let held = legs.phone.sdp("a=sendonly\r\n");
    legs.phone.request("INVITE", &[], Some(&held));
    let passed = legs.gateway.expect_request("INVITE");
    let own = legs.gateway.request("INVITE", &[], Some(&legs.gateway.sdp("")));
    let refused = legs.gateway.expect(491);
    legs.gateway.raw.send(&ack_of_failure(&own, &refused));
    legs.gateway.respond(&passed, 491, &[], None);
    legs.gateway.expect_request("ACK");
    let again = legs.gateway.expect_request("INVITE");
    assert_eq!(again.body, passed.body);
    let answer = legs.gateway.sdp("a=recvonly\r\n");
    legs.gateway.respond(&again, 200, &[], Some(&answer));
    let ok = legs.phone.expect(200);
    assert!(body_of(&ok).contains("a=recvonly"));
    legs.phone.ack(&ok, None);
    legs.gateway.expect_request("ACK");
    assert_eq!(legs.hang_up()["result"], "answered");
}

/// RFC 3261 §14.1: whoever comes again first is served, and the other side gets its 491.
#[test]
fn the_gateway_comes_again_first() {
    let mut legs = Legs::start();
    legs.call_up(&[], &[]);
    let mine = legs.phone.request("INVITE", &[], Some(&legs.phone.sdp("a=sendonly\r\n")));
    let passed = legs.gateway.expect_request("INVITE");
    legs.gateway.respond(&passed, 491, &[], None);
    legs.gateway.expect_request("ACK");
    let offer = legs.gateway.sdp("a=sendonly\r\n");
    legs.gateway.request("INVITE", &[], Some(&offer));
    let refused = legs.phone.expect(491);
    legs.phone.raw.send(&ack_of_failure(&mine, &refused));
    let theirs = legs.phone.expect_request("INVITE");
    legs.phone.respond(&theirs, 200, &[], Some(&legs.phone.sdp("a=recvonly\r\n")));
    legs.phone.expect_request("ACK");
    let ok = legs.gateway.expect(200);
    legs.gateway.ack(&ok, None);
    assert_eq!(legs.hang_up()["result"], "answered");
}

/// RFC 3261 §13.2.1: an INVITE without an offer gets one in its 2xx, whose answer is in the ACK; from the trunk as from a phone.
#[test]
fn the_offer_comes_with_the_answer_of_a_phone() {
    let mut legs = Legs::start();
    let (_, invite) = legs.dial_in(&[], None);
    assert!(body_of(&invite).is_empty());
    let offer = legs.phone.sdp("");
    legs.phone.respond(&invite, 200, &[], Some(&offer));
    let ok = legs.gateway.expect(200);
    assert!(body_of(&ok).contains("c=IN IP4 127.0.0.1"));
    legs.gateway.uac(&ok);
    let answer = legs.gateway.sdp("");
    legs.gateway.ack(&ok, Some(&answer));
    let ack = legs.phone.expect_request("ACK");
    assert!(body_of(&ack).contains("c=IN IP6 ::1"), "{}", body_of(&ack));
    legs.gateway.is_heard_by(media_of(&ok), &legs.phone);
    legs.phone.is_heard_by(media_of(&ack), &legs.gateway);
    // The same once more, in a re-INVITE.
    legs.phone.request("INVITE", &[], None);
    let again = legs.gateway.expect_request("INVITE");
    assert!(body_of(&again).is_empty());
    legs.gateway.respond(&again, 200, &[], Some(&answer));
    let ok = legs.phone.expect(200);
    legs.phone.ack(&ok, Some(&offer));
    assert!(body_of(&legs.gateway.expect_request("ACK")).contains("m=audio"));
    legs.gateway.request("BYE", &[], None);
    legs.gateway.expect(200);
    let bye = legs.phone.expect_request("BYE");
    legs.phone.respond(&bye, 200, &[], None);
    assert_eq!(legs.node.call_record()["result"], "answered");
}
