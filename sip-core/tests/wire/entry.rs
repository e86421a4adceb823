//! The fuzz targets' bodies: each takes any bytes and panics only when a promise of the library is broken.
//!
//! Shared by the targets in `fuzz/` and by the test that replays their corpora.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use sip_core::auth::{Algorithm, Digest, DigestSettings, Ha1, NonceKey, Verdict, ha1};
use sip_core::ids::{IdSource, WorkerId};
use sip_core::wire::frame::{Frame, Framer};
use sip_core::wire::header::*;
use sip_core::wire::{Builder, Header, Limits, Message, Method, Name, ParseError, StatusCode, Uri};

/// The names of the targets, which are those of their folders in `fuzz/corpus`, and their bodies.
pub(crate) const TARGETS: [(&str, Body); 5] =
    [("message", message), ("uri", uri), ("header", header), ("framer", framer), ("digest", digest)];

/// Takes any bytes.
pub(crate) type Body = fn(&[u8]);

/// A datagram.
pub(crate) fn message(data: &[u8]) {
    let message = match Message::parse(Bytes::copy_from_slice(data), &Limits::default()) {
        Ok(message) => message,
        Err(malformed) => {
            if let Some(partial) = malformed.partial {
                every_header(&partial);
                refuse(&partial);
            }
            return;
        }
    };
    every_header(&message);
    refuse(&message);

    let again = parse(message.bytes());
    assert_eq!(again.bytes(), message.bytes());
    assert_eq!(again.body(), message.body());
    assert_eq!(again.iter().collect::<Vec<_>>(), message.iter().collect::<Vec<_>>());
    assert_eq!(message.edit().finish().bytes(), message.bytes(), "no edit changes nothing");

    let forwarded = message
        .edit()
        .prepend(Name::Via, "SIP/2.0/UDP [::1]")
        .set(Name::Subject, "x")
        .remove_first(Name::Route, 1)
        .finish();
    parse(forwarded.bytes());
    assert_eq!(forwarded.all::<Via>().count(), message.all::<Via>().count() + 1);
    assert_eq!(forwarded.all::<Route>().count(), message.all::<Route>().count().saturating_sub(1));
    assert_eq!(forwarded.body(), message.body());
}

/// A URI.
pub(crate) fn uri(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(uri) = text.parse::<Uri>() else { return };
    let written = uri.to_string();
    let again: Uri = written.parse().unwrap();
    assert_eq!(again, uri, "{written}");
    assert_eq!(again.to_string(), written);
    let _ = (uri.user(), uri.sip().map(|uri| (uri.transport(), uri.is_loose(), uri.socket_addr())));
}

/// The first byte chooses a typed header, the rest is its value.
pub(crate) fn header(data: &[u8]) {
    let Some((choice, value)) = data.split_first() else { return };
    let checks = checks();
    if let Some((name, check)) = checks.get(usize::from(*choice) % checks.len()) {
        let text = [b"INFO a SIP/2.0\r\n", name.as_str().as_bytes(), b": ", value, b"\r\n\r\n"].concat();
        match Message::parse(Bytes::from(text), &Limits::default()) {
            Ok(message) => check(&message),
            Err(malformed) => malformed.partial.iter().for_each(|message| check(message)),
        }
    }
}

/// The first byte is the size of the reads, the rest the stream.
pub(crate) fn framer(data: &[u8]) {
    let Some((size, stream)) = data.split_first() else { return };
    let whole = frames(std::iter::once(stream));
    let chunked = frames(stream.chunks(usize::from(*size).max(1)));
    assert_eq!(chunked, whole);
    for frame in whole.0 {
        let Frame::Message(bytes) = frame else { continue };
        match Message::parse(bytes.clone(), &Limits::default()) {
            Ok(message) => assert_eq!(message.bytes(), &bytes, "cut where the message ends"),
            Err(malformed) => {
                let cut =
                    matches!(malformed.error, ParseError::BodyTooShort { .. } | ParseError::ContentLength);
                assert!(!cut, "{malformed:?}");
            }
        }
    }
}

/// The value of an Authorization header.
pub(crate) fn digest(data: &[u8]) {
    let text = [b"REGISTER sip:c6 SIP/2.0\r\nAuthorization: ", data, b"\r\n\r\n"].concat();
    let Ok(message) = Message::parse(Bytes::from(text), &Limits::default()) else { return };
    let settings = DigestSettings {
        without_qop: true,
        ..DigestSettings::new("c6", NonceKey::new([1; 32]), 1, WorkerId(0))
    };
    let mut digest = Digest::new(settings);
    let now = Duration::from_secs(1_790_000_000);
    digest.challenges(now, &Algorithm::ALL, false, &mut IdSource::new(WorkerId(0), [2; 32]));
    let secret = |algorithm| -> Option<Ha1> { Some(ha1(algorithm, "s042-101", "c6", "secret")) };
    for credentials in message.all::<Authorization>().flatten() {
        let _ = digest.username(&credentials);
        let verdict = digest.verify(now, &Method::Register, "sip:c6", &credentials, secret);
        assert_ne!(verdict, Verdict::Accepted, "nobody without the password is let in");
        assert_eq!(digest.remembered(), 0, "and nobody costs memory");
    }
}

type Check = fn(&Message);

macro_rules! checks {
    ($($type:ident)*) => {
        /// Every typed header with its check.
        fn checks() -> Vec<(Name, Check)> {
            vec![$(($type::NAME, check::<$type> as Check)),*]
        }
    };
}

checks! {
    Via From To Contact Route RecordRoute Path ServiceRoute PAssertedIdentity PPreferredIdentity ReferTo CSeq MaxForwards
    Expires MinExpires RSeq MaxBreadth Authorization ProxyAuthorization WwwAuthenticate ProxyAuthenticate ContentType Allow
    Supported Require ProxyRequire Unsupported Reason RetryAfter Privacy RAck SessionExpires MinSe Replaces Event
    SubscriptionState
}

fn every_header(message: &Message) {
    checks().iter().for_each(|(_, check)| check(message));
    let _ = (
        message.request_uri(),
        message.reason(),
        message.call_id().is_ok(),
        message.from_tag(),
        message.to_tag(),
    );
}

/// What is understood is written so that it is understood in the same way, alone and among others.
fn check<H: Header + PartialEq + Debug>(message: &Message) {
    for header in message.all::<H>().flatten() {
        let text = header.to_string();
        assert_eq!(H::parse(&text).as_ref(), Ok(&header), "{text:?}");
        // A NUL is legal behind a backslash only; we write none.
        if text.contains('\0') {
            continue;
        }
        let line = if H::LIST { format!("{text}, {text}") } else { text };
        let built = Builder::response(StatusCode::OK, None).header(H::NAME, &line).finish();
        let expected = if H::LIST { 2 } else { 1 };
        assert_eq!(built.iter().count(), 2, "one line of ours and Content-Length: {line:?}");
        assert_eq!(built.all::<H>().count(), expected, "{line:?}");
        assert!(built.all::<H>().all(|again| again.as_ref() == Ok(&header)), "{line:?}");
    }
}

/// Whatever could be read of a request can be answered.
fn refuse(message: &Message) {
    let response = Builder::response_to(message, StatusCode::BAD_REQUEST, None, Some("t")).finish();
    parse(response.bytes());
    assert_eq!(response.raws(Name::Via).count(), message.raws(Name::Via).count());
}

fn parse(bytes: &Bytes) -> Message {
    let limits = Limits { max_bytes: usize::MAX, max_headers: usize::MAX, max_vias: usize::MAX };
    Message::parse(bytes.clone(), &limits).unwrap()
}

/// All frames of a stream, and how it ended.
fn frames<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<String>) {
    let mut framer = Framer::new(&Limits { max_bytes: 2000, ..Limits::default() });
    let mut frames = Vec::new();
    for chunk in chunks {
        framer.push(chunk);
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.to_string())),
            }
        }
    }
    (frames, None)
}
