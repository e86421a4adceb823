//! CSeq (RFC 3261 §20.16).

use std::fmt;

use super::{Header, invalid};
use crate::wire::{HeaderError, Method, Name};

/// A request's place in its dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// Below 2^31 (RFC 3261 §8.1.1.5).
    pub number: u32,
    /// The request's method.
    pub method: Method,
}

impl Header for CSeq {
    const NAME: Name = Name::CSeq;
    const LIST: bool = false;

    fn parse(value: &str) -> Result<Self, HeaderError> {
        let mut words = value.split_ascii_whitespace();
        let (Some(number), Some(method), None) = (words.next(), words.next(), words.next()) else {
            return Err(invalid::<Self>("it is not a number and a method"));
        };
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid::<Self>("the number is not a number"));
        }
        let number = number.parse().map_err(|_| invalid::<Self>("the number is too large"))?;
        let method = Method::parse(method.as_bytes()).ok_or(invalid::<Self>("the method is not a token"))?;
        if number > i32::MAX as u32 {
            return Err(invalid::<Self>("the number is not below 2^31"));
        }
        Ok(CSeq { number, method })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}
