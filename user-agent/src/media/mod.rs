//! RTP and RTCP of one call: G.711 packets whose payload proves itself, and what the receiver made of them.

mod mos;
mod rtcp;
mod rtp;
mod session;
mod stamp;
mod stats;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub use session::MediaSession;

pub(crate) use session::MediaControl;

use crate::incoming::lock;
use stats::Stats;

/// A G.711 codec, 8000 Hz, 20 ms and 160 bytes a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Codec {
    /// µ-law, payload type 0.
    Pcmu,
    /// A-law, payload type 8.
    Pcma,
}

impl Codec {
    /// The static payload type of RFC 3551.
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }

    /// The encoding name of RFC 3551.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }
}

/// How a side's media behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaOptions {
    /// Codecs in order of preference.
    pub codecs: Vec<Codec>,
    /// Whether sockets are bound and packets flow. When `false`, SDP names the discard port 9: signalling load only.
    pub enabled: bool,
    /// Send this many RTP packets and then only RTCP; `None` sends for as long as the call lasts.
    pub packets: Option<u64>,
    /// Flip one byte of the payload of this packet (counted from 0) after it was stamped: a fault to be found by the receiver.
    pub corrupt_packet: Option<u64>,
    /// Leave this packet (counted from 0) out: a fault to be found by the receiver.
    pub omit_packet: Option<u64>,
}

impl Default for MediaOptions {
    fn default() -> Self {
        Self {
            codecs: vec![Codec::Pcmu, Codec::Pcma],
            enabled: true,
            packets: None,
            corrupt_packet: None,
            omit_packet: None,
        }
    }
}

/// What one side sent, and what it made of the stream that it received.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MediaReport {
    /// RTP packets sent.
    pub sent: u64,
    /// RTP packets received, without duplicates.
    pub received: u64,
    /// Packets missing between the sender's first (by the stamp; the first that came, without a stamp) and the last that came.
    pub lost: u64,
    /// Packets whose payload is not what the sender stamped, byte for byte.
    pub corrupted: u64,
    /// Packets that came after one with a higher sequence number.
    pub reordered: u64,
    /// Packets that came again.
    pub duplicate: u64,
    /// Packets of another payload type, or after the bound of four sources.
    pub foreign: u64,
    /// Interarrival jitter, ms (RFC 3550 §6.4.1).
    pub jitter_ms: f64,
    /// Mean one-way delay in ms by the sender's clock in the stamp (same machine), else half the RTCP round trip.
    pub delay_ms: f64,
    /// Round trip in ms from RTCP (RFC 3550 §6.4.1), if a report came back.
    pub round_trip_ms: Option<f64>,
    /// The longest time between two packets that came, ms: what a hearer takes for a dropped call.
    pub longest_gap_ms: f64,
    /// RTCP compound packets sent.
    pub rtcp_sent: u64,
    /// RTCP compound packets received.
    pub rtcp_received: u64,
    /// Mean opinion score of what was received, by the E-model (ITU-T G.107), 1.0 to 4.5; `None` if nothing came.
    pub mos: Option<f64>,
    /// The identifier in our own stamps.
    pub stream: u64,
    /// The identifiers in the stamps that came, at most eight, in order of arrival.
    pub heard: Vec<u64>,
    /// Where the latest RTP packet came from.
    pub heard_from: Option<SocketAddr>,
    /// Where RTP goes.
    pub sends_to: Option<SocketAddr>,
}

/// One direction of a call, from both reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DirectionReport {
    /// RTP packets that the sender sent.
    pub sent: u64,
    /// RTP packets that the receiver got.
    pub received: u64,
    /// The difference: lost on the way, the last packets included.
    pub lost: u64,
    /// Packets with a changed payload.
    pub corrupted: u64,
    /// Packets out of order.
    pub reordered: u64,
    /// Packets that came twice.
    pub duplicate: u64,
    /// Jitter in ms.
    pub jitter_ms: f64,
    /// Mean opinion score, 1.0 to 4.5; `None` if nothing came.
    pub mos: Option<f64>,
    /// Whether the receiver heard the sender's stream and no other.
    pub from_sender: bool,
}

impl DirectionReport {
    /// Joins what one side sent with what the other received.
    pub fn between(sender: &MediaReport, receiver: &MediaReport) -> Self {
        Self {
            sent: sender.sent,
            received: receiver.received,
            lost: sender.sent.saturating_sub(receiver.received),
            corrupted: receiver.corrupted,
            reordered: receiver.reordered,
            duplicate: receiver.duplicate,
            jitter_ms: receiver.jitter_ms,
            mos: receiver.mos,
            from_sender: receiver.heard == [sender.stream],
        }
    }

    /// Whether packets came and none was lost, changed, repeated or somebody else's.
    pub fn is_intact(&self) -> bool {
        self.received > 0 && self.lost == 0 && self.corrupted == 0 && self.duplicate == 0 && self.from_sender
    }
}

/// The media of one call, to look at; cheap to clone and readable after the call has ended.
#[derive(Debug, Clone)]
pub struct Media {
    shared: Arc<MediaShared>,
}

#[derive(Debug)]
struct MediaShared {
    stream: u64,
    stats: Mutex<Stats>,
    progress: Notify,
    stopped: AtomicBool,
}

impl Media {
    pub(crate) fn new(stream: u64) -> Self {
        let shared = MediaShared {
            stream,
            stats: Mutex::new(Stats::new()),
            progress: Notify::new(),
            stopped: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The identifier in the stamps of what we send.
    pub fn stream(&self) -> u64 {
        self.shared.stream
    }

    /// What was sent and received so far.
    pub fn report(&self) -> MediaReport {
        lock(&self.shared.stats).report(self.shared.stream)
    }

    /// Sends no more RTP; RTCP goes on. With both sides stopped, every packet can be awaited before the call is ended.
    pub fn stop_sending(&self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }

    /// Waits until at least this many RTP packets have been received (duplicates not counted).
    /// Waits for ever if they do not come: put a time limit around it.
    pub async fn await_received(&self, packets: u64) {
        self.await_that(|stats| stats.received() >= packets).await;
    }

    /// Waits until at least this many RTP packets have been sent.
    pub async fn await_sent(&self, packets: u64) {
        self.await_that(|stats| stats.sent >= packets).await;
    }

    /// Waits until at least this many RTCP packets have been received.
    pub async fn await_rtcp(&self, packets: u64) {
        self.await_that(|stats| stats.rtcp_received >= packets).await;
    }

    fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Relaxed)
    }

    async fn await_that(&self, done: impl Fn(&Stats) -> bool) {
        loop {
            let progress = self.shared.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if done(&lock(&self.shared.stats)) {
                return;
            }
            progress.await;
        }
    }

    /// Changes the statistics and wakes whoever waits for them.
    fn update<T>(&self, change: impl FnOnce(&mut Stats) -> T) -> T {
        let result = change(&mut lock(&self.shared.stats));
        self.shared.progress.notify_waiters();
        result
    }
}
