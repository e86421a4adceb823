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
    let (start, mut fault) = start_line(&bytes, begin, first.end).ok_or(fatal(ParseError::StartLine))?;

    let mut headers = Vec::with_capacity(24);
    let mut note = |error| fault = fault.take().or(Some(error));
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
            note(ParseError::TooManyHeaders { limit: limits.max_headers });
            break;
        }
        match header_line(&bytes, at, line.end, line.next) {
            Some(header) => headers.push(header),
            None => note(ParseError::HeaderLine { line: count }),
        }
        at = line.next;
    }
    let body_start = match body_start {
        Some(start) => start,
        None => {
            note(ParseError::Unterminated);
            bytes.len()
        }
    };
    let body = Span::new(body_start, bytes.len());
    let mut message = Message { bytes, start, headers, body };
    match content_length(&message) {
        Ok(None) => {}
        Ok(Some(declared)) if declared <= body.range().len() => {
            message.body = Span::new(body_start, body_start + declared);
            message.bytes.truncate(body_start + declared);
        }
        Ok(Some(declared)) => note(ParseError::BodyTooShort { declared, actual: body.range().len() }),
        Err(error) => note(error),
    }
    if message.values(Name::Via, true).nth(limits.max_vias).is_some() {
        note(ParseError::TooManyVias { limit: limits.max_vias });
    }
    match fault {
        None => Ok(message),
        Some(error) => Err(Malformed { error, partial: Some(Box::new(message)) }),
    }
}

/// What Content-Length says, for the whole message. Two that differ are an attack on whoever reads the other one.
pub(super) fn content_length(message: &Message) -> Result<Option<usize>, ParseError> {
    let mut declared = None;
    for value in message.raws(Name::ContentLength) {
        let length = std::str::from_utf8(value)
            .ok()
            .filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse::<usize>().ok())
            .ok_or(ParseError::ContentLength)?;
        if declared.replace(length).is_some_and(|earlier| earlier != length) {
            return Err(ParseError::ContentLength);
        }
    }
    Ok(declared)
}

/// A line's end without its line end, and where the next line begins.
struct Line {
    end: usize,
    next: usize,
}

fn line_at(bytes: &[u8], start: usize) -> Option<Line> {
    let newline = start + memchr::memchr(b'\n', bytes.get(start..)?)?;
    let end = if newline > start && bytes.get(newline - 1) == Some(&b'\r') { newline - 1 } else { newline };
    Some(Line { end, next: newline + 1 })
}

/// A line with its folded continuations (RFC 3261 §7.3.1).
fn logical_line_at(bytes: &[u8], start: usize) -> Option<Line> {
    let mut line = line_at(bytes, start)?;
    while line.end > start && matches!(bytes.get(line.next), Some(b' ' | b'\t')) {
        line = line_at(bytes, line.next)?;
    }
    Some(line)
}

/// The start line, and a fault that still lets the rest be read.
fn start_line(bytes: &[u8], start: usize, end: usize) -> Option<(Start, Option<ParseError>)> {
    let line = bytes.get(start..end)?;
    if let Some(rest) = strip_version(line) {
        let digits = rest.get(..3)?;
        let code = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let status = StatusCode::new(code)?;
        let reason = match rest.get(3) {
            None => end,
            Some(b' ') => end - rest.len() + 4,
            Some(_) => return None,
        };
        return Some((Start::Response { status, reason: Span::new(reason, end) }, None));
    }
    let first = memchr::memchr(b' ', line)?;
    let last = memchr::memrchr(b' ', line)?;
    let method = Method::parse(line.get(..first)?)?;
    let version = line.get(last + 1..)?;
    let (uri_start, uri_end) = (first + 1, last.max(first + 1));
    let uri = line.get(uri_start..uri_end)?;
    let fault = if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        // "INVITE sip:a@b HTTP/1.1" is another version; anything without a version is no request line.
        version.get(..4).filter(|name| name.eq_ignore_ascii_case(b"SIP/"))?;
        Some(ParseError::Version)
    } else if uri.is_empty() || uri.iter().any(|byte| byte.is_ascii_whitespace()) {
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

fn header_line(bytes: &[u8], start: usize, end: usize, next: usize) -> Option<HeaderSpan> {
    let line = bytes.get(start..end)?;
    let colon = memchr::memchr(b':', line)?;
    let name = line.get(..colon)?.trim_ascii_end();
    if name.is_empty() || !name.iter().copied().all(lex::is_token) {
        return None;
    }
    let value = line.get(colon + 1..)?;
    let leading = value.iter().take_while(|&&byte| lex::is_lws(byte)).count();
    let trailing =
        value.iter().rev().take_while(|&&byte| lex::is_lws(byte)).count().min(value.len() - leading);
    Some(HeaderSpan {
        known: Name::known(name),
        name: Span::new(start, start + name.len()),
        value: Span::new(start + colon + 1 + leading, end - trailing),
        line: Span::new(start, next),
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
        assert_eq!(
            parse(&INVITE.replace("SIP/2.0\r\nv", "SIP/7.0\r\nv")).unwrap_err().error,
            ParseError::Version
        );
    }

    #[test]
    fn reads_a_response_without_a_reason() {
        let message = parse("SIP/2.0 200 \r\nCall-ID: 1\r\n\r\n").unwrap();
        assert_eq!(message.status(), Some(StatusCode::OK));
        assert_eq!(message.reason(), "");
    }
}
