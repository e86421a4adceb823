//! One stream: two sides, four sockets, and the way of a datagram through them.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Instant;

use socket2::{SockAddr, SockRef};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use super::gate::{Channel, Gate, SourcePolicy};
use super::gauges::Tally;
use super::meter::{Content, Meter};
use super::silence::SilenceWatch;
use super::statistics::{DirectionStatistics, DropReason, Dropped, StreamStatistics};
use super::{Endpoint, Payload, Side, SideUpdate, StreamEndpoints};

/// The two sockets of an endpoint.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) endpoint: Endpoint,
    pub(super) rtp: UdpSocket,
    pub(super) rtcp: UdpSocket,
}

/// A stream with its two sides.
#[derive(Debug)]
pub(super) struct Stream {
    a: Leg,
    b: Leg,
    is_rtp: bool,
}

/// One side: its sockets, whom it hears, whom it sends to, and what came from there.
#[derive(Debug)]
struct Leg {
    sockets: Sockets,
    gate: Gate,
    /// Whether an offer or answer has come. Until then what arrives waits in the sockets, because a called party's first packets overtake
    /// its answer; the gate judges them then.
    is_told: bool,
    /// [`Gate::destination`] in the form that the system call wants.
    rtp_to: Option<SockAddr>,
    rtcp_to: Option<SockAddr>,
    rtcp_mux: bool,
    sends: bool,
    payloads: Vec<Payload>,
    meter: Meter,
    forwarded: u64,
    dropped: Dropped,
    has_sent: bool,
    stranger: Option<SocketAddr>,
    unknown_payload: Option<u8>,
}

/// What a session keeps for all its streams.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) tally: Tally,
    pub(super) silence: SilenceWatch,
}

impl Stream {
    pub(super) fn new(a: Sockets, b: Sockets) -> Self {
        Stream { a: Leg::new(a), b: Leg::new(b), is_rtp: true }
    }

    pub(super) fn endpoints(&self) -> StreamEndpoints {
        StreamEndpoints { a: self.a.sockets.endpoint, b: self.b.sockets.endpoint }
    }

    pub(super) fn update(&mut self, side: Side, update: SideUpdate) {
        self.is_rtp = update.is_rtp;
        for leg in [&mut self.a, &mut self.b] {
            leg.meter.forget_payloads();
        }
        self.leg(side).update(update);
    }

    pub(super) fn sends(&self, side: Side) -> bool {
        match side {
            Side::A => self.a.sends,
            Side::B => self.b.sends,
        }
    }

    pub(super) fn statistics(&self) -> StreamStatistics {
        StreamStatistics { a_to_b: self.a.statistics(), b_to_a: self.b.statistics() }
    }

    /// Relays all that has arrived, and leaves the task's waker with each socket.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Instant, shared: &mut Shared) {
        // Not filled with zeroes: most wake-ups read 172 bytes of it.
        let mut space = [MaybeUninit::uninit(); BUFFER];
        for side in [Side::A, Side::B] {
            if !self.leg(side).is_told {
                continue;
            }
            for channel in [Channel::Rtp, Channel::Rtcp] {
                loop {
                    let mut buffer = ReadBuf::uninit(&mut space);
                    match self.leg(side).socket(channel).poll_recv_from(cx, &mut buffer) {
                        Poll::Ready(Ok(source)) => {
                            self.receive(side, channel, source, buffer.filled(), now, shared);
                        }
                        Poll::Ready(Err(_)) => {
                            // An error waiting on the socket, now taken off it. Come back for what is behind it.
                            cx.waker().wake_by_ref();
                            break;
                        }
                        Poll::Pending => break,
                    }
                }
            }
        }
    }

    fn receive(
        &mut self,
        side: Side,
        channel: Channel,
        source: SocketAddr,
        datagram: &[u8],
        now: Instant,
        shared: &mut Shared,
    ) {
        match self.relay(side, channel, source, datagram, now, &mut shared.silence) {
            Ok(()) => {
                self.leg(side).forwarded += 1;
                shared.tally.relayed(side);
            }
            Err(reason) => {
                self.leg(side).dropped.add(reason);
                shared.tally.dropped(reason);
            }
        }
    }

    fn relay(
        &mut self,
        side: Side,
        channel: Channel,
        source: SocketAddr,
        datagram: &[u8],
        now: Instant,
        silence: &mut SilenceWatch,
    ) -> Result<(), DropReason> {
        let is_rtp = self.is_rtp;
        let (from, to) = match side {
            Side::A => (&mut self.a, &mut self.b),
            Side::B => (&mut self.b, &mut self.a),
        };
        if let Err(reason) = from.gate.check(channel, source) {
            if reason == DropReason::Stranger {
                from.stranger.get_or_insert(source);
            }
            return Err(reason);
        }
        if datagram.is_empty() {
            return Err(DropReason::Empty);
        }
        if datagram.len() >= BUFFER {
            return Err(DropReason::Oversize);
        }
        let content = match (is_rtp, channel, Content::of(datagram)) {
            (false, ..) => {
                from.meter.opaque(datagram);
                None
            }
            (true, Channel::Rtp, Content::Rtp) => {
                // Numbers mean what the receiver's SDP says, which the sender's repeats as a rule.
                let unknown = &mut from.unknown_payload;
                let (theirs, own) = (&to.payloads, &from.payloads);
                let payload_of = |number| {
                    let known = find(theirs, number);
                    let is_odd = known.is_none() && !theirs.is_empty() && number != COMFORT_NOISE;
                    *unknown = is_odd.then_some(number);
                    known.or(find(own, number))
                };
                let is_whole = from.meter.rtp(datagram, now, payload_of);
                Some(if is_whole { Content::Rtp } else { Content::Other })
            }
            (true, _, Content::Rtcp) => {
                from.meter.rtcp(datagram, now, &to.meter);
                Some(Content::Rtcp)
            }
            (true, Channel::Rtcp, Content::Rtp) | (true, _, Content::Other) => {
                from.meter.other();
                Some(Content::Other)
            }
        };
        // What is not RTP neither fixes the source of an RTP stream nor counts as a sign of life.
        if content != Some(Content::Other) {
            silence.heard(side, now);
            from.learn(channel, source);
        }
        let out = match content {
            Some(Content::Rtcp) if to.rtcp_mux => Channel::Rtp,
            Some(Content::Rtcp) => Channel::Rtcp,
            Some(Content::Rtp) => Channel::Rtp,
            Some(Content::Other) | None => channel,
        };
        to.send(out, datagram)
    }

    fn leg(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }
}

impl Leg {
    fn new(sockets: Sockets) -> Self {
        Leg {
            sockets,
            gate: Gate::new(),
            is_told: false,
            rtp_to: None,
            rtcp_to: None,
            rtcp_mux: false,
            sends: false,
            payloads: Vec::new(),
            meter: Meter::default(),
            forwarded: 0,
            dropped: Dropped::default(),
            has_sent: false,
            stranger: None,
            unknown_payload: None,
        }
    }

    fn update(&mut self, update: SideUpdate) {
        let SideUpdate { sources, rtp, rtcp, sends, rtcp_mux, is_rtp: _, mut payloads } = update;
        payloads.truncate(MAX_PAYLOADS);
        self.is_told = true;
        // A family that the socket does not speak could never be sent to.
        let is_v6 = self.sockets.endpoint.address.is_ipv6();
        let reachable = |address: &SocketAddr| address.is_ipv6() == is_v6;
        let sources = match sources {
            SourcePolicy::Exact(address) if address.is_ipv6() != is_v6 => SourcePolicy::Nobody,
            other => other,
        };
        self.gate.update(sources, rtp.filter(reachable), rtcp.filter(reachable));
        self.rtp_to = self.gate.destination(Channel::Rtp).map(SockAddr::from);
        self.rtcp_to = self.gate.destination(Channel::Rtcp).map(SockAddr::from);
        self.rtcp_mux = rtcp_mux;
        self.sends = sends;
        self.has_sent |= sends;
        self.payloads = payloads;
    }

    fn learn(&mut self, channel: Channel, source: SocketAddr) {
        if let Some(destination) = self.gate.latch(channel, source) {
            let to = match channel {
                Channel::Rtp => &mut self.rtp_to,
                Channel::Rtcp => &mut self.rtcp_to,
            };
            *to = Some(destination.into());
        }
    }

    /// Sends at once or not at all: media that waits is worth nothing.
    fn send(&self, channel: Channel, datagram: &[u8]) -> Result<(), DropReason> {
        let to = match channel {
            Channel::Rtp => &self.rtp_to,
            Channel::Rtcp => &self.rtcp_to,
        };
        let to = to.as_ref().ok_or(DropReason::NoDestination)?;
        // Past the runtime's readiness, which a fresh socket does not have yet, and which costs a lock a packet.
        let socket = SockRef::from(self.socket(channel));
        loop {
            match socket.send_to(datagram, to) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(DropReason::SendFailed),
            }
        }
    }

    fn socket(&self, channel: Channel) -> &UdpSocket {
        match channel {
            Channel::Rtp => &self.sockets.rtp,
            Channel::Rtcp => &self.sockets.rtcp,
        }
    }

    fn statistics(&self) -> DirectionStatistics {
        DirectionStatistics {
            source: self.gate.learned(),
            forwarded: self.forwarded,
            dropped: self.dropped,
            sends: self.has_sent,
            stranger: self.stranger,
            unknown_payload: self.unknown_payload,
            ..self.meter.statistics()
        }
    }
}

fn find(payloads: &[Payload], number: u8) -> Option<Payload> {
    payloads.iter().copied().find(|payload| payload.number == number)
}

/// The longest datagram relayed is one byte less: a jumbo frame's worth.
const BUFFER: usize = 9_217;
/// Sent without being agreed on, often enough (RFC 3389).
const COMFORT_NOISE: u8 = 13;
/// Payload types that RTP can tell apart.
const MAX_PAYLOADS: usize = 128;
