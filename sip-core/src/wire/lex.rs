//! Characters, tokens, quoted strings and the splitting of lists (RFC 3261 §25.1).

use std::borrow::Cow;

/// A token's characters.
pub(crate) fn is_token(byte: u8) -> bool {
    // A table, because every name and tag passes here.
    TOKEN.get(byte as usize).copied().unwrap_or(false)
}

/// Whether the text is one token.
pub(crate) fn is_token_text(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token)
}

/// Linear white space; a folded line's end counts as such (RFC 3261 §7.3.1).
pub(crate) fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Without linear white space at both ends.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii() && is_lws(c as u8))
}

/// A header's value as text on one line: folds become one space (RFC 3261 §7.3.1), and what is not UTF-8 is read as Latin-1,
/// which old phones write in display names.
pub(crate) fn read(bytes: &[u8]) -> Cow<'_, str> {
    match (std::str::from_utf8(bytes), memchr::memchr2(b'\r', b'\n', bytes)) {
        (Ok(text), None) => Cow::Borrowed(text),
        (Ok(_), Some(_)) => Cow::Owned(String::from_utf8_lossy(&unfold(bytes)).into_owned()),
        (Err(_), _) => Cow::Owned(unfold(bytes).iter().map(|&byte| byte as char).collect()),
    }
}

/// The bytes on one line: folds, and line ends that should not be there, become one space.
pub(crate) fn unfold(bytes: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\r', b'\n', bytes).is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut line = Vec::with_capacity(bytes.len());
    let mut folding = false;
    for &byte in bytes {
        match byte {
            b'\r' | b'\n' if !folding => {
                folding = true;
                while line.last().is_some_and(|&last| is_lws(last)) {
                    line.pop();
                }
                line.push(b' ');
            }
            _ if folding && is_lws(byte) => {}
            _ => {
                folding = false;
                line.push(byte);
            }
        }
    }
    Cow::Owned(line)
}

/// The text with spaces for line ends and NULs, so that no value smuggles in a header.
pub(crate) fn one_line(text: String) -> String {
    match memchr::memchr3(b'\r', b'\n', 0, text.as_bytes()) {
        None => text,
        Some(_) => text.replace(['\r', '\n', '\0'], " "),
    }
}

/// Splits at `separator` wherever it stands outside quotes and angle brackets. Gives byte ranges, not trimmed.
pub(crate) fn split_outside(bytes: &[u8], separator: u8) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let from = start?;
        let end = find_outside(bytes, from, separator);
        start = end.map(|end| end + 1);
        Some(from..end.unwrap_or(bytes.len()))
    })
}

/// Where `wanted` first stands at or after `from`, outside quotes and angle brackets.
pub(crate) fn find_outside(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    let tail = bytes.get(from..)?;
    memchr::memchr(wanted, tail)?;
    let mut place = Place::Outside;
    for (at, &byte) in tail.iter().enumerate() {
        if byte == wanted && place == Place::Outside {
            return Some(from + at);
        }
        place = place.after(byte);
    }
    None
}

/// Whether every quoted string and angle bracket is closed. Where one is not, nobody can say where the value ends.
pub(crate) fn is_closed(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr2(b'"', b'<', bytes).is_none()
        || bytes.iter().fold(Place::Outside, |place, &byte| place.after(byte)) == Place::Outside
}

/// The inside of a quoted string with its escapes undone, or the text itself when it is not quoted.
pub(crate) fn unquote(text: &str) -> String {
    let text = trim(text);
    let Some(inside) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut plain = String::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            other => plain.push(other),
        }
    }
    plain
}

/// A quoted string, with what must be escaped escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// Where a byte of a header's value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    /// Inside a quoted string, where a backslash escapes.
    Quoted,
    Escaped,
    /// Inside angle brackets. A quote means nothing there, since no URI holds one: else `<sip:a"@b>` would swallow what follows it.
    Bracketed,
}

impl Place {
    fn after(self, byte: u8) -> Place {
        match (self, byte) {
            (Place::Outside, b'"') => Place::Quoted,
            (Place::Outside, b'<') => Place::Bracketed,
            (Place::Quoted, b'\\') => Place::Escaped,
            (Place::Quoted, b'"') | (Place::Bracketed, b'>') => Place::Outside,
            (Place::Escaped, _) => Place::Quoted,
            (place, _) => place,
        }
    }
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        let mark = matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        table[at] = mark || byte.is_ascii_alphanumeric();
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        split_outside(text.as_bytes(), b',').map(|range| &text[range]).collect()
    }

    #[test]
    fn splits_outside_quotes_and_brackets_only() {
        assert_eq!(split(r#""a,\"b" <sip:a,b@c>;x="1,2",d"#), [r#""a,\"b" <sip:a,b@c>;x="1,2""#, "d"]);
        assert_eq!(split(r#"<sip:a"@b>, <sip:c>"#), [r#"<sip:a"@b>"#, " <sip:c>"]);
        assert_eq!(split("a>,b"), ["a>", "b"]);
        assert_eq!(split(""), [""]);
    }

    #[test]
    fn knows_what_is_not_closed() {
        for closed in ["", "a", r#""a\"" <sip:b>"#, r#"<sip:a">"#, "a>b"] {
            assert!(is_closed(closed), "{closed}");
        }
        for open in ["\"a", r#"x="a\""#, "x=<a", r#""a" <b"#] {
            assert!(!is_closed(open), "{open}");
        }
    }

    #[test]
    fn reads_folds_and_latin_1() {
        assert_eq!(read(b"a \r\n\t b\n c"), "a b c");
        assert_eq!(read(b"M\xfcller\r\n x"), "M\u{fc}ller x");
        assert_eq!(read("ü\r\n x".as_bytes()), "ü x");
    }
}
