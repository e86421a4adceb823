//! Early dialogs through the translator: UPDATE in them, and gateways that fork.

use crate::support::Legs;
use crate::support::legs::{body_of, media_of};

const KNOWS: [(&str, &str); 2] =
    [("Supported", "100rel"), ("Allow", "INVITE, ACK, BYE, CANCEL, PRACK, UPDATE")];

/// RFC 3311 §5.1: once the first offer is answered reliably, UPDATE changes the session before the call is answered, from either
/// side; offers that meet get 491.
#[test]
fn both_sides_update_an_early_session() {
    let mut legs = Legs::start();
    let offer = legs.phone.sdp("");
    let (_, invite) = legs.dial(&KNOWS, Some(&offer));
    let answer = legs.gateway.sdp("");
    legs.gateway.respond(&invite, 183, &[("Require", "100rel"), ("RSeq", "1"), KNOWS[1]], Some(&answer));
    let early = legs.phone.expect(183);
    legs.phone.uac(&early);
    let rack = format!("{} 2 INVITE", early.header("RSeq").unwrap());
    legs.phone.request("PRACK", &[("RAck", &rack)], None);
    legs.phone.expect(200);
    let prack = legs.gateway.expect_request("PRACK");
    legs.gateway.respond(&prack, 200, &[], None);

    let held = legs.phone.sdp("a=sendonly\r\n");
    legs.phone.request("UPDATE", &[], Some(&held));
    let update = legs.gateway.expect_request("UPDATE");
    assert!(body_of(&update).contains("a=sendonly"));
    // The gateway has an offer of its own meanwhile.
    legs.gateway.request("UPDATE", &[], Some(&answer));
    legs.gateway.expect(491);
    let reply = legs.gateway.sdp("a=recvonly\r\n");
    legs.gateway.respond(&update, 200, &[], Some(&reply));
    assert!(body_of(&legs.phone.expect(200)).contains("a=recvonly"));

    legs.gateway.request("UPDATE", &[], Some(&legs.gateway.sdp("a=sendrecv\r\n")));
    let update = legs.phone.expect_request("UPDATE");
    legs.phone.respond(&update, 200, &[], Some(&offer));
    legs.gateway.expect(200);
    legs.gateway.respond(&invite, 200, &[], None);
    let ok = legs.phone.expect(200);
    legs.phone.ack(&ok, None);
    legs.gateway.expect_request("ACK");
    legs.gateway.is_heard_by(media_of(&invite), &legs.phone);
    assert_eq!(legs.hang_up()["result"], "answered");
}

/// RFC 3261 §12.1.2: the early dialogs of a gateway that forks are as many toward the phone; the one that answers wins.
/// RFC 3261 §13.2.2.4: another one that answers is hung up.
#[test]
fn a_gateway_that_forks() {
    let mut legs = Legs::start();
    let offer = legs.phone.sdp("");
    let (_, invite) = legs.dial(&[], Some(&offer));
    let answer = legs.gateway.sdp("");
    legs.gateway.as_fork("one", &invite);
    legs.gateway.respond(&invite, 183, &[], Some(&answer));
    let one = legs.phone.expect(183);
    legs.gateway.as_fork("two", &invite);
    let elsewhere = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let other = legs.gateway.sdp_with(&format!("m=audio {port} RTP/AVP 0\r\n"));
    legs.gateway.respond(&invite, 183, &[], Some(&other));
    let two = legs.phone.expect(183);
    assert_ne!(one.tag("To"), two.tag("To"));

    legs.gateway.as_fork("one", &invite);
    legs.gateway.respond(&invite, 200, &[], Some(&answer));
    let ok = legs.phone.expect(200);
    assert_eq!(ok.tag("To"), one.tag("To"));
    legs.phone.uac(&ok);
    legs.phone.ack(&ok, None);
    legs.gateway.expect_request("ACK");
    // The relay follows the winner.
    legs.phone.is_heard_by(media_of(&ok), &legs.gateway);

    legs.gateway.as_fork("two", &invite);
    legs.gateway.respond(&invite, 200, &[], Some(&other));
    assert_eq!(legs.gateway.expect_request("ACK").tag("To"), Some("two"));
    let bye = legs.gateway.expect_request("BYE");
    assert_eq!(bye.tag("To"), Some("two"));
    legs.gateway.respond(&bye, 200, &[], None);
    legs.gateway.as_fork("one", &invite);
    assert_eq!(legs.hang_up()["result"], "answered");
}
