//! One media section: an `m=` line and what follows it up to the next (RFC 8866 §5.14).

use std::net::{IpAddr, SocketAddr};

use super::Sdp;
use super::address::{Connection, parse_address};
use super::codec::{self, Codec};
use super::line::{self, Line, fields};

/// A view of one media section.
#[derive(Debug, Clone, Copy)]
pub struct Media<'a> {
    sdp: &'a Sdp,
    lines: &'a [Line],
}

impl<'a> Media<'a> {
    pub(super) fn new(sdp: &'a Sdp, lines: &'a [Line]) -> Self {
        Media { sdp, lines }
    }

    /// What the section carries.
    pub fn kind(&self) -> MediaKind {
        MediaKind::from_name(self.kind_name())
    }

    /// What the section carries, as written.
    pub fn kind_name(&self) -> &'a [u8] {
        self.field(0).map_or(&[], |(_, field)| field)
    }

    /// The RTP port; 0 in a rejected section.
    pub fn port(&self) -> u16 {
        self.ports().map_or(0, |(port, _)| port)
    }

    /// The number of port pairs: 2 for `m=video 49170/2`, usually 1.
    pub fn port_count(&self) -> u16 {
        self.ports().map_or(1, |(_, count)| count)
    }

    /// The transport, as written: `RTP/AVP`, `RTP/SAVP`, `udptl`.
    pub fn proto(&self) -> &'a [u8] {
        self.field(2).map_or(&[], |(_, field)| field)
    }

    /// Whether the transport carries RTP packets, in the clear or encrypted.
    pub fn is_rtp(&self) -> bool {
        self.proto().split(|&byte| byte == b'/').any(|part| part.eq_ignore_ascii_case(b"RTP"))
    }

    /// The formats: payload type numbers for RTP, else names such as `t38`.
    pub fn formats(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        fields(self.first_value()).skip(3).map(|(_, field)| field)
    }

    /// Port 0: refused or switched off (RFC 3264 §6, §8.2).
    pub fn is_rejected(&self) -> bool {
        self.port() == 0
    }

    /// The section's own `c=` line; the first, if it has several.
    pub fn own_connection(&self) -> Option<Connection<'a>> {
        let line = self.lines.iter().find(|line| line.kind == b'c')?;
        Connection::parse(line.value(self.body()))
    }

    /// The `c=` that applies: its own, else the session's.
    pub fn connection(&self) -> Option<Connection<'a>> {
        self.own_connection().or_else(|| self.sdp.session_connection())
    }

    /// The address that applies; `None` without `c=` or with a host name.
    pub fn address(&self) -> Option<IpAddr> {
        self.connection()?.address
    }

    /// The address and port that the section names for a family beside the one in `c=` (RFC 6947 §4): the one with the lowest number.
    pub fn alternative(&self, ipv6: bool) -> Option<SocketAddr> {
        let found = self.attributes("altc").filter_map(|value| {
            let mut fields = fields(value).map(|(_, field)| field);
            let (rank, _family) = (parse_number::<u32>(fields.next()?)?, fields.next()?);
            let address = parse_address(fields.next()?).filter(|address| address.is_ipv6() == ipv6)?;
            let port = parse_number(fields.next()?.split(|&byte| byte == b'/').next()?)?;
            (port != 0).then_some((rank, SocketAddr::new(address, port)))
        });
        found.min_by_key(|(rank, _)| *rank).map(|(_, address)| address)
    }

    /// Where RTCP goes when it does not share the RTP port: `a=rtcp` (RFC 3605), else the port after RTP's
    /// (RFC 3550 §11).
    pub fn rtcp_address(&self) -> Option<SocketAddr> {
        let own = self.attributes("rtcp").next().map(|value| {
            let mut fields = fields(value).map(|(_, field)| field);
            (fields.next().and_then(parse_number), fields.nth(2).and_then(parse_address))
        });
        match own {
            Some((Some(port), Some(address))) => Some(SocketAddr::new(address, port)),
            Some((Some(port), None)) => Some(SocketAddr::new(self.address()?, port)),
            Some((None, _)) | None => Some(SocketAddr::new(self.address()?, self.port().checked_add(1)?)),
        }
    }

    /// Whether RTCP may share, or does share, the RTP port (RFC 5761 §5.1.1).
    pub fn rtcp_mux(&self) -> bool {
        self.attributes("rtcp-mux").next().is_some()
    }

    /// The section's own direction attribute.
    pub fn own_direction(&self) -> Option<Direction> {
        self.lines.iter().find_map(|line| Direction::of_line(line, self.body()))
    }

    /// Which way packets may flow: see [`Sdp::direction`].
    pub fn direction(&self) -> Direction {
        if self.is_rejected() {
            return Direction::Inactive;
        }
        let written = self.written_direction();
        if self.connection().is_some_and(|connection| connection.is_unspecified()) {
            written.without_receiving()
        } else {
            written
        }
    }

    /// The direction by attributes alone.
    pub(super) fn written_direction(&self) -> Direction {
        self.own_direction().or_else(|| self.sdp.session_direction()).unwrap_or(Direction::SendRecv)
    }

    /// The values of an attribute of this section: `b""` for a flag.
    pub fn attributes<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        line::attributes(self.lines, self.body(), name)
    }

    /// The `a=candidate` values (RFC 8839 §5.1).
    pub fn candidates(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.attributes("candidate")
    }

    /// The codecs of the formats, in their order: named by `a=rtpmap`, else by RFC 3551's table. A format that neither
    /// names is left out, and so is what stands behind 128 formats, more than RTP can tell apart.
    pub fn codecs(&self) -> impl Iterator<Item = Codec<'a>> + use<'a> {
        // Once, and not for each format: a body could have thousands of both.
        let named: Vec<Codec<'a>> =
            self.attributes("rtpmap").filter_map(Codec::parse).take(codec::MAX_TYPES).collect();
        self.formats().take(codec::MAX_TYPES).filter_map(move |format| {
            let number: u8 = parse_number(format)?;
            let found = named.iter().find(|codec| codec.payload_type == number);
            found.copied().or_else(|| codec::of_static_type(number))
        })
    }

    /// The codec of one payload type.
    pub fn codec(&self, payload_type: u8) -> Option<Codec<'a>> {
        self.attributes("rtpmap")
            .filter_map(Codec::parse)
            .find(|codec| codec.payload_type == payload_type)
            .or_else(|| codec::of_static_type(payload_type))
    }

    /// Whether kind, port and transport can be read.
    pub(super) fn is_readable(&self) -> bool {
        self.ports().is_some() && !self.proto().is_empty()
    }

    /// The span of `port` or `port/count` in the body.
    pub(super) fn port_span(&self) -> Option<std::ops::Range<usize>> {
        let start = self.lines.first()?.value_span().start;
        let (at, field) = self.field(1)?;
        Some(start + at..start + at + field.len())
    }

    fn ports(&self) -> Option<(u16, u16)> {
        let (_, field) = self.field(1)?;
        let mut parts = field.split(|&byte| byte == b'/');
        let port = parse_number(parts.next()?)?;
        Some((port, parts.next().and_then(parse_number).unwrap_or(1)))
    }

    fn field(&self, index: usize) -> Option<(usize, &'a [u8])> {
        fields(self.first_value()).nth(index)
    }

    /// The span of the formats in the body.
    pub(super) fn formats_span(&self) -> Option<std::ops::Range<usize>> {
        let start = self.lines.first()?.value_span().start;
        let (first, _) = self.field(3)?;
        let (last, field) = fields(self.first_value()).last()?;
        Some(start + first..start + last + field.len())
    }

    fn first_value(&self) -> &'a [u8] {
        self.lines.first().map_or(&[], |line| line.value(self.body()))
    }

    fn body(&self) -> &'a [u8] {
        &self.sdp.bytes
    }
}

/// What a media section carries (RFC 8866 §8.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Speech and tones.
    Audio,
    /// Moving pictures.
    Video,
    /// Pictures; fax by T.38.
    Image,
    /// Real-time text (RFC 4103).
    Text,
    /// Data of an application.
    Application,
    /// Message sessions (MSRP).
    Message,
    /// Anything else.
    Other,
}

impl MediaKind {
    fn from_name(name: &[u8]) -> Self {
        const NAMES: [(&[u8], MediaKind); 6] = [
            (b"audio", MediaKind::Audio),
            (b"video", MediaKind::Video),
            (b"image", MediaKind::Image),
            (b"text", MediaKind::Text),
            (b"application", MediaKind::Application),
            (b"message", MediaKind::Message),
        ];
        NAMES
            .iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known))
            .map_or(MediaKind::Other, |(_, kind)| *kind)
    }
}

/// Which way packets may flow, seen from the writer of the body (RFC 3264 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// The writer sends and does not listen: it puts the other on hold.
    SendOnly,
    /// The writer listens and does not send: it is on hold.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// Whether the writer says that it sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the writer says that it receives.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// As written in an `a=` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    /// What is left of it when the other side is asked to send nothing.
    pub(super) fn without_receiving(self) -> Self {
        if self.sends() { Direction::SendOnly } else { Direction::Inactive }
    }

    pub(super) fn of_line(line: &Line, body: &[u8]) -> Option<Self> {
        let (name, _) = line.attribute(body)?;
        [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive]
            .into_iter()
            .find(|direction| name == direction.as_str().as_bytes())
    }
}

fn parse_number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
