//! The task that sends and receives one stream's RTP and RTCP.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{
    net::UdpSocket,
    sync::watch,
    time::{self, MissedTickBehavior},
};
use tracing::debug;

use super::{
    Codec, Media, MediaOptions,
    rtcp::{self, Sent},
    rtp::Rtp,
    stamp::{PAYLOAD, Stamp},
};
use crate::{error::UaError, ids::Ids};

/// A bound pair of ports (RTP even, RTCP the next) and the task that serves it. Dropping it sends an RTCP BYE and closes both.
#[derive(Debug)]
pub struct MediaSession {
    media: Media,
    control: watch::Sender<MediaControl>,
    local: SocketAddr,
}

/// Where to send, and whether.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MediaControl {
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) remote_rtcp: Option<SocketAddr>,
    pub(crate) send: bool,
    pub(crate) codec: Codec,
}

impl MediaSession {
    /// Binds a free pair of ports on this address and starts its task; nothing is sent before [`MediaSession::connect`].
    /// Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`UaError::MediaPorts`].
    pub fn open(ip: IpAddr, options: &MediaOptions) -> Result<Self, UaError> {
        let mut ids = Ids::new();
        Self::open_for(Media::new(ids.next_u64()), ip, options, ids)
    }

    pub(crate) fn open_for(
        media: Media,
        ip: IpAddr,
        options: &MediaOptions,
        ids: Ids,
    ) -> Result<Self, UaError> {
        let (rtp, rtcp) = bind_pair(ip).map_err(|source| UaError::MediaPorts { addr: ip, source })?;
        let local = rtp.local_addr().map_err(|source| UaError::MediaPorts { addr: ip, source })?;
        let codec = options.codecs.first().copied().unwrap_or(Codec::Pcmu);
        let idle = MediaControl { remote: None, remote_rtcp: None, send: false, codec };
        let (control, watched) = watch::channel(idle);
        let stream = Stream::new(media.clone(), options.clone(), ids);
        tokio::spawn(stream.run(rtp, rtcp, watched));
        Ok(Self { media, control, local })
    }

    /// The RTP address that was bound; RTCP is one port above.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sends RTP to this address and RTCP to the port above it; `send` may be switched off and on again.
    pub fn connect(&self, remote: SocketAddr, send: bool) {
        let remote_rtcp = SocketAddr::new(remote.ip(), remote.port().saturating_add(1));
        self.control.send_modify(|control| {
            control.remote = Some(remote);
            control.remote_rtcp = Some(remote_rtcp);
            control.send = send;
        });
    }

    /// What was sent and received.
    pub fn media(&self) -> &Media {
        &self.media
    }

    pub(crate) fn set(&self, control: MediaControl) {
        self.control.send_if_modified(|now| std::mem::replace(now, control) != control);
    }

    /// Stops sending RTP; RTCP goes on.
    pub(crate) fn mute(&self) {
        self.control.send_modify(|control| control.send = false);
    }
}

/// The sending side's state.
struct Stream {
    media: Media,
    options: MediaOptions,
    ids: Ids,
    ssrc: u32,
    sequence: u16,
    /// RTP timestamp at `origin`.
    timestamp: u32,
    origin: time::Instant,
    /// The tick of the latest packet.
    last_tick: Option<time::Instant>,
    /// Packets stamped so far, those left out on purpose included.
    stamped: u64,
    cname: String,
}

impl Stream {
    fn new(media: Media, options: MediaOptions, mut ids: Ids) -> Self {
        let ssrc = ids.next_u32();
        let sequence = ids.next_u32() as u16;
        let timestamp = ids.next_u32();
        let cname = ids.token();
        let origin = time::Instant::now();
        Self { media, options, ids, ssrc, sequence, timestamp, origin, last_tick: None, stamped: 0, cname }
    }

    async fn run(mut self, rtp: UdpSocket, rtcp: UdpSocket, mut watched: watch::Receiver<MediaControl>) {
        let mut control = *watched.borrow_and_update();
        self.media.update(|stats| stats.sends_to = control.remote);
        let mut ticks = time::interval(PACKET_TIME);
        // A machine that cannot keep up sends fewer packets, not all of them later: load that grows by itself never ends.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut next_report = time::Instant::now() + FIRST_REPORT.mul_f64(self.ids.spread());
        loop {
            let sending = control.send
                && control.remote.is_some()
                && self.options.packets.is_none_or(|limit| self.stamped < limit);
            tokio::select! {
                tick = ticks.tick(), if sending => self.send_packet(&rtp, control, tick),
                ready = rtp.readable() => if ready.is_ok() { self.receive_packets(&rtp) },
                ready = rtcp.readable() => if ready.is_ok() { self.receive_reports(&rtcp) },
                () = time::sleep_until(next_report) => {
                    self.send_report(&rtcp, control, false);
                    next_report = time::Instant::now() + REPORT_TIME.mul_f64(self.ids.spread());
                }
                changed = watched.changed() => {
                    if changed.is_err() {
                        self.send_report(&rtcp, control, true);
                        return;
                    }
                    control = *watched.borrow_and_update();
                    self.media.update(|stats| stats.sends_to = control.remote);
                    if !sending {
                        ticks.reset();
                    }
                }
            }
        }
    }

    fn send_packet(&mut self, rtp: &UdpSocket, control: MediaControl, tick: time::Instant) {
        let Some(remote) = control.remote else { return };
        if self.media.is_stopped() {
            return;
        }
        // The first packet after a pause is marked (RFC 3551 §4.1).
        let marker = self.last_tick.is_none_or(|last| tick.saturating_duration_since(last) > PAUSE);
        let stamp = Stamp { stream: self.media.stream(), number: self.stamped, sent_at_us: wall_us() };
        let mut payload = stamp.write();
        if self.options.corrupt_packet == Some(self.stamped)
            && let Some(byte) = payload.get_mut(PAYLOAD / 2)
        {
            *byte ^= 0x01;
        }
        let packet = Rtp {
            marker,
            payload_type: control.codec.payload_type(),
            sequence: self.sequence,
            timestamp: self.timestamp_at(tick),
            ssrc: self.ssrc,
            payload: &payload,
        };
        let omitted = self.options.omit_packet == Some(self.stamped);
        if !omitted && let Err(error) = rtp.try_send_to(&packet.write(), remote) {
            debug!(%remote, %error, "RTP packet not sent");
            return;
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.stamped += 1;
        self.last_tick = Some(tick);
        // A packet left out on purpose counts as sent: its loss is what the receiver shall report.
        self.media.update(|stats| stats.sent += 1);
    }

    /// The timestamp goes with the clock, through pauses and missed ticks too (RFC 3550 §5.1).
    fn timestamp_at(&self, tick: time::Instant) -> u32 {
        let elapsed = tick.saturating_duration_since(self.origin).as_micros() as u64;
        self.timestamp.wrapping_add((elapsed * 8 / 1000) as u32)
    }

    fn receive_packets(&self, socket: &UdpSocket) {
        let mut buffer = [0; 2048];
        for _ in 0..BATCH {
            let Ok((length, from)) = socket.try_recv_from(&mut buffer) else { return };
            let Some(rtp) = buffer.get(..length).and_then(Rtp::read) else { continue };
            let (now, now_us) = (Instant::now(), wall_us());
            self.media.update(|stats| stats.packet(&rtp, from, now, now_us));
        }
    }

    fn receive_reports(&self, socket: &UdpSocket) {
        let mut buffer = [0; 2048];
        for _ in 0..BATCH {
            let Ok((length, _)) = socket.try_recv_from(&mut buffer) else { return };
            let Some(report) = buffer.get(..length).and_then(rtcp::read) else { continue };
            let (now, ntp) = (Instant::now(), middle(ntp_now()));
            self.media.update(|stats| {
                stats.rtcp_received += 1;
                if let Some(sender_report) = report.sender_report {
                    stats.sender_report(sender_report, now);
                }
                let about_us = report.blocks.iter().find(|block| block.ssrc == self.ssrc);
                if let Some(block) = about_us.filter(|block| block.last_report != 0) {
                    let trip = ntp.wrapping_sub(block.last_report).wrapping_sub(block.delay);
                    // Clocks that step make nonsense of this difference; a round trip of a minute is nonsense too.
                    if trip < 60 << 16 {
                        stats.round_trip(Duration::from_secs_f64(f64::from(trip) / 65536.0));
                    }
                }
            });
        }
    }

    fn send_report(&mut self, rtcp: &UdpSocket, control: MediaControl, bye: bool) {
        let Some(remote) = control.remote_rtcp else { return };
        let now = Instant::now();
        let (sent, block) = self.media.update(|stats| (stats.sent, stats.block(now)));
        let sent = self.last_tick.map(|_| Sent {
            ntp: ntp_now(),
            timestamp: self.timestamp_at(time::Instant::now()),
            packets: sent as u32,
            octets: (sent as u32).wrapping_mul(PAYLOAD as u32),
        });
        let packet = rtcp::write(self.ssrc, sent, block, &self.cname, bye);
        match rtcp.try_send_to(&packet, remote) {
            Ok(_) => self.media.update(|stats| stats.rtcp_sent += 1),
            Err(error) => debug!(%remote, %error, "RTCP packet not sent"),
        }
    }
}

/// Binds an even port and the odd one above it.
fn bind_pair(ip: IpAddr) -> io::Result<(UdpSocket, UdpSocket)> {
    let bind = |port| -> io::Result<std::net::UdpSocket> {
        let socket = std::net::UdpSocket::bind((ip, port))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PAIR_ATTEMPTS {
        let one = bind(0)?;
        let port = one.local_addr()?.port();
        let even = port % 2 == 0;
        let other = if even { port.checked_add(1) } else { port.checked_sub(1) };
        match bind(other.unwrap_or(0)) {
            Ok(two) => {
                let (rtp, rtcp) = if even { (one, two) } else { (two, one) };
                return Ok((UdpSocket::from_std(rtp)?, UdpSocket::from_std(rtcp)?));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn wall_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// NTP time: seconds since 1900 in 32.32 fixed point.
fn ntp_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs().wrapping_add(2_208_988_800) << 32;
    seconds | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000)
}

fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

const PACKET_TIME: Duration = Duration::from_millis(20);
/// A gap between packets that is a pause and not a late timer.
const PAUSE: Duration = Duration::from_millis(200);
const FIRST_REPORT: Duration = Duration::from_millis(300);
const REPORT_TIME: Duration = Duration::from_secs(1);
/// Datagrams taken before others get their turn.
const BATCH: usize = 32;
const PAIR_ATTEMPTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::DirectionReport;

    async fn exchange(ip: &str, options: MediaOptions) -> (DirectionReport, DirectionReport) {
        let ip = ip.parse().expect("an address");
        let left = MediaSession::open(ip, &options).expect("ports");
        let right = MediaSession::open(ip, &MediaOptions::default()).expect("ports");
        assert_eq!(left.local_addr().port() % 2, 0);
        left.connect(right.local_addr(), true);
        right.connect(left.local_addr(), true);
        right.media().await_received(25).await;
        left.media().await_received(25).await;
        left.media().await_rtcp(1).await;
        right.media().await_rtcp(2).await;
        left.media().stop_sending();
        right.media().stop_sending();
        let (l, r) = (left.media().report(), right.media().report());
        // A tick in progress may still count one packet after the flag was seen; it arrives too.
        left.media().await_received(r.sent).await;
        (DirectionReport::between(&l, &r), DirectionReport::between(&r, &left.media().report()))
    }

    #[tokio::test]
    async fn streams_cross_intact_in_both_families() {
        for ip in ["::1", "127.0.0.1"] {
            let options = MediaOptions { packets: Some(25), ..MediaOptions::default() };
            let (there, back) = exchange(ip, options).await;
            assert!(there.is_intact(), "{there:?}");
            assert_eq!((there.sent, there.received), (25, 25));
            assert!(back.is_intact(), "{back:?}");
            assert!(there.mos > Some(4.0));
        }
    }

    #[tokio::test]
    async fn one_changed_byte_is_reported() {
        let options = MediaOptions { packets: Some(25), corrupt_packet: Some(7), ..MediaOptions::default() };
        let (there, back) = exchange("::1", options).await;
        assert_eq!((there.corrupted, there.lost), (1, 0));
        assert!(!there.is_intact());
        assert!(back.is_intact(), "{back:?}");
    }

    #[tokio::test]
    async fn one_missing_packet_is_reported() {
        let options = MediaOptions { packets: Some(26), omit_packet: Some(3), ..MediaOptions::default() };
        let (there, _) = exchange("::1", options).await;
        assert_eq!((there.sent, there.received, there.lost), (26, 25, 1));
    }
}
