//! Calls from the phone to the gateway that go wrong at one of them.

use user_agent::Message;

use crate::support::Legs;
use crate::support::legs::media_of;
use crate::support::raw::{ack_of_failure, cancel_of};

/// What happens in an answered call.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Then {
    Nothing,
    PhoneSpeaks,
}

/// The gateway refuses with a status and these headers.
pub(super) fn refused(legs: &mut Legs, status: u16, headers: &[(&str, &str)]) -> String {
    let offer = legs.phone.sdp("");
    let (sent, invite) = legs.dial(&[], Some(&offer));
    legs.gateway.respond(&invite, status, headers, None);
    legs.gateway.expect_request("ACK");
    let refusal = final_response(legs);
    assert!(refusal.status().unwrap().0 >= 400, "{refusal:#?}");
    legs.phone.raw.send(&ack_of_failure(&sent, &refusal));
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
    // The 200 to CANCEL and the 487 to INVITE, in either order.
    let refusal = loop {
        let response = legs.phone.raw.receive();
        if response.status().is_some_and(|(status, _)| status == 487) {
            break response;
        }
    };
    legs.phone.raw.send(&ack_of_failure(&sent, &refusal));
    call_id(&sent)
}

/// The gateway answers, something happens, and the phone hangs up.
pub(super) fn answered(legs: &mut Legs, then: Then) -> String {
    let offer = legs.phone.sdp("");
    let (sent, invite) = legs.dial(&[], Some(&offer));
    let answer = legs.gateway.sdp("");
    legs.gateway.respond(&invite, 200, &[], Some(&answer));
    let ok = legs.phone.expect(200);
    legs.phone.uac(&ok);
    legs.phone.ack(&ok, None);
    legs.gateway.expect_request("ACK");
    if then == Then::PhoneSpeaks {
        legs.phone.is_heard_by(media_of(&ok), &legs.gateway);
    }
    legs.phone.request("BYE", &[], None);
    legs.phone.expect(200);
    let bye = legs.gateway.expect_request("BYE");
    legs.gateway.respond(&bye, 200, &[], None);
    call_id(&sent)
}

fn final_response(legs: &mut Legs) -> Message {
    loop {
        let response = legs.phone.raw.receive();
        if response.status().is_some_and(|(status, _)| status >= 200) {
            return response;
        }
    }
}

pub(super) fn call_id(message: &Message) -> String {
    message.header("Call-ID").unwrap().to_owned()
}
