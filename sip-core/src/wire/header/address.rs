//! Headers that hold a name-addr: From, To, Route and their kin (RFC 3261 §20.10, §20.20, §20.30, §20.34, §20.39).

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::Header;
use crate::wire::{HeaderError, Name, Params, Uri, UriError, lex};

/// A display name, a URI and header parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// The display name, quotes and escapes undone.
    pub display: Option<String>,
    /// The URI.
    pub uri: Uri,
    /// The header's parameters, not the URI's.
    pub params: Params,
}

impl NameAddr {
    /// A bare URI.
    pub fn new(uri: impl Into<Uri>) -> NameAddr {
        NameAddr { display: None, uri: uri.into(), params: Params::default() }
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&str> {
        self.params.value("tag")
    }

    /// The same with another tag, or with none.
    pub fn with_tag(mut self, tag: Option<&str>) -> NameAddr {
        match tag {
            Some(tag) => self.params.set("tag", Some(tag)),
            None => self.params.remove("tag"),
        }
        self
    }

    /// Reads `"Name" <uri>;params`, `Name <uri>` or `uri;params`: without brackets, parameters are the header's (RFC 3261 §20.10).
    pub fn parse(value: &str) -> Result<NameAddr, UriError> {
        let Some(open) = find_bracket(value) else {
            let (uri, params) = match value.split_once(';') {
                Some((uri, params)) => (uri, Params::parse(params)),
                None => (value, Params::default()),
            };
            // Whose headers would these be? RFC 3261 §20.10 wants brackets around such a URI.
            if uri.contains('?') {
                return Err(UriError::Character);
            }
            return Ok(NameAddr { display: None, uri: lex::trim(uri).parse()?, params });
        };
        let (display, rest) = value.split_at_checked(open).ok_or(UriError::Character)?;
        let (uri, params) =
            rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or(UriError::Character)?;
        let display = lex::trim(display);
        let params = lex::trim(params);
        let params = match params.strip_prefix(';') {
            Some(params) => Params::parse(params),
            None if params.is_empty() => Params::default(),
            None => return Err(UriError::Character),
        };
        let display = (!display.is_empty()).then(|| lex::unquote(display));
        Ok(NameAddr { display, uri: lex::trim(uri).parse()?, params })
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            write!(f, "{} ", lex::quote(display))?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

macro_rules! address_headers {
    ($($(#[$doc:meta])* $type:ident: $name:expr, list $list:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $type(pub NameAddr);

        impl Header for $type {
            const NAME: Name = $name;
            const LIST: bool = $list;

            fn parse(value: &str) -> Result<Self, HeaderError> {
                NameAddr::parse(value).map($type).map_err(|source| HeaderError::Uri { name: Self::NAME, source })
            }
        }

        impl Deref for $type {
            type Target = NameAddr;

            fn deref(&self) -> &NameAddr {
                &self.0
            }
        }

        impl DerefMut for $type {
            fn deref_mut(&mut self) -> &mut NameAddr {
                &mut self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

address_headers! {
    /// Who asks (RFC 3261 §20.20).
    From: Name::From, list false;
    /// Who was asked (RFC 3261 §20.39).
    To: Name::To, list false;
    /// A hop that the request shall take (RFC 3261 §20.34).
    Route: Name::Route, list true;
    /// A hop that wants to stay in the dialog (RFC 3261 §20.30).
    RecordRoute: Name::RecordRoute, list true;
    /// A hop between registrar and phone (RFC 3327).
    Path: Name::Path, list true;
    /// A hop for the phone's later requests (RFC 3608).
    ServiceRoute: Name::ServiceRoute, list true;
    /// Who asks, as a trusted network says (RFC 3325 §9.1).
    PAssertedIdentity: Name::PAssertedIdentity, list true;
    /// Whom the caller wants to be shown as, said to a trusted network (RFC 3325 §9.2).
    PPreferredIdentity: Name::PPreferredIdentity, list true;
    /// Where to transfer to (RFC 3515 §2.1).
    ReferTo: Name::ReferTo, list false;
}

/// Where the URI's angle bracket opens, outside a quoted display name.
fn find_bracket(value: &str) -> Option<usize> {
    lex::find_outside(value.as_bytes(), 0, b'<')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        let quoted = NameAddr::parse(r#""A \"<b>\", C" <sip:a@b;lr>;tag=x"#).unwrap();
        assert_eq!(quoted.display.as_deref(), Some(r#"A "<b>", C"#));
        assert_eq!(quoted.tag(), Some("x"));
        assert_eq!(quoted.to_string(), r#""A \"<b>\", C" <sip:a@b;lr>;tag=x"#);
        let bare = NameAddr::parse("sip:a@[2001:db8::1];tag=y").unwrap();
        assert_eq!((bare.tag(), bare.uri.to_string().as_str()), (Some("y"), "sip:a@[2001:db8::1]"));
        assert!(NameAddr::parse("\"unclosed <sip:a@b>").is_err());
        assert!(NameAddr::parse("<sip:a@b").is_err());
        assert!(
            NameAddr::parse("sip:a@b?Route=%3Csip:c%3E").is_err() && NameAddr::parse("<sip:a@b?x=y>").is_ok()
        );
    }
}
