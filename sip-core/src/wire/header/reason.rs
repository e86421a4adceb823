//! Reason (RFC 3326).

use std::fmt;

use super::{Header, invalid};
use crate::wire::{HeaderError, Name, Params, lex};

/// Why a request was sent: `SIP ;cause=200 ;text="Call completed elsewhere"` or `Q.850 ;cause=16`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// `SIP`, `Q.850` or another.
    pub protocol: String,
    /// The cause in that protocol.
    pub cause: Option<u16>,
    /// For people.
    pub text: Option<String>,
}

impl Reason {
    /// A reason with a SIP status as its cause.
    pub fn sip(cause: u16, text: &str) -> Reason {
        Reason { protocol: "SIP".into(), cause: Some(cause), text: Some(text.into()) }
    }

    /// A reason with an ISDN cause (ITU-T Q.850).
    pub fn q850(cause: u16, text: &str) -> Reason {
        Reason { protocol: "Q.850".into(), cause: Some(cause), text: Some(text.into()) }
    }
}

impl Header for Reason {
    const NAME: Name = Name::Reason;
    const LIST: bool = true;

    fn parse(value: &str) -> Result<Self, HeaderError> {
        let (protocol, params) = match value.split_once(';') {
            Some((protocol, params)) => (lex::trim(protocol), Params::parse(params)),
            None => (value, Params::default()),
        };
        if protocol.is_empty() || !protocol.bytes().all(lex::is_token) {
            return Err(invalid::<Self>("the protocol is not a token"));
        }
        let cause = params.value("cause").and_then(|cause| cause.parse().ok());
        Ok(Reason { protocol: protocol.to_owned(), cause, text: params.unquoted("text") })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.protocol)?;
        if let Some(cause) = self.cause {
            write!(f, ";cause={cause}")?;
        }
        match &self.text {
            Some(text) => write!(f, ";text={}", lex::quote(text)),
            None => Ok(()),
        }
    }
}
