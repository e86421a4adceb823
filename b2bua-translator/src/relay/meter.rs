//! What the packets of one direction tell: counts, loss, jitter, round trip. It has no clock: the caller brings the time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rtcp_types::{ReceiverReport, ReportBlock, RtcpPacket, RtcpPacketParser, SenderReport};
use rtp_rs::RtpReader;

use super::Payload;
use super::quality::{Impairment, mos};
use super::sequence::{Order, SequenceTracker};
use super::statistics::DirectionStatistics;

/// What a datagram on an RTP stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Rtp,
    Rtcp,
    /// Not of version 2: STUN, DTLS, ZRTP or rubbish.
    Other,
}

impl Content {
    /// Tells RTP from RTCP on a shared port by the payload type (RFC 5761 §4): 64–95 with the marker bit are RTCP's
    /// packet types 192–223.
    pub(super) fn of(datagram: &[u8]) -> Self {
        match datagram {
            [first, second, ..] if first >> 6 == 2 => {
                if (192..=223).contains(second) {
                    Content::Rtcp
                } else {
                    Content::Rtp
                }
            }
            _ => Content::Other,
        }
    }
}

/// Follows what one side sends.
#[derive(Debug, Default)]
pub(super) struct Meter {
    packets: u64,
    bytes: u64,
    rtcp_packets: u64,
    other_packets: u64,
    sequence: SequenceTracker,
    jitter: Jitter,
    payload: Option<Payload>,
    speech: Option<Payload>,
    reports: VecDeque<SeenReport>,
    round_trip: Option<Duration>,
}

/// A sender report that passed: the middle of its NTP time, which the receiver's reports quote, and when it passed.
#[derive(Debug)]
struct SeenReport {
    ntp_middle: u32,
    passed: Instant,
}

impl Meter {
    /// Counts a datagram of a stream that is not RTP.
    pub(super) fn opaque(&mut self, datagram: &[u8]) {
        self.packets += 1;
        self.bytes += datagram.len() as u64;
    }

    /// Counts a datagram that is neither RTP nor RTCP.
    pub(super) fn other(&mut self) {
        self.other_packets += 1;
    }

    /// Counts an RTP packet; `payload_of` finds the meaning of a payload type. `false` when it is too short for one, and
    /// then counted as other.
    pub(super) fn rtp(
        &mut self,
        datagram: &[u8],
        now: Instant,
        payload_of: impl FnOnce(u8) -> Option<Payload>,
    ) -> bool {
        let Some(mut fixed) = datagram.first_chunk::<{ RtpReader::MIN_HEADER_LEN }>().copied() else {
            self.other();
            return false;
        };
        // The fixed header alone: what padding, extension and sources would say may be encrypted (RFC 3711 §3.1), and
        // the reader would refuse the packet for it.
        if let Some(first) = fixed.first_mut() {
            *first &= 0b1100_0000;
        }
        let Ok(header) = RtpReader::new(&fixed) else {
            self.other();
            return false;
        };
        self.packets += 1;
        self.bytes += datagram.len() as u64;
        let number = header.payload_type();
        let payload = match self.payload {
            Some(payload) if payload.number == number => payload,
            _ => {
                let payload = payload_of(number).unwrap_or(Payload {
                    number,
                    clock_rate: DEFAULT_CLOCK_RATE,
                    speech: Some(Impairment::G711),
                });
                *self.payload.insert(payload)
            }
        };
        let (ssrc, order) =
            (header.ssrc(), self.sequence.packet(header.ssrc(), header.sequence_number().into()));
        if payload.speech.is_some() {
            self.speech = Some(payload);
            if order != Order::Stray {
                self.jitter.packet(ssrc, header.timestamp(), payload.clock_rate, now);
            }
        }
        true
    }

    /// The payload types have been given new meanings.
    pub(super) fn forget_payloads(&mut self) {
        self.payload = None;
    }

    /// Counts an RTCP datagram, and measures the round trip to its sender, `reverse` being the other direction's meter.
    pub(super) fn rtcp(&mut self, datagram: &[u8], now: Instant, reverse: &Meter) {
        self.rtcp_packets += 1;
        // Walked by hand, since the compound reader of the crate builds what we do not look at.
        let mut rest = datagram;
        for _ in 0..MAX_COMPOUND {
            let [_, kind, high, low, ..] = *rest else { break };
            let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
            let Some(packet) = rest.get(..length) else { break };
            rest = rest.get(length..).unwrap_or_default();
            if kind == SenderReport::PACKET_TYPE {
                let Ok(report) = SenderReport::parse(packet) else { break };
                self.sent_report(report.ntp_timestamp(), now);
                report.report_blocks().for_each(|block| self.received_report(&block, now, reverse));
            } else if kind == ReceiverReport::PACKET_TYPE {
                let Ok(report) = ReceiverReport::parse(packet) else { break };
                report.report_blocks().for_each(|block| self.received_report(&block, now, reverse));
            }
        }
    }

    /// The figures so far. `source`, `forwarded` and `dropped` are the caller's to fill in.
    pub(super) fn statistics(&self) -> DirectionStatistics {
        let (expected, lost) = (self.sequence.expected(), self.sequence.lost());
        let round_trip_ms = self.round_trip.map(milliseconds);
        let score = self.speech.and_then(|payload| payload.speech).map(|codec| {
            let loss_percent = if expected == 0 { 0.0 } else { 100.0 * lost as f64 / expected as f64 };
            // The sender's way to us, and a jitter buffer of twice the jitter behind a packet of 20 ms.
            let delay = round_trip_ms.unwrap_or(0.0) / 2.0 + 20.0 + 2.0 * self.jitter.current_ms;
            mos(codec, loss_percent, delay)
        });
        DirectionStatistics {
            packets: self.packets,
            bytes: self.bytes,
            rtcp_packets: self.rtcp_packets,
            other_packets: self.other_packets,
            expected,
            lost,
            duplicates: self.sequence.duplicates(),
            reordered: self.sequence.reordered(),
            restarts: self.sequence.restarts(),
            jitter_ms: self.jitter.current_ms,
            max_jitter_ms: self.jitter.highest_ms,
            round_trip_ms,
            payload_type: self.speech.map(|payload| payload.number),
            mos: score,
            ..DirectionStatistics::default()
        }
    }

    fn sent_report(&mut self, ntp: u64, now: Instant) {
        if self.reports.len() == MAX_REPORTS {
            self.reports.pop_front();
        }
        self.reports.push_back(SeenReport { ntp_middle: (ntp >> 16) as u32, passed: now });
    }

    /// RFC 3550 §6.4.1: the time since the quoted report passed here, less the time that the receiver kept it.
    fn received_report(&mut self, block: &ReportBlock<'_>, now: Instant, reverse: &Meter) {
        let quoted = block.last_sender_report_timestamp();
        if quoted == 0 {
            return;
        }
        let Some(report) = reverse.reports.iter().rev().find(|report| report.ntp_middle == quoted) else {
            return;
        };
        let kept = f64::from(block.delay_since_last_sender_report_timestamp()) / 65_536.0;
        let passed = now.saturating_duration_since(report.passed);
        // A clock that runs fast makes it slightly negative: then it is as good as nothing.
        self.round_trip = Some(passed.saturating_sub(Duration::from_secs_f64(kept)));
    }
}

/// Interarrival jitter (RFC 3550 appendix A.8), in ms rather than in timestamp units, so that it survives a change of
/// the clock rate.
#[derive(Debug, Default)]
struct Jitter {
    last: Option<Arrival>,
    current_ms: f64,
    highest_ms: f64,
}

#[derive(Debug)]
struct Arrival {
    ssrc: u32,
    clock_rate: u32,
    timestamp: u32,
    at: Instant,
}

impl Jitter {
    fn packet(&mut self, ssrc: u32, timestamp: u32, clock_rate: u32, now: Instant) {
        let arrival = Arrival { ssrc, clock_rate, timestamp, at: now };
        let Some(last) = self.last.replace(arrival) else { return };
        if last.ssrc != ssrc || last.clock_rate != clock_rate || clock_rate == 0 {
            return;
        }
        // The difference wraps with the timestamp, and is negative for a packet that was overtaken.
        let sent = f64::from(timestamp.wrapping_sub(last.timestamp) as i32) * 1_000.0 / f64::from(clock_rate);
        let apart = milliseconds(now.saturating_duration_since(last.at));
        let difference = (apart - sent).abs();
        if difference > MAX_TRANSIT_STEP_MS {
            // The sender has set its timestamps anew; that is no jitter.
            return;
        }
        self.current_ms += (difference - self.current_ms) / 16.0;
        self.highest_ms = self.highest_ms.max(self.current_ms);
    }
}

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

/// The clock of a payload type that nobody has named, in Hz.
const DEFAULT_CLOCK_RATE: u32 = 8_000;
/// RTCP packets read of one datagram.
const MAX_COMPOUND: usize = 16;
/// Sender reports remembered, about 40 s of them.
const MAX_REPORTS: usize = 8;
/// A step between two packets beyond which the timestamps are taken as set anew, in ms.
const MAX_TRANSIT_STEP_MS: f64 = 10_000.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtcp_types::RtcpPacketWriter;
    use rtp_rs::{RtpPacketBuilder, Seq};

    use super::*;

    fn packet(payload_type: u8, number: u16, timestamp: u32) -> Vec<u8> {
        RtpPacketBuilder::new()
            .payload_type(payload_type)
            .ssrc(7)
            .sequence(Seq::from(number))
            .timestamp(timestamp)
            .payload(&[0xd5; 160])
            .build()
            .unwrap()
    }

    fn nothing(_: u8) -> Option<Payload> {
        None
    }

    #[test]
    fn a_steady_stream_has_no_jitter() {
        let start = Instant::now();
        let mut meter = Meter::default();
        for index in 0..100_u32 {
            let timestamp = (u32::MAX - 8_000).wrapping_add(index * 160);
            let now = start + Duration::from_millis(u64::from(index) * 20);
            meter.rtp(&packet(0, (index as u16).wrapping_sub(50), timestamp), now, nothing);
        }
        let figures = meter.statistics();
        assert_eq!((figures.packets, figures.bytes, figures.lost), (100, 17_200, 0));
        assert!(figures.jitter_ms < 0.001 && figures.mos.unwrap() > 4.3, "{figures:?}");
    }

    #[test]
    fn jitter_follows_the_formula() {
        let start = Instant::now();
        let mut meter = Meter::default();
        let mut wanted = 0.0_f64;
        for index in 0..50_u32 {
            let late = u64::from(index % 2) * 8;
            meter.rtp(
                &packet(8, index as u16, index * 160),
                start + Duration::from_millis(u64::from(index) * 20 + late),
                nothing,
            );
            if index > 0 {
                wanted += (8.0 - wanted) / 16.0;
            }
        }
        assert!((meter.statistics().jitter_ms - wanted).abs() < 1e-6);
    }

    #[test]
    fn the_clock_rate_comes_from_the_payload_type() {
        let start = Instant::now();
        let opus = |number| {
            (number == 96).then_some(Payload {
                number: 96,
                clock_rate: 48_000,
                speech: Some(Impairment::G711),
            })
        };
        let mut meter = Meter::default();
        for index in 0..50_u32 {
            let now = start + Duration::from_millis(u64::from(index) * 20);
            meter.rtp(&packet(96, index as u16, index * 960), now, opus);
        }
        assert!(meter.statistics().jitter_ms < 0.001);
        assert_eq!(meter.statistics().payload_type, Some(96));
    }

    #[test]
    fn tones_do_not_disturb_jitter() {
        let start = Instant::now();
        let tone = |number| (number == 101).then_some(Payload { number, clock_rate: 8_000, speech: None });
        let mut meter = Meter::default();
        for index in 0..40_u32 {
            let now = start + Duration::from_millis(u64::from(index) * 20);
            // One event from packet 10 to 19, all with the timestamp of its start (RFC 4733 §2.1).
            let (kind, timestamp) = if (10..20).contains(&index) { (101, 1_600) } else { (0, index * 160) };
            meter.rtp(&packet(kind, index as u16, timestamp), now, tone);
        }
        let figures = meter.statistics();
        assert!(figures.jitter_ms < 0.001, "{figures:?}");
        assert_eq!((figures.payload_type, figures.packets), (Some(0), 40));
    }

    #[test]
    fn loss_lowers_the_score() {
        let start = Instant::now();
        let mut meter = Meter::default();
        for index in (0..200_u32).filter(|index| index % 10 != 3) {
            let now = start + Duration::from_millis(u64::from(index) * 20);
            meter.rtp(&packet(18, index as u16, index * 160), now, |number| {
                Some(Payload { number, clock_rate: 8_000, speech: Some(Impairment::of_codec("G729")) })
            });
        }
        let figures = meter.statistics();
        assert_eq!((figures.expected, figures.lost), (200, 20));
        assert!(figures.mos.unwrap() < 3.0, "{figures:?}");
    }

    #[test]
    fn round_trip_from_reports() {
        let start = Instant::now();
        let ntp: u64 = 0x1122_3344_5566_7788;
        let mut sender = Meter::default();
        let mut receiver = Meter::default();
        let report = write(&SenderReport::builder(1).ntp_timestamp(ntp));
        sender.rtcp(&report, start, &receiver);
        let block = ReportBlock::builder(1)
            .last_sender_report_timestamp((ntp >> 16) as u32)
            .delay_since_last_sender_report_timestamp(65_536 / 2);
        let answer = write(&ReceiverReport::builder(2).add_report_block(block));
        receiver.rtcp(&answer, start + Duration::from_millis(580), &sender);
        let figures = receiver.statistics();
        assert!((figures.round_trip_ms.unwrap() - 80.0).abs() < 0.1, "{figures:?}");
        assert_eq!((figures.rtcp_packets, figures.mos), (1, None));
        assert_eq!(sender.statistics().round_trip_ms, None);
    }

    #[test]
    fn encrypted_padding_and_extensions_are_measured_all_the_same() {
        let mut meter = Meter::default();
        for number in 0..10 {
            let mut datagram = packet(0, number, u32::from(number) * 160);
            datagram[0] |= 0b0011_1111;
            assert!(meter.rtp(&datagram, Instant::now(), nothing));
        }
        assert!(!meter.rtp(&[0x80, 0, 0, 1], Instant::now(), nothing));
        let figures = meter.statistics();
        assert_eq!((figures.packets, figures.expected, figures.other_packets), (10, 10, 1));
    }

    #[test]
    fn contents_by_their_first_bytes() {
        assert_eq!(Content::of(&packet(0, 1, 1)), Content::Rtp);
        assert_eq!(Content::of(&[0x80, 200, 0, 6]), Content::Rtcp);
        assert_eq!(Content::of(&[0x80, 72]), Content::Rtp);
        assert_eq!(Content::of(&[0x00, 0x01, 0, 0]), Content::Other);
        assert_eq!(Content::of(&[0x80]), Content::Other);
        assert_eq!(Content::of(&[]), Content::Other);
    }

    fn write(packet: &impl RtcpPacketWriter) -> Vec<u8> {
        let mut buffer = vec![0; packet.calculate_size().unwrap()];
        packet.write_into_unchecked(&mut buffer);
        buffer
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(datagrams in proptest::collection::vec(
            (proptest::sample::select(&[0x80_u8, 0x90, 0xa0, 0xbf, 0x00][..]),
             proptest::sample::select(&[0_u8, 200, 201, 202, 101][..]),
             proptest::collection::vec(any::<u8>(), 0..80)), 0..20)) {
            let now = Instant::now();
            let mut meter = Meter::default();
            let mut reverse = Meter::default();
            for (first, second, rest) in datagrams {
                let datagram = [vec![first, second], rest].concat();
                meter.rtp(&datagram, now, nothing);
                meter.rtcp(&datagram, now, &reverse);
                reverse.rtcp(&datagram, now, &meter);
            }
            let _ = meter.statistics();
        }
    }
}
