//! A SIP message as plain text: a start line, header pairs, a body.

use std::fmt;

/// A SIP message. Header names are written as received, except that compact names are spelled out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Request line or status line.
    pub start: StartLine,
    /// Header fields in order; values are unfolded and trimmed.
    pub headers: Vec<(String, String)>,
    /// Body, as many bytes as Content-Length says.
    pub body: Vec<u8>,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartLine {
    /// A request's.
    Request {
        /// Method, case kept.
        method: String,
        /// Request-URI.
        uri: String,
    },
    /// A response's.
    Response {
        /// 100–699.
        status: u16,
        /// Reason phrase.
        reason: String,
    },
}

/// Why a datagram is not a SIP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Empty, or only line ends (a keep-alive).
    #[error("empty")]
    Empty,
    /// The first line is neither a request line nor a status line.
    #[error("bad first line")]
    StartLine,
    /// A header line without a colon or name.
    #[error("bad header line")]
    Header,
    /// More than the 256 header fields that are read.
    #[error("too many header fields")]
    TooManyHeaders,
    /// Content-Length is no number or more than what came.
    #[error("bad Content-Length")]
    ContentLength,
}

impl Message {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`MessageError`]; bytes that are not UTF-8 in the head are replaced, not refused.
    pub fn parse(datagram: &[u8]) -> Result<Self, MessageError> {
        let begin = datagram.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
        let datagram = begin.and_then(|begin| datagram.get(begin..)).ok_or(MessageError::Empty)?;
        let (head, rest) = split_head(datagram);
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let start = parse_start(lines.next().unwrap_or_default())?;
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                let (_, value) = headers.last_mut().ok_or(MessageError::Header)?;
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(MessageError::Header)?;
            let name = name.trim();
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(MessageError::Header);
            }
            if headers.len() >= MAX_HEADERS {
                return Err(MessageError::TooManyHeaders);
            }
            headers.push((long_name(name).to_owned(), value.trim().to_owned()));
        }
        let mut message = Self { start, headers, body: Vec::new() };
        let body = match message.header("Content-Length") {
            None => rest,
            Some(length) => {
                let length: usize = length.parse().map_err(|_| MessageError::ContentLength)?;
                rest.get(..length).ok_or(MessageError::ContentLength)?
            }
        };
        message.body = body.to_vec();
        Ok(message)
    }

    /// A request without any fields.
    pub fn request(method: &str, uri: &str) -> Self {
        let start = StartLine::Request { method: method.to_owned(), uri: uri.to_owned() };
        Self { start, headers: Vec::new(), body: Vec::new() }
    }

    /// A response to this request with the fields that RFC 3261 §8.2.6.2 copies; `tag` is added to To if it has none.
    pub fn response_to(request: &Self, status: u16, tag: &str) -> Self {
        let start = StartLine::Response { status, reason: reason_phrase(status).to_owned() };
        let mut response = Self { start, headers: Vec::new(), body: Vec::new() };
        for (name, value) in &request.headers {
            if ["Via", "From", "Call-ID", "CSeq"].iter().any(|kept| name.eq_ignore_ascii_case(kept)) {
                response.headers.push((name.clone(), value.clone()));
            } else if name.eq_ignore_ascii_case("To") {
                let tagged = status == 100 || crate::uri::header_param(value, "tag").is_some();
                let value = if tagged { value.clone() } else { format!("{value};tag={tag}") };
                response.headers.push((name.clone(), value));
            }
        }
        response
    }

    /// The first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// Every field of this name, in order, one item a line.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a field whose lines may hold several, separated by commas.
    pub fn values(&self, name: &str) -> Vec<String> {
        self.headers(name).flat_map(crate::uri::split_list).map(str::to_owned).collect()
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&str> {
        match &self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// The Request-URI of a request.
    pub fn request_uri(&self) -> Option<&str> {
        match &self.start {
            StartLine::Request { uri, .. } => Some(uri),
            StartLine::Response { .. } => None,
        }
    }

    /// Status and reason of a response.
    pub fn status(&self) -> Option<(u16, &str)> {
        match &self.start {
            StartLine::Response { status, reason } => Some((*status, reason)),
            StartLine::Request { .. } => None,
        }
    }

    /// Number and method of CSeq.
    pub fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.header("CSeq")?.split_once(char::is_whitespace)?;
        Some((number.parse().ok()?, method.trim()))
    }

    /// The tag of `From` or `To`.
    pub fn tag(&self, header: &str) -> Option<&str> {
        crate::uri::header_param(self.header(header)?, "tag")
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        self.headers.push((name.to_owned(), value.into()));
    }

    /// Takes away every field of this name.
    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// Replaces the first field of this name where it stands.
    pub(crate) fn replace(&mut self, name: &str, value: impl Into<String>) {
        if let Some((_, old)) = self.headers.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            *old = value.into();
        }
    }

    pub(crate) fn set_sdp(&mut self, sdp: String) {
        self.push("Content-Type", "application/sdp");
        self.body = sdp.into_bytes();
    }

    /// The body if it is SDP.
    pub(crate) fn sdp(&self) -> Option<&[u8]> {
        let kind = self.header("Content-Type")?;
        let kind = kind.split(';').next().unwrap_or_default().trim();
        (kind.eq_ignore_ascii_case("application/sdp") && !self.body.is_empty()).then_some(&self.body)
    }

    /// The bytes to send; Content-Length is written from the body.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.to_string().into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The head of the message, with Content-Length and the empty line; the body is not text and left out.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.start {
            StartLine::Request { method, uri } => {
                // The URI may be a Contact that came from outside: it must stay one word.
                let uri: String = uri.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
                write!(f, "{method} {uri} SIP/2.0\r\n")?;
            }
            StartLine::Response { status, reason } => write!(f, "SIP/2.0 {status} {reason}\r\n")?,
        }
        for (name, value) in &self.headers {
            if !name.eq_ignore_ascii_case("Content-Length") {
                // A value that came from outside must not be able to open a line of its own.
                write!(f, "{name}: ")?;
                for part in value.split(['\r', '\n']) {
                    f.write_str(part)?;
                }
                f.write_str("\r\n")?;
            }
        }
        write!(f, "Content-Length: {}\r\n\r\n", self.body.len())
    }
}

/// Splits at the first empty line.
fn split_head(datagram: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(newline) = datagram.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
    {
        let end = at + newline;
        let rest = datagram.get(end + 1..).unwrap_or_default();
        let blank = if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest.starts_with(b"\n")) };
        if blank > 0 {
            let head = datagram.get(..end).unwrap_or_default();
            return (head, rest.get(blank..).unwrap_or_default());
        }
        at = end + 1;
    }
    let end = datagram.len() - usize::from(datagram.ends_with(b"\n"));
    (datagram.get(..end).unwrap_or_default(), &[])
}

fn parse_start(line: &str) -> Result<StartLine, MessageError> {
    if let Some(rest) = line.strip_prefix("SIP/2.0 ") {
        let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let status: u16 = status.parse().map_err(|_| MessageError::StartLine)?;
        if !(100..700).contains(&status) {
            return Err(MessageError::StartLine);
        }
        return Ok(StartLine::Response { status, reason: reason.to_owned() });
    }
    let mut parts = line.split(' ');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(method), Some(uri), Some("SIP/2.0"), None) if !method.is_empty() && !uri.is_empty() => {
            Ok(StartLine::Request { method: method.to_owned(), uri: uri.to_owned() })
        }
        _ => Err(MessageError::StartLine),
    }
}

/// RFC 3261 §7.3.3 and the later registrations.
fn long_name(name: &str) -> &str {
    let mut letters = name.chars();
    match (letters.next().map(|letter| letter.to_ascii_lowercase()), letters.next()) {
        (Some('v'), None) => "Via",
        (Some('f'), None) => "From",
        (Some('t'), None) => "To",
        (Some('i'), None) => "Call-ID",
        (Some('m'), None) => "Contact",
        (Some('l'), None) => "Content-Length",
        (Some('c'), None) => "Content-Type",
        (Some('e'), None) => "Content-Encoding",
        (Some('k'), None) => "Supported",
        (Some('s'), None) => "Subject",
        (Some('x'), None) => "Session-Expires",
        (Some('r'), None) => "Refer-To",
        (Some('o'), None) => "Event",
        (Some('u'), None) => "Allow-Events",
        _ => name,
    }
}

pub(crate) fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        420 => "Bad Extension",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        _ => "Status",
    }
}

const MAX_HEADERS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_names_folding_and_body() {
        let text =
            b"\r\nINVITE sip:101@[2001:db8::1]:5070 SIP/2.0\r\nv: SIP/2.0/UDP [::1]:1;branch=z9hG4bKa\r\n\
            Subject: one\r\n  two\r\nl: 3\r\n\r\nabcdef";
        let message = Message::parse(text).expect("well formed");
        assert_eq!(message.request_uri(), Some("sip:101@[2001:db8::1]:5070"));
        assert_eq!(message.header("via"), Some("SIP/2.0/UDP [::1]:1;branch=z9hG4bKa"));
        assert_eq!(message.header("Subject"), Some("one two"));
        assert_eq!(message.body, b"abc");
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut message = Message::request("MESSAGE", "sip:101@example.net");
        message.push("CSeq", "7 MESSAGE");
        message.push("Content-Length", "2");
        message.body = vec![0, 255];
        let again = Message::parse(&message.to_bytes()).expect("well formed");
        assert_eq!(again.cseq(), Some((7, "MESSAGE")));
        assert_eq!(again.body, [0, 255]);
    }

    #[test]
    fn nonsense_is_refused_and_never_panics() {
        for text in ["", "\r\n\r\n", "x", "INVITE sip:a SIP/2.0\r\n folded\r\n\r\n", "SIP/2.0 9999 x\r\n\r\n"]
        {
            assert!(Message::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        let cut = b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 9\r\n\r\nabc";
        assert_eq!(Message::parse(cut), Err(MessageError::ContentLength));
        let whole = b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nl: 0\r\n\r\n".to_vec();
        for at in 0..whole.len() {
            for byte in [0, b'\n', b':', b' ', 0xff] {
                let mut bent = whole.clone();
                bent[at] = byte;
                let _ = Message::parse(&bent);
                let _ = Message::parse(&whole[..at]);
            }
        }
    }
}
