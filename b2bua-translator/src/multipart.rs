//! Bodies in several parts (RFC 2046 §5.1, RFC 5621).

use bytes::Bytes;

/// One part of a body, or a whole body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    /// Content-Type, with its parameters.
    pub(crate) content_type: String,
    /// Content-Disposition, with its parameters; empty when it is not said.
    pub(crate) disposition: String,
    /// Whether its bytes are not what they stand for (Content-Encoding, or a Content-Transfer-Encoding that is more than a name).
    pub(crate) encoded: bool,
    pub(crate) bytes: Bytes,
}

impl Part {
    /// The media type without parameters, in lower case.
    pub(crate) fn kind(&self) -> String {
        self.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// Whether whoever does not understand it may ignore it (RFC 3261 §20.11).
    pub(crate) fn is_optional(&self) -> bool {
        parameter(&self.disposition, "handling").is_some_and(|value| value.eq_ignore_ascii_case("optional"))
    }

    /// Whether it describes the session, by its disposition (RFC 3261 §20.11: what SDP is by default).
    pub(crate) fn is_for_session(&self) -> bool {
        let disposition = self.disposition.split(';').next().unwrap_or_default().trim();
        disposition.is_empty() || disposition.eq_ignore_ascii_case("session")
    }

    /// Its parts; `None` when it is not readable as a body of several.
    pub(crate) fn parts(&self) -> Option<Vec<Part>> {
        let boundary = parameter(&self.content_type, "boundary")?;
        if boundary.is_empty() || boundary.len() > MAX_BOUNDARY {
            return None;
        }
        let delimiter = format!("--{boundary}").into_bytes();
        let mut parts = Vec::new();
        let mut from = next_delimiter(&self.bytes, &delimiter, 0)?;
        while !from.is_last {
            let to = next_delimiter(&self.bytes, &delimiter, from.after)?;
            if parts.len() == MAX_PARTS {
                return None;
            }
            // The line end before a delimiter belongs to it; an empty part has none left.
            parts.push(read(self.bytes.slice(from.after..to.before.max(from.after))));
            from = to;
        }
        Some(parts)
    }
}

/// A line that separates parts.
struct Delimiter {
    /// Where the part before it ends.
    before: usize,
    /// Where the next part starts.
    after: usize,
    is_last: bool,
}

fn next_delimiter(body: &[u8], delimiter: &[u8], from: usize) -> Option<Delimiter> {
    let mut start = from;
    loop {
        let rest = body.get(start..).filter(|rest| !rest.is_empty())?;
        let end = rest.iter().position(|&byte| byte == b'\n').map_or(body.len(), |at| start + at + 1);
        let line = body.get(start..end)?.trim_ascii_end();
        let is_last = match line.strip_prefix(delimiter) {
            Some(b"") => Some(false),
            Some(b"--") => Some(true),
            _ => None,
        };
        if let Some(is_last) = is_last {
            let text = body.get(..start)?;
            let text = text.strip_suffix(b"\n").unwrap_or(text);
            let before = text.strip_suffix(b"\r").unwrap_or(text).len();
            return Some(Delimiter { before, after: end, is_last });
        }
        start = end;
    }
}

/// Headers, an empty line, content.
fn read(bytes: Bytes) -> Part {
    let mut part = Part { content_type: "text/plain".into(), ..Part::default() };
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end + 1);
        let line = rest.get(..length).unwrap_or_default().trim_ascii();
        at += length;
        if line.is_empty() {
            part.bytes = bytes.slice(at.min(bytes.len())..);
            return part;
        }
        let line = String::from_utf8_lossy(line);
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim().to_owned();
        match name.trim().to_ascii_lowercase().as_str() {
            "content-type" | "c" => part.content_type = value,
            "content-disposition" => part.disposition = value,
            "content-encoding" | "e" => part.encoded = true,
            "content-transfer-encoding" => {
                part.encoded |= !PLAIN.iter().any(|plain| value.eq_ignore_ascii_case(plain));
            }
            _ => {}
        }
    }
}

/// The value of a parameter, without quotes.
fn parameter<'a>(value: &'a str, wanted: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"'))
    })
}

/// Transfer encodings that leave the bytes as they are (RFC 2045 §6.2).
const PLAIN: [&str; 3] = ["7bit", "8bit", "binary"];
/// Parts of a body that are read.
const MAX_PARTS: usize = 16;
/// RFC 2046 §5.1.1.
const MAX_BOUNDARY: usize = 70;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(content_type: &str, body: &str) -> Part {
        Part {
            content_type: content_type.into(),
            bytes: Bytes::copy_from_slice(body.as_bytes()),
            ..Part::default()
        }
    }

    /// RFC 2046 §5.1.1: parts stand between delimiter lines; what is before the first and after the last is no part.
    #[test]
    fn parts_stand_between_delimiters() {
        let body = "preamble\r\n--b 1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b 1  \r\ncontent-type: a/b\r\n\
                    Content-Disposition: x; handling=Optional\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==\r\n--b 1--\r\nafter";
        let parts = whole("multipart/mixed;boundary=\"b 1\"", body).parts().unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].kind().as_str(), &parts[0].bytes[..]), ("application/sdp", &b"v=0\r\n"[..]));
        assert!(parts[0].is_for_session() && !parts[0].is_optional() && !parts[0].encoded);
        assert!(!parts[1].is_for_session() && parts[1].is_optional() && parts[1].encoded);
    }

    #[test]
    fn what_is_no_body_of_parts() {
        for (content_type, body) in [
            ("multipart/mixed", "--b\r\n\r\n--b--"),
            ("multipart/mixed;boundary=b", "--b\r\n\r\nno end"),
            ("multipart/mixed;boundary=b", "nothing"),
            ("multipart/mixed;boundary=", "--\r\n\r\n----"),
        ] {
            assert!(whole(content_type, body).parts().is_none(), "{content_type} {body}");
        }
        let many = "--b\r\n\r\n".repeat(40) + "--b--";
        assert!(whole("multipart/mixed;boundary=b", &many).parts().is_none());
        assert_eq!(whole("multipart/mixed;boundary=b", "--b\n--b--").parts().unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            lines in proptest::collection::vec(proptest::sample::select(&["--b", "--b--", "", "x:", "Content-Type: a", "v=0", "--"][..]), 0..12),
            end in proptest::sample::select(&["\r\n", "\n", "\r", ""][..]),
        ) {
            let _ = whole("multipart/mixed;boundary=b", &lines.join(end)).parts();
        }
    }
}
