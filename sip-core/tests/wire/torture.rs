//! What becomes of the torture messages of RFC 4475 and RFC 5118 (`sip-core/torture`), and of odd ones of our own (the fuzz corpus).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use sip_core::flow::{ConnectionId, Flow, Transport};
use sip_core::transaction::{Event, Layer, Output, Settings};
use sip_core::wire::frame::{Frame, Framer};
use sip_core::wire::header::{Authorization, ProxyRequire, RetryAfter};
use sip_core::wire::header::{
    Contact, ContentType, Expires, MaxForwards, RecordRoute, Route, TokenList, Via,
};
use sip_core::wire::{Limits, Message, Name, ParseError, StatusCode, Uri};

/// What the message layer does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// A well-formed request: it goes to the proxy.
    Taken,
    /// A request that is refused without a transaction.
    Refused(u16),
    /// A response that belongs to nothing of ours; the proxy drops it (RFC 6026 §8.9).
    Stray,
    /// Nobody hears of it.
    Dropped,
    /// On a stream only: the connection cannot be read on.
    Closed,
    /// On a stream only: more bytes are awaited.
    Awaited,
}

use Outcome::{Awaited, Closed, Dropped, Refused, Stray, Taken};

/// Every message with its section, its outcome in a datagram, and that on a stream where it is another.
const OUTCOMES: &[(&str, &str, Outcome, Option<Outcome>)] = &[
    ("rfc4475 3.1.1.1", "wsinv", Taken, None),
    ("rfc4475 3.1.1.2", "intmeth", Taken, None),
    ("rfc4475 3.1.1.3", "esc01", Taken, None),
    ("rfc4475 3.1.1.4", "escnull", Taken, None),
    ("rfc4475 3.1.1.5", "esc02", Taken, None),
    ("rfc4475 3.1.1.6", "lwsdisp", Taken, None),
    ("rfc4475 3.1.1.7", "longreq", Taken, None),
    ("rfc4475 3.1.1.8", "dblreq", Taken, None),
    ("rfc4475 3.1.1.9", "semiuri", Taken, None),
    ("rfc4475 3.1.1.10", "transports", Taken, None),
    ("rfc4475 3.1.1.11", "mpart01", Taken, None),
    ("rfc4475 3.1.1.12", "unreason", Stray, None),
    ("rfc4475 3.1.1.13", "noreason", Stray, None),
    ("rfc4475 3.1.2.1", "badinv01", Refused(400), None),
    ("rfc4475 3.1.2.2", "clerr", Refused(400), Some(Awaited)),
    ("rfc4475 3.1.2.3", "ncl", Refused(400), Some(Closed)),
    ("rfc4475 3.1.2.4", "scalar02", Refused(400), None),
    ("rfc4475 3.1.2.5", "scalarlg", Dropped, None),
    ("rfc4475 3.1.2.6", "quotbal", Refused(400), None),
    ("rfc4475 3.1.2.7", "ltgtruri", Refused(400), None),
    ("rfc4475 3.1.2.8", "lwsruri", Refused(400), None),
    ("rfc4475 3.1.2.9", "lwsstart", Refused(400), None),
    ("rfc4475 3.1.2.10", "trws", Refused(400), None),
    ("rfc4475 3.1.2.11", "escruri", Refused(400), None),
    // Liberal: nothing here reads a Date.
    ("rfc4475 3.1.2.12", "baddate", Taken, None),
    // The registrar refuses it.
    ("rfc4475 3.1.2.13", "regbadct", Taken, None),
    // Liberal: only one thing can be meant.
    ("rfc4475 3.1.2.14", "badaspec", Taken, None),
    // The archive's copy also lacks the empty line.
    ("rfc4475 3.1.2.15", "baddn", Refused(400), Some(Awaited)),
    ("rfc4475 3.1.2.16", "badvers", Refused(505), None),
    ("rfc4475 3.1.2.17", "mismatch01", Refused(400), None),
    ("rfc4475 3.1.2.18", "mismatch02", Refused(400), None),
    ("rfc4475 3.1.2.19", "bigcode", Dropped, None),
    ("rfc4475 3.2.1", "badbranch", Taken, None),
    ("rfc4475 3.3.1", "insuf", Refused(400), None),
    // What these mean is the proxy's and the registrar's business: 416, 420, 415, 401, 406.
    ("rfc4475 3.3.2", "unkscm", Taken, None),
    ("rfc4475 3.3.3", "novelsc", Taken, None),
    ("rfc4475 3.3.4", "unksm2", Taken, None),
    ("rfc4475 3.3.5", "bext01", Taken, None),
    ("rfc4475 3.3.6", "invut", Taken, None),
    ("rfc4475 3.3.7", "regaut01", Taken, None),
    ("rfc4475 3.3.8", "multi01", Refused(400), None),
    ("rfc4475 3.3.9", "mcl01", Refused(400), Some(Closed)),
    ("rfc4475 3.3.10", "bcast", Stray, None),
    ("rfc4475 3.3.11", "zeromf", Taken, None),
    ("rfc4475 3.3.12", "cparam01", Taken, None),
    ("rfc4475 3.3.13", "cparam02", Taken, None),
    ("rfc4475 3.3.14", "regescrt", Taken, None),
    ("rfc4475 3.3.15", "sdp01", Taken, None),
    // A stream needs a Content-Length (RFC 3261 §18.3).
    ("rfc4475 3.4.1", "inv2543", Taken, Some(Closed)),
    ("rfc5118 4.1", "ipv6-good", Taken, None),
    ("rfc5118 4.2", "ipv6-bad", Refused(400), None),
    ("rfc5118 4.3", "port-ambiguous", Taken, None),
    ("rfc5118 4.4", "port-unambiguous", Taken, None),
    ("rfc5118 4.5", "via-received-param-with-delim", Taken, None),
    ("rfc5118 4.5", "via-received-param-no-delim", Taken, None),
    ("rfc5118 4.6", "ipv6-in-sdp", Taken, None),
    ("rfc5118 4.7", "mult-ip-in-header", Taken, None),
    ("rfc5118 4.8", "mult-ip-in-sdp", Taken, None),
    ("rfc5118 4.9", "ipv4-mapped-ipv6", Taken, None),
    ("rfc5118 4.10", "ipv6-bug-abnf-3-colons", Taken, None),
    ("rfc5118 4.10", "ipv6-correct-abnf-2-colons", Taken, None),
];

/// RFC 4475 §3: every torture message has the outcome that the RFC asks for, in a datagram.
/// RFC 5118 §4: every IPv6 torture message has the outcome that the RFC asks for, in a datagram.
#[test]
fn every_message_in_a_datagram() {
    for (section, name, expected, _) in OUTCOMES {
        assert_eq!(outcome(Transport::Udp, bytes(section, name)), *expected, "{section} {name}");
    }
}

/// RFC 4475 §3: every torture message has the outcome that the RFC asks for, on a stream.
/// RFC 5118 §4: every IPv6 torture message has the outcome that the RFC asks for, on a stream.
#[test]
fn every_message_on_a_stream() {
    for (section, name, in_datagram, on_stream) in OUTCOMES {
        let mut framer = Framer::new(&Limits::default());
        framer.push(&bytes(section, name));
        let outcome = match framer.next_frame() {
            Ok(Some(Frame::Message(message))) => outcome(Transport::Tcp, message),
            Ok(other) => {
                assert_eq!(other, None, "{name}");
                Awaited
            }
            Err(_) => Closed,
        };
        assert_eq!(outcome, on_stream.unwrap_or(*in_datagram), "{section} {name}");
        // What bounds its messages well leaves the stream in step. The second message of dblreq has not the length that it says.
        if matches!(outcome, Taken | Refused(_) | Stray | Dropped) && *name != "dblreq" {
            framer.push(&bytes("rfc4475", "lwsdisp"));
            let frames: Vec<Frame> = std::iter::from_fn(|| framer.next_frame().unwrap())
                .filter(|frame| matches!(frame, Frame::Message(_)))
                .collect();
            assert_eq!(frames.len(), 1, "{name}");
        }
    }
}

/// RFC 3261 §16.6: what a proxy does not touch goes out byte for byte, in every torture message that is forwarded.
#[test]
fn what_is_not_touched_is_kept() {
    for (section, name, ..) in OUTCOMES.iter().filter(|(_, _, outcome, _)| *outcome == Taken) {
        let message = message(section, name);
        let forwarded = message.edit().prepend(Name::Via, "SIP/2.0/UDP [::1];branch=z9hG4bKx").finish();
        let again = Message::parse(forwarded.bytes().clone(), &Limits::default()).unwrap();
        let added = again.bytes().len() - message.bytes().len();
        assert_eq!(again.all::<Via>().count(), message.all::<Via>().count() + 1, "{name}");
        let place = message.bytes().iter().zip(again.bytes()).take_while(|(one, other)| one == other).count();
        assert_eq!(message.bytes()[place..], again.bytes()[place + added..], "{name}");
    }
}

#[test]
fn the_table_is_complete() {
    let files: BTreeSet<String> = ["rfc4475", "rfc5118"]
        .iter()
        .flat_map(|rfc| fs::read_dir(folder().join(rfc)).unwrap())
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let named: BTreeSet<String> = OUTCOMES.iter().map(|(_, name, ..)| (*name).to_owned()).collect();
    assert_eq!(files, named);
    assert_eq!(OUTCOMES.len(), 49 + 12);
}

/// RFC 4475 §3.1.1.1: a short tortuous INVITE is read for what it says.
#[test]
fn wild_but_legal() {
    let message = message("rfc4475", "wsinv");
    assert_eq!(message.to_tag().as_deref(), Some("1918181833n"));
    let from = message.from().unwrap();
    assert_eq!((from.display.as_deref(), from.tag()), (Some("J Rosenberg \\\""), Some("98asjd8")));
    assert_eq!(message.header(), Ok(Some(MaxForwards(68))));
    assert_eq!((message.cseq().unwrap().number, message.cseq().unwrap().method.as_str()), (9, "INVITE"));
    let vias: Vec<Via> = message.all().map(Result::unwrap).collect();
    let branches: Vec<_> = vias.iter().filter_map(Via::branch).collect();
    assert_eq!(branches, ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]);
    assert_eq!(vias[1].sent_by.to_string(), "spindle.example.com");
    assert!(message.header::<Route>().unwrap().unwrap().uri.sip().unwrap().is_loose());
    let contact = message.header::<Contact>().unwrap().unwrap();
    assert_eq!(
        (contact.q(), contact.address().unwrap().display.as_deref()),
        (330, Some("Quoted string \"\""))
    );
    assert_eq!(message.text(Name::Subject), Some(""));
    assert_eq!(message.text(Name::Other("UnknownHeaderWithUnusualValue")), Some(";;,,;;,;"));
    assert_eq!(message.body().len(), 150);
}

/// RFC 4475 §3.1.1.2: all characters that a token, a user part and a quoted string may hold.
#[test]
fn strange_characters() {
    let message = message("rfc4475", "intmeth");
    assert_eq!(message.method().unwrap().as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    assert_eq!(message.cseq().unwrap().method, *message.method().unwrap());
    let uri = message.request_uri().unwrap();
    assert_eq!(uri.user().as_deref(), Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    assert_eq!(uri.sip().unwrap().password.as_deref(), Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    assert_eq!(uri.to_string(), message.request_uri_text());
    assert_eq!(message.to().unwrap().display.as_deref(), Some("BEL:\x07 NUL:\0 DEL:\x7f"));
    let from = message.from().unwrap();
    assert_eq!(from.display.as_deref(), Some("token1~` token2'+_ token3*%!.-"));
    assert_eq!(from.params.unquoted("fromParam''~+*_!.-%").as_deref(), Some("работающий"));
    assert_eq!(from.tag(), Some("_token~1'+`*%!-."));
    assert_eq!(message.call_id(), Ok("intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"));
    assert_eq!(message.text(Name::Other("extensionHeader-!.%*+_`'~")), Some("\u{feff}大停電"));
}

/// RFC 4475 §3.1.1.3: an escaped user part is not the URI that it spells.
/// RFC 4475 §3.1.1.4: escaped nulls are characters, and one is not two.
/// RFC 4475 §3.1.1.5: neither methods nor header names are unescaped.
#[test]
fn escapes() {
    let message_ = message("rfc4475", "esc01");
    let uri = message_.request_uri().unwrap();
    assert!(!uri.sip().unwrap().secure);
    assert_eq!(uri.user().as_deref(), Some("sips:user@example.com"));
    assert_eq!(message_.to().unwrap().uri, self::uri("sip:user@example.com"));
    assert_eq!(message_.from().unwrap().uri.user().as_deref(), Some("I have spaces"));
    let nulls = message("rfc4475", "escnull");
    let contacts: Vec<Contact> = nulls.all().map(Result::unwrap).collect();
    assert_eq!(contacts[1].address().unwrap().uri.user().as_deref(), Some("\0\0"));
    assert_ne!(contacts[0], contacts[1]);
    let message = message("rfc4475", "esc02");
    assert_eq!(message.method().unwrap().as_str(), "RE%47IST%45R");
    assert_eq!(message.to().unwrap().display.as_deref(), Some("%Z%45"));
    assert_eq!(message.all::<Contact>().count(), 2);
    assert!(message.has(Name::Other("C%6Fntact")));
}

/// RFC 4475 §3.1.1.6: no white space between a display name and its bracket.
/// RFC 4475 §3.1.1.9: a semicolon in the user part begins no parameter.
/// RFC 4475 §3.1.1.10: unknown transports in the Vias of others are no fault.
#[test]
fn odd_but_legal() {
    let from = message("rfc4475", "lwsdisp").from().unwrap();
    assert_eq!(
        (from.display.as_deref(), from.uri.to_string().as_str()),
        (Some("caller"), "sip:caller@example.com")
    );
    let uri = message("rfc4475", "semiuri").request_uri().unwrap();
    assert_eq!(uri.user().as_deref(), Some("user;par=u@example.net"));
    assert!(uri.sip().unwrap().params.is_empty());
    let vias: Vec<Via> = message("rfc4475", "transports").all().map(Result::unwrap).collect();
    let words: Vec<&str> = vias.iter().map(|via| via.transport.as_str()).collect();
    assert_eq!(words, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
}

/// RFC 4475 §3.1.1.7: long values are not cut.
/// RFC 4475 §3.1.1.8: what follows the body that Content-Length announces is no part of a datagram's message.
/// RFC 4475 §3.1.1.11: a binary body passes as it is.
#[test]
fn sizes() {
    let long = message("rfc4475", "longreq");
    assert_eq!(long.all::<Via>().map(Result::unwrap).count(), 34);
    assert_eq!(long.from_tag().map(|tag| tag.len()), Some(155));
    assert_eq!(long.to().unwrap().uri.sip().unwrap().host_port.port, Some(6000));
    let double = message("rfc4475", "dblreq");
    assert!(double.body().is_empty() && double.bytes().ends_with(b"\r\n\r\n"));
    assert!(double.bytes().len() < bytes("rfc4475", "dblreq").len());
    let parts = message("rfc4475", "mpart01");
    assert_eq!(parts.body().len(), 553);
    assert!(parts.body().contains(&0) && parts.body().ends_with(b"--7a9cbec02ceef655--\r\n"));
    let kind = parts.required::<ContentType>().unwrap();
    assert_eq!(kind.params.unquoted("boundary").as_deref(), Some("7a9cbec02ceef655"));
}

/// RFC 4475 §3.1.1.12: a reason phrase may hold every character of UTF-8.
/// RFC 4475 §3.1.1.13: a reason phrase may be empty.
#[test]
fn reason_phrases() {
    let response = message("rfc4475", "unreason");
    assert_eq!(response.status(), Some(StatusCode::OK));
    assert!(response.reason().ends_with("девяносто девять - простое"));
    let response = message("rfc4475", "noreason");
    assert_eq!((response.status(), response.reason()), (Some(StatusCode::TRYING), ""));
}

/// RFC 4475 §3.1.2.4: numbers over their bounds are refused where they count, and cut where they do not.
/// RFC 4475 §3.1.2.5: a huge Retry-After is as long as can be said.
#[test]
fn numbers_out_of_range() {
    let register = message("rfc4475", "scalar02");
    assert!(register.cseq().is_err());
    assert_eq!(register.header(), Ok(Some(MaxForwards(300))));
    assert_eq!(register.header(), Ok(Some(Expires(u32::MAX))));
    assert_eq!(register.required::<Contact>().unwrap().expires(), Some(u32::MAX));
    let response = message("rfc4475", "scalarlg");
    assert!(response.cseq().is_err());
    assert_eq!(response.required::<RetryAfter>().unwrap().seconds, u32::MAX);
}

/// RFC 4475 §3.1.2.13: a bare URI with headers is not guessed at.
/// RFC 4475 §3.1.2.14: white space inside the brackets is overlooked.
/// RFC 4475 §3.1.2.12: a Date of another zone harms nobody who does not need it.
#[test]
fn malformed_but_harmless() {
    assert!(message("rfc4475", "regbadct").header::<Contact>().is_err());
    assert_eq!(message("rfc4475", "badaspec").to().unwrap().uri, uri("sip:t.watson@example.org"));
    assert_eq!(message("rfc4475", "baddate").text(Name::Date), Some("Fri, 01 Jan 2010 16:00:00 EST"));
}

/// RFC 4475 §3.3.4: registered schemes that are not ours are URIs all the same.
/// RFC 4475 §3.3.5: every required extension is read.
/// RFC 4475 §3.3.7: credentials of an unknown scheme are credentials of nobody.
#[test]
fn what_the_application_decides_about() {
    let register = message("rfc4475", "unksm2");
    assert_eq!(register.to().unwrap().uri, Uri::Other("isbn:2983792873".to_owned()));
    assert_eq!(register.required::<Contact>().unwrap().to_string(), "<name:John_Smith>");
    let required: Vec<ProxyRequire> = message("rfc4475", "bext01").all().map(Result::unwrap).collect();
    let required: Vec<&str> = required.iter().map(TokenList::token).collect();
    assert_eq!(required, ["noProxiesSupportThis", "norDoAnyProxiesSupportThis"]);
    let credentials = message("rfc4475", "regaut01").required::<Authorization>().unwrap();
    assert_eq!((credentials.scheme.as_str(), credentials.is_digest()), ("NoOneKnowsThisScheme", false));
}

/// RFC 4475 §3.3.12: a parameter behind a bare URI is the Contact's.
/// RFC 4475 §3.3.13: a parameter within the brackets is the URI's.
/// RFC 4475 §3.3.14: headers within the brackets are the URI's.
#[test]
fn whose_parameter_it_is() {
    let contact = |name| message("rfc4475", name).required::<Contact>().unwrap().address().unwrap().clone();
    let (header, uri) = (contact("cparam01"), contact("cparam02"));
    assert!(header.params.has("unknownparam") && !header.uri.sip().unwrap().params.has("unknownparam"));
    assert!(!uri.params.has("unknownparam") && uri.uri.sip().unwrap().params.has("unknownparam"));
    let headers = contact("regescrt").uri.sip().unwrap().headers.clone();
    assert_eq!(headers.as_deref(), Some("Route=%3Csip:sip.example.com%3E"));
}

/// RFC 4475 §3.4.1: an INVITE of RFC 2543 has neither branch nor Max-Forwards nor tags.
#[test]
fn an_older_client() {
    let message = message("rfc4475", "inv2543");
    assert_eq!(message.top_via().unwrap().branch(), None);
    assert_eq!((message.from_tag(), message.header::<MaxForwards>()), (None, Ok(None)));
    assert!(!message.required::<RecordRoute>().unwrap().uri.sip().unwrap().is_loose());
    assert_eq!(message.body().len(), 105);
}

/// RFC 5118 §4.1: an IPv6 reference stands in brackets.
/// RFC 5118 §4.3: within the brackets there is no port.
/// RFC 5118 §4.4: behind the brackets there is one.
/// RFC 5118 §4.10: three colons are read as two.
#[test]
fn ipv6_in_uris() {
    let uri = |name| message("rfc5118", name).request_uri().unwrap();
    assert_eq!(uri("ipv6-good"), self::uri("sip:[2001:db8::10]"));
    assert_eq!(uri("port-ambiguous"), self::uri("sip:[2001:db8::10:5070]"));
    let port = |name| uri(name).sip().unwrap().host_port.port;
    assert_eq!((port("port-ambiguous"), port("port-unambiguous")), (None, Some(5070)));
    assert_eq!(uri("ipv6-bug-abnf-3-colons"), uri("ipv6-correct-abnf-2-colons"));
    assert_eq!(uri("ipv6-correct-abnf-2-colons"), self::uri("sip:user@[2001:db8::192.0.2.1]"));
    let bad = Message::parse(bytes("rfc5118", "ipv6-bad"), &Limits::default()).unwrap();
    assert!(bad.request_uri().is_err());
}

/// RFC 5118 §4.5: received is read with brackets and without.
/// RFC 5118 §4.7: addresses of both families stand in one message.
/// RFC 5118 §4.9: an IPv4-mapped address is an IPv6 address.
#[test]
fn ipv6_in_vias() {
    let vias = |name| message("rfc5118", name).all().map(Result::unwrap).collect::<Vec<Via>>();
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        assert_eq!(vias(name)[0].received(), Some("2001:db8::9:255".parse().unwrap()), "{name}");
        assert!(vias(name)[0].branch().unwrap().starts_with("z9hG4bKas3"), "{name}");
    }
    let mixed = vias("mult-ip-in-header");
    let sent_by: Vec<String> = mixed.iter().map(|via| via.sent_by.to_string()).collect();
    assert_eq!(sent_by, ["[2001:db8::9:1]:6050", "192.0.2.1", "[2001:db8::9:255]"]);
    assert_eq!(mixed[2].received(), Some("192.0.2.200".parse().unwrap()));
    assert_eq!(vias("ipv4-mapped-ipv6")[0].sent_by.to_string(), "[::ffff:192.0.2.10]:19823");
    let contact = message("rfc5118", "ipv4-mapped-ipv6").required::<Contact>().unwrap();
    assert_eq!(contact.address().unwrap().uri, uri("sip:ted@[::ffff:192.0.2.2]"));
}

/// RFC 5118 §4.6: SDP with IPv6 addresses passes as it is.
/// RFC 5118 §4.8: SDP with addresses of both families passes as it is.
#[test]
fn ipv6_in_bodies() {
    for (name, line) in
        [("ipv6-in-sdp", "c=IN IP6 2001:db8::20\r\n"), ("mult-ip-in-sdp", "c=IN IP6 2001:db8::1\r\n")]
    {
        let message = message("rfc5118", name);
        let body = message.body();
        assert!(std::str::from_utf8(&body).unwrap().contains(line), "{name}");
        assert_eq!(message.text(Name::ContentLength), Some(body.len().to_string().as_str()));
    }
}

/// Ours, from the fuzz corpus: bare line feeds and Latin-1 are tolerated.
#[test]
fn tolerated() {
    let read = |file| Message::parse(corpus(file), &Limits::default()).unwrap();
    let (strict, tolerant) = (read("invite-ipv6.sip"), read("bare-line-ends.sip"));
    assert_eq!(strict.iter().collect::<Vec<_>>(), tolerant.iter().collect::<Vec<_>>());
    assert_eq!(strict.body(), tolerant.body());
    assert_eq!(read("latin-1.sip").from().unwrap().display.as_deref(), Some("M\u{fc}ller"));
}

/// Ours, from the fuzz corpus: what is refused keeps what is needed to answer.
#[test]
fn refused() {
    for (file, error) in [
        ("negative-length.sip", ParseError::ContentLength),
        ("two-lengths.sip", ParseError::ContentLength),
        ("other-version.sip", ParseError::Version),
        ("stray-carriage-return.sip", ParseError::HeaderLine { line: 2 }),
    ] {
        let malformed = Message::parse(corpus(file), &Limits::default()).unwrap_err();
        assert_eq!(malformed.error, error, "{file}");
        assert!(malformed.partial.unwrap().call_id().is_ok(), "{file}: what is needed to answer is there");
    }
    let open = Message::parse(corpus("open-quotes.sip"), &Limits::default()).unwrap();
    assert!(open.top_via().is_err(), "a quote that never closes hides nothing");
    assert!(open.from().is_err());
}

/// Gives a message to a fresh layer and looks at what it does.
fn outcome(transport: Transport, bytes: Bytes) -> Outcome {
    let connection = transport.is_reliable().then_some(ConnectionId(1));
    let (local, remote) = ("[2001:db8::1]:5060".parse().unwrap(), "[2001:db8::2]:5062".parse().unwrap());
    let mut layer = Layer::new(Settings::default());
    layer.receive(Instant::now(), Flow { transport, local, remote, connection }, bytes);
    let mut outcomes = Vec::new();
    while let Some(output) = layer.poll_output() {
        match output {
            Output::Event(Event::Request { .. }) => outcomes.push(Taken),
            Output::Event(Event::Stray { .. }) => outcomes.push(Stray),
            Output::Event(other) => panic!("{other:?}"),
            Output::Transmit(transmit) => {
                let response = Message::parse(transmit.bytes, &Limits::default()).unwrap();
                assert!(response.has(Name::Via) && response.has(Name::CSeq));
                outcomes.push(Refused(response.status().unwrap().code()));
            }
            Output::SetTimer(..) => {}
        }
    }
    assert!(outcomes.len() <= 1, "{outcomes:?}");
    outcomes.pop().unwrap_or(Dropped)
}

/// A message that can be read.
fn message(section: &str, name: &str) -> Message {
    Message::parse(bytes(section, name), &Limits::default()).unwrap()
}

fn bytes(section: &str, name: &str) -> Bytes {
    let rfc = section.split(' ').next().unwrap();
    fs::read(folder().join(rfc).join(name).with_extension("sip")).unwrap().into()
}

fn corpus(file: &str) -> Bytes {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/message").join(file)).unwrap().into()
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/torture"))
}

fn uri(text: &str) -> Uri {
    text.parse().unwrap()
}
