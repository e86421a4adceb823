//! Messages that the layer writes by itself.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;

use crate::wire::header::{CSeq, MaxForwards, Reason, Via};
use crate::wire::{Builder, Limits, Message, Method, Name, ParseError, StatusCode};

/// The ACK for a final response other than 2xx (RFC 3261 §17.1.1.3): the INVITE's Request-URI, top Via, Route, From and Call-ID,
/// and the response's To.
pub(super) fn ack(invite: &Message, response: &Message) -> Message {
    follow_up(invite, Method::Ack).copy(response, Name::To).finish()
}

/// The CANCEL for a request (RFC 3261 §9.1), with a Reason where there is one (RFC 3326).
pub(super) fn cancel(invite: &Message, reason: Option<&Reason>) -> Message {
    follow_up(invite, Method::Cancel).copy(invite, Name::To).header_if(Name::Reason, reason).finish()
}

fn follow_up(invite: &Message, method: Method) -> Builder {
    let number = invite.cseq().map_or(0, |cseq| cseq.number);
    Builder::request(&method, invite.request_uri_text())
        .header_if(Name::Via, invite.top_via().ok())
        .copy(invite, Name::Route)
        .header(Name::MaxForwards, MaxForwards(70))
        .copy(invite, Name::From)
        .copy(invite, Name::CallId)
        .header(Name::CSeq, CSeq { number, method })
}

/// A response that nobody remembers having sent (RFC 3261 §8.2.7).
pub(super) fn stateless(request: &Message, via: &Via, status: StatusCode, reason: Option<&str>) -> Builder {
    Builder::response_to(request, status, reason, Some(&tag(request, via)))
}

/// The 400 for the head of a message of which a stream does not tell the length (RFC 4475 §3.1.2.3). `None` where nobody can be
/// answered: a response, an ACK, too little to read.
pub fn unframed(head: Bytes) -> Option<Bytes> {
    let request = match Message::parse(head, &Limits::default()) {
        Ok(message) => message,
        Err(malformed) => *malformed.partial?,
    };
    if !request.is_request() || request.is(&Method::Ack) || !request.has(Name::CSeq) {
        return None;
    }
    let via = request.top_via().ok()?;
    let reason = ParseError::ContentLength.to_string();
    let response = stateless(&request, &via, StatusCode::BAD_REQUEST, Some(&reason)).finish();
    Some(response.bytes().clone())
}

/// The To tag of a stateless response: the same for each copy of a request, and for the ACK that answers it, so that this ACK can
/// be told from one for a 2xx.
pub(super) fn tag(request: &Message, via: &Via) -> String {
    let mut hasher = DefaultHasher::new();
    via.branch().hash(&mut hasher);
    via.sent_by.to_string().hash(&mut hasher);
    request.call_id().ok().hash(&mut hasher);
    request.from_tag().hash(&mut hasher);
    request.cseq().ok().map(|cseq| cseq.number).hash(&mut hasher);
    format!("{TAG_MARK}{:016x}", hasher.finish())
}

/// Whether an ACK is for a stateless response of ours: there is nothing left to do about it.
pub(super) fn is_for_stateless(ack: &Message, via: &Via) -> bool {
    ack.to_tag().is_some_and(|own| own.starts_with(TAG_MARK) && own == tag(ack, via))
}

const TAG_MARK: &str = "c6s-";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::machine_tests::{invite, response};

    fn text(message: &Message) -> &str {
        std::str::from_utf8(message.bytes()).unwrap()
    }

    #[test]
    fn ack_as_rfc_3261_17_1_1_3() {
        assert_eq!(
            text(&ack(&invite(), &response(486))),
            "ACK sip:101@s042.example.net SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKx;rport\r\n\
             Route: <sip:[2001:db8::2];lr>\r\nMax-Forwards: 70\r\nFrom: <sip:102@s042.example.net>;tag=f\r\n\
             Call-ID: c\r\nCSeq: 7 ACK\r\nTo: <sip:101@s042.example.net>;tag=t\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn cancel_as_rfc_3261_9_1() {
        let reason = Reason::sip(200, "Call completed elsewhere");
        assert_eq!(
            text(&cancel(&invite(), Some(&reason))),
            "CANCEL sip:101@s042.example.net SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKx;rport\r\n\
             Route: <sip:[2001:db8::2];lr>\r\nMax-Forwards: 70\r\nFrom: <sip:102@s042.example.net>;tag=f\r\n\
             Call-ID: c\r\nCSeq: 7 CANCEL\r\nTo: <sip:101@s042.example.net>\r\n\
             Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn what_cannot_be_framed_is_answered_where_somebody_waits() {
        let text = String::from_utf8(invite().bytes().to_vec()).unwrap();
        let answer = |from: &str, to: &str| unframed(Bytes::from(text.replace(from, to)));
        let refusal = answer("Content-Length: 0", "Content-Length: -999").unwrap();
        assert!(refusal.starts_with(b"SIP/2.0 400 Content-Length is not a valid number\r\n"));
        assert!(answer("Content-Length: 0\r\n", "").is_some());
        assert_eq!(answer("CSeq", "X-CSeq"), None);
        assert_eq!(answer("INVITE sip", "ACK sip"), None);
        assert_eq!(unframed(response(200).bytes().clone()), None);
    }

    #[test]
    fn a_stateless_tag_is_recognised_in_its_ack() {
        let request = invite();
        let via = request.top_via().unwrap();
        let refusal = stateless(&request, &via, StatusCode::SERVICE_UNAVAILABLE, None).finish();
        let own = ack(&request, &refusal);
        assert!(is_for_stateless(&own, &via));
        assert!(!is_for_stateless(&ack(&request, &response(486)), &via));
    }
}
