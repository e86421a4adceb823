//! RTCP sender and receiver reports (RFC 3550 §6.4) with SDES and BYE.

/// What we take from a compound packet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// Middle 32 bits of the NTP time in the sender report, if there was one.
    pub(super) sender_report: Option<u32>,
    /// Report blocks about streams of ours or others.
    pub(super) blocks: Vec<Block>,
    /// Whether the sender leaves.
    pub(super) bye: bool,
}

/// A report block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) ssrc: u32,
    pub(super) fraction_lost: u8,
    pub(super) lost: u32,
    pub(super) highest: u32,
    pub(super) jitter: u32,
    /// LSR: middle bits of the last sender report received.
    pub(super) last_report: u32,
    /// DLSR: time since then, in 1/65536 s.
    pub(super) delay: u32,
}

/// What our sender report says of what we sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) ntp: u64,
    pub(super) timestamp: u32,
    pub(super) packets: u32,
    pub(super) octets: u32,
}

/// Reads a compound packet; `None` if any part of it is not well formed (RFC 3550 A.2).
pub(super) fn read(mut packet: &[u8]) -> Option<Received> {
    let mut received = Received::default();
    let mut first = true;
    while !packet.is_empty() {
        let ([flags, kind, l0, l1], _) = packet.split_first_chunk::<4>()?;
        if flags >> 6 != 2 || (first && !matches!(*kind, SR | RR)) {
            return None;
        }
        first = false;
        let words = usize::from(u16::from_be_bytes([*l0, *l1]));
        let (part, rest) = packet.split_at_checked((words + 1) * 4)?;
        packet = rest;
        let count = usize::from(flags & 0x1f);
        match *kind {
            SR => {
                received.sender_report = Some(u32::from_be_bytes(*part.get(10..)?.first_chunk()?));
                read_blocks(part.get(28..)?, count, &mut received.blocks)?;
            }
            RR => read_blocks(part.get(8..)?, count, &mut received.blocks)?,
            BYE => received.bye = true,
            _ => {}
        }
    }
    (!first).then_some(received)
}

/// Writes SR (or RR, when nothing was sent) with a report block, SDES CNAME, and BYE at the end.
pub(super) fn write(ssrc: u32, sent: Option<Sent>, block: Option<Block>, cname: &str, bye: bool) -> Vec<u8> {
    let mut packet = Vec::with_capacity(100);
    let count = u8::from(block.is_some());
    let kind = if sent.is_some() { SR } else { RR };
    let words = 1 + if sent.is_some() { 5 } else { 0 } + u16::from(count) * 6;
    header(&mut packet, count, kind, words);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    if let Some(sent) = sent {
        packet.extend_from_slice(&sent.ntp.to_be_bytes());
        packet.extend_from_slice(&sent.timestamp.to_be_bytes());
        packet.extend_from_slice(&sent.packets.to_be_bytes());
        packet.extend_from_slice(&sent.octets.to_be_bytes());
    }
    if let Some(block) = block {
        packet.extend_from_slice(&block.ssrc.to_be_bytes());
        let lost = (u32::from(block.fraction_lost) << 24) | (block.lost & 0x00ff_ffff);
        for word in [lost, block.highest, block.jitter, block.last_report, block.delay] {
            packet.extend_from_slice(&word.to_be_bytes());
        }
    }
    let cname: Vec<u8> = cname.bytes().take(60).collect();
    // Item type and length, the name, and at least one zero byte up to the word boundary (§6.5).
    let padded = (2 + cname.len() + 1).next_multiple_of(4);
    header(&mut packet, 1, SDES, 1 + (padded / 4) as u16);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.push(1);
    packet.push(cname.len() as u8);
    packet.extend_from_slice(&cname);
    packet.resize(packet.len() + padded - 2 - cname.len(), 0);
    if bye {
        header(&mut packet, 1, BYE, 1);
        packet.extend_from_slice(&ssrc.to_be_bytes());
    }
    packet
}

fn header(packet: &mut Vec<u8>, count: u8, kind: u8, words: u16) {
    packet.push(0x80 | count);
    packet.push(kind);
    packet.extend_from_slice(&words.to_be_bytes());
}

fn read_blocks(mut part: &[u8], count: usize, blocks: &mut Vec<Block>) -> Option<()> {
    for _ in 0..count {
        let (block, rest) = part.split_first_chunk::<24>()?;
        part = rest;
        let word = |at: usize| Some(u32::from_be_bytes(*block.get(at..)?.first_chunk()?));
        let lost = word(4)?;
        // At most 31 blocks a part, and the parts of one datagram are few: still, keep a bound.
        if blocks.len() < 64 {
            blocks.push(Block {
                ssrc: word(0)?,
                fraction_lost: (lost >> 24) as u8,
                lost: lost & 0x00ff_ffff,
                highest: word(8)?,
                jitter: word(12)?,
                last_report: word(16)?,
                delay: word(20)?,
            });
        }
    }
    Some(())
}

const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Block {
        Block { ssrc: 9, fraction_lost: 3, lost: 70_000, highest: 5, jitter: 6, last_report: 7, delay: 8 }
    }

    #[test]
    fn reports_read_back() {
        let sent = Sent { ntp: 0x1111_2222_3333_4444, timestamp: 1, packets: 2, octets: 3 };
        for cname in ["", "a", "ab", "abc", "abcd", &"x".repeat(300)] {
            let packet = write(5, Some(sent), Some(block()), cname, true);
            let received = read(&packet).expect("well formed");
            assert_eq!(received.sender_report, Some(0x2222_3333));
            assert_eq!(received.blocks, [block()]);
            assert!(received.bye);
        }
        let received = read(&write(5, None, None, "a", false)).expect("well formed");
        assert_eq!(received, Received::default());
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0x80, 200, 0, 9]), None);
        assert_eq!(read(&[0x9f, 201, 0, 1, 0, 0, 0, 0]), None);
        assert_eq!(read(&[0x80, 202, 0, 0]), None);
    }
}
