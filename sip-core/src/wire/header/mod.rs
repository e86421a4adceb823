//! Typed headers, one a file. Each is understood only when somebody asks for it.

mod address;
mod contact;
mod content_type;
mod cseq;
mod digest;
mod event;
mod min_se;
mod number;
mod privacy;
mod rack;
mod reason;
mod replaces;
mod retry_after;
mod session_expires;
mod subscription_state;
mod token_list;
mod via;

use std::fmt::Display;

use super::{HeaderError, Name};

pub use address::{
    From, NameAddr, PAssertedIdentity, PPreferredIdentity, Path, RecordRoute, ReferTo, Route, ServiceRoute,
    To,
};
pub use contact::Contact;
pub use content_type::ContentType;
pub use cseq::CSeq;
pub use digest::{
    Authorization, Challenge, Credentials, ProxyAuthenticate, ProxyAuthorization, WwwAuthenticate,
};
pub use event::Event;
pub use min_se::MinSe;
pub use number::{Expires, MaxBreadth, MaxForwards, MinExpires, RSeq};
pub use privacy::Privacy;
pub use rack::RAck;
pub use reason::Reason;
pub use replaces::Replaces;
pub use retry_after::RetryAfter;
pub use session_expires::{Refresher, SessionExpires};
pub use subscription_state::SubscriptionState;
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
