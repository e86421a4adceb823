//! Contact (RFC 3261 §20.10).

use std::fmt;

use super::{Header, NameAddr, invalid, number};
use crate::wire::{HeaderError, Name};

/// Where somebody can be reached, or `*` for all that a registrar knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contact {
    /// `*`, legal only in a REGISTER that removes everything (RFC 3261 §10.2.2).
    Star,
    /// One address.
    Address(NameAddr),
}

impl Contact {
    /// The address, when it is one.
    pub fn address(&self) -> Option<&NameAddr> {
        match self {
            Contact::Star => None,
            Contact::Address(address) => Some(address),
        }
    }

    /// The `expires` parameter in seconds; what is no number counts as absent (RFC 3261 §10.2.1.1).
    pub fn expires(&self) -> Option<u32> {
        number::seconds(self.address()?.params.value("expires")?)
    }

    /// The `q` parameter in thousandths, 1000 when it is absent (RFC 3261 §16.6, step 1 leaves the default to us).
    pub fn q(&self) -> u16 {
        let text = self.address().and_then(|address| address.params.value("q"));
        text.and_then(|text| text.parse::<f32>().ok())
            .map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0).round() as u16)
    }
}

impl Header for Contact {
    const NAME: Name = Name::Contact;
    const LIST: bool = true;

    fn parse(value: &str) -> Result<Self, HeaderError> {
        if value == "*" {
            return Ok(Contact::Star);
        }
        if value.is_empty() {
            return Err(invalid::<Self>("it is empty"));
        }
        NameAddr::parse(value)
            .map(Contact::Address)
            .map_err(|source| HeaderError::Uri { name: Name::Contact, source })
    }
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Contact::Star => f.write_str("*"),
            Contact::Address(address) => address.fmt(f),
        }
    }
}
