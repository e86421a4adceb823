//! Who calls: what each side is shown, and what must stay hidden.
//!
//! Toward a trunk the caller is the line's own number (RFC 3325 between trust domains: the trunk is trusted, so it gets the
//! asserted identity even when the called party must not see it). Toward the proxy it is what the trunk asserts.

use schema::{Directory, LineId, Trunk};
use sip_core::wire::header::{NameAddr, PAssertedIdentity};
use sip_core::wire::{Host, HostPort, Message, Name, SipUri, Uri};

use crate::settings::{Country, Face};

/// What is said of the caller on the called side.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The From header without its tag.
    pub(crate) from: NameAddr,
    /// P-Asserted-Identity.
    pub(crate) asserted: Option<NameAddr>,
    /// Whether the called party must not learn who calls.
    pub(crate) private: bool,
}

/// The caller.
#[derive(Debug)]
pub(crate) enum Party {
    /// A phone, through the proxy.
    Inside(InsideCaller),
    /// Somebody behind a trunk.
    Outside(OutsideCaller),
}

/// The inside party of an outbound call: its line, and what it is called in the record.
#[derive(Debug, Clone)]
pub(crate) struct InsideCaller {
    /// Its line, as the proxy asserts it.
    pub(crate) line: Option<LineId>,
    /// Its first number.
    pub(crate) number: Option<String>,
    /// Whether it wants to stay unknown.
    pub(crate) private: bool,
    /// For the record: the number, else the address-of-record.
    pub(crate) name: String,
}

impl InsideCaller {
    /// Reads the caller of an INVITE that came from a proxy, which alone may assert identities.
    pub(crate) fn of(request: &Message, directory: &Directory) -> InsideCaller {
        let asserted =
            request.all::<PAssertedIdentity>().flatten().find(|identity| identity.uri.sip().is_some());
        let from = request.from().ok();
        let uri = asserted.as_ref().map(|identity| &identity.uri).or(from.as_ref().map(|from| &from.uri));
        // From is what a phone says of itself: it names the caller in the record, but finds no line.
        let line = asserted.as_ref().and_then(|identity| line_of(&identity.uri, directory));
        let number =
            line.and_then(|line| directory.numbers_of_line(line).first().map(|number| number.e164.clone()));
        let name = number.clone().unwrap_or_else(|| uri.map(name_of).unwrap_or_default());
        InsideCaller { line, number, private: is_private(request), name }
    }

    /// A line that was called under this number.
    pub(crate) fn known(line: Option<LineId>, number: &str) -> InsideCaller {
        InsideCaller { line, number: Some(number.to_owned()), private: false, name: number.to_owned() }
    }

    /// What a trunk is shown.
    pub(crate) fn toward_trunk(&self, trunk: &Trunk, face: Face) -> Identity {
        let number = self.number.as_deref().or(trunk.default_caller.as_deref());
        let own = number.map(|number| NameAddr::new(SipUri::new(Some(number), host_of(face))));
        let from = match &own {
            Some(own) if !self.private => own.clone(),
            _ => anonymous(),
        };
        Identity { from, asserted: own, private: self.private }
    }
}

/// The outside party of an inbound call.
#[derive(Debug, Clone)]
pub(crate) struct OutsideCaller {
    display: Option<String>,
    /// In E.164 form where the trunk's form can be understood.
    number: Option<String>,
    private: bool,
}

impl OutsideCaller {
    /// Reads the caller of an INVITE that came from a trunk: what it asserts, else what From says.
    pub(crate) fn of(request: &Message, country: &Country) -> OutsideCaller {
        let asserted = request
            .all::<PAssertedIdentity>()
            .flatten()
            .find_map(|identity| digits_of(&identity.uri).map(|digits| (digits, identity.display.clone())));
        let from = request.from().ok();
        let said = from.and_then(|from| digits_of(&from.uri).map(|digits| (digits, from.display.clone())));
        let (digits, display) = asserted.or(said).unzip();
        let number = digits.map(|digits| country.e164(&digits).unwrap_or(digits));
        let display =
            display.flatten().map(|name| name.chars().filter(|c| !c.is_control()).take(64).collect());
        OutsideCaller { display, number, private: is_private(request) }
    }

    /// Somebody who was called under this number.
    pub(crate) fn known(number: &str) -> OutsideCaller {
        OutsideCaller { display: None, number: Some(number.to_owned()), private: false }
    }

    /// Somebody of whom nothing is known.
    pub(crate) fn unknown() -> OutsideCaller {
        OutsideCaller { display: None, number: None, private: true }
    }

    /// For the record.
    pub(crate) fn name(&self) -> String {
        self.number.clone().unwrap_or_else(|| "anonymous".to_owned())
    }

    /// What the proxy is shown.
    pub(crate) fn toward_proxy(&self, face: Face) -> Identity {
        let own = self.number.as_deref().map(|number| NameAddr {
            display: self.display.clone(),
            ..NameAddr::new(SipUri::new(Some(number), host_of(face)))
        });
        let from = match &own {
            Some(own) if !self.private => own.clone(),
            _ => anonymous(),
        };
        Identity { from, asserted: own, private: self.private }
    }
}

/// The telephone number or service code of a URI, without visual separators and parameters; `None` for a name.
pub(crate) fn digits_of(uri: &Uri) -> Option<String> {
    let user = uri.user()?;
    // Number portability and other parameters may stand in the user part (RFC 3261 §19.1.6).
    let user = user.split(';').next().unwrap_or_default();
    let plain: String = user.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')')).collect();
    let digits = plain.strip_prefix('+').unwrap_or(&plain);
    let valid = (1..=32).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'*' | b'#'));
    valid.then_some(plain)
}

/// Whether a request asks that its caller stays unknown (RFC 3323 §4.2, RFC 3325 §9.3), by Privacy or by an anonymous From.
fn is_private(request: &Message) -> bool {
    let asked = request.raws(Name::Privacy).any(|value| {
        String::from_utf8_lossy(value)
            .split([';', ','])
            .any(|word| ["id", "user", "header"].iter().any(|asks| word.trim().eq_ignore_ascii_case(asks)))
    });
    let hidden = request.from().is_ok_and(|from| {
        let host = from.uri.sip().map(|uri| uri.host_port.host.to_string());
        host.is_some_and(|host| host.eq_ignore_ascii_case(ANONYMOUS_HOST))
    });
    asked || hidden
}

fn line_of(uri: &Uri, directory: &Directory) -> Option<LineId> {
    let uri = uri.sip()?;
    let Host::Name(domain) = &uri.host_port.host else { return None };
    let site = directory.site_by_domain(domain)?;
    directory.line_at(site.id, &uri.user()?).map(|line| line.id)
}

fn name_of(uri: &Uri) -> String {
    let name = match uri {
        Uri::Sip(uri) => format!("{}@{}", uri.user().unwrap_or_default(), uri.host_port.host),
        other => other.to_string(),
    };
    name.chars().filter(|c| !c.is_control()).take(128).collect()
}

/// RFC 3323 §4.1.1.3.
fn anonymous() -> NameAddr {
    let host = HostPort { host: Host::Name(ANONYMOUS_HOST.to_owned()), port: None };
    NameAddr { display: Some("Anonymous".to_owned()), ..NameAddr::new(SipUri::new(Some("anonymous"), host)) }
}

fn host_of(face: Face) -> HostPort {
    HostPort { host: face.signalling.ip().into(), port: None }
}

const ANONYMOUS_HOST: &str = "anonymous.invalid";

#[cfg(test)]
mod tests {
    use sip_core::wire::{Builder, Method};

    use super::*;

    fn invite(headers: &[(Name, &str)]) -> Message {
        let builder = Builder::request(&Method::Invite, "sip:0312345678@192.0.2.9");
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, value)).finish()
    }

    fn face() -> Face {
        Face::new("[2001:db8::9]:5070".parse().unwrap(), "2001:db8::9".parse().unwrap())
    }

    #[test]
    fn a_trunk_asserts_its_caller() {
        let request = invite(&[
            (Name::From, "\"A\" <sip:nobody@192.0.2.1>;tag=1"),
            (Name::PAssertedIdentity, "\"Taro\" <tel:+81-90-1234-5678>"),
        ]);
        let identity = OutsideCaller::of(&request, &Country::default()).toward_proxy(face());
        assert_eq!(identity.from.to_string(), "\"Taro\" <sip:+819012345678@[2001:db8::9]>");
        assert_eq!(identity.asserted.unwrap().uri, identity.from.uri);
        assert!(!identity.private);
    }

    #[test]
    fn a_national_caller_is_normalised() {
        let request = invite(&[(Name::From, "<sip:09012345678;npdi@192.0.2.1;user=phone>;tag=1")]);
        let caller = OutsideCaller::of(&request, &Country::default());
        assert_eq!(caller.name(), "+819012345678");
        let named = invite(&[(Name::From, "<sip:asterisk@192.0.2.1>;tag=1")]);
        let caller = OutsideCaller::of(&named, &Country::default());
        assert_eq!(caller.name(), "anonymous");
        assert!(caller.toward_proxy(face()).asserted.is_none());
    }

    #[test]
    fn a_private_caller_is_not_shown() {
        let request =
            invite(&[(Name::From, "<sip:09012345678@192.0.2.1>;tag=1"), (Name::Privacy, "critical;id")]);
        let identity = OutsideCaller::of(&request, &Country::default()).toward_proxy(face());
        assert_eq!(identity.from.to_string(), "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
        assert!(identity.private && identity.asserted.is_some());
        let hidden = invite(&[(Name::From, "<sip:anonymous@anonymous.invalid>;tag=1")]);
        assert!(is_private(&hidden));
        assert!(!is_private(&invite(&[(Name::Privacy, "none")])));
    }
}
