//! Calls between the phone and the gateway that go wrong at one of them.

use std::net::UdpSocket;

use user_agent::Message;

use crate::support::Legs;
use crate::support::legs::{media_of, rtp};
use crate::support::raw::{ack_of_failure, cancel_of};

/// What happens in an answered call.
#[derive(Clone, Copy)]
pub(super) enum Then {
    Nothing,
    /// The phone sends RTP of this payload type.
    PhoneSpeaks(u8),
    /// The same, and the gateway sends what was agreed.
    BothSpeak(u8),
    /// The phone speaks, and somebody at another address in the gateway's place.
    StrangerSpeaks,
    /// With this Reason.
    GatewayHangsUp(Option<&'static str>),
    /// It says 481 to a request in the call.
    GatewayForgets,
}

/// The gateway refuses with a status and these headers.
pub(super) fn refused(legs: &mut Legs, status: u16, headers: &[(&str, &str)]) -> String {
    let offer = legs.phone.sdp("");
    let (sent, invite) = legs.dial(&[], Some(&offer));
    legs.gateway.respond(&invite, status, headers, None);
    legs.gateway.expect_request("ACK");
    acknowledge_refusal(legs, &sent);
    call_id(&sent)
}

/// The phone cancels while the gateway rings.
pub(super) fn cancelled(legs: &mut Legs) -> String {
    let offer = legs.phone.sdp("");
    let (sent, invite) = legs.dial(&[], Some(&offer));
    legs.gateway.respond(&invite, 180, &[], None);
    legs.phone.expect(180);
    legs.phone.raw.send(&cancel_of(&sent));
    let cancel = legs.gateway.expect_request("CANCEL");
    legs.gateway.respond(&cancel, 200, &[], None);
    legs.gateway.respond(&invite, 487, &[], None);
    legs.gateway.expect_request("ACK");
    acknowledge_cancel(&mut legs.phone.raw, &sent);
    call_id(&sent)
}

/// The 200 to a CANCEL and the 487 to its INVITE, in either order.
pub(super) fn acknowledge_cancel(caller: &mut crate::support::Raw, sent: &Message) {
    let (mut done, mut over) = (false, false);
    while !(done && over) {
        let response = caller.receive();
        match (response.status().unwrap().0, response.cseq().unwrap().1) {
            (200, "CANCEL") => done = true,
            (487, "INVITE") => {
                over = true;
                caller.send(&ack_of_failure(sent, &response));
            }
            (100..=199, _) => {}
            _ => panic!("{response:#?}"),
        }
    }
}

/// The gateway answers, something happens, and somebody hangs up.
pub(super) fn answered(legs: &mut Legs, then: Then) -> String {
    let (sent, invite, ok) = up(legs, NUMBER);
    let (to_gateway, to_phone) = (media_of(&ok), media_of(&invite));
    match then {
        Then::Nothing => {}
        Then::PhoneSpeaks(kind) => legs.phone.passes(to_gateway, &legs.gateway, &rtp(kind, b"speech")),
        Then::BothSpeak(kind) => {
            legs.phone.passes(to_gateway, &legs.gateway, &rtp(kind, b"speech"));
            legs.gateway.is_heard_by(to_phone, &legs.phone);
        }
        Then::StrangerSpeaks => {
            let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
            stranger.send_to(&rtp(0, b"speech"), to_phone).unwrap();
            // What comes later is relayed later.
            legs.phone.is_heard_by(to_gateway, &legs.gateway);
        }
        Then::GatewayHangsUp(reason) => {
            let headers: Vec<(&str, &str)> = reason.map(|reason| ("Reason", reason)).into_iter().collect();
            legs.gateway.request("BYE", &headers, None);
            legs.gateway.expect(200);
            let bye = legs.phone.expect_request("BYE");
            legs.phone.respond(&bye, 200, &[], None);
            return call_id(&sent);
        }
        Then::GatewayForgets => {
            legs.phone.request("INFO", &[("Content-Type", "text/plain")], Some("x"));
            let info = legs.gateway.expect_request("INFO");
            legs.gateway.respond(&info, 481, &[], None);
            both_hear_bye(legs);
            return call_id(&sent);
        }
    }
    legs.phone.request("BYE", &[], None);
    legs.phone.expect(200);
    let bye = legs.gateway.expect_request("BYE");
    legs.gateway.respond(&bye, 200, &[], None);
    call_id(&sent)
}

/// The gateway answers with this codec alone, or without a description.
pub(super) fn answered_badly(legs: &mut Legs, codec: Option<&str>) -> String {
    let offer = legs.phone.sdp("");
    let (sent, invite) = legs.dial(&[], Some(&offer));
    let port = legs.gateway.media.local_addr().unwrap().port();
    let answer = codec.map(|codec| legs.gateway.sdp_with(&format!("m=audio {port} RTP/AVP {codec}\r\n")));
    legs.gateway.respond(&invite, 200, &[], answer.as_deref());
    legs.gateway.expect_request("ACK");
    let bye = legs.gateway.expect_request("BYE");
    legs.gateway.respond(&bye, 200, &[], None);
    acknowledge_refusal(legs, &sent);
    call_id(&sent)
}

/// The phone's INVITE goes to no gateway.
pub(super) fn rejected(legs: &mut Legs, headers: &[(&str, &str)], body: &str) -> String {
    rejected_at(legs, NUMBER, headers, body)
}

/// The same for another number.
pub(super) fn rejected_at(legs: &mut Legs, number: &str, headers: &[(&str, &str)], body: &str) -> String {
    rejected_with(legs, number, headers, body).0
}

/// The same with the reason phrase that the phone was given.
pub(super) fn rejected_with(
    legs: &mut Legs,
    number: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (String, String) {
    let uri = format!("sip:{number}@{}", legs.line.domain);
    let from = format!("{}@{}", legs.line.extension, legs.line.domain);
    let mut invite = legs.phone.raw.request("INVITE", &uri, &from);
    headers.iter().for_each(|(name, value)| invite.push(name, *value));
    if !body.is_empty() {
        if invite.header("Content-Type").is_none() {
            invite.push("Content-Type", "application/sdp");
        }
        invite.body = body.as_bytes().to_vec();
    }
    let sent = legs.phone.raw.send_as(&legs.line, &invite);
    let refusal = acknowledge_refusal(legs, &sent);
    let (_, reason) = refusal.status().unwrap();
    (call_id(&sent), reason.to_owned())
}

/// Both are heard, and then neither is.
pub(super) fn silenced(legs: &mut Legs) -> String {
    let (sent, invite, ok) = up(legs, NUMBER);
    legs.phone.is_heard_by(media_of(&ok), &legs.gateway);
    legs.gateway.is_heard_by(media_of(&invite), &legs.phone);
    both_hear_bye(legs);
    call_id(&sent)
}

/// The gateway promises to refresh the session, and does not.
pub(super) fn never_refreshed(legs: &mut Legs) -> String {
    let offer = legs.gateway.sdp("a=inactive\r\n");
    let timer = [("Supported", "timer"), ("Session-Expires", "6;refresher=uac")];
    let (sent, invite) = legs.dial_in(&timer, Some(&offer));
    let answer = legs.phone.sdp("a=inactive\r\n");
    legs.phone.respond(&invite, 200, &[], Some(&answer));
    let ok = legs.gateway.expect(200);
    legs.gateway.uac(&ok);
    legs.gateway.ack(&ok, None);
    legs.phone.expect_request("ACK");
    both_hear_bye(legs);
    call_id(&sent)
}

pub(super) fn call_id(message: &Message) -> String {
    message.header("Call-ID").unwrap().to_owned()
}

/// An answered call of the phone's; gives its INVITE, the gateway's, and the 200.
pub(super) fn up(legs: &mut Legs, number: &str) -> (Message, Message, Message) {
    let offer = legs.phone.sdp("");
    let (sent, invite) = legs.dial_to(number, &[], Some(&offer));
    let answer = legs.gateway.sdp("");
    legs.gateway.respond(&invite, 200, &[], Some(&answer));
    let ok = legs.phone.expect(200);
    legs.phone.uac(&ok);
    legs.phone.ack(&ok, None);
    legs.gateway.expect_request("ACK");
    (sent, invite, ok)
}

fn acknowledge_refusal(legs: &mut Legs, sent: &Message) -> Message {
    let refusal = loop {
        let response = legs.phone.raw.receive();
        let (status, _) = response.status().unwrap();
        if status >= 200 {
            assert!(status >= 400, "{response:#?}");
            break response;
        }
    };
    legs.phone.raw.send(&ack_of_failure(sent, &refusal));
    refusal
}

fn both_hear_bye(legs: &mut Legs) {
    for end in [&mut legs.gateway, &mut legs.phone] {
        // What else was under way may come before it.
        let bye = loop {
            let message = end.raw.receive();
            if message.method() == Some("BYE") {
                break message;
            }
        };
        end.respond(&bye, 200, &[], None);
    }
}

/// What phones dial.
const NUMBER: &str = "0312345678";
