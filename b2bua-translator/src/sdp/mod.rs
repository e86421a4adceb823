//! SDP (RFC 8866) as one buffer and an index of line spans.
//!
//! Reading is tolerant: LF or CRLF, any character set, unknown lines. Writing is by splices into the original bytes, so
//! that whatever a [`Rewrite`] does not name leaves byte for byte as it came.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `line` | the span index: what a line is, and how a body is cut into lines |
//! | `address` | `c=` and `o=` values, the unspecified address of old-style hold |
//! | `media` | a media section: port, formats, direction, where its packets go |
//! | `codec` | payload names by RFC 3551's table and `a=rtpmap`; whether two bodies share a codec |
//! | `filter` | what is taken out: codecs by policy, directions for a new party |
//! | `precondition` | what must be reserved before a call may ring (RFC 3312) |
//! | `rewrite` | the splices between two legs |
//! | `origin` | our own `o=` line and its version |

mod address;
mod codec;
mod filter;
mod line;
mod media;
mod origin;
mod precondition;
mod rewrite;

#[cfg(test)]
mod samples;

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

pub use self::address::{Connection, Origin};
pub use self::codec::{Codec, shares_codec};
pub use self::filter::{keep_codecs, without_direction};
pub use self::media::{Direction, Media, MediaKind};
pub use self::origin::{OriginCounter, OwnOrigin};
pub use self::rewrite::{MediaRewrite, Rewrite, rewrite};

use self::line::{Limit, Line};

/// A session description: the body as received, and where its lines and media sections are.
///
/// Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Sdp {
    bytes: Bytes,
    lines: Vec<Line>,
    /// For each media section, the index of its `m=` line.
    media: Vec<usize>,
}

impl Sdp {
    /// Indexes a body in one pass.
    ///
    /// # Errors
    ///
    /// [`SdpError`] when a limit is passed, when the body does not begin with a `v=` line, or when an `m=` line has no
    /// readable port: such a section could not be relayed, so that reading on would only hide the fault.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Sdp, SdpError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_BYTES {
            return Err(SdpError::TooLarge { size: bytes.len(), limit: MAX_BYTES });
        }
        let lines =
            line::index(&bytes, MAX_LINES).map_err(|Limit(limit)| SdpError::TooManyLines { limit })?;
        if lines.iter().find(|line| line.kind != line::NO_KIND).is_none_or(|line| line.kind != b'v') {
            return Err(SdpError::NotSdp);
        }
        let media: Vec<usize> =
            lines.iter().enumerate().filter(|(_, line)| line.kind == b'm').map(|(at, _)| at).collect();
        if media.len() > MAX_MEDIA {
            return Err(SdpError::TooManyMedia { count: media.len(), limit: MAX_MEDIA });
        }
        let sdp = Sdp { bytes, lines, media };
        for (index, section) in sdp.media().enumerate() {
            if !section.is_readable() {
                return Err(SdpError::MalformedMedia { index });
            }
        }
        Ok(sdp)
    }

    /// The body as received.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The `o=` line, if there is one that has its six fields (RFC 8866 §5.2).
    pub fn origin(&self) -> Option<Origin<'_>> {
        let line = self.session_lines().iter().find(|line| line.kind == b'o')?;
        Origin::parse(line.value(&self.bytes))
    }

    /// The session-level `c=` line, if it is readable (RFC 8866 §5.7).
    pub fn session_connection(&self) -> Option<Connection<'_>> {
        let line = self.session_lines().iter().find(|line| line.kind == b'c')?;
        Connection::parse(line.value(&self.bytes))
    }

    /// The session-level direction attribute, if there is one (RFC 8866 §6.7).
    pub fn session_direction(&self) -> Option<Direction> {
        self.session_lines().iter().find_map(|line| Direction::of_line(line, &self.bytes))
    }

    /// The values of a session-level attribute: `b""` for a flag such as `a=ice-lite`.
    pub fn session_attributes<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        line::attributes(self.session_lines(), &self.bytes, name)
    }

    /// How many media sections there are, rejected ones included.
    pub fn media_count(&self) -> usize {
        self.media.len()
    }

    /// The media sections in order.
    pub fn media(&self) -> impl ExactSizeIterator<Item = Media<'_>> {
        (0..self.media.len()).map(|index| self.section(index))
    }

    /// One media section; `None` past the last.
    pub fn media_at(&self, index: usize) -> Option<Media<'_>> {
        (index < self.media.len()).then(|| self.section(index))
    }

    /// Where the writer of this body wants the packets of a section: the address, the RTP port, and RTCP's address and
    /// port (RFC 3605, else the same address and the next port).
    ///
    /// `None` when there is no such section, when it is rejected, when no `c=` applies, or when the address is a host
    /// name. An unspecified address (old-style hold) is given as it stands.
    pub fn media_address(&self, index: usize) -> Option<(IpAddr, u16, SocketAddr)> {
        let media = self.media_at(index)?;
        if media.is_rejected() {
            return None;
        }
        let address = media.address()?;
        Some((address, media.port(), media.rtcp_address()?))
    }

    /// Whether a section is refused or switched off: port 0 (RFC 3264 §6), or no such section.
    pub fn is_rejected(&self, index: usize) -> bool {
        self.media_at(index).is_none_or(|media| media.is_rejected())
    }

    /// Which way packets may flow for a section, seen from the writer of this body, whatever the spelling: the media's
    /// attribute, else the session's, else `sendrecv`; an unspecified address (RFC 2543's hold, RFC 3264 §8.4) takes the
    /// receiving away; a rejected section is inactive.
    pub fn direction(&self, index: usize) -> Direction {
        self.media_at(index).map_or(Direction::Inactive, |media| media.direction())
    }

    /// Whether the writer of this body puts the other side on hold: it has media sections that are not rejected, and
    /// receives on none of them.
    pub fn is_hold(&self) -> bool {
        let mut live = self.media().filter(|media| !media.is_rejected()).peekable();
        live.peek().is_some() && live.all(|media| !media.direction().receives())
    }

    fn section(&self, index: usize) -> Media<'_> {
        let lines = self.section_lines(index);
        Media::new(self, self.lines.get(lines).unwrap_or_default())
    }

    /// The range of a section's lines, its `m=` line first.
    fn section_lines(&self, index: usize) -> std::ops::Range<usize> {
        let end = self.lines.len();
        let start = self.media.get(index).copied().unwrap_or(end);
        start..self.media.get(index + 1).copied().unwrap_or(end)
    }

    fn session_lines(&self) -> &[Line] {
        let end = self.media.first().copied().unwrap_or(self.lines.len());
        self.lines.get(..end).unwrap_or_default()
    }
}

/// Why a body is not taken as SDP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// The body is longer than we read.
    #[error("SDP of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// What came, in bytes.
        size: usize,
        /// What is taken, in bytes.
        limit: usize,
    },
    /// The body has more lines than we read.
    #[error("SDP has more than {limit} lines")]
    TooManyLines {
        /// How many are taken.
        limit: usize,
    },
    /// The body has more media sections than we relay.
    #[error("SDP has {count} media sections, the limit is {limit}")]
    TooManyMedia {
        /// What came.
        count: usize,
        /// How many are taken.
        limit: usize,
    },
    /// The first line is not `v=` (RFC 8866 §5).
    #[error("not SDP: it does not begin with a v= line")]
    NotSdp,
    /// An `m=` line without kind, port or transport (RFC 8866 §5.14).
    #[error("media section {index} has an unreadable m= line")]
    MalformedMedia {
        /// The section, counted from 0.
        index: usize,
    },
}

/// Bytes of a body: a WebRTC-style offer with many candidates stays under half of it.
const MAX_BYTES: usize = 32 * 1024;
/// Lines of a body.
const MAX_LINES: usize = 1_000;
/// Media sections of a body.
const MAX_MEDIA: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Sdp {
        Sdp::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn reads_a_phone_of_the_dorm() {
        let sdp = parse(samples::YEALINK_V6);
        let origin = sdp.origin().unwrap();
        assert_eq!(origin.session_id, b"20013");
        assert_eq!(origin.address, Some("2001:db8:42:10::101".parse().unwrap()));
        assert_eq!(sdp.media_count(), 1);
        let audio = sdp.media_at(0).unwrap();
        assert_eq!((audio.kind(), audio.port(), audio.proto()), (MediaKind::Audio, 11780, &b"RTP/AVP"[..]));
        let formats: Vec<&[u8]> = audio.formats().collect();
        assert_eq!(formats, [&b"0"[..], b"8", b"18", b"9", b"101"]);
        assert_eq!(
            sdp.media_address(0),
            Some((
                "2001:db8:42:10::101".parse().unwrap(),
                11780,
                "[2001:db8:42:10::101]:11781".parse().unwrap()
            ))
        );
        assert_eq!(sdp.direction(0), Direction::SendRecv);
        assert!(!sdp.is_hold());
    }

    #[test]
    fn a_media_connection_wins_over_the_session() {
        let sdp = parse(samples::CISCO_OWN_C);
        assert_eq!(sdp.session_connection().unwrap().address, Some("192.0.2.1".parse().unwrap()));
        assert_eq!(sdp.media_address(0).unwrap().0, "192.0.2.7".parse::<IpAddr>().unwrap());
        let audio = sdp.media_at(0).unwrap();
        assert!(audio.own_connection().is_some());
    }

    #[test]
    fn rtcp_attribute_with_and_without_address() {
        let sdp = parse(
            "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP 0\na=rtcp:4010\n\
             m=video 5000 RTP/AVP 96\na=rtcp:6000 IN IP4 192.0.2.9\n",
        );
        assert_eq!(sdp.media_address(0).unwrap().2, "192.0.2.1:4010".parse().unwrap());
        assert_eq!(sdp.media_address(1).unwrap().2, "192.0.2.9:6000".parse().unwrap());
    }

    #[test]
    fn hold_in_every_spelling() {
        let body = |c: &str, session: &str, media: &str| {
            parse(&format!(
                "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n{c}t=0 0\r\n{session}m=audio 4000 RTP/AVP 0\r\n{media}"
            ))
        };
        let real = "c=IN IP4 192.0.2.1\r\n";
        let cases = [
            (real, "", "", Direction::SendRecv),
            (real, "", "a=sendonly\r\n", Direction::SendOnly),
            (real, "", "a=recvonly\r\n", Direction::RecvOnly),
            (real, "", "a=inactive\r\n", Direction::Inactive),
            (real, "a=sendonly\r\n", "", Direction::SendOnly),
            (real, "a=sendonly\r\n", "a=sendrecv\r\n", Direction::SendRecv),
            ("c=IN IP4 0.0.0.0\r\n", "", "", Direction::SendOnly),
            ("c=IN IP6 ::\r\n", "", "a=sendrecv\r\n", Direction::SendOnly),
            ("c=IN IP6 0:0:0:0:0:0:0:0\r\n", "", "a=recvonly\r\n", Direction::Inactive),
            (real, "", "c=IN IP4 0.0.0.0\r\na=inactive\r\n", Direction::Inactive),
        ];
        for (c, session, media, wanted) in cases {
            let sdp = body(c, session, media);
            assert_eq!(sdp.direction(0), wanted, "{c}{session}{media}");
            assert_eq!(sdp.is_hold(), !wanted.receives());
        }
    }

    #[test]
    fn rejected_sections_are_neither_held_nor_addressed() {
        let sdp = parse(samples::T38_ANSWER);
        assert!(sdp.is_rejected(0));
        assert!(!sdp.is_rejected(1));
        assert!(sdp.is_rejected(2));
        assert_eq!(sdp.media_address(0), None);
        assert_eq!(sdp.direction(0), Direction::Inactive);
        let fax = sdp.media_at(1).unwrap();
        assert_eq!((fax.kind(), fax.proto()), (MediaKind::Image, &b"udptl"[..]));
        assert_eq!(fax.formats().collect::<Vec<_>>(), [b"t38"]);
    }

    #[test]
    fn takes_what_real_devices_get_wrong() {
        // Bare LF, no final line end, a Latin-1 name, an empty line, a line without '=', doubled spaces.
        let body = b"v=0\no=caf\xe9 1 1 IN IP4 192.0.2.1\ns=\xff\xfe\nc=IN  IP4  192.0.2.1 \n\ngarbage\nm=audio  4000 RTP/AVP 0 8";
        let sdp = Sdp::parse(Bytes::from_static(body)).unwrap();
        assert_eq!(sdp.media_address(0).unwrap().0, "192.0.2.1".parse::<IpAddr>().unwrap());
        assert_eq!(sdp.origin().unwrap().username, b"caf\xe9");
    }

    #[test]
    fn refuses_what_it_cannot_relay() {
        let error = |text: &str| Sdp::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap_err();
        assert_eq!(error(""), SdpError::NotSdp);
        assert_eq!(error("hello"), SdpError::NotSdp);
        assert_eq!(error("o=- 1 1 IN IP4 1.2.3.4\r\n"), SdpError::NotSdp);
        assert_eq!(error("v=0\r\nm=audio\r\n"), SdpError::MalformedMedia { index: 0 });
        assert_eq!(error("v=0\r\nm=audio 99999 RTP/AVP 0\r\n"), SdpError::MalformedMedia { index: 0 });
        assert!(matches!(error(&"v=0\n".repeat(2_000)), SdpError::TooManyLines { .. }));
        assert!(matches!(error(&"v".repeat(40_000)), SdpError::TooLarge { .. }));
        let many = format!("v=0\n{}", "m=audio 1 RTP/AVP 0\n".repeat(17));
        assert_eq!(error(&many), SdpError::TooManyMedia { count: 17, limit: 16 });
    }

    #[test]
    fn agrees_with_an_independent_reader() {
        for text in samples::VALID {
            let ours = parse(text);
            let theirs = sdp_types::Session::parse(text.as_bytes()).unwrap();
            let origin = ours.origin().unwrap();
            assert_eq!(origin.session_id, theirs.origin.sess_id.as_bytes());
            assert_eq!(origin.version, theirs.origin.sess_version.to_string().as_bytes());
            assert_eq!(origin.address, theirs.origin.unicast_address.parse().ok());
            assert_eq!(
                ours.session_connection().and_then(|c| c.address),
                theirs.connection.as_ref().and_then(|c| c.connection_address.parse().ok())
            );
            assert_eq!(ours.media_count(), theirs.medias.len());
            for (a, b) in ours.media().zip(&theirs.medias) {
                assert_eq!(a.kind_name(), b.media.to_string().as_bytes());
                assert_eq!(a.port(), b.port);
                assert_eq!(a.port_count(), b.num_ports.unwrap_or(1));
                assert!(a.proto().eq_ignore_ascii_case(b.proto.to_string().as_bytes()));
                let formats: Vec<String> =
                    a.formats().map(|f| String::from_utf8_lossy(f).into_owned()).collect();
                assert_eq!(formats.join(" "), b.fmt.to_string());
                assert_eq!(
                    a.own_connection().and_then(|c| c.address),
                    b.connections.first().and_then(|c| c.connection_address.parse().ok())
                );
                for name in ["rtpmap", "fmtp", "ptime", "rtcp", "candidate", "sendonly"] {
                    let theirs = b.attributes.iter().filter(|x| x.attribute == name);
                    let theirs: Vec<Vec<u8>> =
                        theirs.map(|x| x.value.clone().unwrap_or_default().into_bytes()).collect();
                    assert_eq!(a.attributes(name).map(<[u8]>::to_vec).collect::<Vec<_>>(), theirs);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            touch_everything(bytes);
        }

        #[test]
        fn no_shuffled_sdp_makes_it_panic(
            lines in proptest::collection::vec(proptest::sample::select(FRAGMENTS), 0..30),
            end in proptest::sample::select(&["\r\n", "\n", "\r", ""][..]),
        ) {
            touch_everything(format!("v=0{end}{}", lines.join(end)).into_bytes());
        }
    }

    fn touch_everything(bytes: Vec<u8>) {
        let Ok(sdp) = Sdp::parse(bytes.clone()) else { return };
        assert_eq!(sdp.as_bytes(), &bytes);
        let _ = (sdp.origin(), sdp.session_connection(), sdp.session_direction(), sdp.is_hold());
        for index in 0..=sdp.media_count() {
            let _ = (sdp.media_address(index), sdp.is_rejected(index), sdp.direction(index));
        }
        for media in sdp.media() {
            let _ = (media.codecs().count(), media.candidates().count(), media.rtcp_mux());
        }
        let _ = shares_codec(&sdp, &sdp);
        let relay =
            MediaRewrite::Relay { address: IpAddr::from([192, 0, 2, 1]), rtp_port: 4000, rtcp_port: 4001 };
        let all = Rewrite { media: vec![relay; sdp.media_count()], ..Rewrite::default() };
        let once = rewrite(&sdp, &all);
        let twice = rewrite(&Sdp::parse(once.clone()).unwrap(), &all);
        assert_eq!(once, twice);
    }

    const FRAGMENTS: &[&str] = &[
        "o=- 1 1 IN IP4 192.0.2.1",
        "o=",
        "c=IN IP4 0.0.0.0",
        "c=IN IP6 ::",
        "c=IN IP4 192.0.2.4/127",
        "c=",
        "c=IN IP4 gw.example",
        "m=audio 0 RTP/AVP 0",
        "m=audio 4000/2 RTP/AVP 0 8 101",
        "m=image 4002 udptl t38",
        "m=video 65535 RTP/SAVP 96",
        "a=sendonly",
        "a=inactive",
        "a=sendrecv",
        "a=rtcp:0",
        "a=rtcp:4001 IN IP6 ::1",
        "a=rtcp:",
        "a=rtcp-mux",
        "a=",
        "a=rtpmap:96 H264/90000",
        "a=rtpmap:",
        "a=rtpmap:0 PCMU",
        "a=candidate:1 1 UDP 1 192.0.2.1 4000 typ host",
        "a=ice-ufrag:x",
        "a=ice-pwd:y",
        "a=remote-candidates:1 192.0.2.1 1",
        "i=x",
        "b=AS:64",
        "",
        "=",
        "x",
        "t=0 0",
    ];
}
