//! The span index: a line is `kind=value` up to LF or CRLF (RFC 8866 §5).

use std::ops::Range;

/// One line of a body, as offsets into it.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// The letter before `=`, or [`NO_KIND`].
    pub(super) kind: u8,
    pub(super) start: usize,
    /// Where the text ends: before the line end.
    pub(super) end: usize,
    /// Where the next line starts: `end` again when the body stops without a line end.
    pub(super) next: usize,
}

impl Line {
    /// What stands after `kind=`; the whole line when it has no kind.
    pub(super) fn value<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        body.get(self.value_span()).unwrap_or_default()
    }

    pub(super) fn value_span(&self) -> Range<usize> {
        let start = if self.kind == NO_KIND { self.start } else { self.start + 2 };
        start..self.end
    }

    /// The line with its line end.
    pub(super) fn whole_span(&self) -> Range<usize> {
        self.start..self.next
    }

    /// Name and value of an `a=` line; the value of a flag is empty.
    pub(super) fn attribute<'a>(&self, body: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        if self.kind != b'a' {
            return None;
        }
        let text = self.value(body);
        Some(match text.iter().position(|&byte| byte == b':') {
            Some(colon) => (text.get(..colon)?, text.get(colon + 1..)?),
            None => (text.trim_ascii_end(), &[]),
        })
    }
}

/// More lines than allowed; holds the limit.
pub(super) struct Limit(pub(super) usize);

/// Cuts a body into lines.
pub(super) fn index(body: &[u8], limit: usize) -> Result<Vec<Line>, Limit> {
    let mut lines = Vec::with_capacity(32);
    let mut start = 0;
    while start < body.len() {
        if lines.len() == limit {
            return Err(Limit(limit));
        }
        let rest = body.get(start..).unwrap_or_default();
        let (length, next) = match rest.iter().position(|&byte| byte == b'\n') {
            Some(at) => (at, start + at + 1),
            None => (rest.len(), body.len()),
        };
        let text = rest.get(..length).unwrap_or_default();
        let length = text.strip_suffix(b"\r").map_or(length, <[u8]>::len);
        let kind = match text {
            [kind, b'=', ..] if kind.is_ascii_alphabetic() => *kind,
            _ => NO_KIND,
        };
        lines.push(Line { kind, start, end: start + length, next });
        start = next;
    }
    Ok(lines)
}

/// The values of one attribute among some lines.
pub(super) fn attributes<'a, 'n>(
    lines: &'a [Line],
    body: &'a [u8],
    name: &'n str,
) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
    lines.iter().filter_map(move |line| {
        let (found, value) = line.attribute(body)?;
        (found == name.as_bytes()).then_some(value)
    })
}

/// The fields of a value, with the offset of each, cut at blanks of any number.
pub(super) fn fields(value: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = value.get(at..)?;
        let skip = rest.iter().position(|byte| !is_blank(*byte))?;
        let rest = rest.get(skip..)?;
        let length = rest.iter().position(|byte| is_blank(*byte)).unwrap_or(rest.len());
        let start = at + skip;
        at = start + length;
        Some((start, rest.get(..length)?))
    })
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// The kind of a line that is not `letter=value`.
pub(super) const NO_KIND: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_the_body_without_gaps() {
        let body = b"v=0\r\ns=-\n\nx\r\n=\na=b:c";
        let Ok(lines) = index(body, 10) else { panic!("limit") };
        let kinds: Vec<u8> = lines.iter().map(|line| line.kind).collect();
        assert_eq!(kinds, [b'v', b's', 0, 0, 0, b'a']);
        let mut at = 0;
        for line in &lines {
            assert_eq!(line.start, at);
            at = line.next;
        }
        assert_eq!(at, body.len());
        assert_eq!(lines[5].attribute(body), Some((&b"b"[..], &b"c"[..])));
    }

    #[test]
    fn fields_know_their_place() {
        let found: Vec<(usize, &[u8])> = fields(b" audio\t 4000  RTP/AVP ").collect();
        assert_eq!(found, [(1, &b"audio"[..]), (8, b"4000"), (14, b"RTP/AVP")]);
    }
}
