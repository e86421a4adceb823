//! Preconditions (RFC 3312): resources that one side wants to be sure of before the other rings. We reserve none.

use super::Sdp;
use super::line::fields;
use super::media::Media;

impl Sdp {
    /// Whether a section demands a precondition that is not met yet (RFC 3312 §5): one of strength `mandatory`, whose wanted
    /// directions its current status does not cover.
    pub fn demands_preconditions(&self) -> bool {
        self.media()
            .filter(|media| !media.is_rejected())
            .any(|media| media.attributes("des").any(|des| !is_met(&media, des)))
    }
}

/// `a=des:qos mandatory e2e sendrecv` against `a=curr:qos e2e none`.
fn is_met(media: &Media<'_>, desired: &[u8]) -> bool {
    let desired: Vec<&[u8]> = words(desired).collect();
    let [kind, strength, status, direction] = desired.as_slice() else { return true };
    if !strength.eq_ignore_ascii_case(b"mandatory") {
        return true;
    }
    let current = media.attributes("curr").find_map(|current| {
        let current: Vec<&[u8]> = words(current).collect();
        match current.as_slice() {
            [of, at, direction] if of == kind && at.eq_ignore_ascii_case(status) => Some(*direction),
            _ => None,
        }
    });
    let has = |direction: &[u8], way: &[u8]| {
        direction.eq_ignore_ascii_case(way) || direction.eq_ignore_ascii_case(b"sendrecv")
    };
    [&b"send"[..], b"recv"]
        .into_iter()
        .all(|way| !has(direction, way) || current.is_some_and(|current| has(current, way)))
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    fields(value).map(|(_, field)| field)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3312 §5: a mandatory precondition holds when the current status covers what is desired.
    #[test]
    fn only_mandatory_and_unmet_ones_count() {
        let demands = |lines: &str| {
            let body = format!(
                "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n{lines}"
            );
            Sdp::parse(body).unwrap().demands_preconditions()
        };
        for (lines, wanted) in [
            ("", false),
            ("a=curr:qos e2e none\r\na=des:qos mandatory e2e sendrecv\r\n", true),
            ("a=curr:qos e2e send\r\na=des:qos mandatory e2e sendrecv\r\n", true),
            ("a=curr:qos e2e sendrecv\r\na=des:qos mandatory e2e sendrecv\r\n", false),
            ("a=curr:qos e2e recv\r\na=des:qos mandatory e2e recv\r\n", false),
            ("a=curr:qos local none\r\na=des:qos optional remote sendrecv\r\n", false),
            ("a=des:qos mandatory local sendrecv\r\n", true),
            ("a=des:qos mandatory local none\r\n", false),
            ("a=des:qos\r\n", false),
        ] {
            assert_eq!(demands(lines), wanted, "{lines}");
        }
    }
}
