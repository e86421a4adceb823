//! Writing a message of our own.

use std::fmt::Display;
use std::io::Write;

use bytes::{Bytes, BytesMut};

use super::{Limits, Message, Method, Name, StatusCode, lex};

/// Writes a message from nothing, strictly.
#[derive(Debug)]
pub struct Builder {
    head: Vec<u8>,
    body: Bytes,
}

impl Builder {
    /// A request.
    pub fn request(method: &Method, uri: impl Display) -> Builder {
        Builder::start(format!("{method} {uri} SIP/2.0"))
    }

    /// A response from nothing; [`response_to`](Builder::response_to) is what a server wants.
    pub fn response(status: StatusCode, reason: Option<&str>) -> Builder {
        Builder::start(format!("SIP/2.0 {status} {}", reason.unwrap_or(status.reason())))
    }

    /// A response to a request: Via, From, To, Call-ID and CSeq are copied as they stand (RFC 3261 §8.2.6.2).
    ///
    /// `to_tag` is added to a To that has none yet; a 100 needs none.
    pub fn response_to(
        request: &Message,
        status: StatusCode,
        reason: Option<&str>,
        to_tag: Option<&str>,
    ) -> Builder {
        let mut builder = Builder::response(status, reason);
        builder = builder.copy(request, Name::Via).copy(request, Name::From);
        let tag = to_tag.filter(|_| request.to_tag().is_none());
        builder = match (tag, request.raw(Name::To)) {
            (Some(tag), Some(to)) => builder.raw(Name::To, to, format_args!(";tag={tag}")),
            _ => builder.copy(request, Name::To),
        };
        if status == StatusCode::TRYING {
            builder = builder.copy(request, Name::Timestamp);
        }
        builder.copy(request, Name::CallId).copy(request, Name::CSeq)
    }

    /// Adds a header line. Line ends inside the value are written as spaces, so that no value can smuggle in a header.
    pub fn header(mut self, name: Name, value: impl Display) -> Builder {
        let line = lex::one_line(format!("{name}: {value}"));
        self.head.extend_from_slice(line.as_bytes());
        self.head.extend_from_slice(b"\r\n");
        self
    }

    /// Adds a header line when there is a value.
    pub fn header_if(self, name: Name, value: Option<impl Display>) -> Builder {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// Copies every line of a header from another message, byte for byte except that folds become spaces.
    pub fn copy(mut self, from: &Message, name: Name) -> Builder {
        for value in from.raws(name) {
            self = self.raw(name, value, "");
        }
        self
    }

    /// Sets the body and its Content-Type.
    pub fn body(mut self, content_type: impl Display, body: Bytes) -> Builder {
        self = self.header(Name::ContentType, content_type);
        self.body = body;
        self
    }

    /// The message, with its Content-Length.
    pub fn finish(self) -> Message {
        let Builder { mut head, body } = {
            let length = self.body.len();
            self.header(Name::ContentLength, length)
        };
        head.extend_from_slice(b"\r\n");
        let mut bytes = BytesMut::with_capacity(head.len() + body.len());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&body);
        let limits = Limits { max_bytes: usize::MAX, max_headers: usize::MAX, max_vias: usize::MAX };
        match Message::parse(bytes.freeze(), &limits) {
            Ok(message) => message,
            Err(malformed) => unreachable_message(malformed.partial),
        }
    }

    fn start(line: String) -> Builder {
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(lex::one_line(line).as_bytes());
        head.extend_from_slice(b"\r\n");
        Builder { head, body: Bytes::new() }
    }

    /// A header line whose value came from the wire, in whatever character set, with something of ours behind it.
    fn raw(mut self, name: Name, value: &[u8], more: impl Display) -> Builder {
        // Writing to a Vec cannot fail.
        let _ = write!(self.head, "{name}: ");
        self.head.extend_from_slice(&lex::unfold(value));
        let _ = write!(self.head, "{more}\r\n");
        self
    }
}

/// A builder always writes a start line and an end of headers, so the index exists even where a value is odd.
fn unreachable_message(partial: Option<Box<Message>>) -> Message {
    *partial.expect("a built message has a start line")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &[u8]) -> Message {
        Message::parse(Bytes::copy_from_slice(text), &Limits::default()).unwrap()
    }

    #[test]
    fn a_response_repeats_what_the_request_said() {
        let request = message(
            b"OPTIONS sip:a SIP/2.0\r\nv: one, two\r\nVia: three\r\nf: \"M\xfcller\" <sip:x>;tag=1\r\n\
              t: \"NUL:\\\x00\"\r\n <sip:y>\r\ni: c\r\nCSeq: 1 OPTIONS\r\nTimestamp: 5\r\n\r\n",
        );
        let response = Builder::response_to(&request, StatusCode::OK, None, Some("9")).finish();
        assert_eq!(
            &response.bytes()[..],
            b"SIP/2.0 200 OK\r\nVia: one, two\r\nVia: three\r\nFrom: \"M\xfcller\" <sip:x>;tag=1\r\n\
              To: \"NUL:\\\x00\" <sip:y>;tag=9\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(response.from().unwrap().display.as_deref(), Some("M\u{fc}ller"));
        let trying = Builder::response_to(&request, StatusCode::TRYING, None, None).finish();
        assert_eq!((trying.text(Name::Timestamp), trying.to_tag()), (Some("5"), None));
    }

    #[test]
    fn no_value_smuggles_in_a_header() {
        let built = Builder::request(&Method::Info, "sip:a\r\nEvil:")
            .header(Name::Subject, "x\r\nEvil: 1\n\nbody")
            .body("text/plain", Bytes::from_static(b"hi"))
            .finish();
        assert!(!built.has(Name::Other("Evil")));
        assert_eq!(&built.body()[..], b"hi");
    }
}
