//! Lines out of a TCP stream.

/// Collects what a peer sends until a line is whole. Holds a bounded number of bytes.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
}

/// The peer sent more than is held before a line was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {} bytes without a line being taken", LineBuffer::LIMIT)]
pub struct TooLong;

impl LineBuffer {
    /// How many bytes are held. The longest line of the protocol has about a quarter of that.
    pub const LIMIT: usize = 512;

    /// Adds what was received.
    ///
    /// # Errors
    /// [`TooLong`] when more than [`LIMIT`](Self::LIMIT) bytes would be held; nothing is added then.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.bytes.len().saturating_add(bytes.len()) > Self::LIMIT {
            return Err(TooLong);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes the next whole line, without its end (CRLF or a bare LF).
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n')?;
        let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(line)
    }

    /// Forgets what was received.
    pub fn clear(&mut self) {
        self.bytes = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for piece in pieces {
            buffer.extend(piece).unwrap();
            lines.extend(std::iter::from_fn(|| buffer.next_line()));
        }
        lines
    }

    #[test]
    fn both_line_ends_are_taken_wherever_the_stream_is_cut() {
        assert_eq!(lines(&[b"ping\r\nhelp\nqu", b"it\r", b"\n"]), [&b"ping"[..], b"help", b"quit"]);
        assert_eq!(lines(&[b"\n\r\n"]), [&b""[..], b""]);
        assert_eq!(lines(&[b"a\rb\r\r\n"]), [&b"a\rb\r"[..]], "only one CR belongs to the line's end");
        assert!(lines(&[b"no end"]).is_empty());
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut buffer = LineBuffer::default();
        buffer.extend(&[b'x'; LineBuffer::LIMIT]).unwrap();
        assert_eq!(buffer.extend(b"\n"), Err(TooLong));
        assert_eq!(buffer.next_line(), None);
    }

    proptest! {
        #[test]
        fn cutting_a_stream_changes_no_line(text in "[a-c\r\n]{0,60}", cut in 0usize..60) {
            let (head, tail) = text.as_bytes().split_at(cut.min(text.len()));
            prop_assert_eq!(lines(&[head, tail]), lines(&[text.as_bytes()]));
        }
    }
}
