//! What came in and went out: RFC 3550 appendix A, per source, and the report made of it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    MediaReport,
    mos::mos,
    rtcp::Block,
    rtp::Rtp,
    stamp::{NotStamped, Stamp},
};

/// The counters of one call's media.
#[derive(Debug)]
pub(super) struct Stats {
    epoch: Instant,
    pub(super) sent: u64,
    pub(super) rtcp_sent: u64,
    pub(super) rtcp_received: u64,
    pub(super) heard_from: Option<SocketAddr>,
    pub(super) sends_to: Option<SocketAddr>,
    round_trip: Option<Duration>,
    latest_arrival: Option<Instant>,
    longest_gap: Duration,
    foreign: u64,
    sources: Vec<Source>,
    heard: Vec<u64>,
}

impl Stats {
    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            sent: 0,
            rtcp_sent: 0,
            rtcp_received: 0,
            heard_from: None,
            sends_to: None,
            round_trip: None,
            latest_arrival: None,
            longest_gap: Duration::ZERO,
            foreign: 0,
            sources: Vec::new(),
            heard: Vec::new(),
        }
    }

    pub(super) fn received(&self) -> u64 {
        self.sources.iter().map(|source| source.distinct).sum()
    }

    /// Counts a packet. `now_us` is the wall clock, for the one-way delay.
    pub(super) fn packet(&mut self, rtp: &Rtp<'_>, from: SocketAddr, now: Instant, now_us: u64) {
        if !matches!(rtp.payload_type, 0 | 8) {
            self.foreign += 1;
            return;
        }
        let known = self.sources.iter().position(|source| source.ssrc == rtp.ssrc);
        if known.is_none() {
            if self.sources.len() >= MAX_SOURCES {
                self.foreign += 1;
                return;
            }
            self.sources.push(Source::new(rtp.ssrc, rtp.sequence));
        }
        let at = known.unwrap_or(self.sources.len() - 1);
        let arrival = now.saturating_duration_since(self.epoch).as_secs_f64() * CLOCK_RATE;
        let gap = self.latest_arrival.replace(now).map(|latest| now.saturating_duration_since(latest));
        self.longest_gap = self.longest_gap.max(gap.unwrap_or_default());
        self.heard_from = Some(from);
        let Some(source) = self.sources.get_mut(at) else { return };
        if let Some(stream) = source.packet(rtp, arrival, now_us)
            && !self.heard.contains(&stream)
            && self.heard.len() < MAX_HEARD
        {
            self.heard.push(stream);
        }
    }

    /// Takes a sender report of the other side.
    pub(super) fn sender_report(&mut self, middle_ntp: u32, now: Instant) {
        if let Some(source) = self.main_source() {
            source.last_report = Some((middle_ntp, now));
        }
    }

    pub(super) fn round_trip(&mut self, round_trip: Duration) {
        self.round_trip = Some(round_trip);
    }

    /// The block about the stream that is being received (RFC 3550 §6.4.1 and A.3).
    pub(super) fn block(&mut self, now: Instant) -> Option<Block> {
        let source = self.main_source()?;
        let expected = source.expected();
        let lost = expected.saturating_sub(source.distinct);
        let expected_now = expected.saturating_sub(source.expected_prior);
        let received_now = source.distinct.saturating_sub(source.received_prior);
        source.expected_prior = expected;
        source.received_prior = source.distinct;
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction_lost = (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8;
        let (last_report, delay) = source.last_report.map_or((0, 0), |(report, at)| {
            (report, (now.saturating_duration_since(at).as_secs_f64() * 65536.0) as u32)
        });
        Some(Block {
            ssrc: source.ssrc,
            fraction_lost,
            lost: lost.min(0x007f_ffff) as u32,
            highest: source.highest as u32,
            jitter: source.jitter as u32,
            last_report,
            delay,
        })
    }

    pub(super) fn report(&self, stream: u64) -> MediaReport {
        let sum = |field: fn(&Source) -> u64| self.sources.iter().map(field).sum::<u64>();
        let received = sum(|source| source.distinct);
        let lost = sum(|source| source.expected().saturating_sub(source.distinct));
        let corrupted = sum(Source::corrupted);
        let jitter_ms = self.sources.iter().max_by_key(|source| source.distinct);
        let jitter_ms = jitter_ms.map_or(0.0, |source| source.jitter / (CLOCK_RATE / 1000.0));
        let timed = sum(|source| source.timed);
        let delay_ms = if timed > 0 {
            sum(|source| source.delay_us) as f64 / timed as f64 / 1000.0
        } else {
            self.round_trip.map_or(0.0, |trip| trip.as_secs_f64() * 500.0)
        };
        let unusable = lost + corrupted.min(received);
        let mos =
            (received > 0).then(|| mos(unusable as f64 / (received + lost) as f64, delay_ms, jitter_ms));
        MediaReport {
            sent: self.sent,
            received,
            lost,
            corrupted,
            reordered: sum(|source| source.reordered),
            duplicate: sum(|source| source.duplicate),
            foreign: self.foreign,
            jitter_ms,
            delay_ms,
            round_trip_ms: self.round_trip.map(|trip| trip.as_secs_f64() * 1000.0),
            longest_gap_ms: self.longest_gap.as_secs_f64() * 1000.0,
            rtcp_sent: self.rtcp_sent,
            rtcp_received: self.rtcp_received,
            mos,
            stream,
            heard: self.heard.clone(),
            heard_from: self.heard_from,
            sends_to: self.sends_to,
        }
    }

    fn main_source(&mut self) -> Option<&mut Source> {
        self.sources.iter_mut().max_by_key(|source| source.distinct)
    }
}

/// One synchronisation source.
#[derive(Debug)]
struct Source {
    ssrc: u32,
    /// Extended sequence number of the first packet sent, as far as known.
    base: i64,
    highest: i64,
    started: bool,
    seen: Box<[u64; WINDOW / 64]>,
    distinct: u64,
    reordered: u64,
    duplicate: u64,
    corrupted: u64,
    unknown: u64,
    stream: Option<u64>,
    jitter: f64,
    /// Arrival and timestamp of the latest packet.
    latest: Option<(f64, u32)>,
    delay_us: u64,
    timed: u64,
    expected_prior: u64,
    received_prior: u64,
    last_report: Option<(u32, Instant)>,
}

impl Source {
    fn new(ssrc: u32, sequence: u16) -> Self {
        // Room below the first number for packets that were overtaken.
        let first = i64::from(sequence) + (1 << 32);
        Self {
            ssrc,
            base: first,
            highest: first,
            started: false,
            seen: Box::new([0; WINDOW / 64]),
            distinct: 0,
            reordered: 0,
            duplicate: 0,
            corrupted: 0,
            unknown: 0,
            stream: None,
            jitter: 0.0,
            latest: None,
            delay_us: 0,
            timed: 0,
            expected_prior: 0,
            received_prior: 0,
            last_report: None,
        }
    }

    fn expected(&self) -> u64 {
        if self.started { u64::try_from(self.highest - self.base + 1).unwrap_or(0) } else { 0 }
    }

    /// Payloads that begin unlike a stamp are damage in a stream that has stamps, and other audio in one that has none.
    fn corrupted(&self) -> u64 {
        self.corrupted + if self.stream.is_some() { self.unknown } else { 0 }
    }

    /// Counts a packet; gives the stream identifier of its stamp.
    fn packet(&mut self, rtp: &Rtp<'_>, arrival: f64, now_us: u64) -> Option<u64> {
        let step = i64::from(rtp.sequence.wrapping_sub(self.highest as u16) as i16);
        let number = self.highest + step;
        if !self.started {
            self.started = true;
            self.mark(number);
        } else if step > 0 {
            for skipped in (self.highest + 1..=number).rev().take(WINDOW) {
                self.clear(skipped);
            }
            self.highest = number;
            self.mark(number);
        } else if self.highest - number >= WINDOW as i64 || self.is_marked(number) {
            self.duplicate += 1;
            return None;
        } else {
            self.reordered += 1;
            self.base = self.base.min(number);
            self.mark(number);
        }
        self.distinct += 1;

        // RFC 3550 A.8, in timestamp units; the difference of timestamps is taken modulo 2^32.
        if let Some((before, timestamp)) = self.latest {
            let stamped = f64::from(rtp.timestamp.wrapping_sub(timestamp) as i32);
            let difference = (arrival - before - stamped).abs();
            self.jitter += (difference - self.jitter) / 16.0;
        }
        self.latest = Some((arrival, rtp.timestamp));
        self.verify(rtp.payload, number, now_us)
    }

    fn verify(&mut self, payload: &[u8], number: i64, now_us: u64) -> Option<u64> {
        match Stamp::read(payload) {
            Ok(stamp) => {
                match self.stream {
                    None => {
                        self.stream = Some(stamp.stream);
                        // The stamp counts from 0, so it tells what was lost before the first packet came.
                        let sent_before = i64::try_from(stamp.number.min(MAX_HEAD)).unwrap_or(0);
                        self.base = self.base.min(number - sent_before);
                    }
                    // Somebody else's speech in this stream is as bad as a changed byte.
                    Some(stream) if stream != stamp.stream => self.corrupted += 1,
                    Some(_) => {}
                }
                let delay = now_us.saturating_sub(stamp.sent_at_us);
                if delay < MAX_DELAY_US {
                    self.delay_us += delay;
                    self.timed += 1;
                }
                Some(stamp.stream)
            }
            Err(NotStamped::Corrupted) => {
                self.corrupted += 1;
                None
            }
            Err(NotStamped::Unknown) => {
                self.unknown += 1;
                None
            }
        }
    }

    fn slot(number: i64) -> (usize, u64) {
        let at = number.rem_euclid(WINDOW as i64) as usize;
        (at / 64, 1 << (at % 64))
    }

    fn mark(&mut self, number: i64) {
        let (word, bit) = Self::slot(number);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
    }

    fn clear(&mut self, number: i64) {
        let (word, bit) = Self::slot(number);
        if let Some(word) = self.seen.get_mut(word) {
            *word &= !bit;
        }
    }

    fn is_marked(&self, number: i64) -> bool {
        let (word, bit) = Self::slot(number);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// Timestamp units a second.
const CLOCK_RATE: f64 = 8000.0;
/// Packets within which a late one is told from a repeated one.
const WINDOW: usize = 1024;
/// Sources followed; further ones are only counted.
const MAX_SOURCES: usize = 4;
const MAX_HEARD: usize = 8;
/// Packets before the first received one that a stamp may claim.
const MAX_HEAD: u64 = 1 << 20;
/// A larger difference is two clocks, not a delay.
const MAX_DELAY_US: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(number: u64) -> Vec<u8> {
        Stamp { stream: 7, number, sent_at_us: 1000 }.write().to_vec()
    }

    /// Takes the packet of this number in its stream, 20 ms after the one before.
    fn receive(stats: &mut Stats, number: u64, payload: &[u8]) {
        let rtp = Rtp {
            marker: false,
            payload_type: 0,
            sequence: 65_530_u16.wrapping_add(number as u16),
            timestamp: (u32::MAX - 300).wrapping_add(number as u32 * 160),
            ssrc: 1,
            payload,
        };
        let from = "[::1]:4000".parse().expect("an address");
        let now = stats.epoch + Duration::from_millis(20) * number as u32;
        stats.packet(&rtp, from, now, 3000);
    }

    fn receive_numbers(numbers: impl IntoIterator<Item = u64>) -> MediaReport {
        let mut stats = Stats::new();
        for number in numbers {
            receive(&mut stats, number, &stamped(number));
        }
        stats.report(1)
    }

    #[test]
    fn a_clean_stream_over_the_wrap_of_the_sequence() {
        let report = receive_numbers(0..100);
        assert_eq!((report.received, report.lost, report.corrupted), (100, 0, 0));
        assert_eq!((report.reordered, report.duplicate, &report.heard[..]), (0, 0, &[7][..]));
        assert_eq!((report.delay_ms, report.longest_gap_ms), (2.0, 20.0));
        assert!(report.jitter_ms < 1e-9, "{report:?}");
    }

    #[test]
    fn loss_at_the_head_and_in_the_middle_counts() {
        let report = receive_numbers((2..10).chain(13..20));
        assert_eq!((report.received, report.lost), (15, 5));
        assert_eq!(report.longest_gap_ms, 80.0);
        assert!(report.mos < receive_numbers(0..20).mos);
    }

    #[test]
    fn late_and_repeated_packets_are_told_apart() {
        let report = receive_numbers([0, 2, 1, 3, 3, 1]);
        assert_eq!((report.received, report.lost), (4, 0));
        assert_eq!((report.reordered, report.duplicate), (1, 2));
        let report = receive_numbers([1, 0]);
        assert_eq!((report.received, report.lost, report.reordered), (2, 0, 1));
    }

    #[test]
    fn a_changed_byte_is_counted_and_is_not_loss() {
        for at in [0, 5, 159] {
            let mut stats = Stats::new();
            for number in 0..10 {
                let mut payload = stamped(number);
                if number == 0 {
                    payload[at] ^= 1;
                }
                receive(&mut stats, number, &payload);
            }
            let report = stats.report(1);
            assert_eq!((report.received, report.lost, report.corrupted), (10, 0, 1), "byte {at}");
        }
    }

    #[test]
    fn audio_without_stamps_is_not_corrupted() {
        let mut stats = Stats::new();
        for number in 0..5 {
            receive(&mut stats, number, &[0xff; 160]);
        }
        let report = stats.report(1);
        assert_eq!((report.received, report.corrupted, report.heard.len()), (5, 0, 0));
    }

    #[test]
    fn the_block_reports_the_fraction_since_the_last_one() {
        let mut stats = Stats::new();
        for number in [0, 1, 2, 4] {
            receive(&mut stats, number, &stamped(number));
        }
        let block = stats.block(Instant::now()).expect("a source");
        assert_eq!((block.fraction_lost, block.lost), (51, 1));
        assert_eq!(stats.block(Instant::now()).map(|block| block.fraction_lost), Some(0));
    }
}
