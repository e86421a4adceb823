//! The four digest headers (RFC 3261 §20.7, §20.27, §20.28, §20.44; RFC 7616, RFC 8760).

use std::fmt;
use std::ops::Deref;

use super::{Header, invalid};
use crate::wire::{HeaderError, Name, Params, lex};

/// What a server asks: a scheme and its parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    /// `Digest`, or a scheme that we do not know.
    pub scheme: String,
    /// `realm`, `nonce`, `algorithm`, `qop`, `stale`, `opaque`, …
    pub params: Params,
}

/// What a client shows: a scheme and its parameters. `Debug` hides them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `Digest`, or a scheme that we do not know.
    pub scheme: String,
    /// `username`, `realm`, `nonce`, `uri`, `response`, `algorithm`, `cnonce`, `qop`, `nc`, …
    pub params: Params,
}

macro_rules! digest_values {
    ($($type:ident)*) => {$(
        impl $type {
            /// A parameter without its quotes.
            pub fn value(&self, name: &str) -> Option<String> {
                self.params.unquoted(name)
            }

            /// Whether the scheme is Digest.
            pub fn is_digest(&self) -> bool {
                self.scheme.eq_ignore_ascii_case("Digest")
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.scheme)?;
                for (at, (name, value)) in self.params.iter().enumerate() {
                    f.write_str(if at == 0 { " " } else { ", " })?;
                    match value {
                        Some(value) => write!(f, "{name}={value}")?,
                        None => f.write_str(name)?,
                    }
                }
                Ok(())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({} …)"), self.scheme)
            }
        }
    )*};
}

digest_values!(Challenge Credentials);

macro_rules! digest_headers {
    ($($(#[$doc:meta])* $type:ident($inner:ident): $name:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $type(pub $inner);

        impl Header for $type {
            const NAME: Name = $name;
            // Commas separate parameters here, so one line is one value (RFC 3261 §7.3.1).
            const LIST: bool = false;

            fn parse(value: &str) -> Result<Self, HeaderError> {
                let (scheme, rest) = value.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((value, ""));
                if scheme.is_empty() || !scheme.bytes().all(lex::is_token) {
                    return Err(invalid::<Self>("the scheme is not a token"));
                }
                Ok($type($inner { scheme: scheme.to_owned(), params: comma_params(rest) }))
            }
        }

        impl Deref for $type {
            type Target = $inner;

            fn deref(&self) -> &$inner {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

digest_headers! {
    /// Credentials for a server (RFC 3261 §20.7).
    Authorization(Credentials): Name::Authorization;
    /// Credentials for a proxy (RFC 3261 §20.28).
    ProxyAuthorization(Credentials): Name::ProxyAuthorization;
    /// A server's challenge (RFC 3261 §20.44).
    WwwAuthenticate(Challenge): Name::WwwAuthenticate;
    /// A proxy's challenge (RFC 3261 §20.27).
    ProxyAuthenticate(Challenge): Name::ProxyAuthenticate;
}

fn comma_params(text: &str) -> Params {
    let mut params = Params::default();
    for piece in lex::split_outside(text.as_bytes(), b',').filter_map(|range| text.get(range)) {
        match lex::trim(piece).split_once('=') {
            // The first of two wins: an attacker must not override what a verifier saw.
            Some((name, _)) if params.has(lex::trim(name)) => {}
            Some((name, value)) => params.set(lex::trim(name), Some(lex::trim(value))),
            None => {}
        }
    }
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_credentials_with_commas_in_quotes() {
        let text = r#"Digest username="a,b", realm="c6", nonce="n", uri="sip:x", response="00", qop=auth, nc=00000001, cnonce="k""#;
        let header = Authorization::parse(text).unwrap();
        assert_eq!(header.value("username").as_deref(), Some("a,b"));
        assert_eq!(header.value("NC").as_deref(), Some("00000001"));
        assert_eq!(header.to_string(), text);
        assert_eq!(format!("{header:?}"), "Authorization(Credentials(Digest …))");
    }
}
