//! What a message must have before it is looked at (RFC 3261 §8.1.1, §16.3).

use crate::wire::header::{CSeq, MaxForwards, Via};
use crate::wire::{HeaderError, Message, Name};

/// What was read on the way.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) via: Via,
    pub(super) cseq: CSeq,
}

/// Why a request is refused, in words for the reason phrase.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Header(#[from] HeaderError),
    #[error("{0} is there more than once")]
    Repeated(Name),
    #[error("CSeq names another method")]
    Method,
    #[error("Max-Forwards is over 255")]
    MaxForwards,
    #[error("Request-URI holds headers")]
    UriHeaders,
    #[error("Request-URI is malformed: {0}")]
    RequestUri(#[from] crate::wire::UriError),
}

/// Every request has Via, From, To, Call-ID and CSeq. Max-Forwards may be missing (RFC 3261 §16.3, step 3), as in RFC 2543; the
/// URI's scheme is the core's business.
pub(super) fn request(request: &Message) -> Result<Checked, Fault> {
    let uri = request.request_uri()?;
    // RFC 3261 §19.1.1, table 1. Forwarded, they might become headers that nobody sent (RFC 4475 §3.1.2.11).
    if uri.sip().is_some_and(|uri| uri.headers.is_some()) {
        return Err(Fault::UriHeaders);
    }
    let checked = common(request)?;
    // The ways back of every hop before us: the response takes them (RFC 4475 §3.1.2.1).
    request.all::<Via>().skip(1).try_for_each(|via| via.map(drop))?;
    if request.method() != Some(&checked.cseq.method) {
        return Err(Fault::Method);
    }
    if request.header::<MaxForwards>()?.is_some_and(|left| left.0 > 255) {
        return Err(Fault::MaxForwards);
    }
    Ok(checked)
}

/// What both requests and responses have.
pub(super) fn common(message: &Message) -> Result<Checked, Fault> {
    let via = message.top_via()?;
    let cseq = message.cseq()?;
    message.from()?;
    message.to()?;
    message.call_id()?;
    // Two would be read differently by two hops (RFC 4475 §3.3.8).
    let single = [Name::CSeq, Name::CallId, Name::From, Name::To, Name::MaxForwards];
    match single.into_iter().find(|name| message.raws(*name).nth(1).is_some()) {
        Some(name) => Err(Fault::Repeated(name)),
        None => Ok(Checked { via, cseq }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::machine_tests::{invite, parse};

    fn fault(from: &str, to: &str) -> String {
        let text = String::from_utf8(invite().bytes().to_vec()).unwrap().replace(from, to);
        request(&parse(text)).unwrap_err().to_string()
    }

    #[test]
    fn an_honest_request_passes() {
        let checked = request(&invite()).unwrap();
        assert_eq!((checked.cseq.number, checked.via.branch()), (7, Some("z9hG4bKx")));
    }

    #[test]
    fn every_mandatory_header_is_missed() {
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            assert_eq!(fault(&format!("\r\n{name}:"), "\r\nX-Other:"), format!("{name} is missing"));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(fault("CSeq: 7 INVITE", "CSeq: 7 BYE"), "CSeq names another method");
        assert_eq!(
            fault("Max-Forwards: 70", "Max-Forwards: seventy"),
            "Max-Forwards is malformed: it is not a number"
        );
        assert_eq!(fault("Max-Forwards: 70", "Max-Forwards: 256"), "Max-Forwards is over 255");
        assert_eq!(
            fault("INVITE sip:101@s042.example.net", "INVITE sip:101@b?Route=%3Csip:c%3E"),
            "Request-URI holds headers"
        );
        assert_eq!(
            fault("\r\nFrom", "\r\nVia: ;,\r\nFrom"),
            "Via is malformed: the protocol is not SIP/2.0/transport"
        );
        assert_eq!(fault("CSeq: 7", "CSeq: 7 INVITE\r\nCSeq: 7"), "CSeq is there more than once");
        assert_eq!(
            fault("INVITE sip:101@", "INVITE <sip:101@"),
            "Request-URI is malformed: the URI holds a character that is not allowed"
        );
    }

    #[test]
    fn tolerates_a_missing_max_forwards_and_an_unknown_scheme() {
        let text = String::from_utf8(invite().bytes().to_vec()).unwrap();
        let text = text
            .replace("Max-Forwards: 70\r\n", "")
            .replace("INVITE sip:101@s042.example.net", "INVITE urn:service:sos");
        assert!(request(&parse(text)).is_ok());
    }
}
