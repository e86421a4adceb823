//! The message model: one buffer plus an index of spans, typed views on demand, edits by splicing.
//!
//! A message is read once, tolerantly, and only indexed; a header is understood when somebody asks for it. To forward
//! a message, [`Edit`] splices changes into the original bytes, so that whatever was not touched goes out byte for byte.

mod build;
mod edit;
mod error;
pub mod frame;
pub mod header;
mod host;
pub(crate) mod lex;
mod limits;
mod message;
mod method;
mod name;
mod params;
mod parse;
mod status;
mod uri;

pub use build::Builder;
pub use edit::Edit;
pub use error::{HeaderError, Malformed, ParseError, UriError};
pub use header::Header;
pub use host::{Host, HostPort};
pub use limits::Limits;
pub use message::Message;
pub use method::Method;
pub use name::Name;
pub use params::Params;
pub use status::StatusCode;
pub use uri::{SipUri, TelUri, Uri};
