//! Replaces (RFC 3891 §6.1).

use std::fmt;

use super::{Header, invalid};
use crate::wire::{HeaderError, Name, Params, lex};

/// The dialog whose place a new INVITE takes; the tags are seen from the user agent that receives the INVITE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaces {
    /// The dialog's Call-ID.
    pub call_id: String,
    /// The tag of the receiver of the INVITE.
    pub to_tag: String,
    /// The tag of its peer.
    pub from_tag: String,
    /// Whether only an early dialog may be replaced.
    pub early_only: bool,
}

impl Header for Replaces {
    const NAME: Name = Name::Replaces;
    const LIST: bool = false;

    fn parse(value: &str) -> Result<Self, HeaderError> {
        let (call_id, params) = Params::split(value);
        if call_id.is_empty() || !lex::is_closed(call_id) || call_id.bytes().any(|byte| byte <= b' ') {
            return Err(invalid::<Self>("there is no Call-ID"));
        }
        // RFC 3891 §6.1: exactly one of each.
        let tag = |name| {
            let mut tags = params.iter().filter(|(own, _)| str::eq_ignore_ascii_case(own, name));
            let tag = tags.next().and_then(|(_, value)| value).filter(|tag| !tag.is_empty());
            tag.filter(|_| tags.next().is_none()).map(str::to_owned)
        };
        Ok(Replaces {
            call_id: call_id.to_owned(),
            to_tag: tag("to-tag").ok_or(invalid::<Self>("there is not exactly one to-tag"))?,
            from_tag: tag("from-tag").ok_or(invalid::<Self>("there is not exactly one from-tag"))?,
            early_only: params.has("early-only"),
        })
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};to-tag={};from-tag={}", self.call_id, self.to_tag, self.from_tag)?;
        if self.early_only { f.write_str(";early-only") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wants_exactly_one_of_each_tag() {
        let text = "98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff";
        let replaces = Replaces::parse(text).unwrap();
        assert_eq!((replaces.to_tag.as_str(), replaces.from_tag.as_str()), ("ff87ff", "r33th4x0r"));
        assert_eq!(Replaces::parse(&replaces.to_string()).unwrap(), replaces);
        assert!(Replaces::parse("a;to-tag=1;FROM-TAG=2;early-only").unwrap().early_only);
        for wrong in ["", "a", "a;to-tag=1", "a;to-tag=1;from-tag=2;to-tag=3", "a;to-tag;from-tag=2"] {
            assert!(Replaces::parse(wrong).is_err(), "{wrong}");
        }
    }
}
