//! Cutting a byte stream into messages by Content-Length (RFC 3261 §18.3).

use bytes::{Buf, Bytes, BytesMut};

use super::{Limits, parse};

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

/// Collects bytes of one stream and gives whole messages. How the stream was cut into reads makes no difference.
///
/// After an error the stream is of no use: every further call gives the same error.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    limit: usize,
    progress: Progress,
}

/// What is known of the message at the buffer's front, so that a slow sender costs no quadratic work.
#[derive(Debug, Clone, Copy)]
enum Progress {
    /// Nothing: the next byte begins a message or stands between two.
    Between,
    /// The message has begun, and its head does not end before this place.
    Head(usize),
    /// The message has so many bytes.
    Whole(usize),
}

impl Framer {
    /// A framer that refuses messages over `limits.max_bytes`.
    pub fn new(limits: &Limits) -> Framer {
        Framer { buffer: BytesMut::new(), limit: limits.max_bytes, progress: Progress::Between }
    }

    /// Takes bytes that were read. The caller drains [`next_frame`](Framer::next_frame) before it pushes more, which bounds the
    /// buffer to the limit and one read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            match self.progress {
                Progress::Between => match self.between() {
                    Some(frame) => return Ok(Some(frame)),
                    None if self.buffer.is_empty() => {
                        // Most streams are idle most of the time, and shall keep no memory then.
                        self.buffer = BytesMut::new();
                        return Ok(None);
                    }
                    None if is_line_end(&self.buffer) => return Ok(None),
                    None => self.progress = Progress::Head(0),
                },
                Progress::Head(from) => match parse::find_body(&self.buffer, from) {
                    Ok(head) => self.progress = Progress::Whole(self.total(head)?),
                    Err(resume) => {
                        self.within_limit(self.buffer.len())?;
                        self.progress = Progress::Head(resume);
                        return Ok(None);
                    }
                },
                Progress::Whole(total) if self.buffer.len() < total => return Ok(None),
                Progress::Whole(total) => {
                    self.progress = Progress::Between;
                    return Ok(Some(Frame::Message(self.buffer.split_to(total).freeze())));
                }
            }
        }
    }

    /// The head of the message that could not be framed, when there is one: its sender can be told (RFC 4475 §3.1.2.3).
    pub fn unframed(&self) -> Option<Bytes> {
        let Progress::Head(from) = self.progress else { return None };
        let head = parse::find_body(&self.buffer, from).ok()?;
        self.buffer.get(..head).map(Bytes::copy_from_slice)
    }

    /// A ping, when the buffer begins with one; other line ends between messages are dropped (RFC 3261 §7.5).
    fn between(&mut self) -> Option<Frame> {
        loop {
            if self.buffer.starts_with(PING) {
                self.buffer.advance(PING.len());
                return Some(Frame::Ping);
            }
            // What may yet become a ping is kept.
            if !is_line_end(&self.buffer) || PING.starts_with(&self.buffer) {
                return None;
            }
            self.buffer.advance(1);
        }
    }

    /// Bytes of the message whose head ends at `head`.
    fn total(&self, head: usize) -> Result<usize, FrameError> {
        self.within_limit(head)?;
        let declared = parse::content_length(self.buffer.get(..head).unwrap_or_default());
        let length = declared.ok().flatten().ok_or(FrameError::ContentLength)?;
        let total = head.saturating_add(length);
        self.within_limit(total).map(|()| total)
    }

    fn within_limit(&self, size: usize) -> Result<(), FrameError> {
        if size > self.limit { Err(FrameError::TooLarge { limit: self.limit }) } else { Ok(()) }
    }
}

fn is_line_end(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(b'\r' | b'\n'))
}

const PING: &[u8] = b"\r\n\r\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MESSAGE: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nl: 2\r\n\r\nhi";

    /// All frames of a stream that comes in chunks, and how it ended.
    fn frames<'a>(
        chunks: impl Iterator<Item = &'a [u8]>,
        limit: usize,
    ) -> (Vec<Frame>, Result<(), FrameError>) {
        let mut framer = Framer::new(&Limits { max_bytes: limit, ..Limits::default() });
        let mut frames = Vec::new();
        for chunk in chunks {
            framer.push(chunk);
            loop {
                match framer.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(framer.next_frame(), Err(error.clone()));
                        return (frames, Err(error));
                    }
                }
            }
        }
        (frames, Ok(()))
    }

    #[test]
    fn cuts_a_stream_fed_byte_by_byte() {
        let stream = [MESSAGE, b"\r\n\r\n", b"\r\n", MESSAGE].concat();
        let message = Frame::Message(Bytes::from_static(MESSAGE));
        let expected = (vec![message.clone(), Frame::Ping, message], Ok(()));
        assert_eq!(frames(stream.chunks(1), 1000), expected);
        assert_eq!(frames(stream.chunks(1000), 1000), expected);
    }

    #[test]
    fn what_cannot_be_framed_can_be_answered() {
        let mut framer = Framer::new(&Limits::default());
        framer.push(b"OPTIONS sip:a@b SIP/2.0\r\nl: -1\r\n\r\nrest");
        assert_eq!(framer.unframed(), None);
        assert_eq!(framer.next_frame(), Err(FrameError::ContentLength));
        assert_eq!(framer.unframed().as_deref(), Some(&b"OPTIONS sip:a@b SIP/2.0\r\nl: -1\r\n\r\n"[..]));
    }

    #[test]
    fn refuses_what_cannot_be_framed() {
        let fault = |text: &[u8]| frames(std::iter::once(text), 64).1;
        for head in [
            "OPTIONS sip:a@b SIP/2.0\r\nCSeq: 1 OPTIONS\r\n\r\n",
            "OPTIONS sip:a@b SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\n",
            "OPTIONS sip:a@b SIP/2.0\r\nl:\r\n\r\n",
            // The body begins at the first empty line, whatever ends it.
            "OPTIONS sip:a@b SIP/2.0\nCSeq: 1\n\nl: 0\r\n\r\n",
        ] {
            assert_eq!(fault(head.as_bytes()), Err(FrameError::ContentLength), "{head}");
        }
        assert_eq!(fault(&[b'x'; 65]), Err(FrameError::TooLarge { limit: 64 }));
        assert_eq!(fault(b"OPTIONS a SIP/2.0\r\nl: 40\r\n\r\n"), Err(FrameError::TooLarge { limit: 64 }));
        assert_eq!(fault(b"OPTIONS a SIP/2.0\r\nContent-Length :\r\n 0\r\n\r\n"), Ok(()));
    }

    proptest! {
        /// However a stream is cut into reads, the same frames come out.
        #[test]
        fn chunks_make_no_difference(
            pieces in proptest::collection::vec(prop::sample::select(vec![
                &b"\r\n"[..], b"\n", b"\r", b"\r\n\r\n", MESSAGE, b"X a SIP/2.0\nl:3\n\nabc", b"l: 1\r\n", b" ", b"O",
            ]), 0..12),
            cuts in proptest::collection::vec(1usize..40, 1..40),
            limit in 20usize..120,
        ) {
            let stream = pieces.concat();
            let whole = frames(std::iter::once(&stream[..]), limit);
            let mut rest = &stream[..];
            let chunked = std::iter::from_fn({
                let mut cuts = cuts.iter().cycle();
                move || {
                    let (chunk, tail) = rest.split_at((*cuts.next()?).min(rest.len()));
                    rest = tail;
                    (!chunk.is_empty()).then_some(chunk)
                }
            });
            prop_assert_eq!(frames(chunked, limit), whole);
        }
    }
}
