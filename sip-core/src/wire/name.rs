//! Header names, canonical and compact.

use std::fmt;

/// Makes [`Name`] from a table grouped by length, so that a name is compared with the few of its length only.
macro_rules! names {
    ($($length:literal => { $($variant:ident $canonical:literal $(or $compact:literal)?;)* })*) => {
        /// A header's name. Compared without regard to case; compact forms are the same name (RFC 3261 §7.3.1, §7.3.3).
        #[derive(Debug, Clone, Copy)]
        #[allow(missing_docs)] // The names are the headers' own.
        pub enum Name {
            $($($variant,)*)*
            /// Any other header.
            Other(&'static str),
        }

        impl Name {
            /// The known name that the bytes spell, or `None`.
            pub fn known(bytes: &[u8]) -> Option<Name> {
                if let [letter] = bytes {
                    return match letter.to_ascii_lowercase() {
                        $($($($compact => Some(Name::$variant),)?)*)*
                        _ => None,
                    };
                }
                let first = bytes.first()? | 0x20;
                match bytes.len() {
                    $($length => {
                        $(if first == const { $canonical.as_bytes()[0] | 0x20 }
                            && (bytes == $canonical.as_bytes()
                                || bytes.eq_ignore_ascii_case($canonical.as_bytes()))
                        {
                            return Some(Name::$variant);
                        })*
                        None
                    })*
                    _ => None,
                }
            }

            /// The canonical spelling.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($(Name::$variant => $canonical,)*)*
                    Name::Other(text) => text,
                }
            }
        }

        #[cfg(test)]
        const KNOWN: &[(Name, usize, Option<u8>)] = &[
            $($((Name::$variant, $length, names!(@compact $($compact)?)),)*)*
        ];
    };
    (@compact) => { None };
    (@compact $compact:literal) => { Some($compact) };
}

names! {
    2 => {
        To "To" or b't';
    }
    3 => {
        Via "Via" or b'v';
    }
    4 => {
        CSeq "CSeq";
        Date "Date";
        From "From" or b'f';
        Path "Path";
        RAck "RAck";
        RSeq "RSeq";
    }
    5 => {
        Allow "Allow";
        Event "Event" or b'o';
        Route "Route";
    }
    6 => {
        Accept "Accept";
        MinSe "Min-SE";
        Reason "Reason";
        Server "Server";
    }
    7 => {
        CallId "Call-ID" or b'i';
        Contact "Contact" or b'm';
        Expires "Expires";
        Privacy "Privacy";
        Require "Require";
        Subject "Subject" or b's';
        Warning "Warning";
    }
    8 => {
        ReferTo "Refer-To" or b'r';
        Replaces "Replaces";
    }
    9 => {
        Supported "Supported" or b'k';
        Timestamp "Timestamp";
    }
    10 => {
        UserAgent "User-Agent";
    }
    11 => {
        MaxBreadth "Max-Breadth";
        MinExpires "Min-Expires";
        ReferredBy "Referred-By" or b'b';
        RetryAfter "Retry-After";
        Unsupported "Unsupported";
    }
    12 => {
        AllowEvents "Allow-Events" or b'u';
        ContentType "Content-Type" or b'c';
        MaxForwards "Max-Forwards";
        RecordRoute "Record-Route";
    }
    13 => {
        Authorization "Authorization";
        ProxyRequire "Proxy-Require";
        ServiceRoute "Service-Route";
    }
    14 => {
        AcceptContact "Accept-Contact" or b'a';
        ContentLength "Content-Length" or b'l';
    }
    15 => {
        SessionExpires "Session-Expires" or b'x';
    }
    16 => {
        ContentEncoding "Content-Encoding" or b'e';
        WwwAuthenticate "WWW-Authenticate";
    }
    18 => {
        ProxyAuthenticate "Proxy-Authenticate";
        SubscriptionState "Subscription-State";
    }
    19 => {
        PAssertedIdentity "P-Asserted-Identity";
        ProxyAuthorization "Proxy-Authorization";
        RequestDisposition "Request-Disposition" or b'd';
    }
    20 => {
        PPreferredIdentity "P-Preferred-Identity";
    }
}

impl Name {
    /// `Other` of a known name's spelling is that name, so that a name that becomes known here stays what it was for its users.
    pub(super) fn canonical(self) -> Name {
        match self {
            Name::Other(text) => Name::known(text.as_bytes()).unwrap_or(self),
            known => known,
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        match (self.canonical(), other.canonical()) {
            (Name::Other(one), Name::Other(two)) => one.eq_ignore_ascii_case(two),
            (one, two) => std::mem::discriminant(&one) == std::mem::discriminant(&two),
        }
    }
}

impl Eq for Name {}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_in_every_spelling() {
        for (name, length, compact) in KNOWN {
            let canonical = name.as_str();
            assert_eq!(canonical.len(), *length, "{canonical} stands in the wrong group");
            for spelling in [canonical.to_owned(), canonical.to_lowercase(), canonical.to_uppercase()] {
                assert_eq!(Name::known(spelling.as_bytes()), Some(*name), "{spelling}");
            }
            for letter in compact.iter().flat_map(|letter| [*letter, letter.to_ascii_uppercase()]) {
                assert_eq!(Name::known(&[letter]), Some(*name));
            }
        }
    }

    #[test]
    fn others_are_not() {
        for other in ["", "z", "Vi", "Viaa", "X-Odd", "Content_Length"] {
            assert_eq!(Name::known(other.as_bytes()), None, "{other}");
        }
        assert_eq!(Name::Other("x-odd"), Name::Other("X-Odd"));
        assert_ne!(Name::Other("x-odd"), Name::Via);
        assert_eq!(Name::Other("via"), Name::Via);
    }
}
