//! Why bytes are not a message, a header or a URI.

use super::{Message, Name, StatusCode};

/// Why bytes could not be read as a SIP message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Nothing but line ends.
    #[error("the message is empty")]
    Empty,
    /// More bytes than the limit allows.
    #[error("the message has {size} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Bytes received.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// More header lines than the limit allows.
    #[error("more than {limit} header lines")]
    TooManyHeaders {
        /// Lines allowed.
        limit: usize,
    },
    /// More Via values than the limit allows.
    #[error("more than {limit} Via values")]
    TooManyVias {
        /// Values allowed.
        limit: usize,
    },
    /// The first line is neither a request line nor a status line.
    #[error("the first line is neither a request line nor a status line")]
    StartLine,
    /// Another protocol version than SIP/2.0 (RFC 3261 §21.5.7).
    #[error("the version is not SIP/2.0")]
    Version,
    /// A header line without a name or a colon, or with a carriage return inside.
    #[error("header line {line} has no name and colon, or a stray carriage return")]
    HeaderLine {
        /// The line, counted from 1 after the start line.
        line: usize,
    },
    /// The header section has no empty line at its end.
    #[error("the header section has no end")]
    Unterminated,
    /// Content-Length is no number, or two differ.
    #[error("Content-Length is not a valid number")]
    ContentLength,
    /// Fewer body bytes than Content-Length promises.
    #[error("the body has {actual} bytes, and Content-Length says {declared}")]
    BodyTooShort {
        /// What Content-Length says.
        declared: usize,
        /// What is there.
        actual: usize,
    },
}

impl ParseError {
    /// The status with which a request that has this fault is refused (RFC 3261 §21.4 and §21.5).
    pub fn status(&self) -> StatusCode {
        match self {
            ParseError::Version => StatusCode::VERSION_NOT_SUPPORTED,
            ParseError::TooLarge { .. }
            | ParseError::TooManyHeaders { .. }
            | ParseError::TooManyVias { .. } => StatusCode::MESSAGE_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// A message that cannot be accepted, with what could be read of it, so that a request may be refused politely.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct Malformed {
    /// What is wrong.
    pub error: ParseError,
    /// The index of the readable part, when the start line told request from response.
    pub partial: Option<Box<Message>>,
}

/// Why a header could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The header is not there.
    #[error("{name} is missing")]
    Missing {
        /// Which header.
        name: Name,
    },
    /// The header is there and makes no sense.
    #[error("{name} is malformed: {reason}")]
    Invalid {
        /// Which header.
        name: Name,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The header holds a URI that makes no sense.
    #[error("{name} is malformed: {source}")]
    Uri {
        /// Which header.
        name: Name,
        /// What is wrong with the URI.
        source: UriError,
    },
}

/// Why text is not a URI that we understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// No scheme before a colon.
    #[error("the URI has no scheme")]
    Scheme,
    /// No host, or one that is neither a name nor an address.
    #[error("the URI's host is not valid")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the URI's port is not valid")]
    Port,
    /// The user part is empty or holds a character that must be escaped.
    #[error("the URI's user part is not valid")]
    User,
    /// A character that no URI may hold.
    #[error("the URI holds a character that is not allowed")]
    Character,
    /// A tel URI without digits (RFC 3966).
    #[error("the telephone number is not valid")]
    Number,
}
