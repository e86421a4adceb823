//! A minimal offer/answer (RFC 3264, RFC 8866): one G.711 audio stream with telephone events.

use std::net::{IpAddr, SocketAddr};

use crate::media::Codec;

/// Which way a stream flows, as its writer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

/// Our side of the stream.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    pub(crate) addr: SocketAddr,
    pub(crate) codecs: Vec<Codec>,
    pub(crate) direction: Direction,
    /// Write `c=` with the unspecified address: hold as RFC 2543 did it.
    pub(crate) zero_address: bool,
    pub(crate) session: u64,
    pub(crate) version: u64,
}

/// What we read of the other side's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sdp {
    /// `m=` lines in order: everything after `m=`.
    media: Vec<String>,
    /// Which of them is the audio we talk about.
    audio: usize,
    pub(crate) rtp: SocketAddr,
    pub(crate) rtcp: SocketAddr,
    pub(crate) codecs: Vec<Codec>,
    /// Payload type of telephone-event, if offered.
    events: Option<u8>,
    pub(crate) direction: Direction,
}

/// Why a description cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SdpError {
    #[error("not a session description")]
    Malformed,
    #[error("no RTP/AVP audio stream")]
    NoAudio,
    #[error("no usable connection address")]
    NoAddress,
    #[error("no common codec")]
    NoCodec,
    #[error("an address of the other family")]
    Family,
}

impl Sdp {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, SdpError> {
        let text = String::from_utf8_lossy(text);
        let mut lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).take(MAX_LINES);
        if lines.next() != Some("v=0") {
            return Err(SdpError::Malformed);
        }
        let mut session = Section::default();
        let mut sections: Vec<(String, Section)> = Vec::new();
        for line in lines {
            let (kind, value) = line.split_once('=').ok_or(SdpError::Malformed)?;
            if kind == "m" {
                sections.push((value.to_owned(), Section::default()));
                continue;
            }
            let section = sections.last_mut().map_or(&mut session, |(_, section)| section);
            section.line(kind, value);
        }
        let media: Vec<String> = sections.iter().map(|(line, _)| line.clone()).collect();
        let (audio, (line, section)) =
            sections.iter().enumerate().find(|(_, (line, _))| is_audio(line)).ok_or(SdpError::NoAudio)?;
        let ip = section.ip.or(session.ip).ok_or(SdpError::NoAddress)?;
        let mut fields = line.split_whitespace().skip(1);
        let port: u16 = fields
            .next()
            .and_then(|port| port.split('/').next())
            .and_then(|port| port.parse().ok())
            .ok_or(SdpError::Malformed)?;
        let payloads: Vec<u8> = fields.skip(1).filter_map(|kind| kind.parse().ok()).take(64).collect();
        let (rtcp_port, rtcp_ip) = section.rtcp.unwrap_or((port.saturating_add(1), None));
        Ok(Self {
            audio,
            rtp: SocketAddr::new(ip, port),
            rtcp: SocketAddr::new(rtcp_ip.unwrap_or(ip), rtcp_port),
            codecs: payloads.iter().filter_map(|kind| codec_of(*kind)).collect(),
            events: section.events.filter(|events| payloads.contains(events)),
            direction: section.direction.or(session.direction).unwrap_or(Direction::SendRecv),
            media,
        })
    }

    /// Whether the other side wants to hear us: its direction, its address and port say so.
    pub(crate) fn wants_media(&self) -> bool {
        matches!(self.direction, Direction::SendRecv | Direction::RecvOnly)
            && !self.rtp.ip().is_unspecified()
            && self.rtp.port() != 0
    }

    /// The first codec of theirs that we have too, if their address is of our family.
    pub(crate) fn choose(&self, local: &Local) -> Result<Codec, SdpError> {
        if self.rtp.is_ipv6() != local.addr.is_ipv6() {
            return Err(SdpError::Family);
        }
        self.codecs.iter().copied().find(|codec| local.codecs.contains(codec)).ok_or(SdpError::NoCodec)
    }
}

impl Local {
    /// Writes an offer.
    pub(crate) fn offer(&self) -> String {
        let codecs: Vec<(u8, &str)> =
            self.codecs.iter().map(|codec| (codec.payload_type(), codec.name())).collect();
        let mut text = self.head();
        self.audio(&mut text, &codecs, Some(EVENTS), self.direction);
        text
    }

    /// Writes an answer with the chosen codec; streams that are not ours are refused with port 0.
    pub(crate) fn answer(&self, offer: &Sdp, codec: Codec) -> String {
        let mut text = self.head();
        for (at, line) in offer.media.iter().enumerate() {
            if at == offer.audio {
                let direction = self.direction.answer_to(offer);
                self.audio(&mut text, &[(codec.payload_type(), codec.name())], offer.events, direction);
            } else {
                let mut fields: Vec<&str> = line.split_whitespace().collect();
                if let Some(port) = fields.get_mut(1) {
                    *port = "0";
                }
                text.push_str(&format!("m={}\r\n", fields.join(" ")));
            }
        }
        text
    }

    fn head(&self) -> String {
        let family = if self.addr.is_ipv6() { "IP6" } else { "IP4" };
        let ip = self.addr.ip();
        let connection = match (self.zero_address, self.addr.is_ipv6()) {
            (false, _) => ip.to_string(),
            (true, true) => "::".to_owned(),
            (true, false) => "0.0.0.0".to_owned(),
        };
        format!(
            "v=0\r\no=- {} {} IN {family} {ip}\r\ns=-\r\nc=IN {family} {connection}\r\nt=0 0\r\n",
            self.session, self.version
        )
    }

    fn audio(&self, text: &mut String, codecs: &[(u8, &str)], events: Option<u8>, direction: Direction) {
        let types: Vec<String> =
            codecs.iter().map(|(kind, _)| *kind).chain(events).map(|k| k.to_string()).collect();
        text.push_str(&format!("m=audio {} RTP/AVP {}\r\n", self.addr.port(), types.join(" ")));
        for (kind, name) in codecs {
            text.push_str(&format!("a=rtpmap:{kind} {name}/8000\r\n"));
        }
        if let Some(kind) = events {
            text.push_str(&format!("a=rtpmap:{kind} telephone-event/8000\r\na=fmtp:{kind} 0-15\r\n"));
        }
        text.push_str(&format!("a=ptime:20\r\na={}\r\n", direction.name()));
    }
}

impl Direction {
    pub(crate) fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// What we answer when this is what we want (RFC 3264 §6.1).
    fn answer_to(self, offer: &Sdp) -> Self {
        let they_send = matches!(offer.direction, Self::SendRecv | Self::SendOnly);
        match (self.sends() && offer.wants_media(), self.receives() && they_send) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// What the lines of the session or of one stream say.
#[derive(Debug, Default)]
struct Section {
    ip: Option<IpAddr>,
    direction: Option<Direction>,
    rtcp: Option<(u16, Option<IpAddr>)>,
    events: Option<u8>,
}

impl Section {
    fn line(&mut self, kind: &str, value: &str) {
        match kind {
            "c" => self.ip = connection(value),
            "a" => self.attribute(value),
            _ => {}
        }
    }

    fn attribute(&mut self, value: &str) {
        match value.split_once(':').unwrap_or((value, "")) {
            ("sendrecv", _) => self.direction = Some(Direction::SendRecv),
            ("sendonly", _) => self.direction = Some(Direction::SendOnly),
            ("recvonly", _) => self.direction = Some(Direction::RecvOnly),
            ("inactive", _) => self.direction = Some(Direction::Inactive),
            ("rtcp", rest) => {
                let (port, address) = rest.split_once(' ').unwrap_or((rest, ""));
                self.rtcp = port.parse().ok().map(|port| (port, connection(address)));
            }
            ("rtpmap", rest) => {
                let (kind, name) = rest.split_once(' ').unwrap_or((rest, ""));
                if name.trim().to_ascii_lowercase().starts_with("telephone-event/8000") {
                    self.events = kind.parse().ok();
                }
            }
            _ => {}
        }
    }
}

/// `IN IP6 2001:db8::1` or `IN IP4 192.0.2.1`, with or without a TTL.
fn connection(value: &str) -> Option<IpAddr> {
    let mut fields = value.split_whitespace();
    match (fields.next(), fields.next(), fields.next()) {
        (Some("IN"), Some(family), Some(address)) => {
            let ip: IpAddr = address.split('/').next()?.parse().ok()?;
            (ip.is_ipv6() == (family == "IP6")).then_some(ip)
        }
        _ => None,
    }
}

fn is_audio(line: &str) -> bool {
    let mut fields = line.split_whitespace();
    fields.next() == Some("audio") && fields.nth(1) == Some("RTP/AVP")
}

fn codec_of(payload_type: u8) -> Option<Codec> {
    [Codec::Pcmu, Codec::Pcma].into_iter().find(|codec| codec.payload_type() == payload_type)
}

/// The payload type that everybody uses for telephone events.
const EVENTS: u8 = 101;
const MAX_LINES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn local(addr: &str) -> Local {
        Local {
            addr: addr.parse().expect("an address"),
            codecs: vec![Codec::Pcmu, Codec::Pcma],
            direction: Direction::SendRecv,
            zero_address: false,
            session: 1,
            version: 1,
        }
    }

    #[test]
    fn an_offer_reads_back_in_both_families() {
        for addr in ["[2001:db8::1]:4000", "192.0.2.1:4000"] {
            let sdp = Sdp::parse(local(addr).offer().as_bytes()).expect("well formed");
            assert_eq!(sdp.rtp.to_string(), addr);
            assert_eq!(sdp.rtcp.port(), 4001);
            assert_eq!(sdp.codecs, [Codec::Pcmu, Codec::Pcma]);
            assert!(sdp.wants_media());
        }
    }

    #[test]
    fn the_answer_follows_the_offer() {
        let offer = "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=video 9 RTP/AVP 31\r\n\
            m=audio 4000 RTP/AVP 18 8 96\r\na=rtpmap:96 telephone-event/8000\r\na=sendonly\r\na=rtcp:4009 IN IP6 ::2\r\n";
        let offer = Sdp::parse(offer.as_bytes()).expect("well formed");
        let ours = local("[::1]:6000");
        let codec = offer.choose(&ours).expect("a codec");
        let text = ours.answer(&offer, codec);
        assert!(text.contains("m=video 0 RTP/AVP 31\r\nm=audio 6000 RTP/AVP 8 96\r\n"), "{text}");
        let answer = Sdp::parse(text.as_bytes()).expect("well formed");
        assert_eq!(answer.direction, Direction::RecvOnly);
        assert_eq!(offer.rtcp.to_string(), "[::2]:4009");
    }

    #[test]
    fn hold_in_all_its_spellings() {
        for (direction, zero) in
            [(Direction::SendOnly, false), (Direction::Inactive, false), (Direction::SendRecv, true)]
        {
            let mut holder = local("[::1]:4000");
            (holder.direction, holder.zero_address) = (direction, zero);
            let sdp = Sdp::parse(holder.offer().as_bytes()).expect("well formed");
            assert!(!sdp.wants_media());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let ours = local("[::1]:4000");
        let v4 = Sdp::parse(local("192.0.2.1:4000").offer().as_bytes()).expect("well formed");
        assert_eq!(v4.choose(&ours), Err(SdpError::Family));
        let g729 = "v=0\r\nc=IN IP6 ::1\r\nm=audio 4000 RTP/AVP 18\r\n";
        let g729 = Sdp::parse(g729.as_bytes()).expect("well formed");
        assert_eq!(g729.choose(&ours), Err(SdpError::NoCodec));
        assert_eq!(Sdp::parse(b"v=0\r\nm=audio 1 RTP/SAVP 0\r\n"), Err(SdpError::NoAudio));
        assert_eq!(Sdp::parse(b"v=0\r\nm=audio 1 RTP/AVP 0\r\n"), Err(SdpError::NoAddress));
        assert_eq!(Sdp::parse(b"\xff\xfe"), Err(SdpError::Malformed));
        assert_eq!(Sdp::parse(b"v=0\r\nc=IN IP4 ::1\r\nm=audio 1 RTP/AVP 0\r\n"), Err(SdpError::NoAddress));
    }
}
