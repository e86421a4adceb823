//! Request methods.

use std::fmt;

/// A request's method; an unknown one is kept as written (RFC 3261 §7.1: methods are case-sensitive).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names are the methods' own.
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Register,
    Options,
    Prack,
    Update,
    Info,
    Message,
    Subscribe,
    Notify,
    Refer,
    Publish,
    Other(Box<str>),
}

impl Method {
    /// The methods that have a name of their own here.
    const KNOWN: [Method; 14] = [
        Method::Invite,
        Method::Ack,
        Method::Bye,
        Method::Cancel,
        Method::Register,
        Method::Options,
        Method::Prack,
        Method::Update,
        Method::Info,
        Method::Message,
        Method::Subscribe,
        Method::Notify,
        Method::Refer,
        Method::Publish,
    ];

    /// The method that a token names, or `None` when it is not a token (RFC 3261 §25.1).
    pub fn parse(token: &[u8]) -> Option<Method> {
        if let Some(known) = Method::KNOWN.iter().find(|method| method.as_str().as_bytes() == token) {
            return Some(known.clone());
        }
        if token.is_empty() || !token.iter().copied().all(super::lex::is_token) {
            return None;
        }
        std::str::from_utf8(token).ok().map(|text| Method::Other(text.into()))
    }

    /// As written on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Register => "REGISTER",
            Method::Options => "OPTIONS",
            Method::Prack => "PRACK",
            Method::Update => "UPDATE",
            Method::Info => "INFO",
            Method::Message => "MESSAGE",
            Method::Subscribe => "SUBSCRIBE",
            Method::Notify => "NOTIFY",
            Method::Refer => "REFER",
            Method::Publish => "PUBLISH",
            Method::Other(text) => text,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
