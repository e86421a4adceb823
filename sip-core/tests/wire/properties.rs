//! Parse ∘ write = identity, and no bytes make anything panic.

use std::fmt::Debug;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use sip_core::wire::header::*;
use sip_core::wire::{Builder, Header, HostPort, Limits, Message, Name, StatusCode, Uri};

use crate::{entry, generate};

/// The header as it is read back from a message that holds it, with another value behind it where that is allowed.
fn read_back<H: Header + Debug + PartialEq>(header: H) {
    let text = header.to_string();
    let line = if H::LIST { format!("{text}, {text}") } else { text };
    let message = Builder::response(StatusCode::OK, None).header(H::NAME, &line).finish();
    let values: Vec<H> =
        message.all().collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_eq!(values.len(), if H::LIST { 2 } else { 1 }, "{line}");
    values.iter().for_each(|value| assert_eq!(value, &header, "{line}"));
}

fn text<H: Header + Debug + PartialEq>(text: &str) {
    read_back(H::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")));
}

/// Bytes that look like SIP often enough to get somewhere.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static [u8]> = vec![
        b"INVITE sip:a@b SIP/2.0\r\n",
        b"SIP/2.0 200 OK\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"Via",
        b"v",
        b":",
        b"SIP/2.0/UDP ",
        b"[2001:db8::1]",
        b":5060",
        b";branch=z9hG4bK",
        b",",
        b"\"",
        b"\\",
        b"<",
        b">",
        b"sip:",
        b"@",
        b";",
        b"=",
        b"?",
        b"From",
        b"t",
        b"Contact",
        b"*",
        b"Route",
        b"Content-Length",
        b"l",
        b"0",
        b"3",
        b"99999999999999999999",
        b"CSeq",
        b"INVITE",
        b"Digest ",
        b"(",
        b")",
        b"/",
        b"\0",
        b"\xff",
        b"%41",
        b"a",
        b"tel:+81",
        b"\r\n ",
    ];
    vec(
        prop_oneof![4 => prop::sample::select(pieces).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..4)],
        0..40,
    )
    .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn uris_are_read_as_written(uri in generate::uri()) {
        let written = uri.to_string();
        let again: Uri = written.parse().unwrap();
        prop_assert_eq!(&again, &uri);
        prop_assert_eq!(again.to_string(), written);
    }

    #[test]
    fn users_survive_their_escapes(user in "\\PC{1,16}", host in generate::host_port()) {
        let uri = sip_core::wire::SipUri::new(Some(&user), host);
        let again: Uri = uri.to_string().parse().unwrap();
        let read = again.user().map(|user| user.into_owned());
        prop_assert_eq!(read, Some(user));
    }

    #[test]
    fn hosts_are_read_as_written(host in generate::host_port()) {
        prop_assert_eq!(HostPort::parse(&host.to_string()), Ok(host));
    }

    #[test]
    fn addresses_are_read_as_written(address in generate::name_addr()) {
        read_back(From(address.clone()));
        read_back(To(address.clone()));
        read_back(Route(address.clone()));
        read_back(RecordRoute(address.clone()));
        read_back(Path(address.clone()));
        read_back(ServiceRoute(address.clone()));
        read_back(PAssertedIdentity(address.clone()));
        read_back(PPreferredIdentity(address.clone()));
        read_back(ReferTo(address.clone()));
        read_back(Contact::Address(address));
    }

    #[test]
    fn vias_are_read_as_written(
        transport in generate::token(),
        sent_by in generate::host_port(),
        params in generate::params(),
    ) {
        read_back(Via { transport, sent_by, params });
    }

    #[test]
    fn numbers_are_read_as_written(number: u32, other: u32, method in generate::method(), params in generate::params()) {
        read_back(MaxForwards(number));
        read_back(Expires(number));
        read_back(MinExpires(number));
        read_back(RSeq(number));
        read_back(MaxBreadth(number));
        read_back(CSeq { number: number >> 1, method: method.clone() });
        read_back(RAck { rseq: number, cseq: other, method });
        read_back(SessionExpires { seconds: number, params: params.clone() });
        read_back(MinSe { seconds: number, params: params.clone() });
        let comment = (other % 2 == 0).then(|| "in a \\) (long) meeting".to_owned());
        read_back(RetryAfter { seconds: number, comment, params });
    }

    #[test]
    fn tokens_are_read_as_written(
        token in generate::token(),
        other in generate::token(),
        params in generate::params(),
        early_only: bool,
    ) {
        read_back(Allow(token.clone()));
        read_back(Supported(token.clone()));
        read_back(Require(token.clone()));
        read_back(ProxyRequire(token.clone()));
        read_back(Unsupported(token.clone()));
        read_back(ContentType { media: format!("{token}/{other}"), params: params.clone() });
        read_back(Event { package: token.clone(), params: params.clone() });
        read_back(SubscriptionState { state: token.clone(), params });
        read_back(Privacy(vec![token.clone(), other.clone()]));
        read_back(Replaces { call_id: format!("{token}@{other}"), to_tag: token.clone(), from_tag: other, early_only });
    }

    #[test]
    fn reasons_are_read_as_written(
        protocol in generate::token(),
        cause in option::of(any::<u16>()),
        reason in option::of("[ -~\u{e9}]{0,20}"),
    ) {
        read_back(Reason { protocol, cause, text: reason });
    }

    #[test]
    fn digest_headers_are_read_as_written(pairs in vec((generate::token(), generate::quoted()), 1..5)) {
        let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let digest = format!("Digest {}", pairs.join(", "));
        text::<Authorization>(&digest);
        text::<ProxyAuthorization>(&digest);
        text::<WwwAuthenticate>(&digest);
        text::<ProxyAuthenticate>(&digest);
    }

    #[test]
    fn messages_are_read_as_written(
        method in generate::method(),
        uri in generate::uri(),
        status in 100u16..700,
        reason in "[ -~\u{e9}]{0,20}",
        headers in vec((prop::sample::select(vec![Name::Via, Name::Subject, Name::Route, Name::Other("X-Odd")]), "([!-~\u{e9}]([ -~\u{e9}]{0,20}[!-~])?)?"), 0..12),
        body in vec(any::<u8>(), 0..40),
    ) {
        for request in [true, false] {
            let start = match request {
                true => Builder::request(&method, &uri),
                false => Builder::response(StatusCode::new(status).unwrap(), Some(&reason)),
            };
            let builder = headers.iter().fold(start, |builder, (name, value)| builder.header(*name, value));
            let bytes = builder.body("application/octet-stream", Bytes::from(body.clone())).finish().bytes().clone();
            let message = Message::parse(bytes.clone(), &Limits { max_vias: usize::MAX, ..Limits::default() }).unwrap();
            prop_assert_eq!(message.bytes(), &bytes);
            if request {
                prop_assert_eq!(message.method(), Some(&method));
                prop_assert_eq!(message.request_uri().unwrap(), uri.clone());
            } else {
                prop_assert_eq!(message.status(), StatusCode::new(status));
                prop_assert_eq!(message.reason(), reason.as_str());
            }
            let read: Vec<_> = message.iter().take(headers.len()).collect();
            let written: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            prop_assert_eq!(read, written);
            prop_assert_eq!(&message.body()[..], &body[..]);
        }
    }

    #[test]
    fn no_bytes_break_a_promise(data in vec(any::<u8>(), 0..300)) {
        entry::TARGETS.iter().for_each(|(_, body)| body(&data));
    }

    #[test]
    fn nothing_like_sip_breaks_a_promise(choice: u8, data in soup()) {
        let chosen = [&[choice][..], &data].concat();
        entry::message(&data);
        entry::uri(&data);
        entry::header(&chosen);
        entry::framer(&chosen);
        entry::digest(&data);
        entry::message(&[b"INVITE sip:a@b SIP/2.0\r\n", &data[..], b"\r\n\r\n"].concat());
    }
}
