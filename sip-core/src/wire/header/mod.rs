//! Typed headers, one a file. Each is understood only when somebody asks for it.

mod address;
mod contact;
mod cseq;
mod digest;
mod number;
mod reason;
mod token_list;
mod via;

use std::fmt::Display;

use super::{HeaderError, Name};

pub use address::{From, NameAddr, PAssertedIdentity, Path, RecordRoute, ReferTo, Route, ServiceRoute, To};
pub use contact::Contact;
pub use cseq::CSeq;
pub use digest::{
    Authorization, Challenge, Credentials, ProxyAuthenticate, ProxyAuthorization, WwwAuthenticate,
};
pub use number::{Expires, MaxForwards, MinExpires, RSeq};
pub use reason::Reason;
pub use token_list::{Allow, ProxyRequire, Require, Supported, TokenList, Unsupported};
pub use via::Via;

/// A header that we understand. `Display` writes its value.
pub trait Header: Sized + Display {
    /// The header's name.
    const NAME: Name;
    /// Whether one line can hold several values separated by commas (RFC 3261 §7.3.1).
    const LIST: bool;

    /// Reads one value, trimmed.
    fn parse(value: &str) -> Result<Self, HeaderError>;
}

/// Shorthand for a header that makes no sense.
fn invalid<H: Header>(reason: &'static str) -> HeaderError {
    HeaderError::Invalid { name: H::NAME, reason }
}
