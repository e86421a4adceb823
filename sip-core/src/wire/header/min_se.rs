//! Min-SE (RFC 4028 §5).

use std::fmt;

use super::{Header, invalid, number};
use crate::wire::{HeaderError, Name, Params};

/// The shortest session interval that somebody on the way takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinSe {
    /// Seconds, 90 at least (RFC 4028 §5).
    pub seconds: u32,
    /// Parameters that nobody has defined.
    pub params: Params,
}

impl MinSe {
    /// So many seconds.
    pub fn new(seconds: u32) -> MinSe {
        MinSe { seconds, params: Params::default() }
    }
}

impl Header for MinSe {
    const NAME: Name = Name::MinSe;
    const LIST: bool = false;

    fn parse(value: &str) -> Result<Self, HeaderError> {
        let (seconds, params) = Params::split(value);
        let seconds = number::seconds(seconds).ok_or(invalid::<Self>("it is not a number"))?;
        Ok(MinSe { seconds, params })
    }
}

impl fmt::Display for MinSe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.seconds, self.params)
    }
}
