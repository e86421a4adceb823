//! RTP's fixed header (RFC 3550 §5.1), as much as a phone needs.

/// A packet's header fields and payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rtp<'a> {
    pub(super) marker: bool,
    pub(super) payload_type: u8,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Rtp<'a> {
    /// Reads a packet; `None` if it is not RTP version 2 or is cut short.
    pub(super) fn read(packet: &'a [u8]) -> Option<Self> {
        let (header, rest) = packet.split_first_chunk::<12>()?;
        let [flags, kind, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *header;
        if flags >> 6 != 2 {
            return None;
        }
        let mut payload = rest.get(usize::from(flags & 0x0f) * 4..)?;
        if flags & 0x10 != 0 {
            let ([_, _, l0, l1], after) = payload.split_first_chunk::<4>()?;
            payload = after.get(usize::from(u16::from_be_bytes([*l0, *l1])) * 4..)?;
        }
        if flags & 0x20 != 0 {
            let padding = usize::from(*payload.last()?);
            payload = payload.get(..payload.len().checked_sub(padding)?)?;
        }
        Some(Self {
            marker: kind & 0x80 != 0,
            payload_type: kind & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            payload,
        })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(12 + self.payload.len());
        packet.push(0x80);
        packet.push((u8::from(self.marker) << 7) | self.payload_type);
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&self.timestamp.to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        packet.extend_from_slice(self.payload);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_reads_back() {
        let packet = Rtp {
            marker: true,
            payload_type: 8,
            sequence: 65535,
            timestamp: 1 << 31,
            ssrc: 5,
            payload: &[1, 2, 3],
        };
        assert_eq!(Rtp::read(&packet.write()), Some(packet));
    }

    #[test]
    fn contributors_extension_and_padding_are_skipped() {
        let mut packet = vec![0xb1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend([9; 4]); // one contributing source
        packet.extend([0, 0, 0, 1, 8, 8, 8, 8]); // an extension of one word
        packet.extend([7, 7, 0, 2]); // payload and two bytes of padding
        assert_eq!(Rtp::read(&packet).map(|rtp| rtp.payload), Some(&[7_u8, 7][..]));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Rtp::read(&[]), None);
        assert_eq!(Rtp::read(&[0x80; 11]), None);
        assert_eq!(Rtp::read(&[0x00; 20]), None);
        assert_eq!(Rtp::read(&[0x8f; 20]), None);
        assert_eq!(Rtp::read(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200]), None);
    }
}
