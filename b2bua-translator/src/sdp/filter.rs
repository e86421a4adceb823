//! What is taken out of a body: codecs by policy, directions for a new party.

use super::Sdp;
use super::codec::MAX_TYPES;
use super::line::{Line, fields};
use super::media::{Direction, Media};
use super::rewrite::Splices;

/// Takes every codec out that a list does not name: from the formats of `m=`, with its `a=rtpmap`, `a=fmtp` and `a=rtcp-fb`. Names are
/// compared without case (RFC 4855 §3). Tones (RFC 4733) need no name: they are no codec, and a call without them cannot be dialled in.
/// A section of which no codec stays is refused with port 0; one that is not RTP goes by its format names, such as `t38`.
pub fn keep_codecs(sdp: &Sdp, allowed: &[String]) -> Sdp {
    let mut splices = Splices::new(sdp);
    for (index, media) in sdp.media().enumerate().filter(|(_, media)| !media.is_rejected()) {
        let kept = kept(&media, allowed);
        if !kept.any_codec {
            splices.port(&media, 0);
        } else if !kept.gone.is_empty() {
            if let Some(span) = media.formats_span() {
                splices.replace(span, kept.formats.join(&b' '));
            }
            let lines = sdp.lines.get(sdp.section_lines(index)).unwrap_or_default();
            for line in lines.iter().filter(|line| describes_one_of(line, sdp, &kept.gone)) {
                splices.replace(line.whole_span(), Vec::new());
            }
        }
    }
    // Less of what could be read can be read.
    Sdp::parse(splices.apply()).unwrap_or_else(|_| sdp.clone())
}

/// Takes the direction out of every section: what one party was told of hold is not for another to hear.
pub fn without_direction(sdp: &Sdp) -> Sdp {
    let mut splices = Splices::new(sdp);
    for line in sdp.lines.iter().filter(|line| Direction::of_line(line, &sdp.bytes).is_some()) {
        splices.replace(line.whole_span(), Vec::new());
    }
    Sdp::parse(splices.apply()).unwrap_or_else(|_| sdp.clone())
}

struct Kept<'a> {
    formats: Vec<&'a [u8]>,
    gone: Vec<&'a [u8]>,
    /// Whether there is more among them than tones and the like.
    any_codec: bool,
}

fn kept<'a>(media: &Media<'a>, allowed: &[String]) -> Kept<'a> {
    let is_allowed = |name: &[u8]| allowed.iter().any(|other| other.as_bytes().eq_ignore_ascii_case(name));
    let mut kept = Kept { formats: Vec::new(), gone: Vec::new(), any_codec: false };
    let codecs: Vec<_> = media.codecs().collect();
    for format in media.formats().take(MAX_TYPES) {
        let number: Option<u8> = std::str::from_utf8(format).ok().and_then(|text| text.parse().ok());
        let codec = codecs.iter().find(|codec| media.is_rtp() && Some(codec.payload_type) == number);
        let (stays, speaks) = match codec {
            Some(codec) if is_tones(codec.name) => (true, false),
            Some(codec) => (is_allowed(codec.name.as_bytes()), !codec.is_auxiliary()),
            None => (!media.is_rtp() && is_allowed(format), true),
        };
        kept.any_codec |= stays && speaks;
        if stays { kept.formats.push(format) } else { kept.gone.push(format) }
    }
    kept
}

fn describes_one_of(line: &Line, sdp: &Sdp, formats: &[&[u8]]) -> bool {
    let Some((name, value)) = line.attribute(&sdp.bytes) else { return false };
    let first = fields(value).next().map(|(_, field)| field);
    [&b"rtpmap"[..], b"fmtp", b"rtcp-fb"].contains(&name)
        && first.is_some_and(|first| formats.contains(&first))
}

fn is_tones(name: &str) -> bool {
    name.eq_ignore_ascii_case("telephone-event")
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn keep(text: &str, allowed: &[&str]) -> String {
        let sdp = Sdp::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap();
        let allowed: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        String::from_utf8(keep_codecs(&sdp, &allowed).as_bytes().to_vec()).unwrap()
    }

    /// RFC 3264 §5.1: what is offered is what may be used, and nothing else of the body changes.
    #[test]
    fn only_named_codecs_and_tones_stay() {
        let wanted = samples::YEALINK_V6
            .replace("RTP/AVP 0 8 18 9 101", "RTP/AVP 8 18 101")
            .replace("a=rtpmap:0 PCMU/8000\r\n", "")
            .replace("a=rtpmap:9 G722/8000\r\n", "");
        assert_eq!(keep(samples::YEALINK_V6, &["pcma", "G729"]), wanted);
        assert_eq!(keep(samples::YEALINK_V6, &["PCMU", "PCMA", "G729", "G722"]), samples::YEALINK_V6);
    }

    #[test]
    fn a_section_without_an_allowed_codec_is_refused() {
        assert!(keep(samples::YEALINK_V6, &["opus"]).contains("m=audio 0 RTP/AVP 0 8 18 9 101\r\n"));
        let both = keep(samples::CISCO_OWN_C, &["PCMU"]);
        assert!(
            both.contains("m=audio 18322 RTP/AVP 0 101\r\n") && both.contains("m=video 0 RTP/AVP 97\r\n")
        );
        assert!(!both.contains("fmtp:18"), "{both}");
        assert_eq!(keep(samples::T38_OFFER, &["T38"]), samples::T38_OFFER);
        assert!(keep(samples::T38_OFFER, &["PCMA"]).contains("m=image 0 udptl t38"));
    }

    #[test]
    fn feedback_for_a_codec_goes_with_it() {
        let video = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=video 4000 RTP/AVPF 96 97\r\n\
                     a=rtpmap:96 H264/90000\r\na=rtpmap:97 VP8/90000\r\na=rtcp-fb:* ccm fir\r\na=rtcp-fb:97 nack\r\n";
        let out = keep(video, &["H264"]);
        assert!(out.contains("RTP/AVPF 96\r\n") && out.contains("a=rtcp-fb:* ccm fir"), "{out}");
        assert!(!out.contains("97"), "{out}");
    }
}
