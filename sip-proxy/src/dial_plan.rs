//! What dialled characters mean, before anybody asks who exists: pure text work.

use std::borrow::Cow;

use sip_core::wire::Uri;

/// Which numbers lead outside, and how they become E.164.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialPlan {
    /// The country that numbers without a country code belong to, without `+`.
    pub country_code: String,
    /// What stands before a national number; empty where national numbers have no prefix.
    pub national_prefix: String,
    /// What stands before a country code; empty when only `+` does.
    pub international_prefix: String,
    /// What is dialled for an outside line and then dropped; empty for none. A number that begins with `+` needs none.
    pub outside_line: String,
    /// A number that begins with one of these, after the outside line, leads outside.
    pub external_prefixes: Vec<String>,
    /// Numbers that go out as dialled, for every line.
    pub emergency: Vec<String>,
}

/// A number that leads outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum External {
    /// An emergency number, as dialled: for every line.
    Emergency(String),
    /// A number of our own country, in E.164 with its `+`.
    National(String),
    /// A number of another country, in E.164 with its `+`.
    International(String),
    /// A short number of the carrier's, as dialled.
    Service(String),
}

impl External {
    /// The number as it is sent to a translator.
    pub fn number(&self) -> &str {
        match self {
            External::Emergency(number)
            | External::National(number)
            | External::International(number)
            | External::Service(number) => number,
        }
    }
}

impl DialPlan {
    /// What the digits mean outside, or `None` when they do not lead there. Takes what [`dialled`] gives.
    pub fn external(&self, digits: &str) -> Option<External> {
        if digits.is_empty() || digits.len() > MAX_DIALLED || !digits.bytes().all(is_dialled) {
            return None;
        }
        if let Some(number) = self.emergency(digits) {
            return Some(External::Emergency(number.to_owned()));
        }
        let rest = match digits.starts_with('+') || self.outside_line.is_empty() {
            true => digits,
            false => digits.strip_prefix(&self.outside_line)?,
        };
        if !self.external_prefixes.iter().any(|prefix| rest.starts_with(prefix.as_str())) {
            return None;
        }
        if let Some(number) = rest.strip_prefix('+') {
            return self.of_e164(number);
        }
        // The longer prefix is the more telling one: 010 is not a national number that begins with 10.
        let mut prefixes = [(&self.international_prefix, true), (&self.national_prefix, false)];
        prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        for (prefix, international) in prefixes {
            match rest.strip_prefix(prefix.as_str()) {
                Some(number) if international && !prefix.is_empty() => return self.of_e164(number),
                Some(number) if !international => return self.of_national(number, !prefix.is_empty()),
                _ => {}
            }
        }
        Some(External::Service(rest.to_owned()))
    }

    /// Whether the digits are an emergency number, with the outside line or without it.
    pub fn emergency<'a>(&self, digits: &'a str) -> Option<&'a str> {
        let stripped = digits.strip_prefix(&self.outside_line).filter(|_| !self.outside_line.is_empty());
        [Some(digits), stripped]
            .into_iter()
            .flatten()
            .find(|number| self.emergency.iter().any(|own| own == number))
    }

    /// A number without a country code. Behind a prefix no further zero can follow: that would be somebody else's
    /// international prefix.
    fn of_national(&self, number: &str, prefixed: bool) -> Option<External> {
        if number.len() < 2 || (prefixed && number.starts_with('0')) {
            return None;
        }
        self.of_e164(&format!("{}{number}", self.country_code))
    }

    /// Country code and number, without the `+`.
    fn of_e164(&self, number: &str) -> Option<External> {
        if !is_e164(number) {
            return None;
        }
        let full = format!("+{number}");
        Some(match number.starts_with(&self.country_code) {
            true => External::National(full),
            false => External::International(full),
        })
    }
}

impl Default for DialPlan {
    /// Japan's.
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        DialPlan {
            country_code: "81".to_owned(),
            national_prefix: "0".to_owned(),
            international_prefix: "010".to_owned(),
            outside_line: String::new(),
            external_prefixes: words(&["0", "+"]),
            emergency: words(&["110", "118", "119"]),
        }
    }
}

/// What was dialled: the user part or number with escapes undone, user parameters (RFC 3966 in a SIP URI, RFC 3261
/// §19.1.6) cut off, and visual separators (RFC 3966 §5.1.1) removed where it is a number. A name stays as it is.
///
/// `None` when the URI has no user part or the part is too long to be dialled.
pub fn dialled(uri: &Uri) -> Option<Cow<'_, str>> {
    let user = uri.user()?;
    let user = match user.find(';') {
        Some(end) => Cow::Owned(user.get(..end)?.to_owned()),
        None => user,
    };
    if user.is_empty() || user.len() > 2 * MAX_DIALLED {
        return None;
    }
    let is_number = user.bytes().all(|byte| is_dialled(byte) || is_separator(byte));
    if is_number && user.bytes().any(is_separator) {
        let digits: String = user.chars().filter(|c| !c.is_ascii() || !is_separator(*c as u8)).collect();
        return (!digits.is_empty()).then_some(Cow::Owned(digits));
    }
    Some(user)
}

/// Whether it is a full E.164 number without its `+` (ITU-T E.164 §6.2): up to 15 digits of which the first is not zero.
fn is_e164(number: &str) -> bool {
    (3..=15).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && !number.starts_with('0')
}

fn is_dialled(byte: u8) -> bool {
    byte.is_ascii_digit() || b"+*#".contains(&byte)
}

/// RFC 3966 §5.1.1; blanks are not legal there, but people type them.
fn is_separator(byte: u8) -> bool {
    b"-.() ".contains(&byte)
}

/// More characters than anybody dials.
const MAX_DIALLED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn national(number: &str) -> Option<External> {
        Some(External::National(number.to_owned()))
    }

    fn international(number: &str) -> Option<External> {
        Some(External::International(number.to_owned()))
    }

    fn service(number: &str) -> Option<External> {
        Some(External::Service(number.to_owned()))
    }

    fn emergency(number: &str) -> Option<External> {
        Some(External::Emergency(number.to_owned()))
    }

    #[test]
    fn japan() {
        let plan = DialPlan::default();
        for (digits, expected) in [
            ("0312345678", national("+81312345678")),
            ("09012345678", national("+819012345678")),
            ("0120123456", national("+81120123456")),
            ("+81312345678", national("+81312345678")),
            ("+12125550123", international("+12125550123")),
            ("01012125550123", international("+12125550123")),
            ("01081312345678", national("+81312345678")),
            ("110", emergency("110")),
            ("119", emergency("119")),
            ("101", None),
            ("1190", None),
            ("", None),
            ("+", None),
            ("+0312345678", None),
            ("+8131234567890123", None),
            ("0", None),
            ("00", None),
            ("alice", None),
            ("0alice", None),
            ("012345678901234567890", None),
        ] {
            assert_eq!(plan.external(digits), expected, "{digits}");
        }
    }

    #[test]
    fn north_america_behind_a_nine() {
        let plan = DialPlan {
            country_code: "1".into(),
            national_prefix: "1".into(),
            international_prefix: "011".into(),
            outside_line: "9".into(),
            external_prefixes: vec!["1".into(), "011".into(), "+".into(), "4".into(), "*".into()],
            emergency: vec!["911".into()],
        };
        for (digits, expected) in [
            ("912125550123", national("+12125550123")),
            ("9011813123", international("+813123")),
            ("901181312345678", international("+81312345678")),
            ("+12125550123", national("+12125550123")),
            ("911", emergency("911")),
            ("9911", emergency("911")),
            ("9411", service("411")),
            ("9*67", service("*67")),
            ("12125550123", None),
            ("411", None),
            ("9", None),
            ("95551234", None),
        ] {
            assert_eq!(plan.external(digits), expected, "{digits}");
        }
    }

    #[test]
    fn a_country_without_a_national_prefix() {
        let plan = DialPlan {
            country_code: "45".into(),
            national_prefix: String::new(),
            international_prefix: "00".into(),
            external_prefixes: (0..=9).map(|digit| digit.to_string()).collect(),
            emergency: vec!["112".into()],
            ..DialPlan::default()
        };
        assert_eq!(plan.external("33123456"), national("+4533123456"));
        assert_eq!(plan.external("0081312345678"), international("+81312345678"));
        assert_eq!(plan.external("112"), emergency("112"));
    }

    #[test]
    fn what_was_dialled() {
        for (uri, expected) in [
            ("sip:101@example.net", Some("101")),
            ("sip:03-1234-5678@example.net;user=phone", Some("0312345678")),
            ("sip:+81(3)1234.5678@[2001:db8::1]", Some("+81312345678")),
            ("sip:+358-555-1234567;postd=pp22@foo.com;user=phone", Some("+3585551234567")),
            ("sip:%2B81312345678@example.net", Some("+81312345678")),
            ("sip:*21%23@example.net", Some("*21#")),
            ("sip:*21#@example.net", Some("*21#")),
            ("sip:03%201234%205678@example.net", Some("0312345678")),
            ("sip:john.doe@example.net", Some("john.doe")),
            ("tel:+81-3-1234-5678", Some("+81312345678")),
            ("tel:110;phone-context=+81", Some("110")),
            ("sip:example.net", None),
            ("sip:---@example.net", None),
            ("urn:service:sos", None),
        ] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(dialled(&uri).as_deref(), expected, "{uri}");
        }
    }
}
