//! Changing a message by splicing: whatever is not named goes out byte for byte.

use std::fmt::Display;

use bytes::{Bytes, BytesMut};

use super::message::{Message, Span, Start};
use super::{Limits, Name, lex};

/// Changes to a message, applied all at once by [`finish`](Edit::finish).
///
/// Places are those of the original: `prepend`, `append`, `replace_first` and `remove_first` do not see what an earlier call
/// inserted. Of two edits of the same place the later one counts. `set` and `remove` speak of a name as a whole, so they also take
/// back what earlier calls inserted under it. Line ends in values are written as spaces, so that no value can smuggle in a header.
#[derive(Debug)]
pub struct Edit<'a> {
    message: &'a Message,
    splices: Vec<Splice>,
    body: Option<Bytes>,
}

#[derive(Debug)]
struct Splice {
    span: Span,
    text: String,
    kind: Kind,
}

/// What a splice does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Inserts a line of this name.
    Line(Name),
    /// Replaces a range, or removes it. Ranges never overlap one another.
    Over,
}

impl Message {
    /// Begins to change the message.
    pub fn edit(&self) -> Edit<'_> {
        Edit { message: self, splices: Vec::new(), body: None }
    }
}

impl Edit<'_> {
    /// Replaces a request's URI; nothing happens to a response.
    pub fn request_uri(&mut self, uri: impl Display) -> &mut Self {
        if let Start::Request { uri: span, .. } = self.message.start {
            self.over(span, uri.to_string());
        }
        self
    }

    /// Puts a value before all others of its name, as a line of its own; at the head of the headers when there is none.
    /// Several stand in the order of the calls.
    pub fn prepend(&mut self, name: Name, value: impl Display) -> &mut Self {
        let first = self.message.lines(name).next().or(self.message.headers.first());
        let at = first.map_or(self.message.head_end, |header| header.line.start);
        self.insert(at, name, value)
    }

    /// Puts a value after all others of its name, as a line of its own; at the end of the headers when there is none.
    pub fn append(&mut self, name: Name, value: impl Display) -> &mut Self {
        let last = self.message.lines(name).last().or(self.message.headers.last());
        let at = last.map_or(self.message.head_end, |header| header.line.end);
        self.insert(at, name, value)
    }

    /// Gives the header this one value: the first line's is replaced, further lines go; appended when there is none.
    pub fn set(&mut self, name: Name, value: impl Display) -> &mut Self {
        self.take_back(name);
        let mut lines = self.message.lines(name);
        match lines.next().copied() {
            Some(first) => {
                let others: Vec<Span> = lines.map(|header| header.line).collect();
                self.over(first.value, value.to_string());
                for line in others {
                    self.over(line, String::new());
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
            let range = span.range();
            self.over(Span::new(range.start + leading, range.end - trailing), value.to_string());
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
            let text = self.message.slice(header.value);
            // Empty pieces are no values, here as in `Message::all`: the value that is counted must be the one that goes.
            let values: Vec<usize> = lex::split_outside(text, b',')
                .filter_map(|piece| {
                    let blank =
                        text.get(piece.clone())?.iter().take_while(|&&byte| lex::is_lws(byte)).count();
                    (blank < piece.len()).then_some(piece.start + blank)
                })
                .collect();
            match values.get(left) {
                // Values remain behind the ones that go: cut up to where the first of them begins.
                Some(kept) => {
                    self.over(Span::new(start, start + kept), String::new());
                    left = 0;
                }
                None => {
                    self.over(header.line, String::new());
                    left -= values.len().min(left);
                }
            }
        }
        self
    }

    /// Takes every line of a header away.
    pub fn remove(&mut self, name: Name) -> &mut Self {
        self.take_back(name);
        let lines: Vec<Span> = self.message.lines(name).map(|header| header.line).collect();
        for line in lines {
            self.over(line, String::new());
        }
        self
    }

    /// Replaces the body and sets Content-Length; Content-Type is the caller's business.
    pub fn body(&mut self, body: Bytes) -> &mut Self {
        self.set(Name::ContentLength, body.len());
        self.body = Some(body);
        self
    }

    /// The changed message.
    pub fn finish(&mut self) -> Message {
        let head_and_body = &self.message.bytes;
        let body_start = self.message.body.range().start;
        let head = head_and_body.get(..body_start).unwrap_or_default();
        let body = match &self.body {
            Some(body) => body,
            None => head_and_body.get(body_start..).unwrap_or_default(),
        };
        let added: usize = self.splices.iter().map(|splice| splice.text.len()).sum();
        let mut bytes = BytesMut::with_capacity(head.len() + added + body.len());
        // The sort is stable: at one place, insertions stand before what is replaced, in the order of the calls.
        self.splices.sort_by_key(|splice| (splice.span.start, splice.kind == Kind::Over));
        let mut at = 0;
        for splice in &self.splices {
            let range = splice.span.range();
            bytes.extend_from_slice(head.get(at..range.start).unwrap_or_default());
            bytes.extend_from_slice(splice.text.as_bytes());
            at = range.end;
        }
        bytes.extend_from_slice(head.get(at..).unwrap_or_default());
        bytes.extend_from_slice(body);
        reindex(bytes.freeze(), self.message)
    }

    fn insert(&mut self, at: u32, name: Name, value: impl Display) -> &mut Self {
        let mut text = lex::one_line(format!("{name}: {value}"));
        text.push_str("\r\n");
        self.splices.push(Splice { span: Span { start: at, end: at }, text, kind: Kind::Line(name) });
        self
    }

    /// Replaces a range. Whatever an earlier edit did to a part of it is forgotten, so that ranges never overlap: insertions stand
    /// at line boundaries only, which no range has inside.
    fn over(&mut self, span: Span, text: String) {
        self.splices.retain(|earlier| earlier.kind != Kind::Over || !overlap(earlier.span, span));
        self.splices.push(Splice { span, text: lex::one_line(text), kind: Kind::Over });
    }

    /// Forgets what was inserted under a name.
    fn take_back(&mut self, name: Name) {
        self.splices.retain(|earlier| earlier.kind != Kind::Line(name));
    }
}

/// Whether two ranges share a byte, or are the same empty one.
fn overlap(one: Span, two: Span) -> bool {
    one == two || one.start < two.end && two.start < one.end
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
    use proptest::collection::vec;
    use proptest::prelude::*;

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

    #[test]
    fn the_later_edit_of_a_place_counts() {
        let message = message();
        let route = |edit: &mut Edit<'_>| {
            let edited = edit.finish();
            edited.raws(Name::Route).map(|raw| String::from_utf8_lossy(raw).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(route(message.edit().set(Name::Route, "x").set(Name::Route, "y")), ["y"]);
        assert_eq!(route(message.edit().remove(Name::Route).set(Name::Route, "y")), ["y"]);
        assert!(route(message.edit().set(Name::Route, "x").remove(Name::Route)).is_empty());
        assert!(route(message.edit().append(Name::Route, "x").remove(Name::Route)).is_empty());
        assert_eq!(route(message.edit().remove(Name::Route).append(Name::Route, "y")), ["y"]);
        let both = route(message.edit().remove_first(Name::Route, 1).replace_first(Name::Route, "x"));
        assert_eq!(both, ["x,<sip:r2>", "<sip:r3>"]);
        let two = route(
            message.edit().prepend(Name::Route, "a").prepend(Name::Route, "b").remove_first(Name::Route, 3),
        );
        assert_eq!(two, ["a", "b"]);
    }

    #[test]
    fn empty_pieces_are_not_counted() {
        let text = "ACK sip:a SIP/2.0\r\nRoute: , <sip:r1>,\r\n <sip:r2>\r\n\r\n";
        let message = Message::parse(Bytes::from_static(text.as_bytes()), &Limits::default()).unwrap();
        let edited = message.edit().remove_first(Name::Route, 1).finish();
        assert_eq!(edited.text(Name::Route), Some("<sip:r2>"));
    }

    #[test]
    fn a_message_without_headers_gets_them_in_its_head() {
        let text = "SIP/2.0 200 OK\r\n\r\nbody";
        let message = Message::parse(Bytes::from_static(text.as_bytes()), &Limits::default()).unwrap();
        let edited = message.edit().prepend(Name::Via, "v").append(Name::To, "t").finish();
        assert_eq!(self::text(&edited), "SIP/2.0 200 OK\r\nVia: v\r\nTo: t\r\n\r\nbody");
    }

    #[test]
    fn no_value_smuggles_in_a_header() {
        let edited = message().edit().set(Name::Via, "a\r\nEvil: 1").append(Name::To, "b\nEvil: 2").finish();
        assert!(!edited.has(Name::Other("Evil")));
    }

    /// One edit: which kind, of which name, with which number in its value.
    fn apply(edit: &mut Edit<'_>, kind: u8, name: Name, number: usize) {
        let value = format!("v{number},\r\nw");
        match kind {
            0 => edit.prepend(name, value),
            1 => edit.append(name, value),
            2 => edit.set(name, value),
            3 => edit.replace_first(name, value),
            4 => edit.remove_first(name, number % 4),
            5 => edit.remove(name),
            6 => edit.request_uri(format_args!("sip:{number}")),
            _ => edit.body(Bytes::from(vec![b'\n'; number])),
        };
    }

    proptest! {
        /// Any sequence of edits yields a message that can be read, in which every header that was not named is as it was.
        #[test]
        fn edits_never_corrupt(
            lines in vec((0usize..5, "[ \t]{0,2}([a-z<>,\"]|,|\r\n ){0,12}"), 0..10),
            edits in vec((0u8..8, 0usize..3, 0usize..9), 0..10),
            body in "[a-z\r\n]{0,8}",
        ) {
            const NAMES: [Name; 5] = [Name::Via, Name::Route, Name::Subject, Name::Warning, Name::Other("X")];
            let mut text = String::from("INVITE sip:a@b SIP/2.0\r\n");
            for (name, value) in &lines {
                text.push_str(&format!("{}:{value}\r\n", NAMES[*name]));
            }
            text.push_str(&format!("l: {}\r\n\r\n{body}", body.len()));
            let message = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
            let mut edit = message.edit();
            for (kind, name, number) in &edits {
                apply(&mut edit, *kind, NAMES[*name], *number);
            }
            let edited = edit.finish();
            let again = Message::parse(edited.bytes().clone(), &Limits::default());
            prop_assert!(again.is_ok(), "{again:?} {:?}", edited.bytes());
            let untouched = |of: &Message| -> Vec<Vec<u8>> {
                let lines = of.headers.iter().filter(|header| {
                    [NAMES[3], NAMES[4]].iter().any(|name| of.lines(*name).any(|line| line.line == header.line))
                });
                lines.map(|header| of.slice(header.line).to_vec()).collect()
            };
            prop_assert_eq!(untouched(&edited), untouched(&message));
            let expected = edits.iter().rev().find(|(kind, ..)| *kind == 7);
            let expected = expected.map_or(body.clone().into_bytes(), |(.., number)| vec![b'\n'; *number]);
            prop_assert_eq!(&edited.body()[..], &expected[..]);
            for name in &NAMES[..3] {
                let last = edits.iter().rev().find(|(kind, of, _)| NAMES[*of] == *name && *kind < 6);
                if let Some((5, ..)) = last {
                    prop_assert!(!edited.has(*name));
                }
                if let Some((2, _, number)) = last {
                    let expected = format!("v{number},  w");
                    prop_assert_eq!(edited.raws(*name).collect::<Vec<_>>(), [expected.as_bytes()]);
                }
            }
        }
    }
}
