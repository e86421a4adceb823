//! What a message says of media: its session description, and what else it may carry.

use sip_core::wire::{Message, Name};

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
    pub(crate) fn of(message: &Message) -> Body {
        let bytes = message.body();
        if bytes.is_empty() {
            return Body::None;
        }
        let content = message.text(Name::ContentType).unwrap_or_default();
        let kind = content.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case(SDP_TYPE) || message.has(Name::ContentEncoding) {
            return Body::Foreign;
        }
        Sdp::parse(bytes).map_or(Body::Broken, Body::Sdp)
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

/// Datagrams in pairs of ports: RTP in the clear or encrypted, and fax by UDPTL. Streams over TCP are not.
pub(crate) fn is_relayable(section: &Section<'_>) -> bool {
    let proto = section.proto();
    let over_tcp = proto.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"TCP/"));
    (section.is_rtp() && !over_tcp) || proto.eq_ignore_ascii_case(b"udptl")
}

/// The media type of SDP (RFC 8866 §8.1).
pub(crate) const SDP_TYPE: &str = "application/sdp";
