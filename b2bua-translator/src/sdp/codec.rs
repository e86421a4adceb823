//! Codecs by name: `a=rtpmap` (RFC 8866 §6.6) and the static payload types of RFC 3551 §6.

use super::Sdp;
use super::line::fields;
use super::media::Media;

/// What a payload type stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codec<'a> {
    /// The payload type number, 0–127.
    pub payload_type: u8,
    /// The encoding name as written: `PCMU`, `telephone-event`.
    pub name: &'a str,
    /// The RTP clock, in Hz.
    pub clock_rate: u32,
    /// The number of audio channels.
    pub channels: u8,
}

impl<'a> Codec<'a> {
    /// Reads an `a=rtpmap` value: `96 opus/48000/2`.
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        let mut fields = fields(value).map(|(_, field)| field);
        let payload_type: u8 = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let mut parts = std::str::from_utf8(fields.next()?).ok()?.split('/');
        let name = parts.next().filter(|name| !name.is_empty())?;
        let clock_rate = parts.next()?.parse().ok()?;
        let channels = parts.next().and_then(|channels| channels.parse().ok()).unwrap_or(1);
        (payload_type < 128).then_some(Codec { payload_type, name, clock_rate, channels })
    }

    /// Whether two payload types mean the same coding. Names are compared without case (RFC 4855 §3), numbers not at
    /// all: the two directions may number one codec differently (RFC 3264 §5.1).
    pub fn is_same_coding(&self, other: &Codec<'_>) -> bool {
        self.name.eq_ignore_ascii_case(other.name)
            && self.clock_rate == other.clock_rate
            && self.channels == other.channels
    }

    /// Whether it carries something only beside a codec: tones (RFC 4733), comfort noise (RFC 3389), redundancy
    /// (RFC 2198), forward error correction (RFC 5109), retransmission (RFC 4588).
    pub fn is_auxiliary(&self) -> bool {
        AUXILIARY.iter().any(|name| self.name.eq_ignore_ascii_case(name))
    }
}

/// Whether an answer keeps a codec of its offer in at least one media section that neither side rejects. We do not
/// transcode, so without one the call cannot be heard (488).
///
/// Sections answer each other by their place (RFC 3264 §6). Codecs are compared by name and clock; sections that are not
/// RTP, and payload types that nobody names, by the format as written. Tones and comfort noise are no codec.
pub fn shares_codec(offer: &Sdp, answer: &Sdp) -> bool {
    offer.media().zip(answer.media()).any(|(offer, answer)| {
        !offer.is_rejected()
            && !answer.is_rejected()
            && offer.kind_name().eq_ignore_ascii_case(answer.kind_name())
            && share_a_format(&offer, &answer)
    })
}

/// The name of a static payload type (RFC 3551 tables 4 and 5).
pub(super) fn of_static_type(payload_type: u8) -> Option<Codec<'static>> {
    let (_, name, clock_rate, channels) =
        STATIC.iter().copied().find(|(number, ..)| *number == payload_type)?;
    Some(Codec { payload_type, name, clock_rate, channels })
}

fn share_a_format(offer: &Media<'_>, answer: &Media<'_>) -> bool {
    let as_written =
        |unnamed: &dyn Fn(&[u8]) -> bool| {
            answer.formats().take(MAX_TYPES).filter(|format| unnamed(format)).any(|format| {
                offer.formats().take(MAX_TYPES).any(|offered| offered.eq_ignore_ascii_case(format))
            })
        };
    if !offer.is_rtp() || !answer.is_rtp() {
        return as_written(&|_| true);
    }
    let (offered, answered): (Vec<_>, Vec<_>) = (offer.codecs().collect(), answer.codecs().collect());
    let same = |codec: &Codec<'_>| offered.iter().any(|other| other.is_same_coding(codec));
    if answered.iter().any(|codec| !codec.is_auxiliary() && same(codec)) {
        return true;
    }
    // A number that the answer does not name can only mean what the offer meant by it.
    as_written(&|format| {
        let is = |codec: &Codec<'_>| codec.payload_type.to_string().as_bytes() == format;
        !answered.iter().any(is) && !offered.iter().any(|codec| is(codec) && codec.is_auxiliary())
    })
}

/// Payload types that RTP can tell apart.
pub(super) const MAX_TYPES: usize = 128;

const AUXILIARY: [&str; 7] = ["telephone-event", "tone", "CN", "red", "ulpfec", "parityfec", "rtx"];

const STATIC: [(u8, &str, u32, u8); 24] = [
    (0, "PCMU", 8_000, 1),
    (3, "GSM", 8_000, 1),
    (4, "G723", 8_000, 1),
    (5, "DVI4", 8_000, 1),
    (6, "DVI4", 16_000, 1),
    (7, "LPC", 8_000, 1),
    (8, "PCMA", 8_000, 1),
    // The clock of G.722 is 8000 by an old mistake that stays (RFC 3551 §4.5.2).
    (9, "G722", 8_000, 1),
    (10, "L16", 44_100, 2),
    (11, "L16", 44_100, 1),
    (12, "QCELP", 8_000, 1),
    (13, "CN", 8_000, 1),
    (14, "MPA", 90_000, 1),
    (15, "G728", 8_000, 1),
    (16, "DVI4", 11_025, 1),
    (17, "DVI4", 22_050, 1),
    (18, "G729", 8_000, 1),
    (25, "CelB", 90_000, 1),
    (26, "JPEG", 90_000, 1),
    (28, "nv", 90_000, 1),
    (31, "H261", 90_000, 1),
    (32, "MPV", 90_000, 1),
    (33, "MP2T", 90_000, 1),
    (34, "H263", 90_000, 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn sdp(media: &str) -> Sdp {
        Sdp::parse(format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{media}"
        ))
        .unwrap()
    }

    #[test]
    fn names_by_table_and_by_rtpmap() {
        let body = sdp(
            "m=audio 4000 RTP/AVP 0 9 96 101 77\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n",
        );
        let audio = body.media_at(0).unwrap();
        let names: Vec<(&str, u32, u8)> =
            audio.codecs().map(|c| (c.name, c.clock_rate, c.channels)).collect();
        assert_eq!(
            names,
            [("PCMU", 8_000, 1), ("G722", 8_000, 1), ("opus", 48_000, 2), ("telephone-event", 8_000, 1)]
        );
        assert!(Codec::parse(b"200 PCMU/8000").is_none());
        assert!(Codec::parse(b"96 \xff/8000").is_none());
        assert!(Codec::parse(b"96 PCMU").is_none());
    }

    #[test]
    fn codecs_in_common() {
        let offer = sdp(
            "m=audio 4000 RTP/AVP 0 97 101\r\na=rtpmap:97 iLBC/8000\r\na=rtpmap:101 telephone-event/8000\r\n",
        );
        let cases = [
            ("m=audio 5000 RTP/AVP 0\r\n", true),
            ("m=audio 5000 RTP/AVP 8\r\n", false),
            ("m=audio 5000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n", false),
            ("m=audio 5000 RTP/AVP 8 101\r\n", false),
            ("m=audio 5000 RTP/AVP 112\r\na=rtpmap:112 ilbc/8000\r\n", true),
            ("m=audio 5000 RTP/AVP 97\r\n", true),
            ("m=audio 0 RTP/AVP 0\r\n", false),
            ("m=video 5000 RTP/AVP 0\r\n", false),
        ];
        for (answer, wanted) in cases {
            assert_eq!(shares_codec(&offer, &sdp(answer)), wanted, "{answer}");
        }
    }

    #[test]
    fn a_flood_of_formats_stays_cheap() {
        let formats = " 127".repeat(2_000);
        let maps = "a=rtpmap:127 x/1\r\n".repeat(900);
        let flood = sdp(&format!("m=audio 4000 RTP/AVP{formats} 0\r\n{maps}"));
        assert_eq!(flood.media_at(0).unwrap().codecs().count(), 128);
        assert!(shares_codec(&flood, &flood));
    }

    #[test]
    fn fax_is_compared_by_format() {
        let fax = sdp("m=image 4000 udptl t38\r\n");
        assert!(shares_codec(&fax, &fax));
        assert!(!shares_codec(&fax, &sdp("m=audio 4000 RTP/AVP 0\r\n")));
    }
}
