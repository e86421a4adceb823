//! Retry-After (RFC 3261 §20.33).

use std::fmt;

use super::{Header, invalid, number};
use crate::wire::{HeaderError, Name, Params, lex};

/// When to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryAfter {
    /// Seconds to wait.
    pub seconds: u32,
    /// For people, without its parentheses, escapes kept.
    pub comment: Option<String>,
    /// `duration` and others.
    pub params: Params,
}

impl RetryAfter {
    /// So many seconds.
    pub fn new(seconds: u32) -> RetryAfter {
        RetryAfter { seconds, comment: None, params: Params::default() }
    }

    /// For how many seconds the called party is reachable then.
    pub fn duration(&self) -> Option<u32> {
        number::seconds(self.params.value("duration")?)
    }
}

impl Header for RetryAfter {
    const NAME: Name = Name::RetryAfter;
    const LIST: bool = false;

    fn parse(value: &str) -> Result<Self, HeaderError> {
        let digits = value.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = value.split_at_checked(digits).unwrap_or((value, ""));
        let seconds = number::seconds(digits).ok_or(invalid::<Self>("it is not a number"))?;
        let rest = lex::trim(rest);
        let (comment, rest) = match rest.strip_prefix('(') {
            Some(inside) => {
                let end = comment_end(inside).ok_or(invalid::<Self>("the comment is not closed"))?;
                let comment = inside.get(..end).unwrap_or_default();
                (Some(comment.to_owned()), lex::trim(inside.get(end + 1..).unwrap_or_default()))
            }
            None => (None, rest),
        };
        let params = match rest.strip_prefix(';') {
            Some(params) => Params::parse(params),
            None if rest.is_empty() => Params::default(),
            None => return Err(invalid::<Self>("something follows the number")),
        };
        Ok(RetryAfter { seconds, comment, params })
    }
}

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds)?;
        if let Some(comment) = &self.comment {
            write!(f, " ({comment})")?;
        }
        self.params.fmt(f)
    }
}

/// Where the comment's own parenthesis closes; comments nest (RFC 3261 §25.1).
fn comment_end(inside: &str) -> Option<usize> {
    let (mut depth, mut escaped) = (1u32, false);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(at),
            b')' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_comment_and_parameters() {
        let text = "18000 (in a (long\\) ;x) meeting);duration=3600";
        let header = RetryAfter::parse(text).unwrap();
        assert_eq!((header.seconds, header.duration()), (18000, Some(3600)));
        assert_eq!(header.comment.as_deref(), Some("in a (long\\) ;x) meeting"));
        assert_eq!(header.to_string(), text);
        assert_eq!(RetryAfter::parse("120").unwrap(), RetryAfter::new(120));
        for wrong in ["", "soon", "5 (open", "5 x", "-5"] {
            assert!(RetryAfter::parse(wrong).is_err(), "{wrong}");
        }
    }
}
