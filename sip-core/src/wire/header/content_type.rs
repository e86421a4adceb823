//! Content-Type (RFC 3261 §20.15).

use std::fmt;

use super::{Header, invalid};
use crate::wire::{HeaderError, Name, Params, lex};

/// What a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType {
    /// Type and subtype as written, without white space: `application/sdp`.
    pub media: String,
    /// `boundary`, `charset`, …
    pub params: Params,
}

impl ContentType {
    /// A type without parameters.
    pub fn new(media: &str) -> ContentType {
        ContentType { media: media.to_owned(), params: Params::default() }
    }

    /// Whether type and subtype are these; they are compared without regard to case.
    pub fn is(&self, media: &str) -> bool {
        self.media.eq_ignore_ascii_case(media)
    }
}

impl Header for ContentType {
    const NAME: Name = Name::ContentType;
    const LIST: bool = false;

    fn parse(value: &str) -> Result<Self, HeaderError> {
        let (media, params) = Params::split(value);
        let (kind, subtype) = media.split_once('/').ok_or(invalid::<Self>("there is no slash"))?;
        let (kind, subtype) = (lex::trim(kind), lex::trim(subtype));
        if ![kind, subtype].into_iter().all(lex::is_token_text) {
            return Err(invalid::<Self>("type and subtype are not tokens"));
        }
        Ok(ContentType { media: format!("{kind}/{subtype}"), params })
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.media, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_types_and_parameters() {
        let text = "multipart/mixed;boundary=\"a;b\"";
        let mixed = ContentType::parse(text).unwrap();
        assert_eq!(mixed.params.unquoted("boundary").as_deref(), Some("a;b"));
        assert_eq!(mixed.to_string(), text);
        assert!(ContentType::parse("APPLICATION / SDP ; charset=utf-8").unwrap().is("application/sdp"));
        for wrong in ["", "sdp", "application/", "/sdp", "a/b/c", "a b/c"] {
            assert!(ContentType::parse(wrong).is_err(), "{wrong}");
        }
    }
}
