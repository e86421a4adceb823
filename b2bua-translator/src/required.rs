//! What a request may require of us.

use sip_core::wire::header::{Require, TokenList};
use sip_core::wire::{Message, Name, StatusCode};

/// The status and headers of a refusal when a request requires what we do not know (RFC 3261 §8.2.2.3).
pub(crate) fn unacceptable(request: &Message) -> Option<(StatusCode, Vec<(Name, String)>)> {
    let unknown: Vec<String> = request
        .all::<Require>()
        .map(|tag| tag.map_or_else(|_| "?".to_owned(), |tag| tag.token().to_owned()))
        .filter(|tag| !KNOWN.iter().any(|known| tag.eq_ignore_ascii_case(known)))
        .collect();
    let list = unknown.join(", ");
    (!unknown.is_empty()).then(|| (StatusCode::BAD_EXTENSION, vec![(Name::Unsupported, list)]))
}

/// The option tags that we know: RFC 3262, RFC 4028, RFC 3891, RFC 6228, RFC 4488.
const KNOWN: [&str; 5] = ["100rel", "timer", "replaces", "199", "norefersub"];
