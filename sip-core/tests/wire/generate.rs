//! Strategies for what a well-behaved peer writes.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use sip_core::wire::header::NameAddr;
use sip_core::wire::{Host, HostPort, Method, Params, SipUri, TelUri, Uri};

/// A token (RFC 3261 §25.1).
pub(crate) fn token() -> impl Strategy<Value = String> {
    "[-a-zA-Z0-9.!%*_+`'~]{1,12}"
}

/// A quoted string with escapes.
pub(crate) fn quoted() -> impl Strategy<Value = String> {
    "[ -~\u{e9}\u{3042}]{0,12}".prop_map(|text| quote(&text))
}

/// Parameters with names that differ, after `prefix`.
pub(crate) fn params() -> impl Strategy<Value = Params> {
    vec((token(), option::of(prop_oneof![token(), quoted()])), 0..4).prop_map(collect)
}

/// URI parameters, which know no quoted strings.
pub(crate) fn uri_params() -> impl Strategy<Value = Params> {
    vec(("[-a-zA-Z0-9_.!~*'%]{1,8}", option::of("[-a-zA-Z0-9_.!~*'\\[\\]/:&+$%]{1,8}")), 0..3)
        .prop_map(collect)
}

/// A host of any kind.
pub(crate) fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        "[a-z0-9-]{1,8}\\.[a-z]{1,6}\\.?".prop_map(Host::Name),
        any::<[u8; 4]>().prop_map(|bytes| Host::V4(bytes.into())),
        any::<[u16; 8]>().prop_map(|words| Host::V6(words.into())),
        // Runs of zeros are written short.
        any::<u16>().prop_map(|last| Host::V6([0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into())),
    ]
}

/// A host with or without a port.
pub(crate) fn host_port() -> impl Strategy<Value = HostPort> {
    (host(), option::of(1u16..)).prop_map(|(host, port)| HostPort { host, port })
}

/// A SIP or SIPS URI.
pub(crate) fn sip_uri() -> impl Strategy<Value = SipUri> {
    let user = option::of(("\\PC{1,10}", option::of("[a-zA-Z0-9%&=+$,]{0,6}")));
    let headers = option::of("[a-z]{1,4}=[a-z%0-9]{0,4}");
    (any::<bool>(), user, host_port(), uri_params(), headers).prop_map(
        |(secure, user, host_port, params, headers)| {
            // The constructor escapes the user part.
            let mut uri = SipUri::new(user.as_ref().map(|(user, _)| user.as_str()), host_port);
            uri.password = user.and_then(|(_, password)| password);
            (uri.secure, uri.params, uri.headers) = (secure, params, headers);
            uri
        },
    )
}

/// Any URI.
pub(crate) fn uri() -> impl Strategy<Value = Uri> {
    prop_oneof![
        4 => sip_uri().prop_map(Uri::Sip),
        1 => ("\\+?[0-9][-0-9.()]{0,12}", uri_params()).prop_map(|(number, params)| Uri::Tel(TelUri { number, params })),
        1 => "(urn:service:sos|https://[a-z]{1,5}/[a-z;,?=]{0,6})".prop_map(Uri::Other),
    ]
}

/// A name-addr with any display name.
pub(crate) fn name_addr() -> impl Strategy<Value = NameAddr> {
    let display = option::of("[ -~\u{e9}\u{3042}]{0,12}");
    (display, uri(), params()).prop_map(|(display, uri, params)| NameAddr { display, uri, params })
}

/// Any method, known or not.
pub(crate) fn method() -> impl Strategy<Value = Method> {
    prop_oneof!["(INVITE|ACK|BYE|REGISTER|OPTIONS|invite)".boxed(), token().boxed()]
        .prop_map(|text| Method::parse(text.as_bytes()).unwrap())
}

/// As the library quotes.
pub(crate) fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn collect(pairs: Vec<(String, Option<String>)>) -> Params {
    pairs.iter().fold(Params::default(), |params, (name, value)| params.with(name, value.as_deref()))
}
