//! Subscription-State (RFC 6665 §8.2.3).

use std::fmt;

use super::{Header, invalid, number};
use crate::wire::{HeaderError, Name, Params, lex};

/// How a subscription stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionState {
    /// `active`, `pending`, `terminated` or another word.
    pub state: String,
    /// `expires`, `reason`, `retry-after` and others.
    pub params: Params,
}

impl SubscriptionState {
    /// A state without parameters.
    pub fn new(state: &str) -> SubscriptionState {
        SubscriptionState { state: state.to_owned(), params: Params::default() }
    }

    /// Whether the state is this one, in any case.
    pub fn is(&self, state: &str) -> bool {
        self.state.eq_ignore_ascii_case(state)
    }

    /// Seconds left.
    pub fn expires(&self) -> Option<u32> {
        number::seconds(self.params.value("expires")?)
    }

    /// Why it was terminated: `deactivated`, `timeout`, `noresource`, …
    pub fn reason(&self) -> Option<&str> {
        self.params.value("reason")
    }

    /// Seconds after which to subscribe again.
    pub fn retry_after(&self) -> Option<u32> {
        number::seconds(self.params.value("retry-after")?)
    }
}

impl Header for SubscriptionState {
    const NAME: Name = Name::SubscriptionState;
    const LIST: bool = false;

    fn parse(value: &str) -> Result<Self, HeaderError> {
        let (state, params) = Params::split(value);
        if !lex::is_token_text(state) {
            return Err(invalid::<Self>("the state is not a token"));
        }
        Ok(SubscriptionState { state: state.to_owned(), params })
    }
}

impl fmt::Display for SubscriptionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.state, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_left() {
        let state = SubscriptionState::parse("Terminated ;reason=timeout;retry-after=30").unwrap();
        assert!(state.is("terminated"));
        assert_eq!((state.reason(), state.retry_after(), state.expires()), (Some("timeout"), Some(30), None));
        assert!(SubscriptionState::parse("").is_err());
    }
}
