//! Session-Expires (RFC 4028 §4).

use std::fmt;

use super::{Header, invalid, number};
use crate::wire::{HeaderError, Name, Params};

/// How long a session lives without being refreshed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionExpires {
    /// Seconds.
    pub seconds: u32,
    /// `refresher` and others.
    pub params: Params,
}

/// Who refreshes a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// The client of the transaction.
    Uac,
    /// Its server.
    Uas,
}

impl SessionExpires {
    /// An interval, with its refresher where that is decided.
    pub fn new(seconds: u32, refresher: Option<Refresher>) -> SessionExpires {
        let params = match refresher {
            Some(Refresher::Uac) => Params::default().with("refresher", Some("uac")),
            Some(Refresher::Uas) => Params::default().with("refresher", Some("uas")),
            None => Params::default(),
        };
        SessionExpires { seconds, params }
    }

    /// Who refreshes, where it is said.
    pub fn refresher(&self) -> Option<Refresher> {
        match self.params.value("refresher")? {
            word if word.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            word if word.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            _ => None,
        }
    }
}

impl Header for SessionExpires {
    const NAME: Name = Name::SessionExpires;
    const LIST: bool = false;

    fn parse(value: &str) -> Result<Self, HeaderError> {
        let (seconds, params) = Params::split(value);
        let seconds = number::seconds(seconds).ok_or(invalid::<Self>("it is not a number"))?;
        Ok(SessionExpires { seconds, params })
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.seconds, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_refresher() {
        let header = SessionExpires::parse("1800 ;refresher=UAC").unwrap();
        assert_eq!((header.seconds, header.refresher()), (1800, Some(Refresher::Uac)));
        let own = SessionExpires::new(90, Some(Refresher::Uas));
        assert_eq!(SessionExpires::parse(&own.to_string()).unwrap(), own);
        assert!(SessionExpires::parse(";refresher=uac").is_err());
    }
}
