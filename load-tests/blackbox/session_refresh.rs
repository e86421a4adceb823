//! Session timers of the translator's legs, each for itself.

use crate::support::Legs;
use crate::support::legs::body_of;
use crate::support::raw::{ack_of_failure, slow_and_steady};

/// RFC 4028 §7.2: a peer that knows no session timer is refreshed by us: by UPDATE where it takes that, else by INVITE with what stands.
/// RFC 4028 §10: a peer that does not answer a refresh is dead: the call is ended, and the record says why.
#[test]
fn each_leg_is_refreshed_in_its_own_way() {
    let setup = slow_and_steady()
        .set("TRANSLATOR__SESSION_EXPIRES_S", "6")
        .set("TRANSLATOR__MIN_SESSION_EXPIRES_S", "4")
        .set("REGISTRAR_PROXY__SESSION_EXPIRES_S", "0");
    let mut legs = Legs::on(setup);
    legs.call_up(&[("Allow", "INVITE, ACK, BYE, CANCEL, UPDATE")], &[("Allow", "INVITE, ACK, BYE, CANCEL")]);
    let update = legs.phone.expect_request("UPDATE");
    assert_eq!(update.header("Session-Expires"), Some("6;refresher=uac"));
    assert!(update.body.is_empty());
    legs.phone.respond(&update, 200, &[], None);
    let invite = legs.gateway.expect_request("INVITE");
    assert_eq!(invite.header("Session-Expires"), Some("6;refresher=uac"));
    assert!(body_of(&invite).contains("m=audio"));
    let answer = legs.gateway.sdp("");
    legs.gateway.respond(&invite, 200, &[], Some(&answer));
    legs.gateway.expect_request("ACK");
    // The next refresh of the gateway is not understood any more.
    let update = legs.phone.expect_request("UPDATE");
    legs.phone.respond(&update, 200, &[], None);
    let invite = legs.gateway.expect_request("INVITE");
    legs.gateway.respond(&invite, 481, &[], None);
    legs.gateway.expect_request("ACK");
    let bye = legs.gateway.expect_request("BYE");
    legs.gateway.respond(&bye, 200, &[], None);
    let bye = legs.phone.expect_request("BYE");
    legs.phone.respond(&bye, 200, &[], None);
    let record = legs.node.call_record();
    assert_eq!((&record["result"], &record["ended_by"]), (&"answered".into(), &"platform".into()));
    assert_eq!(record["reason"], "the other side lost the call");
}

/// RFC 4028 §9: an interval below our least gets 422 with Min-SE.
/// RFC 4028 §7.4: a gateway's 422 is obeyed.
/// RFC 4028 §10: who said that it would refresh, and does not, is hung up.
#[test]
fn a_refresher_that_does_not_refresh() {
    let setup = slow_and_steady()
        .set("TRANSLATOR__SESSION_EXPIRES_S", "1800")
        .set("TRANSLATOR__MIN_SESSION_EXPIRES_S", "5")
        .set("REGISTRAR_PROXY__SESSION_EXPIRES_S", "0");
    let mut legs = Legs::on(setup);
    let offer = legs.gateway.sdp("");
    let uri = format!("sip:+81355550101@{}", legs.node.trunk_side);
    let mut short = legs.gateway.raw.request("INVITE", &uri, "+819012345678@127.0.0.1");
    short.push("Supported", "timer");
    short.push("Session-Expires", "4");
    legs.gateway.raw.send(&short);
    let refused = legs.gateway.expect(422);
    assert_eq!(refused.header("Min-SE"), Some("5"));
    legs.gateway.raw.send(&ack_of_failure(&short, &refused));

    let timer = [("Supported", "timer"), ("Session-Expires", "6;refresher=uac")];
    let (_, invite) = legs.dial_in(&timer, Some(&offer));
    let answer = legs.phone.sdp("");
    legs.phone.respond(&invite, 200, &[], Some(&answer));
    let ok = legs.gateway.expect(200);
    assert_eq!(ok.header("Session-Expires"), Some("6;refresher=uac"));
    assert_eq!(ok.header("Require"), Some("timer"));
    legs.gateway.uac(&ok);
    legs.gateway.ack(&ok, None);
    legs.phone.expect_request("ACK");
    // It refreshes once, with what stands: the phone hears nothing of it.
    legs.gateway.request("INVITE", &timer, Some(&offer));
    let again = legs.gateway.expect(200);
    assert_eq!(again.body, ok.body);
    legs.gateway.ack(&again, None);
    // And then no more.
    let bye = legs.gateway.expect_request("BYE");
    assert!(bye.header("Reason").unwrap().contains("Session expired"), "{bye:?}");
    legs.gateway.respond(&bye, 200, &[], None);
    let bye = legs.phone.expect_request("BYE");
    legs.phone.respond(&bye, 200, &[], None);
    let record = legs.node.call_record();
    assert_eq!(record["reason"], "session expired: nobody refreshed it");
}
