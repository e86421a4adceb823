//! Cutting a byte stream into messages by Content-Length (RFC 3261 §18.3).

use bytes::{Bytes, BytesMut};

use super::{Limits, Name};

/// Why a stream cannot be read on: the connection must be closed, since the next message's beginning is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The message is larger than the limit allows.
    #[error("a message on the stream exceeds {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// Content-Length is missing, no number, or said twice with different values.
    #[error("a message on the stream has no valid Content-Length")]
    ContentLength,
}

/// What a stream holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// One message.
    Message(Bytes),
    /// A double CRLF between messages: the peer wants a single one back (RFC 5626 §3.5.1).
    Ping,
}

/// Collects bytes of one stream and gives whole messages.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    limit: usize,
    /// Bytes already searched for the end of the headers, so that a slow sender costs no quadratic work.
    searched: usize,
}

impl Framer {
    /// A framer that refuses messages over `limits.max_bytes`.
    pub fn new(limits: &Limits) -> Framer {
        Framer { buffer: BytesMut::new(), limit: limits.max_bytes, searched: 0 }
    }

    /// Takes bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        if self.searched == 0 {
            let line_ends = self.buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if line_ends >= 4 && self.buffer.starts_with(b"\r\n\r\n") {
                let _ = self.buffer.split_to(4);
                return Ok(Some(Frame::Ping));
            }
            if line_ends > 0 && line_ends < self.buffer.len() {
                let _ = self.buffer.split_to(line_ends);
            } else if line_ends > 0 {
                return if line_ends > 4 { Err(FrameError::ContentLength) } else { Ok(None) };
            }
        }
        let Some(head_end) = self.find_head_end() else {
            return self.within_limit(self.buffer.len()).map(|()| None);
        };
        let head = self.buffer.get(..head_end).unwrap_or_default();
        let length = content_length(head).ok_or(FrameError::ContentLength)?;
        let total = head_end.saturating_add(length);
        self.within_limit(total)?;
        if self.buffer.len() < total {
            self.searched = head_end.saturating_sub(4);
            return Ok(None);
        }
        self.searched = 0;
        Ok(Some(Frame::Message(self.buffer.split_to(total).freeze())))
    }

    fn within_limit(&self, size: usize) -> Result<(), FrameError> {
        if size > self.limit { Err(FrameError::TooLarge { limit: self.limit }) } else { Ok(()) }
    }

    /// Where the body begins, when the empty line is there.
    fn find_head_end(&mut self) -> Option<usize> {
        let from = self.searched;
        let tail = self.buffer.get(from..).unwrap_or_default();
        let found = memchr::memmem::find(tail, b"\r\n\r\n").map(|at| from + at + 4);
        self.searched = self.buffer.len().saturating_sub(3).max(1);
        found
    }
}

/// Content-Length among the header lines; the last word of a stream's framing must be unambiguous.
fn content_length(head: &[u8]) -> Option<usize> {
    let mut declared = None;
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = line.split_at(colon);
        if !matches!(Name::known(name.trim_ascii()), Some(Name::ContentLength)) {
            continue;
        }
        let digits = std::str::from_utf8(value.get(1..)?).ok()?.trim();
        let length = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
        if declared.replace(length).is_some_and(|earlier| earlier != length) {
            return None;
        }
    }
    declared
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nl: 2\r\n\r\nhi";

    #[test]
    fn cuts_a_stream_fed_byte_by_byte() {
        let mut framer = Framer::new(&Limits::default());
        let mut frames = Vec::new();
        for byte in [MESSAGE, b"\r\n\r\n", MESSAGE].concat() {
            framer.push(&[byte]);
            while let Some(frame) = framer.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        let message = Frame::Message(Bytes::from_static(MESSAGE));
        assert_eq!(frames, [message.clone(), Frame::Ping, message]);
    }

    #[test]
    fn refuses_what_cannot_be_framed() {
        let mut framer = Framer::new(&Limits::default());
        framer.push(b"OPTIONS sip:a@b SIP/2.0\r\nCSeq: 1 OPTIONS\r\n\r\n");
        assert_eq!(framer.next_frame(), Err(FrameError::ContentLength));
        let mut framer = Framer::new(&Limits { max_bytes: 64, ..Limits::default() });
        framer.push(&[b'x'; 65]);
        assert_eq!(framer.next_frame(), Err(FrameError::TooLarge { limit: 64 }));
    }
}
