//! Writing a message of our own.

use std::fmt::{Display, Write};

use bytes::{Bytes, BytesMut};

use super::{Limits, Message, Method, Name, StatusCode};

/// Writes a message from nothing, strictly.
#[derive(Debug)]
pub struct Builder {
    head: String,
    body: Bytes,
}

impl Builder {
    /// A request.
    pub fn request(method: &Method, uri: impl Display) -> Builder {
        Builder { head: format!("{method} {uri} SIP/2.0\r\n"), body: Bytes::new() }
    }

    /// A response from nothing; [`response_to`](Builder::response_to) is what a server wants.
    pub fn response(status: StatusCode, reason: Option<&str>) -> Builder {
        Builder {
            head: format!("SIP/2.0 {status} {}\r\n", clean(reason.unwrap_or(status.reason()))),
            body: Bytes::new(),
        }
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
        builder = match (tag, request.text(Name::To)) {
            (Some(tag), Some(to)) => builder.header(Name::To, format_args!("{to};tag={tag}")),
            _ => builder.copy(request, Name::To),
        };
        if status == StatusCode::TRYING {
            builder = builder.copy(request, Name::Timestamp);
        }
        builder.copy(request, Name::CallId).copy(request, Name::CSeq)
    }

    /// Adds a header line. Line ends inside the value are written as spaces, so that no value can smuggle in a header.
    pub fn header(mut self, name: Name, value: impl Display) -> Builder {
        let start = self.head.len();
        // Writing to a String cannot fail.
        let _ = write!(self.head, "{name}: {value}");
        if self.head.as_bytes().iter().skip(start).any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            let cleaned = clean(self.head.get(start..).unwrap_or_default());
            self.head.truncate(start);
            self.head.push_str(&cleaned);
        }
        self.head.push_str("\r\n");
        self
    }

    /// Adds a header line when there is a value.
    pub fn header_if(self, name: Name, value: Option<impl Display>) -> Builder {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// Copies every line of a header from another message.
    pub fn copy(mut self, from: &Message, name: Name) -> Builder {
        for value in from.raws(name) {
            // What is not UTF-8 could not have been understood by anybody before us.
            self = self.header(name, String::from_utf8_lossy(value));
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
        let head = self.header_length();
        let mut bytes = BytesMut::with_capacity(head.head.len() + head.body.len());
        bytes.extend_from_slice(head.head.as_bytes());
        bytes.extend_from_slice(&head.body);
        let limits = Limits { max_bytes: usize::MAX, max_headers: usize::MAX, max_vias: usize::MAX };
        match Message::parse(bytes.freeze(), &limits) {
            Ok(message) => message,
            Err(malformed) => unreachable_message(malformed.partial),
        }
    }

    fn header_length(self) -> Builder {
        let length = self.body.len();
        let mut built = self.header(Name::ContentLength, length);
        built.head.push_str("\r\n");
        built
    }
}

/// A builder always writes a start line and an end of headers, so the index exists even where a value is odd.
fn unreachable_message(partial: Option<Box<Message>>) -> Message {
    *partial.expect("a built message has a start line")
}

fn clean(text: &str) -> String {
    text.replace(['\r', '\n', '\0'], " ")
}
