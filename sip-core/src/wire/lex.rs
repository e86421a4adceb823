//! Characters, tokens, quoted strings and the splitting of lists (RFC 3261 §25.1).

/// A token's characters.
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
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
    let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
    for (at, &byte) in bytes.iter().enumerate().skip(from) {
        if escaped {
            escaped = false;
        } else if quoted {
            match byte {
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
        } else if byte == wanted && !(bracketed && byte != b'>') {
            return Some(at);
        } else {
            match byte {
                b'"' => quoted = true,
                b'<' => bracketed = true,
                b'>' => bracketed = false,
                _ => {}
            }
        }
    }
    None
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
