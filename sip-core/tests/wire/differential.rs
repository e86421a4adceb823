//! Another library's opinion: `rsip` on the subset that it reads rightly (IPv4 and names, canonical header names, no folds).

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rsip::headers::ToTypedHeader as _;
use rsip::message::{HasHeaders as _, HeadersExt as _};
use rsip::prelude::*;
use sip_core::wire::{HostPort, Limits, Message, SipUri};

fn ours(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap()
}

fn same_host(theirs: &rsip::Uri, ours: &HostPort) {
    assert_eq!(theirs.host_with_port.host.to_string(), ours.host.to_string());
    assert_eq!(theirs.port().map(|port| *port.value()), ours.port);
}

fn same_uri(theirs: &rsip::Uri, ours: &SipUri) {
    assert_eq!(theirs.is_sips().unwrap(), ours.secure);
    assert_eq!(theirs.user().map(str::to_owned), ours.user);
    assert_eq!(
        theirs.transport().map(ToString::to_string),
        ours.transport().map(|transport| transport.to_string())
    );
    assert_eq!(theirs.params.len(), ours.params.iter().count());
    same_host(theirs, &ours.host_port);
}

fn same(text: &str) {
    let theirs = rsip::SipMessage::try_from(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let ours = ours(text);
    match &theirs {
        rsip::SipMessage::Request(request) => {
            assert_eq!(request.method().to_string(), ours.method().unwrap().as_str());
            same_uri(request.uri(), ours.request_uri().unwrap().sip().unwrap());
        }
        rsip::SipMessage::Response(response) => {
            assert_eq!(u16::from(response.status_code().clone()), ours.status().unwrap().code());
        }
    }
    assert_eq!(theirs.headers().iter().count(), ours.iter().count());
    assert_eq!(theirs.body(), &ours.body());

    let via = theirs.via_header().unwrap().typed().unwrap();
    let own = ours.top_via().unwrap();
    assert_eq!(via.transport.to_string(), own.transport);
    assert_eq!(via.branch().map(|branch| branch.value().to_owned()).as_deref(), own.branch());
    same_host(&via.uri, &own.sent_by);

    let cseq = theirs.cseq_header().unwrap().typed().unwrap();
    let own = ours.cseq().unwrap();
    assert_eq!((cseq.seq, cseq.method.to_string().as_str()), (own.number, own.method.as_str()));
    assert_eq!(theirs.call_id_header().unwrap().value(), ours.call_id().unwrap());

    let from = theirs.from_header().unwrap().typed().unwrap();
    assert_eq!(from.tag().map(|tag| tag.value().to_owned()), ours.from_tag());
    same_uri(&from.uri, ours.from().unwrap().uri.sip().unwrap());
    let to = theirs.to_header().unwrap().typed().unwrap();
    assert_eq!(to.tag().map(|tag| tag.value().to_owned()), ours.to_tag());
    same_uri(&to.uri, ours.to().unwrap().uri.sip().unwrap());
}

fn host_port() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        "[a-z]{1,8}\\.[a-z]{2,6}".boxed(),
        any::<[u8; 4]>().prop_map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()).boxed(),
    ];
    (host, option::of(1u16..)).prop_map(|(host, port)| match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}

fn uri() -> impl Strategy<Value = String> {
    ("sips?", option::of("[a-z0-9+]{1,10}"), host_port(), option::of("(udp|tcp|tls)"), any::<bool>())
        .prop_map(|(scheme, user, host_port, transport, loose)| {
            let user = user.map_or(String::new(), |user| format!("{user}@"));
            let transport = transport.map_or(String::new(), |transport| format!(";transport={transport}"));
            format!("{scheme}:{user}{host_port}{transport}{}", if loose { ";lr" } else { "" })
        })
}

prop_compose! {
    fn message()(
        method in prop::sample::select(vec!["INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS", "INFO", "MESSAGE"]),
        status in option::of(prop::sample::select(vec![100u16, 180, 183, 200, 302, 401, 404, 486, 500, 503, 603])),
        target in uri(),
        vias in vec((prop::sample::select(vec!["UDP", "TCP", "TLS"]), host_port(), "[a-z0-9]{1,12}"), 1..3),
        from in (uri(), "[a-z0-9]{1,8}"),
        to in (uri(), option::of("[a-z0-9]{1,8}")),
        display in option::of("[a-zA-Z]{1,8}"),
        call_id in "[a-z0-9]{1,12}(@[a-z]{1,6})?",
        cseq in 0u32..1 << 31,
        odd in vec("[A-Z][a-z]{2,8}", 0..4),
        body in "[a-z=\\r\\n]{0,20}",
    ) -> String {
        let mut text = match status {
            Some(status) => format!("SIP/2.0 {status} Reason\r\n"),
            None => format!("{method} {target} SIP/2.0\r\n"),
        };
        for (transport, sent_by, branch) in vias {
            text.push_str(&format!("Via: SIP/2.0/{transport} {sent_by};branch=z9hG4bK{branch}\r\n"));
        }
        let display = display.map_or(String::new(), |display| format!("\"{display}\" "));
        text.push_str(&format!("From: {display}<{}>;tag={}\r\nTo: <{}>", from.0, from.1, to.0));
        if let Some(tag) = to.1 {
            text.push_str(&format!(";tag={tag}"));
        }
        text.push_str(&format!("\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n"));
        odd.iter().for_each(|name| text.push_str(&format!("X-{name}: some value\r\n")));
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        text
    }
}

proptest! {
    #[test]
    fn both_read_the_same(text in message()) {
        same(&text);
    }
}
