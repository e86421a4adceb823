//! What a message says of media: its session description, and what else it may carry.

use sip_core::wire::{Message, Method, Name, StatusCode};

use crate::multipart::Part;
use crate::sdp::{Media as Section, Sdp};

/// What a message says of media.
#[derive(Debug)]
pub(crate) enum Body {
    /// Nothing.
    None,
    /// A session description.
    Sdp(Sdp),
    /// Something that is no SDP, or that the message says is none.
    Foreign,
    /// SDP that cannot be read.
    Broken,
}

impl Body {
    /// Reads the body of an INVITE, an UPDATE, a PRACK, an ACK or a response to one.
    ///
    /// Of a body in several parts the session description is taken (RFC 5621 §3): the others may be ignored when they are marked
    /// so. Those that must be understood make the body a foreign one, where its message can still be refused.
    pub(crate) fn of(message: &Message) -> Body {
        let bytes = message.body();
        if bytes.is_empty() {
            return Body::None;
        }
        let text = |name| message.text(name).unwrap_or_default().to_owned();
        let whole = Part {
            content_type: text(Name::ContentType),
            disposition: text(Name::Other("Content-Disposition")),
            encoded: message.has(Name::ContentEncoding),
            bytes,
        };
        let can_be_refused = message.is_request() && !message.is(&Method::Ack);
        Body::of_part(&whole, can_be_refused, 0)
    }

    fn of_part(part: &Part, strict: bool, depth: usize) -> Body {
        let foreign = || if part.is_optional() { Body::None } else { Body::Foreign };
        let kind = part.kind();
        if part.encoded {
            return foreign();
        }
        if kind == SDP_TYPE && part.is_for_session() {
            return Sdp::parse(part.bytes.clone()).map_or(Body::Broken, Body::Sdp);
        }
        let Some(kind) = kind.strip_prefix("multipart/").filter(|_| depth < MAX_DEPTH) else {
            return foreign();
        };
        let Some(parts) = part.parts() else { return Body::Broken };
        let mut found = Body::None;
        for part in &parts {
            match (Body::of_part(part, strict, depth + 1), kind == "alternative") {
                (Body::None, _) => {}
                // The last that is understood is the best (RFC 2046 §5.1.4).
                (Body::Foreign, true) => {}
                (Body::Foreign, false) if strict => return Body::Foreign,
                (Body::Foreign, false) => {}
                (read, true) => found = read,
                (read, false) if matches!(found, Body::None) => found = read,
                // Which one is meant nobody knows.
                (_, false) => return Body::Broken,
            }
        }
        match found {
            Body::None if kind == "alternative" => foreign(),
            found => found,
        }
    }

    /// The description, when there is a readable one.
    pub(crate) fn sdp(self) -> Option<Sdp> {
        match self {
            Body::Sdp(sdp) => Some(sdp),
            _ => None,
        }
    }
}

/// Whether an offer has at least one section that can be relayed.
pub(crate) fn can_relay(offer: &Sdp) -> bool {
    offer.media().any(|section| !section.is_rejected() && is_relayable(&section))
}

/// Why an offer cannot be taken: nothing in it can be relayed, or it waits for resources that we do not reserve (RFC 3312 §8).
pub(crate) fn trouble_with(offer: &Sdp) -> Option<StatusCode> {
    if !can_relay(offer) {
        Some(StatusCode::NOT_ACCEPTABLE_HERE)
    } else if offer.demands_preconditions() {
        Some(StatusCode::PRECONDITION_FAILURE)
    } else {
        None
    }
}

/// Datagrams in pairs of ports: RTP in the clear or encrypted, and fax by UDPTL. Streams over TCP are not.
pub(crate) fn is_relayable(section: &Section<'_>) -> bool {
    let proto = section.proto();
    let over_tcp = proto.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"TCP/"));
    (section.is_rtp() && !over_tcp) || proto.eq_ignore_ascii_case(b"udptl")
}

/// The media type of SDP (RFC 8866 §8.1).
pub(crate) const SDP_TYPE: &str = "application/sdp";
/// The bodies that we take (RFC 3261 §20.1); several parts must be understood by everybody (RFC 5621 §3.1).
pub(crate) const ACCEPTED: &str = "application/sdp, multipart/mixed";
/// Bodies within bodies.
const MAX_DEPTH: usize = 3;

#[cfg(test)]
mod tests {
    use sip_core::wire::Builder;

    use super::*;

    const SDP: &str =
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

    fn read(method: Method, content_type: &str, disposition: Option<&str>, body: &str) -> Body {
        let builder = Builder::request(&method, "sip:a@192.0.2.1")
            .header_if(Name::Other("Content-Disposition"), disposition);
        Body::of(&builder.body(content_type, body.to_owned().into()).finish())
    }

    fn mixed(parts: &[(&str, &str)]) -> String {
        let parts = parts.iter().map(|(headers, body)| format!("--b\r\n{headers}\r\n\r\n{body}\r\n"));
        parts.collect::<String>() + "--b--\r\n"
    }

    /// RFC 5621 §3.1: a description within several parts is found.
    /// RFC 3261 §20.11: what must be handled and is not understood refuses the message; the rest is ignored.
    #[test]
    fn the_description_among_parts() {
        let sdp = ("Content-Type: application/sdp", SDP);
        let optional =
            ("Content-Type: application/isup\r\nContent-Disposition: signal;handling=optional", "\u{1}");
        let required =
            ("Content-Type: application/isup\r\nContent-Disposition: signal;handling=required", "\u{1}");
        let kind = "multipart/mixed;boundary=b";
        let of = |method, body: &str| read(method, kind, None, body);
        assert!(
            matches!(of(Method::Invite, &mixed(&[optional, sdp])), Body::Sdp(found) if found.as_bytes() == SDP)
        );
        assert!(matches!(of(Method::Invite, &mixed(&[sdp, required])), Body::Foreign));
        assert!(
            matches!(of(Method::Ack, &mixed(&[sdp, required])), Body::Sdp(_)),
            "an ACK cannot be refused"
        );
        assert!(matches!(of(Method::Invite, &mixed(&[sdp, sdp])), Body::Broken));
        assert!(matches!(of(Method::Invite, &mixed(&[optional])), Body::None));
        assert!(matches!(of(Method::Invite, "--b\r\n"), Body::Broken));
        let choice = read(Method::Invite, "multipart/alternative;boundary=b", None, &mixed(&[required, sdp]));
        assert!(matches!(choice, Body::Sdp(_)));
        let nested = mixed(&[(
            "Content-Type: multipart/alternative;boundary=c",
            &mixed(&[sdp]).replace("--b", "--c"),
        )]);
        assert!(matches!(of(Method::Invite, &nested), Body::Sdp(_)));
    }

    #[test]
    fn a_single_body_of_another_kind() {
        assert!(matches!(read(Method::Invite, "Application/SDP; charset=x", None, SDP), Body::Sdp(_)));
        assert!(matches!(read(Method::Invite, "text/plain", None, SDP), Body::Foreign));
        assert!(matches!(
            read(Method::Invite, "text/plain", Some("icon;handling=optional"), SDP),
            Body::None
        ));
        // RFC 3959: a description of another session than this one.
        assert!(matches!(read(Method::Invite, "application/sdp", Some("early-session"), SDP), Body::Foreign));
    }
}
