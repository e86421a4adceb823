//! RAck (RFC 3262 §7.2).

use std::fmt;

use super::{Header, invalid, number};
use crate::wire::{HeaderError, Method, Name};

/// Which reliable provisional response a PRACK acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RAck {
    /// The response's RSeq.
    pub rseq: u32,
    /// The response's CSeq number.
    pub cseq: u32,
    /// The response's CSeq method.
    pub method: Method,
}

impl Header for RAck {
    const NAME: Name = Name::RAck;
    const LIST: bool = false;

    fn parse(value: &str) -> Result<Self, HeaderError> {
        let mut words = value.split_ascii_whitespace();
        let mut number = || number::exact(words.next()?);
        let (rseq, cseq) = (number(), number());
        let (Some(rseq), Some(cseq), Some(method), None) = (rseq, cseq, words.next(), words.next()) else {
            return Err(invalid::<Self>("it is not two numbers and a method"));
        };
        let method = Method::parse(method.as_bytes()).ok_or(invalid::<Self>("the method is not a token"))?;
        Ok(RAck { rseq, cseq, method })
    }
}

impl fmt::Display for RAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.rseq, self.cseq, self.method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_two_numbers_and_a_method() {
        let rack = RAck::parse("776656  1 INVITE").unwrap();
        assert_eq!(rack, RAck { rseq: 776_656, cseq: 1, method: Method::Invite });
        for wrong in ["", "1 INVITE", "1 2", "1 2 INVITE x", "1 99999999999 INVITE", "+1 2 INVITE"] {
            assert!(RAck::parse(wrong).is_err(), "{wrong}");
        }
    }
}
