//! SIP OPTIONS outside of any transaction: one datagram there, any response back (RFC 3261 §11).
//!
//! The watch repeats questions in its own time, so that the client transaction's retransmissions (§17.1.2) would only multiply packets.

use std::net::SocketAddr;

use bytes::Bytes;
use sip_core::flow::Transport;
use sip_core::ids::BRANCH_COOKIE;
use sip_core::wire::header::{MaxForwards, Via};
use sip_core::wire::{Builder, Limits, Message, Method, Name, SipUri};

use crate::io::Ticket;

/// A request to `target` from `own`, by which the answer finds back.
pub(super) fn request(ticket: Ticket, target: SocketAddr, own: SocketAddr, user_agent: &str) -> Bytes {
    let word = word(ticket);
    let uri = SipUri::of_address(target, Transport::Udp);
    let us = SipUri::of_address(own, Transport::Udp);
    Builder::request(&Method::Options, &uri)
        .header(Name::Via, Via::new(Transport::Udp, own, &format!("{BRANCH_COOKIE}{word}")))
        .header(Name::MaxForwards, MaxForwards(70))
        .header(Name::From, format_args!("<{us}>;tag={:08x}", ticket.0 >> 32))
        .header(Name::To, format_args!("<{uri}>"))
        .header(Name::CallId, &word)
        .header(Name::CSeq, "1 OPTIONS")
        .header(Name::Contact, format_args!("<{us}>"))
        .header(Name::Accept, "application/sdp")
        .header_if(Name::UserAgent, Some(user_agent).filter(|text| !text.is_empty()))
        .finish()
        .bytes()
        .clone()
}

/// The question that a datagram answers. Branch and Call-ID must both name it.
pub(super) fn answered(datagram: &[u8]) -> Option<Ticket> {
    let message = Message::parse(Bytes::copy_from_slice(datagram), &Limits::default()).ok()?;
    message.status()?;
    let call_id = message.call_id().ok()?;
    let via = message.top_via().ok()?;
    let same = via.branch()?.strip_prefix(BRANCH_COOKIE)? == call_id;
    same.then(|| ticket(call_id)).flatten()
}

fn word(ticket: Ticket) -> String {
    format!("{MARK}{:016x}", ticket.0)
}

fn ticket(word: &str) -> Option<Ticket> {
    let digits = word.strip_prefix(MARK).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().map(Ticket)
}

/// What our branches and Call-IDs begin with.
const MARK: &str = "c6watch-";

#[cfg(test)]
mod tests {
    use sip_core::wire::StatusCode;

    use super::*;

    fn asked() -> Message {
        let target = "[2001:db8:42::7]:5060".parse().expect("an address");
        let own = "[2001:db8:c::9]:40000".parse().expect("an address");
        let bytes = request(Ticket(0xfeed_0000_0000_0007), target, own, "Centrex6");
        Message::parse(bytes, &Limits::default()).expect("a message")
    }

    #[test]
    fn a_request_has_all_that_rfc_3261_section_8_1_1_wants() {
        let message = asked();
        assert_eq!(message.request_uri_text(), "sip:[2001:db8:42::7]:5060");
        for name in [Name::Via, Name::MaxForwards, Name::From, Name::To, Name::CallId, Name::CSeq] {
            assert!(message.has(name), "{name}");
        }
        assert!(message.from_tag().is_some() && message.to_tag().is_none());
        assert!(message.bytes().len() < 600, "it must fit into any path's smallest packet");
    }

    #[test]
    fn any_response_answers_and_nothing_else_does() {
        let message = asked();
        let respond = |status| Builder::response_to(&message, status, None, Some("1")).finish();
        for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::BUSY_HERE] {
            assert_eq!(answered(respond(status).bytes()), Some(Ticket(0xfeed_0000_0000_0007)));
        }
        assert_eq!(answered(message.bytes()), None, "a request");
        let text = String::from_utf8(respond(StatusCode::OK).bytes().to_vec()).expect("text");
        for (one, other) in [
            ("Call-ID: c6watch-f", "Call-ID: c6watch-0"),
            ("c6watch-", "c6watch+"),
            ("feed", "fee"),
            ("SIP/2.0 200", "XXX"),
        ] {
            assert_eq!(answered(text.replacen(one, other, 1).as_bytes()), None, "{one} {other}");
        }
        assert_eq!(answered(b""), None);
    }
}
