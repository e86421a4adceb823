//! A final answer of our own that is not 200.

use sip_core::wire::header::{Challenge, Unsupported};
use sip_core::wire::{HeaderError, Name, StatusCode};

/// Why a request goes no further, as the sender is told.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// Another reason phrase than the status's own, for people.
    pub(crate) reason: &'static str,
    pub(crate) headers: Vec<(Name, String)>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, reason: &'static str) -> Refusal {
        Refusal { status, reason, headers: Vec::new() }
    }

    pub(crate) fn with(mut self, name: Name, value: impl ToString) -> Refusal {
        self.headers.push((name, value.to_string()));
        self
    }

    /// 401 or 407 with a header for each challenge.
    pub(crate) fn challenge(status: StatusCode, challenges: &[Challenge]) -> Refusal {
        let name = match status {
            StatusCode::UNAUTHORIZED => Name::WwwAuthenticate,
            _ => Name::ProxyAuthenticate,
        };
        challenges.iter().fold(Refusal::new(status, ""), |refusal, challenge| refusal.with(name, challenge))
    }

    /// 420 (RFC 3261 §8.2.2.3).
    pub(crate) fn unsupported(tags: &[String]) -> Refusal {
        let refusal = Refusal::new(StatusCode::BAD_EXTENSION, "");
        tags.iter().fold(refusal, |refusal, tag| refusal.with(Name::Unsupported, Unsupported(tag.clone())))
    }

    /// 503: come back later.
    pub(crate) fn later(reason: &'static str, seconds: u32) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason).with(Name::RetryAfter, seconds)
    }
}

impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Self {
        let reason = match error {
            HeaderError::Missing { name }
            | HeaderError::Invalid { name, .. }
            | HeaderError::Uri { name, .. } => match name {
                Name::MaxForwards => "Malformed Max-Forwards",
                Name::Route => "Malformed Route",
                Name::Contact => "Malformed Contact",
                Name::To => "Malformed To",
                Name::From => "Malformed From",
                _ => "Malformed Header",
            },
            _ => "Malformed Header",
        };
        Refusal::new(StatusCode::BAD_REQUEST, reason)
    }
}
