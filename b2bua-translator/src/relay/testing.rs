//! For the fuzz target of what the relay reads.

use std::time::{Duration, Instant};

use super::meter::{Content, Meter};
use super::{Impairment, Payload};

/// Two parties' datagrams, in turn by the first bit of their length: whatever they hold, the figures stay figures.
pub(crate) fn datagrams(data: &[u8]) {
    let mut meters = [Meter::default(), Meter::default()];
    let (mut now, mut rest) = (Instant::now(), data);
    let mut seen = 0;
    while let Some((length, tail)) = rest.split_first() {
        let (datagram, after) = tail.split_at(usize::from(length & 0x7f).min(tail.len()));
        rest = after;
        now += Duration::from_millis(20);
        let [one, two] = &mut meters;
        let (from, to) = if length & 0x80 == 0 { (one, two) } else { (two, one) };
        seen += 1;
        match Content::of(datagram) {
            Content::Rtp => {
                from.rtp(datagram, now, |number| {
                    (number < 96).then_some(Payload {
                        number,
                        clock_rate: 8_000,
                        speech: Some(Impairment::G711),
                    })
                });
            }
            Content::Rtcp => from.rtcp(datagram, now, to),
            Content::Other => from.other(),
        }
    }
    let mut counted = 0;
    for meter in &meters {
        let figures = meter.statistics();
        counted += figures.packets + figures.rtcp_packets + figures.other_packets;
        if let Some(mos) = figures.mos {
            assert!((1.0..=4.5).contains(&mos), "{mos}");
        }
    }
    assert_eq!(counted, seen, "each datagram is counted once");
}
