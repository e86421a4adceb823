//! Header names, canonical and compact.

use std::fmt;

/// A header's name. Compared without regard to case; compact forms are the same name (RFC 3261 §7.3.1, §7.3.3).
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)] // The names are the headers' own.
pub enum Name {
    Accept,
    AcceptContact,
    Allow,
    AllowEvents,
    Authorization,
    CallId,
    Contact,
    ContentEncoding,
    ContentLength,
    ContentType,
    CSeq,
    Date,
    Event,
    Expires,
    From,
    MaxForwards,
    MinExpires,
    MinSe,
    PAssertedIdentity,
    PPreferredIdentity,
    Path,
    Privacy,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyRequire,
    RAck,
    RSeq,
    Reason,
    RecordRoute,
    ReferTo,
    ReferredBy,
    Replaces,
    RequestDisposition,
    Require,
    RetryAfter,
    Route,
    Server,
    ServiceRoute,
    SessionExpires,
    Subject,
    SubscriptionState,
    Supported,
    Timestamp,
    To,
    Unsupported,
    UserAgent,
    Via,
    Warning,
    WwwAuthenticate,
    /// Any other header.
    Other(&'static str),
}

/// Every known name, its canonical spelling and its compact form.
const KNOWN: &[(Name, &str, &str)] = &[
    (Name::Via, "Via", "v"),
    (Name::From, "From", "f"),
    (Name::To, "To", "t"),
    (Name::CallId, "Call-ID", "i"),
    (Name::CSeq, "CSeq", ""),
    (Name::Contact, "Contact", "m"),
    (Name::MaxForwards, "Max-Forwards", ""),
    (Name::ContentLength, "Content-Length", "l"),
    (Name::ContentType, "Content-Type", "c"),
    (Name::Route, "Route", ""),
    (Name::RecordRoute, "Record-Route", ""),
    (Name::Expires, "Expires", ""),
    (Name::Allow, "Allow", ""),
    (Name::Supported, "Supported", "k"),
    (Name::Require, "Require", ""),
    (Name::UserAgent, "User-Agent", ""),
    (Name::Authorization, "Authorization", ""),
    (Name::ProxyAuthorization, "Proxy-Authorization", ""),
    (Name::WwwAuthenticate, "WWW-Authenticate", ""),
    (Name::ProxyAuthenticate, "Proxy-Authenticate", ""),
    (Name::Accept, "Accept", ""),
    (Name::AcceptContact, "Accept-Contact", "a"),
    (Name::AllowEvents, "Allow-Events", "u"),
    (Name::ContentEncoding, "Content-Encoding", "e"),
    (Name::Date, "Date", ""),
    (Name::Event, "Event", "o"),
    (Name::MinExpires, "Min-Expires", ""),
    (Name::MinSe, "Min-SE", ""),
    (Name::PAssertedIdentity, "P-Asserted-Identity", ""),
    (Name::PPreferredIdentity, "P-Preferred-Identity", ""),
    (Name::Path, "Path", ""),
    (Name::Privacy, "Privacy", ""),
    (Name::ProxyRequire, "Proxy-Require", ""),
    (Name::RAck, "RAck", ""),
    (Name::RSeq, "RSeq", ""),
    (Name::Reason, "Reason", ""),
    (Name::ReferTo, "Refer-To", "r"),
    (Name::ReferredBy, "Referred-By", "b"),
    (Name::Replaces, "Replaces", ""),
    (Name::RequestDisposition, "Request-Disposition", "d"),
    (Name::RetryAfter, "Retry-After", ""),
    (Name::Server, "Server", ""),
    (Name::ServiceRoute, "Service-Route", ""),
    (Name::SessionExpires, "Session-Expires", "x"),
    (Name::Subject, "Subject", "s"),
    (Name::SubscriptionState, "Subscription-State", ""),
    (Name::Timestamp, "Timestamp", ""),
    (Name::Unsupported, "Unsupported", ""),
    (Name::Warning, "Warning", ""),
];

impl Name {
    /// The known name that the bytes spell, or `None`.
    pub fn known(bytes: &[u8]) -> Option<Name> {
        KNOWN
            .iter()
            .find(|(_, canonical, compact)| {
                canonical.len() == bytes.len() && canonical.as_bytes().eq_ignore_ascii_case(bytes)
                    || compact.len() == bytes.len() && compact.as_bytes().eq_ignore_ascii_case(bytes)
            })
            .map(|(name, ..)| *name)
    }

    /// The canonical spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Name::Other(text) => text,
            known => KNOWN
                .iter()
                .find(|(name, ..)| std::mem::discriminant(name) == std::mem::discriminant(&known))
                .map_or("", |(_, canonical, _)| canonical),
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Name::Other(one), Name::Other(two)) => one.eq_ignore_ascii_case(two),
            (one, two) => std::mem::discriminant(one) == std::mem::discriminant(two),
        }
    }
}

impl Eq for Name {}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
