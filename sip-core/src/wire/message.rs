//! A message: its bytes and where things stand in them.

use std::fmt;

use bytes::Bytes;

use super::header::{CSeq, From, Header, To, Via};
use super::{HeaderError, Limits, Malformed, Method, Name, StatusCode, Uri, UriError, lex, parse};

/// A request or response: one buffer and an index of spans. Cloning is cheap in bytes (the buffer is shared).
#[derive(Clone)]
pub struct Message {
    pub(super) bytes: Bytes,
    pub(super) start: Start,
    pub(super) headers: Vec<HeaderSpan>,
    pub(super) body: Span,
    /// Where the header lines end: the place of the empty line, when there is one.
    pub(super) head_end: u32,
}

/// What the first line says.
#[derive(Debug, Clone)]
pub(super) enum Start {
    Request { method: Method, uri: Span },
    Response { status: StatusCode, reason: Span },
}

/// A range of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Span {
        // Limits::max_bytes is bounded far below u32::MAX by the parser.
        Span { start: start as u32, end: end as u32 }
    }

    pub(super) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl HeaderSpan {
    pub(super) fn is(&self, name: Name) -> bool {
        self.known == Some(name)
    }
}

/// One header line (with its folded continuations).
#[derive(Debug, Clone, Copy)]
pub(super) struct HeaderSpan {
    /// The known name, or `None`.
    pub(super) known: Option<Name>,
    pub(super) name: Span,
    /// Without white space at its ends.
    pub(super) value: Span,
    /// The whole line with its line end.
    pub(super) line: Span,
}

impl Message {
    /// Reads one datagram or one framed message (RFC 3261 §7, §18.3).
    ///
    /// Bytes after the body that Content-Length announces are dropped; without Content-Length all the rest is body.
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Message, Malformed> {
        parse::message(bytes, limits)
    }

    /// The message as it stands on the wire.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// A request's method; `None` for a response.
    pub fn method(&self) -> Option<&Method> {
        match &self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// Whether it is a request with this method.
    pub fn is(&self, method: &Method) -> bool {
        self.method() == Some(method)
    }

    /// A response's status; `None` for a request.
    pub fn status(&self) -> Option<StatusCode> {
        match self.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(status),
        }
    }

    /// A response's reason phrase; empty for a request or where it is not UTF-8.
    pub fn reason(&self) -> &str {
        match self.start {
            Start::Request { .. } => "",
            Start::Response { reason, .. } => self.text_of(reason).unwrap_or(""),
        }
    }

    /// A request's URI as written; empty for a response or where it is not UTF-8.
    pub fn request_uri_text(&self) -> &str {
        match self.start {
            Start::Request { uri, .. } => self.text_of(uri).unwrap_or(""),
            Start::Response { .. } => "",
        }
    }

    /// A request's URI.
    pub fn request_uri(&self) -> Result<Uri, UriError> {
        self.request_uri_text().parse()
    }

    /// The body's bytes.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(self.body.range())
    }

    /// The first header line of this name, as bytes.
    pub fn raw(&self, name: Name) -> Option<&[u8]> {
        self.raws(name).next()
    }

    /// Every header line of this name, as bytes, in order.
    pub fn raws(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.lines(name).map(|header| self.slice(header.value))
    }

    /// The first header line of this name, when it is UTF-8.
    pub fn text(&self, name: Name) -> Option<&str> {
        std::str::from_utf8(self.raw(name)?).ok()
    }

    /// Whether a header of this name is there.
    pub fn has(&self, name: Name) -> bool {
        self.lines(name).next().is_some()
    }

    /// Every header line in order, name as written and value, where both are UTF-8.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers
            .iter()
            .filter_map(|header| Some((self.text_of(header.name)?, self.text_of(header.value)?)))
    }

    /// The first value of a header, understood; `Ok(None)` when the header is not there.
    pub fn header<H: Header>(&self) -> Result<Option<H>, HeaderError> {
        self.all::<H>().next().transpose()
    }

    /// The first value of a header that must be there.
    pub fn required<H: Header>(&self) -> Result<H, HeaderError> {
        self.header()?.ok_or(HeaderError::Missing { name: H::NAME })
    }

    /// Every value of a header, in order; lines with several values are split, folded ones are unfolded.
    ///
    /// What is not UTF-8 is read as Latin-1.
    pub fn all<H: Header>(&self) -> impl Iterator<Item = Result<H, HeaderError>> {
        self.values(H::NAME, H::LIST).map(|span| {
            let value = lex::read(self.slice(span));
            if !lex::is_closed(&value) {
                let reason = "a quoted string or angle bracket is not closed";
                return Err(HeaderError::Invalid { name: H::NAME, reason });
            }
            H::parse(lex::trim(&value))
        })
    }

    /// The topmost Via.
    pub fn top_via(&self) -> Result<Via, HeaderError> {
        self.required()
    }

    /// The Call-ID as written.
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        self.text(Name::CallId)
            .filter(|text| !text.is_empty())
            .ok_or(HeaderError::Missing { name: Name::CallId })
    }

    /// The CSeq.
    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        self.required()
    }

    /// The From header.
    pub fn from(&self) -> Result<From, HeaderError> {
        self.required()
    }

    /// The To header.
    pub fn to(&self) -> Result<To, HeaderError> {
        self.required()
    }

    /// The From tag.
    pub fn from_tag(&self) -> Option<String> {
        self.from().ok()?.tag().map(str::to_owned)
    }

    /// The To tag.
    pub fn to_tag(&self) -> Option<String> {
        self.to().ok()?.tag().map(str::to_owned)
    }

    pub(super) fn lines(&self, name: Name) -> impl Iterator<Item = &HeaderSpan> {
        let name = name.canonical();
        self.headers.iter().filter(move |header| match (name, header.known) {
            (Name::Other(text), None) => self.slice(header.name).eq_ignore_ascii_case(text.as_bytes()),
            (name, Some(known)) => name == known,
            _ => false,
        })
    }

    /// Spans of the single values of a header, trimmed of nothing.
    pub(super) fn values(&self, name: Name, list: bool) -> impl Iterator<Item = Span> {
        self.lines(name).flat_map(move |header| {
            let (start, bytes) = (header.value.start as usize, self.slice(header.value));
            let whole = std::iter::once(0..bytes.len()).filter(move |_| !list);
            let split = lex::split_outside(bytes, b',').filter(move |_| list);
            whole
                .chain(split)
                .map(move |range| Span::new(start + range.start, start + range.end))
                // An empty piece of a list means nothing ("a,,b"), but a header that is empty as a whole is a value.
                .filter(move |span| !list || !self.slice(*span).iter().copied().all(lex::is_lws))
        })
    }

    pub(super) fn slice(&self, span: Span) -> &[u8] {
        self.bytes.get(span.range()).unwrap_or_default()
    }

    pub(super) fn text_of(&self, span: Span) -> Option<&str> {
        std::str::from_utf8(self.slice(span)).ok()
    }
}

impl fmt::Debug for Message {
    /// The start line only: headers may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.start {
            Start::Request { method, .. } => write!(f, "Message({method} {})", self.request_uri_text()),
            Start::Response { status, .. } => write!(f, "Message({status} {})", self.reason()),
        }
    }
}
