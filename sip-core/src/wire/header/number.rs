//! Headers that are one number: Max-Forwards, Expires, Min-Expires, RSeq, Max-Breadth.

use std::fmt;

use super::{Header, invalid};
use crate::wire::{HeaderError, Name};

macro_rules! number_headers {
    ($($(#[$doc:meta])* $type:ident: $name:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $type(pub u32);

        impl Header for $type {
            const NAME: Name = $name;
            const LIST: bool = false;

            fn parse(value: &str) -> Result<Self, HeaderError> {
                seconds(value).map($type).ok_or(invalid::<Self>("it is not a number"))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

number_headers! {
    /// Hops left (RFC 3261 §20.22).
    MaxForwards: Name::MaxForwards;
    /// Seconds (RFC 3261 §20.19).
    Expires: Name::Expires;
    /// Seconds, the shortest that a registrar takes (RFC 3261 §20.23).
    MinExpires: Name::MinExpires;
    /// A reliable provisional response's number (RFC 3262 §7.1).
    RSeq: Name::RSeq;
    /// Into how many branches a request may still be forked (RFC 5393 §5.3.3).
    MaxBreadth: Name::MaxBreadth;
}

/// A number of seconds (delta-seconds); values over 2^32-1 are treated as that (RFC 3261 §20.19).
pub(super) fn seconds(digits: &str) -> Option<u32> {
    is_number(digits).then(|| digits.parse().unwrap_or(u32::MAX))
}

/// A number that must fit.
pub(super) fn exact(digits: &str) -> Option<u32> {
    is_number(digits).then(|| digits.parse().ok()).flatten()
}

fn is_number(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}
