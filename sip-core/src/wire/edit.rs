//! Changing a message by splicing: whatever is not named goes out byte for byte.

use std::fmt::Display;

use bytes::{Bytes, BytesMut};

use super::message::{Message, Span, Start};
use super::{Limits, Name, lex};

/// Changes to a message, applied all at once by [`finish`](Edit::finish).
///
/// Places are those of the original: an edit does not see what an earlier one of the same `Edit` inserted.
#[derive(Debug)]
pub struct Edit<'a> {
    message: &'a Message,
    splices: Vec<Splice>,
}

#[derive(Debug)]
struct Splice {
    span: Span,
    text: Bytes,
}

impl Message {
    /// Begins to change the message.
    pub fn edit(&self) -> Edit<'_> {
        Edit { message: self, splices: Vec::new() }
    }
}

impl Edit<'_> {
    /// Replaces a request's URI; nothing happens to a response.
    pub fn request_uri(&mut self, uri: impl Display) -> &mut Self {
        if let Start::Request { uri: span, .. } = self.message.start {
            self.splice(span, uri.to_string());
        }
        self
    }

    /// Puts a value before all others of its name, as a line of its own; at the head of the headers when there is none.
    pub fn prepend(&mut self, name: Name, value: impl Display) -> &mut Self {
        let first = self.message.lines(name).next().or(self.message.headers.first());
        let at = first.map_or(self.message.body.start, |header| header.line.start);
        self.insert(at, name, value)
    }

    /// Puts a value after all others of its name, as a line of its own; at the end of the headers when there is none.
    pub fn append(&mut self, name: Name, value: impl Display) -> &mut Self {
        let last = self.message.lines(name).last().or(self.message.headers.last());
        let at = last.map_or(self.message.body.start, |header| header.line.end);
        self.insert(at, name, value)
    }

    /// Gives the header this one value: the first line's is replaced, further lines go; appended when there is none.
    pub fn set(&mut self, name: Name, value: impl Display) -> &mut Self {
        let mut lines = self.message.lines(name);
        match lines.next().copied() {
            Some(first) => {
                let others: Vec<Span> = lines.map(|header| header.line).collect();
                self.splice(first.value, value.to_string());
                for line in others {
                    self.splice(line, "");
                }
                self
            }
            None => self.append(name, value),
        }
    }

    /// Replaces the first value of a list header, leaving the values after it as they are. Nothing happens when there is none.
    pub fn replace_first(&mut self, name: Name, value: impl Display) -> &mut Self {
        if let Some(span) = self.message.values(name, true).next() {
            let text = self.message.slice(span);
            let leading = text.iter().take_while(|&&byte| lex::is_lws(byte)).count();
            let trailing =
                text.iter().rev().take_while(|&&byte| lex::is_lws(byte)).count().min(text.len() - leading);
            self.splice(
                Span::new(span.range().start + leading, span.range().end - trailing),
                value.to_string(),
            );
        }
        self
    }

    /// Takes the first `count` values of a list header away, with their lines where nothing else is left in them.
    pub fn remove_first(&mut self, name: Name, count: usize) -> &mut Self {
        let mut left = count;
        let lines: Vec<_> = self.message.lines(name).copied().collect();
        for header in lines {
            if left == 0 {
                break;
            }
            let start = header.value.range().start;
            let pieces: Vec<_> = lex::split_outside(self.message.slice(header.value), b',').collect();
            match pieces.get(left) {
                // Values remain behind the ones that go: cut up to where the first of them begins.
                Some(kept) => {
                    self.splice(Span::new(start, start + kept.start), "");
                    left = 0;
                }
                None => {
                    self.splice(header.line, "");
                    left -= pieces.len().min(left);
                }
            }
        }
        self
    }

    /// Takes every line of a header away.
    pub fn remove(&mut self, name: Name) -> &mut Self {
        let lines: Vec<Span> = self.message.lines(name).map(|header| header.line).collect();
        for line in lines {
            self.splice(line, "");
        }
        self
    }

    /// Replaces the body and sets Content-Length; Content-Type is the caller's business.
    pub fn body(&mut self, body: Bytes) -> &mut Self {
        self.set(Name::ContentLength, body.len());
        self.splices.push(Splice { span: self.message.body, text: body });
        self
    }

    /// The changed message.
    pub fn finish(&mut self) -> Message {
        let source = &self.message.bytes;
        self.splices.sort_by_key(|splice| (splice.span.start, splice.span.end));
        let added: usize = self.splices.iter().map(|splice| splice.text.len()).sum();
        let mut bytes = BytesMut::with_capacity(source.len() + added);
        let mut at = 0;
        for splice in &self.splices {
            let range = splice.span.range();
            // Two edits of one place: what an earlier one already took away is not copied again.
            bytes.extend_from_slice(source.get(at..range.start).unwrap_or_default());
            bytes.extend_from_slice(&splice.text);
            at = at.max(range.end);
        }
        bytes.extend_from_slice(source.get(at..).unwrap_or_default());
        reindex(bytes.freeze(), self.message)
    }

    fn insert(&mut self, at: u32, name: Name, value: impl Display) -> &mut Self {
        self.splice(Span { start: at, end: at }, format!("{name}: {value}\r\n"));
        self
    }

    fn splice(&mut self, span: Span, text: impl Into<String>) {
        self.splices.push(Splice { span, text: Bytes::from(text.into()) });
    }
}

/// The index of an edited message. Limits do not apply: what we wrote ourselves may exceed what we accept.
fn reindex(bytes: Bytes, original: &Message) -> Message {
    let limits = Limits { max_bytes: usize::MAX, max_headers: usize::MAX, max_vias: usize::MAX };
    match Message::parse(bytes, &limits) {
        Ok(message) => message,
        // A partial index exists whenever the original had a start line, and an edit cannot take that away.
        Err(malformed) => malformed.partial.map_or_else(|| original.clone(), |partial| *partial),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Uri;

    const TEXT: &str = "INVITE sip:a@b SIP/2.0\r\nVia: one,  two\r\nRoute: <sip:r1>,<sip:r2>\r\nRoute: <sip:r3>\r\nX-Odd:  kept \r\nContent-Length: 2\r\n\r\nhi";

    fn message() -> Message {
        Message::parse(Bytes::from_static(TEXT.as_bytes()), &Limits::default()).unwrap()
    }

    fn text(message: &Message) -> &str {
        std::str::from_utf8(message.bytes()).unwrap()
    }

    #[test]
    fn no_edit_changes_nothing() {
        assert_eq!(text(&message().edit().finish()), TEXT);
    }

    #[test]
    fn forwards_by_splices() {
        let uri: Uri = "sip:101@[2001:db8::1]".parse().unwrap();
        let edited = message()
            .edit()
            .request_uri(uri)
            .prepend(Name::Via, "zero")
            .remove_first(Name::Route, 1)
            .finish();
        assert_eq!(
            text(&edited),
            "INVITE sip:101@[2001:db8::1] SIP/2.0\r\nVia: zero\r\nVia: one,  two\r\nRoute: <sip:r2>\r\nRoute: <sip:r3>\r\nX-Odd:  kept \r\nContent-Length: 2\r\n\r\nhi"
        );
    }

    #[test]
    fn removes_values_across_lines() {
        let route = |count| {
            let edited = message().edit().remove_first(Name::Route, count).finish();
            edited.raws(Name::Route).map(|raw| String::from_utf8_lossy(raw).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(route(2), ["<sip:r3>"]);
        assert!(route(3).is_empty());
        assert!(route(9).is_empty());
    }

    #[test]
    fn replaces_the_body() {
        let edited =
            message().edit().body(Bytes::from_static(b"longer")).replace_first(Name::Via, "uno").finish();
        assert_eq!(&edited.body()[..], b"longer");
        assert_eq!(edited.text(Name::ContentLength), Some("6"));
        assert_eq!(edited.text(Name::Via), Some("uno,  two"));
    }
}
