//! Reading a message: one pass over the bytes that notes where things stand.

use bytes::Bytes;

use super::message::{HeaderSpan, Message, Span, Start};
use super::{Limits, Malformed, Method, Name, ParseError, StatusCode, lex};

/// RFC 3261 §7 and §18.3, read tolerantly: leading line ends are skipped, a bare LF ends a line, a folded line continues.
pub(super) fn message(bytes: Bytes, limits: &Limits) -> Result<Message, Malformed> {
    let fatal = |error| Malformed { error, partial: None };
    let limit = limits.max_bytes.min(u32::MAX as usize / 2);
    if bytes.len() > limit {
        return Err(fatal(ParseError::TooLarge { size: bytes.len(), limit }));
    }
    let begin = bytes.iter().position(|&b| b != b'\r' && b != b'\n').ok_or(fatal(ParseError::Empty))?;
    let first = line_at(&bytes, begin).ok_or(fatal(ParseError::Unterminated))?;
    let (start, fault) = start_line(&bytes, begin, first.end).ok_or(fatal(ParseError::StartLine))?;

    let mut notes = Notes { fault, declared: None, vias: 0 };
    if first.bare_cr {
        notes.fault(ParseError::StartLine);
    }
    let mut headers = Vec::with_capacity(24);
    let mut at = first.next;
    let mut body_start = None;
    let mut count = 0;
    while let Some(line) = logical_line_at(&bytes, at) {
        if line.end == at {
            body_start = Some(line.next);
            break;
        }
        count += 1;
        if headers.len() >= limits.max_headers {
            notes.fault(ParseError::TooManyHeaders { limit: limits.max_headers });
            break;
        }
        match header_line(&bytes, at, &line) {
            Some(header) => {
                notes.header(&header, bytes.get(header.value.range()).unwrap_or_default(), limits);
                headers.push(header);
            }
            None => notes.fault(ParseError::HeaderLine { line: count }),
        }
        if line.bare_cr {
            notes.fault(ParseError::HeaderLine { line: count });
        }
        at = line.next;
    }
    let body_start = body_start.unwrap_or_else(|| {
        notes.fault(ParseError::Unterminated);
        bytes.len()
    });
    let actual = bytes.len() - body_start;
    let mut message = Message {
        body: Span::new(body_start, bytes.len()),
        bytes,
        start,
        headers,
        head_end: Span::new(at, at).start,
    };
    match notes.declared {
        Some(declared) if declared <= actual => {
            message.body = Span::new(body_start, body_start + declared);
            message.bytes.truncate(body_start + declared);
        }
        Some(declared) => notes.fault(ParseError::BodyTooShort { declared, actual }),
        None => {}
    }
    match notes.fault {
        None => Ok(message),
        Some(error) => Err(Malformed { error, partial: Some(Box::new(message)) }),
    }
}

/// What Content-Length says in a head (the start line and headers of one message), found by the rules of [`message`], so that
/// a stream is never cut where the message itself would not end. Two that differ are an attack on whoever reads the other one.
pub(super) fn content_length(head: &[u8]) -> Result<Option<usize>, ParseError> {
    let mut declared = None;
    let mut at = line_at(head, 0).map_or(head.len(), |first| first.next);
    while let Some(line) = logical_line_at(head, at).filter(|line| line.end > at) {
        if let Some(header) = header_line(head, at, &line).filter(|header| header.is(Name::ContentLength)) {
            note_length(&mut declared, head.get(header.value.range()).unwrap_or_default())?;
        }
        at = line.next;
    }
    Ok(declared)
}

/// Where the body begins: after the first empty line. `Err` gives where to look on when more bytes have come.
/// The bytes must not begin with a line end.
pub(super) fn find_body(bytes: &[u8], from: usize) -> Result<usize, usize> {
    let mut at = from;
    while let Some(newline) = bytes.get(at..).and_then(|tail| memchr::memchr(b'\n', tail)).map(|n| at + n) {
        match bytes.get(newline + 1..).unwrap_or_default() {
            [b'\n', ..] => return Ok(newline + 2),
            [b'\r', b'\n', ..] => return Ok(newline + 3),
            [] | [b'\r'] => return Err(newline),
            _ => at = newline + 1,
        }
    }
    Err(bytes.len())
}

/// What the pass over the headers remembers.
struct Notes {
    /// The first fault found.
    fault: Option<ParseError>,
    /// What Content-Length says.
    declared: Option<usize>,
    /// Via values so far.
    vias: usize,
}

impl Notes {
    fn fault(&mut self, error: ParseError) {
        self.fault.get_or_insert(error);
    }

    fn header(&mut self, header: &HeaderSpan, value: &[u8], limits: &Limits) {
        match header.known {
            Some(Name::ContentLength) => {
                if let Err(error) = note_length(&mut self.declared, value) {
                    self.fault(error);
                }
            }
            Some(Name::Via) => {
                self.vias += lex::split_outside(value, b',').count();
                if self.vias > limits.max_vias {
                    self.fault(ParseError::TooManyVias { limit: limits.max_vias });
                }
            }
            _ => {}
        }
    }
}

fn note_length(declared: &mut Option<usize>, value: &[u8]) -> Result<(), ParseError> {
    let length = std::str::from_utf8(value)
        .ok()
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse::<usize>().ok())
        .ok_or(ParseError::ContentLength)?;
    match declared.replace(length) {
        Some(earlier) if earlier != length => Err(ParseError::ContentLength),
        _ => Ok(()),
    }
}

/// A line's end without its line end, and where the next line begins.
struct Line {
    end: usize,
    next: usize,
    /// Whether it holds a CR that ends no line: others may see a line end there.
    bare_cr: bool,
}

fn line_at(bytes: &[u8], start: usize) -> Option<Line> {
    let mut at = start;
    let mut bare_cr = false;
    loop {
        let found = at + memchr::memchr2(b'\r', b'\n', bytes.get(at..)?)?;
        match bytes.get(found..)? {
            [b'\r', b'\n', ..] => return Some(Line { end: found, next: found + 2, bare_cr }),
            [b'\n', ..] => return Some(Line { end: found, next: found + 1, bare_cr }),
            _ => bare_cr = true,
        }
        at = found + 1;
    }
}

/// A line with its folded continuations (RFC 3261 §7.3.1).
fn logical_line_at(bytes: &[u8], start: usize) -> Option<Line> {
    let mut line = line_at(bytes, start)?;
    while line.end > start && matches!(bytes.get(line.next), Some(b' ' | b'\t')) {
        let bare_cr = line.bare_cr;
        line = line_at(bytes, line.next)?;
        line.bare_cr |= bare_cr;
    }
    Some(line)
}

/// The start line, and a fault that still lets the rest be read.
fn start_line(bytes: &[u8], start: usize, end: usize) -> Option<(Start, Option<ParseError>)> {
    let line = bytes.get(start..end)?;
    if let Some(rest) = strip_version(line) {
        let code = match rest {
            [hundreds @ b'1'..=b'6', tens @ b'0'..=b'9', ones @ b'0'..=b'9', ..] => {
                u16::from(hundreds - b'0') * 100 + u16::from(tens - b'0') * 10 + u16::from(ones - b'0')
            }
            _ => return None,
        };
        let status = StatusCode::new(code)?;
        let reason = match rest.get(3) {
            None => end,
            Some(b' ') => end - rest.len() + 4,
            Some(_) => return None,
        };
        return Some((Start::Response { status, reason: Span::new(reason, end) }, None));
    }
    // Blanks behind the version make no other request of it, but a malformed one (RFC 4475 §3.1.2.10).
    let blanks = line.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let line = line.get(..line.len() - blanks)?;
    let first = memchr::memchr(b' ', line)?;
    let last = memchr::memrchr(b' ', line)?;
    let method = Method::parse(line.get(..first)?)?;
    let version = line.get(last + 1..)?;
    let (uri_start, uri_end) = (first + 1, last.max(first + 1));
    let uri = line.get(uri_start..uri_end)?;
    let fault = if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        // "INVITE sip:a@b SIP/7.0" is another version; anything without a version is no request line.
        version.get(..4).filter(|name| name.eq_ignore_ascii_case(b"SIP/"))?;
        Some(ParseError::Version)
    } else if blanks > 0 || uri.is_empty() || uri.iter().any(|byte| byte.is_ascii_whitespace()) {
        Some(ParseError::StartLine)
    } else {
        None
    };
    Some((Start::Request { method, uri: Span::new(start + uri_start, start + uri_end) }, fault))
}

fn strip_version(line: &[u8]) -> Option<&[u8]> {
    let (version, rest) = line.split_at_checked(8)?;
    version.eq_ignore_ascii_case(b"SIP/2.0 ").then_some(rest)
}

fn header_line(bytes: &[u8], start: usize, line: &Line) -> Option<HeaderSpan> {
    let text = bytes.get(start..line.end)?;
    let colon = memchr::memchr(b':', text)?;
    let mut name = text.get(..colon)?;
    // Spaces before the colon are legal (RFC 3261 §25.1: HCOLON), a fold is not.
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    let known = Name::known(name);
    if known.is_none() && (name.is_empty() || !name.iter().copied().all(lex::is_token)) {
        return None;
    }
    let value = text.get(colon + 1..)?;
    let leading = value.iter().take_while(|&&byte| lex::is_lws(byte)).count();
    let trailing =
        value.iter().rev().take_while(|&&byte| lex::is_lws(byte)).count().min(value.len() - leading);
    Some(HeaderSpan {
        known,
        name: Span::new(start, start + name.len()),
        value: Span::new(start + colon + 1 + leading, line.end - trailing),
        line: Span::new(start, line.next),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:101@s042.example.net SIP/2.0\r\n\
        v: SIP/2.0/UDP [2001:db8::10]:5060;branch=z9hG4bKa, SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKb\r\n\
        From: \"A, B\" <sip:102@s042.example.net>;tag=1\r\n\
        t: <sip:101@s042.example.net>\r\n\
        Call-ID: x1\r\n\
        CSeq: 1 INVITE\r\n\
        Subject: folded\r\n  line\r\n\
        X-Odd : kept\r\n\
        l: 3\r\n\r\nabcdef";

    fn parse(text: &str) -> Result<Message, Malformed> {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
    }

    /// What is wrong with the INVITE after `from` was replaced with `to`.
    fn fault(from: &str, to: &str) -> ParseError {
        assert!(INVITE.contains(from), "{from}");
        parse(&INVITE.replace(from, to)).unwrap_err().error
    }

    #[test]
    fn indexes_a_request() {
        let message = parse(INVITE).unwrap();
        assert!(message.is(&Method::Invite));
        assert_eq!(message.request_uri_text(), "sip:101@s042.example.net");
        assert_eq!(message.values(Name::Via, true).count(), 2);
        assert_eq!(message.text(Name::Subject), Some("folded\r\n  line"));
        assert_eq!(message.text(Name::Other("x-odd")), Some("kept"));
        assert_eq!(&message.body()[..], b"abc");
        assert_eq!(message.from_tag().as_deref(), Some("1"));
    }

    #[test]
    fn a_malformed_request_keeps_what_could_be_read() {
        let malformed = parse(&INVITE.replace("l: 3", "l: 300")).unwrap_err();
        assert_eq!(malformed.error, ParseError::BodyTooShort { declared: 300, actual: 6 });
        assert_eq!(malformed.partial.unwrap().call_id(), Ok("x1"));
        assert_eq!(fault("SIP/2.0\r\nv", "SIP/7.0\r\nv"), ParseError::Version);
    }

    #[test]
    fn refuses_what_two_readers_would_see_differently() {
        assert_eq!(fault("l: 3", "l: 3\r\nContent-Length: 4"), ParseError::ContentLength);
        assert_eq!(fault("l: 3", "l: +3"), ParseError::ContentLength);
        assert_eq!(fault("l: 3", "l: 3\r\n 4"), ParseError::ContentLength);
        assert_eq!(fault("Subject: f", "Subject: f\rVia: x"), ParseError::HeaderLine { line: 6 });
        assert_eq!(fault("Subject: f", "Subject\r\n : f"), ParseError::HeaderLine { line: 6 });
        assert_eq!(fault("\r\nv:", "\r\n v:"), ParseError::HeaderLine { line: 1 });
        assert_eq!(fault("101@s042.example.net SIP", "101@s042.example.net  SIP"), ParseError::StartLine);
        assert_eq!(fault("SIP/2.0\r\nv", "SIP/2.0 \t\r\nv"), ParseError::StartLine);
        assert!(parse(&INVITE.replace("l: 3", "l: 3\r\nl:3")).is_ok());
    }

    #[test]
    fn bounds_headers_and_vias() {
        let limits = Limits { max_headers: 8, max_vias: 2, ..Limits::default() };
        let text = |more: &str| Bytes::from(INVITE.replace("X-Odd", &format!("{more}\r\nX-Odd")));
        assert!(Message::parse(Bytes::from_static(INVITE.as_bytes()), &limits).is_ok());
        let error = |more| Message::parse(text(more), &limits).unwrap_err().error;
        assert_eq!(error("X: y"), ParseError::TooManyHeaders { limit: 8 });
        assert_eq!(error("Via: SIP/2.0/UDP c"), ParseError::TooManyVias { limit: 2 });
    }

    #[test]
    fn reads_a_response_without_a_reason() {
        let message = parse("SIP/2.0 200 \r\nCall-ID: 1\r\n\r\n").unwrap();
        assert_eq!(message.status(), Some(StatusCode::OK));
        assert_eq!(message.reason(), "");
        for wrong in ["SIP/2.0 99 x", "SIP/2.0 2000 x", "SIP/2.0 +20 x", "SIP/2.0 700 x", "SIP/2.0 20"] {
            assert!(parse(&format!("{wrong}\r\n\r\n")).is_err(), "{wrong}");
        }
    }
}
