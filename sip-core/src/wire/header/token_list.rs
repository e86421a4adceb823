//! Headers that are a list of tokens: Allow, Supported, Require, Proxy-Require, Unsupported.

use std::fmt;

use super::{Header, invalid};
use crate::wire::{HeaderError, Name, lex};

/// Reading a header whose values are tokens.
pub trait TokenList: Header {
    /// The token.
    fn token(&self) -> &str;

    /// Whether it is this token; option tags are compared without regard to case.
    fn is(&self, token: &str) -> bool {
        self.token().eq_ignore_ascii_case(token)
    }
}

macro_rules! token_headers {
    ($($(#[$doc:meta])* $type:ident: $name:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $type(pub String);

        impl Header for $type {
            const NAME: Name = $name;
            const LIST: bool = true;

            fn parse(value: &str) -> Result<Self, HeaderError> {
                if value.is_empty() || !value.bytes().all(lex::is_token) {
                    return Err(invalid::<Self>("it is not a token"));
                }
                Ok($type(value.to_owned()))
            }
        }

        impl TokenList for $type {
            fn token(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

token_headers! {
    /// A method that somebody takes (RFC 3261 §20.5).
    Allow: Name::Allow;
    /// An extension that somebody understands (RFC 3261 §20.37).
    Supported: Name::Supported;
    /// An extension that the other side must understand (RFC 3261 §20.32).
    Require: Name::Require;
    /// An extension that proxies must understand (RFC 3261 §20.29).
    ProxyRequire: Name::ProxyRequire;
    /// An extension that is not understood (RFC 3261 §20.40).
    Unsupported: Name::Unsupported;
}
