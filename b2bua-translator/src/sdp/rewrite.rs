//! From one leg's body to the other's, by splices.

use std::net::IpAddr;
use std::ops::Range;

use bytes::Bytes;

use super::Sdp;
use super::address::typed_address;
use super::line::{Line, NO_KIND, fields};
use super::media::{Direction, Media};
use super::origin::OwnOrigin;

/// What to change in a body on its way to the other leg. The default changes nothing.
#[derive(Debug, Clone, Default)]
pub struct Rewrite {
    /// Our own `o=` value; `None` leaves the line as it is.
    pub origin: Option<OwnOrigin>,
    /// One entry a media section, in order. Sections past the end are left.
    pub media: Vec<MediaRewrite>,
    /// Names of further attributes to take out (a policy such as "no `altc` toward this trunk"), at session level and
    /// in the sections that are not left. Case matters, as in RFC 8866 §5.13.
    pub remove_attributes: Vec<String>,
}

/// What happens to one media section.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MediaRewrite {
    /// It passes byte for byte.
    #[default]
    Leave,
    /// It is refused: its port becomes 0 (RFC 3264 §6), and addresses in it are hidden.
    Reject,
    /// Its packets go through our relay. A section that is rejected already stays so.
    Relay {
        /// The relay's address on the leg that the body goes to.
        address: IpAddr,
        /// The relay's RTP port.
        rtp_port: u16,
        /// The relay's RTCP port.
        rtcp_port: u16,
    },
}

/// Writes the body for the other leg.
///
/// Changed are only: `o=` as given; `c=` (added where a section needs its own); the port in `m=`, without a count, since
/// one pair is relayed; `a=rtcp` (RFC 3605; added when RTCP's port is not the one after RTP's); ICE attributes, which
/// are taken out because we do not answer ICE; and the direction, where the body spelled hold as an unspecified address.
/// Line ends and everything else stay.
pub fn rewrite(sdp: &Sdp, plan: &Rewrite) -> Bytes {
    let mut splices = Splices::new(sdp);
    if let Some(origin) = &plan.origin {
        splices.origin(origin);
    }
    if plan.media.iter().take(sdp.media_count()).any(|action| *action != MediaRewrite::Leave) {
        rewrite_media(&mut splices, plan);
    }
    splices.apply()
}

fn rewrite_media(splices: &mut Splices<'_>, plan: &Rewrite) {
    let sdp = splices.sdp;
    let relayed = |action: &MediaRewrite| match action {
        MediaRewrite::Relay { address, .. } => Some(*address),
        MediaRewrite::Leave | MediaRewrite::Reject => None,
    };
    // What the session's line shall say: what the sections that rely on it need, else whatever hides the other leg.
    let heirs = plan.media.iter().zip(sdp.media()).filter(|(_, media)| media.own_connection().is_none());
    let cover = heirs
        .filter_map(|(action, _)| relayed(action))
        .next()
        .or(plan.origin.as_ref().map(|origin| origin.address))
        .or_else(|| plan.media.iter().find_map(relayed));

    let session_connection = sdp.session_lines().iter().find(|line| line.kind == b'c');
    let session_address = session_connection.and(cover);
    splices.connections(sdp.session_lines(), cover);
    splices.remove_attributes(sdp.session_lines(), &plan.remove_attributes);

    for (index, media) in sdp.media().enumerate() {
        let lines = sdp.lines.get(sdp.section_lines(index)).unwrap_or_default();
        match plan.media.get(index).copied().unwrap_or_default() {
            MediaRewrite::Leave => {
                if let (Some(line), Some(_)) = (session_connection, session_address)
                    && media.own_connection().is_none()
                    && !media.is_rejected()
                {
                    // The session's address changes over its head: it keeps its own.
                    splices.insert_connection(lines, line.value(&sdp.bytes));
                }
                continue;
            }
            MediaRewrite::Reject => {
                splices.reject(&media);
                splices.connections(lines, cover);
                splices.remove_named(lines, |name| name == b"rtcp");
            }
            MediaRewrite::Relay { address, .. } if media.is_rejected() => {
                splices.connections(lines, Some(address));
                splices.remove_named(lines, |name| name == b"rtcp");
            }
            MediaRewrite::Relay { address, rtp_port, rtcp_port } => {
                splices.port(&media, rtp_port);
                splices.connections(lines, Some(address));
                if !lines.iter().any(|line| line.kind == b'c') && session_address != Some(address) {
                    splices.insert_connection(lines, typed_address(address).as_bytes());
                }
                splices.rtcp(&media, lines, address, rtp_port, rtcp_port);
                splices.direction(&media, lines);
            }
        }
        splices.remove_attributes(lines, &plan.remove_attributes);
    }
}

/// The edits of one body, collected in any order.
pub(super) struct Splices<'a> {
    sdp: &'a Sdp,
    line_end: &'a [u8],
    edits: Vec<(Range<usize>, Vec<u8>)>,
}

impl<'a> Splices<'a> {
    pub(super) fn new(sdp: &'a Sdp) -> Self {
        let written = sdp.lines.first().and_then(|line| sdp.bytes.get(line.end..line.next));
        let line_end = written.filter(|end| end.ends_with(b"\n")).unwrap_or(b"\r\n");
        Splices { sdp, line_end, edits: Vec::new() }
    }

    fn origin(&mut self, origin: &OwnOrigin) {
        let value = origin.to_string();
        let lines = self.sdp.session_lines();
        if let Some(line) = lines.iter().find(|line| line.kind == b'o') {
            self.replace(line.value_span(), value.into_bytes());
        } else if let Some(version) = lines.iter().find(|line| line.kind == b'v') {
            self.insert_after(version, format!("o={value}").as_bytes());
        }
    }

    fn connections(&mut self, lines: &[Line], address: Option<IpAddr>) {
        let Some(address) = address else { return };
        for line in lines.iter().filter(|line| line.kind == b'c') {
            self.replace(line.value_span(), typed_address(address).into_bytes());
        }
    }

    /// Adds a `c=` where it belongs: after `m=` and `i=` (RFC 8866 §5).
    fn insert_connection(&mut self, lines: &[Line], value: &[u8]) {
        let title = lines.get(1).filter(|line| line.kind == b'i');
        if let Some(line) = title.or(lines.first()) {
            self.insert_after(line, &[b"c=", value].concat());
        }
    }

    pub(super) fn port(&mut self, media: &Media<'_>, port: u16) {
        if let Some(span) = media.port_span() {
            self.replace(span, port.to_string().into_bytes());
        }
    }

    fn reject(&mut self, media: &Media<'_>) {
        if !media.is_rejected() {
            self.port(media, 0);
        }
    }

    fn rtcp(&mut self, media: &Media<'_>, lines: &[Line], address: IpAddr, rtp_port: u16, rtcp_port: u16) {
        let mut found = false;
        for line in lines {
            let Some((b"rtcp", value)) = line.attribute(&self.sdp.bytes) else { continue };
            found = true;
            let text = if fields(value).count() > 1 {
                format!("rtcp:{rtcp_port} {}", typed_address(address))
            } else {
                format!("rtcp:{rtcp_port}")
            };
            self.replace(line.value_span(), text.into_bytes());
        }
        if !found && media.is_rtp() && rtp_port.checked_add(1) != Some(rtcp_port) {
            self.insert_attribute(lines, &format!("a=rtcp:{rtcp_port}"));
        }
    }

    /// Keeps the meaning of an unspecified address, which is about to become a real one (RFC 3264 §8.4).
    fn direction(&mut self, media: &Media<'_>, lines: &[Line]) {
        let (wanted, written) = (media.direction(), media.written_direction());
        if wanted == written {
            return;
        }
        let mut found = false;
        for line in lines {
            if Direction::of_line(line, &self.sdp.bytes).is_some() {
                found = true;
                self.replace(line.value_span(), wanted.as_str().into());
            }
        }
        if !found {
            self.insert_attribute(lines, &format!("a={}", wanted.as_str()));
        }
    }

    fn remove_attributes(&mut self, lines: &[Line], names: &[String]) {
        self.remove_named(lines, |name| is_ice(name) || names.iter().any(|other| other.as_bytes() == name));
    }

    fn remove_named(&mut self, lines: &[Line], unwanted: impl Fn(&[u8]) -> bool) {
        for line in lines {
            if line.attribute(&self.sdp.bytes).is_some_and(|(name, _)| unwanted(name)) {
                self.replace(line.whole_span(), Vec::new());
            }
        }
    }

    /// Adds an `a=` line: before the section's first, else as its last line.
    fn insert_attribute(&mut self, lines: &[Line], text: &str) {
        if let Some(first) = lines.iter().find(|line| line.kind == b'a') {
            self.edits.push((first.start..first.start, [text.as_bytes(), self.line_end].concat()));
        } else if let Some(last) = lines.iter().rfind(|line| line.kind != NO_KIND) {
            self.insert_after(last, text.as_bytes());
        }
    }

    fn insert_after(&mut self, line: &Line, text: &[u8]) {
        // A body may stop without a line end, or in the middle of one.
        let ends = self.sdp.bytes.get(line.end..line.next).is_some_and(|end| end.ends_with(b"\n"));
        let text = if ends { [text, self.line_end].concat() } else { [self.line_end, text].concat() };
        self.edits.push((line.next..line.next, text));
    }

    pub(super) fn replace(&mut self, span: Range<usize>, text: Vec<u8>) {
        self.edits.push((span, text));
    }

    pub(super) fn apply(mut self) -> Bytes {
        let body = &self.sdp.bytes;
        if self.edits.is_empty() {
            return body.clone();
        }
        // Stable: insertions at one place keep their order, and stand before a line that is replaced there.
        self.edits.sort_by_key(|(span, _)| (span.start, span.end));
        let added: usize = self.edits.iter().map(|(_, text)| text.len()).sum();
        let mut out = Vec::with_capacity(body.len() + added);
        let mut at = 0;
        for (span, text) in &self.edits {
            // A line can be named twice, by a policy and by us: the first edit holds.
            if span.start < at {
                continue;
            }
            out.extend_from_slice(body.get(at..span.start).unwrap_or_default());
            out.extend_from_slice(text);
            at = span.end;
        }
        out.extend_from_slice(body.get(at..).unwrap_or_default());
        out.into()
    }
}

/// The attributes of ICE (RFC 8839 §5, RFC 8840 §4.2).
fn is_ice(name: &[u8]) -> bool {
    name.starts_with(b"ice-") || matches!(name, b"candidate" | b"remote-candidates" | b"end-of-candidates")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    fn parse(text: &str) -> Sdp {
        Sdp::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    fn relay(address: &str, rtp_port: u16) -> MediaRewrite {
        MediaRewrite::Relay { address: address.parse().unwrap(), rtp_port, rtcp_port: rtp_port + 1 }
    }

    fn text(bytes: Bytes) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_phone_toward_an_ipv4_trunk() {
        let sdp = parse(samples::YEALINK_V6);
        let origin = OwnOrigin::new(77, 3, "198.51.100.9".parse().unwrap());
        let out = rewrite(
            &sdp,
            &Rewrite {
                origin: Some(origin),
                media: vec![relay("198.51.100.9", 30_000)],
                ..Rewrite::default()
            },
        );
        let wanted = samples::YEALINK_V6
            .replace("o=- 20013 20013 IN IP6 2001:db8:42:10::101", "o=- 77 3 IN IP4 198.51.100.9")
            .replace("c=IN IP6 2001:db8:42:10::101", "c=IN IP4 198.51.100.9")
            .replace("m=audio 11780", "m=audio 30000");
        assert_eq!(text(out), wanted);
    }

    #[test]
    fn old_hold_becomes_a_direction() {
        let body = |c: &str, session: &str, media: &str| {
            format!(
                "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n{c}t=0 0\r\n{session}m=audio 4000 RTP/AVP 0\r\n{media}"
            )
        };
        let old = "c=IN IP4 0.0.0.0\r\n";
        let new = "c=IN IP6 2001:db8::9\r\n";
        let cases = [
            (body(old, "", ""), body(new, "", "a=sendonly\r\n")),
            (body(old, "", "a=ptime:20\r\n"), body(new, "", "a=sendonly\r\na=ptime:20\r\n")),
            (body(old, "", "a=ptime:20\r\na=sendrecv\r\n"), body(new, "", "a=ptime:20\r\na=sendonly\r\n")),
            (body(old, "", "a=sendonly\r\n"), body(new, "", "a=sendonly\r\n")),
            (body(old, "", "a=recvonly\r\n"), body(new, "", "a=inactive\r\n")),
            (body(old, "a=inactive\r\n", ""), body(new, "a=inactive\r\n", "")),
            (body(old, "a=sendrecv\r\n", ""), body(new, "a=sendrecv\r\n", "a=sendonly\r\n")),
            (body("", "", old), body("", "", &format!("{new}a=sendonly\r\n"))),
        ];
        for (from, to) in cases {
            let plan = Rewrite { media: vec![relay("2001:db8::9", 4000)], ..Rewrite::default() };
            assert_eq!(text(rewrite(&parse(&from), &plan)), to);
        }
    }

    #[test]
    fn session_and_media_connections() {
        let plan = Rewrite {
            media: vec![relay("2001:db8::9", 30_000), relay("2001:db8::8", 30_002)],
            ..Rewrite::default()
        };
        let only_media = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nt=0 0\nm=audio 4000 RTP/AVP 0\nc=IN IP4 192.0.2.1\n\
                          m=video 4002 RTP/AVP 96\ni=camera\n";
        let wanted = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nt=0 0\nm=audio 30000 RTP/AVP 0\nc=IN IP6 2001:db8::9\n\
                      m=video 30002 RTP/AVP 96\ni=camera\nc=IN IP6 2001:db8::8\n";
        assert_eq!(text(rewrite(&parse(only_media), &plan)), wanted);

        // Both media have their own: the session's must not leak.
        let out = text(rewrite(&parse(samples::CISCO_OWN_C), &plan));
        assert!(!out.contains("192.0.2.7") && !out.contains("c=IN IP4"), "{out}");
    }

    #[test]
    fn a_left_section_keeps_its_address() {
        let body = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n\
                    m=text 4002 RTP/AVP 98";
        let plan = Rewrite { media: vec![relay("2001:db8::9", 30_000)], ..Rewrite::default() };
        let out = rewrite(&parse(body), &plan);
        assert!(text(out.clone()).ends_with("m=text 4002 RTP/AVP 98\r\nc=IN IP4 192.0.2.1"));
        assert_eq!(Sdp::parse(out).unwrap().media_address(1), parse(body).media_address(1));
    }

    #[test]
    fn ice_and_named_attributes_go() {
        let plan = Rewrite {
            media: vec![relay("198.51.100.9", 30_000)],
            remove_attributes: vec!["altc".into()],
            ..Rewrite::default()
        };
        let out = text(rewrite(&parse(samples::ICE_SOFTPHONE), &plan));
        for gone in ["candidate", "ice-", "altc", "c=IN IP6"] {
            assert!(!out.contains(gone), "{gone} in {out}");
        }
        assert!(out.contains("a=rtcp:30001 IN IP4 198.51.100.9\r\n"));
        assert!(out.contains("a=rtcp-mux\r\n"));
        assert!(out.contains("a=fmtp:111 minptime=10;useinbandfec=1\r\n"));
    }

    #[test]
    fn an_unusual_rtcp_port_is_announced() {
        let media = vec![MediaRewrite::Relay {
            address: "192.0.2.9".parse().unwrap(),
            rtp_port: 30_000,
            rtcp_port: 30_009,
        }];
        let out = text(rewrite(&parse(samples::ASTERISK_V4), &Rewrite { media, ..Rewrite::default() }));
        assert!(out.contains("m=audio 30000 RTP/AVP 0 8 101\r\na=rtcp:30009\r\na=rtpmap:0"), "{out}");
    }

    #[test]
    fn rejecting() {
        let sdp = parse(samples::CISCO_OWN_C);
        let plan = Rewrite {
            origin: Some(OwnOrigin::new(1, 1, "2001:db8::9".parse().unwrap())),
            media: vec![MediaRewrite::Reject; sdp.media_count()],
            ..Rewrite::default()
        };
        let out = text(rewrite(&sdp, &plan));
        assert!(out.contains("m=audio 0 RTP/AVP"));
        assert!(!out.contains("192.0.2."), "{out}");
        // A section that came rejected stays so when the plan would relay it.
        let fax = parse(samples::T38_ANSWER);
        let plan = Rewrite { media: vec![relay("2001:db8::9", 30_000); 3], ..Rewrite::default() };
        let out = Sdp::parse(rewrite(&fax, &plan)).unwrap();
        assert!(out.is_rejected(0) && !out.is_rejected(1) && out.is_rejected(2));
        assert_eq!(out.media_address(1).unwrap().1, 30_000);
    }

    #[test]
    fn a_body_that_stops_in_the_middle_of_a_line_end() {
        let plan = Rewrite { media: vec![relay("2001:db8::9", 30_000)], ..Rewrite::default() };
        let out = text(rewrite(&parse("v=0\r\nm=audio 4000 RTP/AVP 0\r"), &plan));
        assert_eq!(out, "v=0\r\nm=audio 30000 RTP/AVP 0\r\r\nc=IN IP6 2001:db8::9");
    }

    #[test]
    fn a_port_count_goes() {
        let sdp = parse(
            "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=video 4000/2 RTP/AVP 31\n",
        );
        let plan = Rewrite { media: vec![relay("192.0.2.9", 30_000)], ..Rewrite::default() };
        assert!(text(rewrite(&sdp, &plan)).ends_with("m=video 30000 RTP/AVP 31\n"));
    }

    #[test]
    fn other_character_sets_pass() {
        let body = b"v=0\r\no=\xe9 1 1 IN IP4 192.0.2.1\r\ns=\xff\xfe\x80\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                     m=audio 4000 RTP/AVP 0\r\na=label:\xa4\xcf\xa4\xa4\r\n";
        let plan = Rewrite { media: vec![relay("2001:db8::9", 30_000)], ..Rewrite::default() };
        let out = rewrite(&Sdp::parse(Bytes::from_static(body)).unwrap(), &plan);
        let wanted =
            b"v=0\r\no=\xe9 1 1 IN IP4 192.0.2.1\r\ns=\xff\xfe\x80\r\nc=IN IP6 2001:db8::9\r\nt=0 0\r\n\
                     m=audio 30000 RTP/AVP 0\r\na=label:\xa4\xcf\xa4\xa4\r\n";
        assert_eq!(out, &wanted[..]);
    }

    #[test]
    fn there_and_back_again() {
        for sample in samples::VALID.iter().filter(|sample| **sample != samples::ICE_SOFTPHONE) {
            let (original, back) = round_trip(&parse(sample));
            assert_eq!(text(original), text(back));
        }
    }

    proptest! {
        #[test]
        fn nothing_named_is_identity(
            body in proptest::collection::vec(any::<u8>(), 0..400),
            leaves in 0_usize..4,
        ) {
            let body = [b"v=0\r\n".to_vec(), body].concat();
            if let Ok(sdp) = Sdp::parse(body.clone()) {
                let plan = Rewrite { media: vec![MediaRewrite::Leave; leaves], ..Rewrite::default() };
                prop_assert_eq!(rewrite(&sdp, &plan), body);
            }
        }

        #[test]
        fn there_and_back_for_any_phone(
            address in any::<u128>().prop_map(|bits| IpAddr::from(bits.to_be_bytes())),
            port in (1_u16..30_000).prop_map(|half| half * 2),
            end in proptest::sample::select(&["\r\n", "\n"][..]),
            session_c in any::<bool>(),
            junk in "[ -~]{0,40}",
            direction in proptest::sample::select(&["sendrecv", "sendonly", "recvonly", "inactive"][..]),
        ) {
            prop_assume!(!address.is_unspecified());
            let c = format!("c=IN IP6 {address}{end}");
            let (session, media) = if session_c { (c.as_str(), "") } else { ("", c.as_str()) };
            let body = format!(
                "v=0{end}o=- 5 6 IN IP6 {address}{end}s={junk}{end}{session}t=0 0{end}m=audio {port} RTP/AVP 0 8{end}{media}\
                 a=x-note:{junk}{end}a={direction}{end}a=rtcp:{}{end}", port + 1
            );
            let (original, back) = round_trip(&parse(&body));
            prop_assert_eq!(original, back);
        }
    }

    /// v6 → v4 → v6 with the first body's own addresses named on the way back.
    fn round_trip(sdp: &Sdp) -> (Bytes, Bytes) {
        let media = sdp.media().map(|_| relay("198.51.100.9", 40_000)).collect();
        let there = Sdp::parse(rewrite(
            sdp,
            &Rewrite {
                origin: Some(OwnOrigin::new(9, 9, "198.51.100.9".parse().unwrap())),
                media,
                ..Rewrite::default()
            },
        ))
        .unwrap();
        for index in 0..there.media_count() {
            assert_eq!(there.media_address(index).is_some(), !sdp.is_rejected(index));
            assert_eq!(there.direction(index), sdp.direction(index));
        }
        let origin = sdp.origin().unwrap();
        let number = |digits: &[u8]| std::str::from_utf8(digits).unwrap().parse().unwrap();
        let mut own =
            OwnOrigin::new(number(origin.session_id), number(origin.version), origin.address.unwrap());
        own.username = String::from_utf8(origin.username.to_vec()).unwrap();
        let address = sdp.session_connection().and_then(|c| c.address).or(origin.address).unwrap();
        let media = sdp
            .media()
            .map(|media| MediaRewrite::Relay {
                address: media.address().unwrap_or(address),
                rtp_port: media.port(),
                rtcp_port: media.rtcp_address().map_or(0, |address| address.port()),
            })
            .collect();
        let back = rewrite(&there, &Rewrite { origin: Some(own), media, ..Rewrite::default() });
        (sdp.as_bytes().clone(), back)
    }
}
