//! Event (RFC 6665 §8.2.1).

use std::fmt;

use super::{Header, invalid};
use crate::wire::{HeaderError, Name, Params, lex};

/// What a subscription is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The package with its templates: `presence.winfo`. Compared exactly.
    pub package: String,
    /// `id` and what the package defines.
    pub params: Params,
}

impl Event {
    /// A package without parameters.
    pub fn new(package: &str) -> Event {
        Event { package: package.to_owned(), params: Params::default() }
    }

    /// Tells subscriptions of one dialog apart.
    pub fn id(&self) -> Option<&str> {
        self.params.value("id")
    }
}

impl Header for Event {
    const NAME: Name = Name::Event;
    const LIST: bool = false;

    fn parse(value: &str) -> Result<Self, HeaderError> {
        let (package, params) = Params::split(value);
        if !lex::is_token_text(package) {
            return Err(invalid::<Self>("the package is not a token"));
        }
        Ok(Event { package: package.to_owned(), params })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.package, self.params)
    }
}
