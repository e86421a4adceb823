//! What becomes of odd messages, after RFC 4475 and RFC 5118; the texts stand in the fuzz corpus.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use sip_core::wire::header::{Contact, MaxForwards, Route, Via};
use sip_core::wire::{Limits, Malformed, Message, Name, ParseError, StatusCode, Uri};

fn read(file: &str) -> Result<Message, Malformed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/message").join(file);
    Message::parse(Bytes::from(fs::read(path).unwrap()), &Limits::default())
}

fn uri(text: &str) -> Uri {
    text.parse().unwrap()
}

/// RFC 4475 §3.1.1.1.
#[test]
fn wild_but_legal() {
    let message = read("wild-but-legal.sip").unwrap();
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
    assert_eq!(&message.body()[..], b"hello");
}

/// RFC 4475 §3.1.1.2 and §3.1.1.4.
#[test]
fn strange_characters_and_escapes() {
    let message = read("strange-characters.sip").unwrap();
    assert_eq!(message.method().unwrap().as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    assert_eq!(message.to().unwrap().display.as_deref(), Some("BEL:\x07 NUL:\0 DEL:\x7f"));
    assert_eq!(message.from().unwrap().display.as_deref(), Some("token1~` token2'+_ token3*%!.-"));
    assert!(message.request_uri().is_ok());
    let message = read("escaped-nulls.sip").unwrap();
    let contacts: Vec<Contact> = message.all().map(Result::unwrap).collect();
    assert_eq!(contacts[1].address().unwrap().uri.user().as_deref(), Some("\0\0"));
    assert_ne!(contacts[0], contacts[1]);
}

/// RFC 4475 §3.1.1.13, and bare line feeds.
#[test]
fn tolerated() {
    let message = read("response-no-reason.sip").unwrap();
    assert_eq!((message.status(), message.reason()), (Some(StatusCode::TRYING), ""));
    let (strict, tolerant) = (read("invite-ipv6.sip").unwrap(), read("bare-line-ends.sip").unwrap());
    assert_eq!(strict.iter().collect::<Vec<_>>(), tolerant.iter().collect::<Vec<_>>());
    assert_eq!(strict.body(), tolerant.body());
    assert_eq!(read("latin-1.sip").unwrap().from().unwrap().display.as_deref(), Some("M\u{fc}ller"));
}

/// RFC 4475 §3.1.2.
#[test]
fn refused() {
    for (file, error) in [
        ("negative-length.sip", ParseError::ContentLength),
        ("two-lengths.sip", ParseError::ContentLength),
        ("other-version.sip", ParseError::Version),
        ("stray-carriage-return.sip", ParseError::HeaderLine { line: 2 }),
    ] {
        let malformed = read(file).unwrap_err();
        assert_eq!(malformed.error, error, "{file}");
        assert!(malformed.partial.unwrap().call_id().is_ok(), "{file}: what is needed to answer is there");
    }
    let open = read("open-quotes.sip").unwrap();
    assert!(open.top_via().is_err(), "a quote that never closes hides nothing");
    assert!(open.from().is_err());
}

/// RFC 5118 §4.
#[test]
fn ipv6_in_every_place() {
    let message = read("ipv6-forms.sip").unwrap();
    assert_eq!(message.request_uri(), Ok(uri("sip:[2001:DB8:0::10]")));
    let vias: Vec<Via> = message.all().map(Result::unwrap).collect();
    let received: Vec<_> = vias.iter().map(|via| via.received().unwrap().to_string()).collect();
    assert_eq!(received, ["2001:db8::9:255", "2001:db8::9:255"]);
    assert_eq!(vias[1].sent_by.to_string(), "[::ffff:192.0.2.10]:19823");
    let contacts: Vec<Contact> = message.all().map(Result::unwrap).collect();
    let uris: Vec<_> = contacts.iter().map(|contact| contact.address().unwrap().uri.clone()).collect();
    assert_eq!(uris, [uri("sip:caller@[2001:db8::192.0.2.1]"), uri("sip:caller@[2001:db8::1]:9999")]);
}
