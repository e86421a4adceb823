//! Packets by hand.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An IPv6 packet.
#[derive(Clone)]
pub(crate) struct Inner {
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) next_header: u8,
    pub(crate) hop_limit: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

impl Inner {
    /// A UDP datagram between two ports.
    pub(crate) fn udp(source: &str, destination: &str, ports: (u16, u16), data: &[u8]) -> Inner {
        let mut payload = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
        payload.extend((8 + data.len() as u16).to_be_bytes());
        payload.extend([0, 0]);
        payload.extend(data);
        Inner::new(source, destination, UDP, payload).with_checksum(6)
    }

    /// A SYN that announces segments of that size.
    pub(crate) fn syn(source: &str, destination: &str, ports: (u16, u16), mss: u16) -> Inner {
        let mut payload = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
        payload.extend([1, 2, 3, 4, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4]);
        payload.extend(mss.to_be_bytes());
        Inner::new(source, destination, TCP, payload).with_checksum(16)
    }

    pub(crate) fn new(source: &str, destination: &str, next_header: u8, payload: Vec<u8>) -> Inner {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Inner { source, destination, next_header, hop_limit: 64, payload }
    }

    fn with_checksum(mut self, field: usize) -> Inner {
        let sum = self.sum();
        self.payload[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        self
    }

    /// The checksum over the payload and its pseudo-header; zero when the one inside is right.
    pub(crate) fn sum(&self) -> u16 {
        let mut bytes = [self.source.octets(), self.destination.octets()].concat();
        bytes.extend((self.payload.len() as u32).to_be_bytes());
        bytes.extend([0, 0, 0, self.next_header]);
        bytes.extend(&self.payload);
        checksum(&bytes)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend((self.payload.len() as u16).to_be_bytes());
        bytes.extend([self.next_header, self.hop_limit]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(&self.payload);
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Inner {
        let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap());
        assert_eq!(usize::from(u16::from_be_bytes([bytes[4], bytes[5]])), bytes.len() - 40);
        Inner {
            source: address(8),
            destination: address(24),
            next_header: bytes[6],
            hop_limit: bytes[7],
            payload: bytes[40..].to_vec(),
        }
    }
}

/// An IPv4 packet with protocol 41.
pub(crate) fn outer(source: Ipv4Addr, destination: Ipv4Addr, inner: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0];
    bytes.extend((20 + inner.len() as u16).to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, 41, 0, 0]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    let sum = checksum(&bytes);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(inner);
    bytes
}

fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let sum: u32 = bytes.chunks(2).map(word).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}
