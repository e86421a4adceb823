//! HEPv3: each message copied to a Homer server, over UDP.
//!
//! The format is a list of chunks after `HEP3` and the length of all: vendor (0), type, length with its header, value.
//! What cannot be sent at once is dropped and counted: the copy never holds up a call.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memmem;
use sip_core::flow::Transport;
use sip_core::owner;

use super::{Traced, Way};

/// Where copies go, and as whom we send them.
#[derive(Debug, Clone)]
pub struct Exporter {
    socket: Arc<UdpSocket>,
    agent: u32,
    password: Option<Arc<str>>,
}

impl Exporter {
    /// Sends to a Homer server at `server` as capture agent `agent`, with the password that it asks for, if any.
    ///
    /// # Errors
    /// When the system gives no socket or there is no way to the server.
    pub fn new(server: SocketAddr, agent: u32, password: Option<&str>) -> std::io::Result<Exporter> {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(server)?;
        Ok(Exporter { socket: Arc::new(socket), agent, password: password.map(Arc::from) })
    }

    pub(super) fn export(&self, traced: &Traced) {
        let packet = packet(traced, self.agent, self.password.as_deref());
        let name = match self.socket.send(&packet) {
            Ok(_) => "centrex6_trace_exported_total",
            Err(_) => "centrex6_trace_export_dropped_total",
        };
        metrics::counter!(name).increment(1);
    }
}

/// One message as a HEPv3 packet.
fn packet(traced: &Traced, agent: u32, password: Option<&str>) -> BytesMut {
    let (source, destination) = match traced.way {
        Way::Received => (traced.flow.remote, traced.flow.local),
        Way::Sent => (traced.flow.local, traced.flow.remote),
    };
    let payload = without_keys(&traced.bytes);
    let since = traced.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut packet = BytesMut::with_capacity(payload.len() + 200);
    packet.put_slice(b"HEP3\0\0");
    let family = if source.is_ipv6() { AF_INET6 } else { AF_INET };
    chunk(&mut packet, 0x01, &[family]);
    chunk(&mut packet, 0x02, &[if traced.flow.transport == Transport::Udp { UDP } else { TCP }]);
    for (v4, v6, addr) in [(0x03, 0x05, source), (0x04, 0x06, destination)] {
        match addr.ip() {
            IpAddr::V4(ip) => chunk(&mut packet, v4, &ip.octets()),
            IpAddr::V6(ip) => chunk(&mut packet, v6, &ip.octets()),
        }
    }
    chunk(&mut packet, 0x07, &source.port().to_be_bytes());
    chunk(&mut packet, 0x08, &destination.port().to_be_bytes());
    chunk(&mut packet, 0x09, &(since.as_secs() as u32).to_be_bytes());
    chunk(&mut packet, 0x0a, &since.subsec_micros().to_be_bytes());
    chunk(&mut packet, 0x0b, &[SIP]);
    chunk(&mut packet, 0x0c, &agent.to_be_bytes());
    if let Some(password) = password {
        chunk(&mut packet, 0x0e, password.as_bytes());
    }
    chunk(&mut packet, 0x11, owner::call_id(&traced.bytes));
    chunk(&mut packet, 0x0f, &payload);
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX).to_be_bytes();
    if let Some(place) = packet.get_mut(4..6) {
        place.copy_from_slice(&length);
    }
    packet
}

fn chunk(packet: &mut BytesMut, kind: u16, value: &[u8]) {
    let value = value.get(..MAX_CHUNK).unwrap_or(value);
    packet.put_u16(0);
    packet.put_u16(kind);
    packet.put_u16(value.len() as u16 + 6);
    packet.put_slice(value);
}

/// The message with the keys of SDES (RFC 4568) blotted out: whoever reads traces shall not hear calls.
pub fn without_keys(message: &Bytes) -> Bytes {
    const KEY: &[u8] = b"inline:";
    if memmem::find(message, KEY).is_none() {
        return message.clone();
    }
    let mut blotted = BytesMut::from(&message[..]);
    let starts: Vec<usize> = memmem::find_iter(message, KEY).map(|at| at + KEY.len()).collect();
    for start in starts {
        let key = blotted.iter_mut().skip(start);
        key.take_while(|byte| byte.is_ascii_graphic() && **byte != b'|').for_each(|byte| *byte = b'*');
    }
    blotted.freeze()
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Protocol type of the payload.
const SIP: u8 = 1;
/// No packet is longer than UDP carries.
const MAX_CHUNK: usize = 65_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sip_core::flow::Flow;

    use super::*;

    fn traced(text: &'static str) -> Traced {
        let (local, remote) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.9:5070".parse().unwrap());
        Traced {
            at: UNIX_EPOCH + Duration::from_micros(1_000_000_000_000_002),
            role: "proxy".into(),
            way: Way::Received,
            flow: Flow { transport: Transport::Udp, local, remote, connection: None },
            bytes: Bytes::from_static(text.as_bytes()),
        }
    }

    #[test]
    fn a_packet_byte_for_byte() {
        let packet = packet(&traced("A b c\r\ni: x\r\n\r\n"), 7, Some("pw"));
        #[rustfmt::skip]
        let expected = [
            &b"HEP3"[..], &[0, 127],
            &[0, 0, 0, 1, 0, 7, 2],
            &[0, 0, 0, 2, 0, 7, 17],
            &[0, 0, 0, 3, 0, 10, 192, 0, 2, 9],
            &[0, 0, 0, 4, 0, 10, 192, 0, 2, 1],
            &[0, 0, 0, 7, 0, 8, 0x13, 0xce],
            &[0, 0, 0, 8, 0, 8, 0x13, 0xc4],
            &[0, 0, 0, 9, 0, 10, 0x3b, 0x9a, 0xca, 0x00],
            &[0, 0, 0, 10, 0, 10, 0, 0, 0, 2],
            &[0, 0, 0, 11, 0, 7, 1],
            &[0, 0, 0, 12, 0, 10, 0, 0, 0, 7],
            &[0, 0, 0, 14, 0, 8], b"pw",
            &[0, 0, 0, 17, 0, 7], b"x",
            &[0, 0, 0, 15, 0, 21], b"A b c\r\ni: x\r\n\r\n",
        ].concat();
        assert_eq!(packet.len(), expected.len());
        assert_eq!(packet[6..], expected[6..]);
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len());
    }

    #[test]
    fn keys_of_media_are_blotted_out() {
        let message = Bytes::from_static(b"x\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0|2^31\r\n");
        let blotted = without_keys(&message);
        assert_eq!(&blotted[..], b"x\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:********|2^31\r\n");
        let plain = Bytes::from_static(b"x");
        assert_eq!(without_keys(&plain), plain);
    }

    #[test]
    fn copies_arrive() {
        let homer = UdpSocket::bind("127.0.0.1:0").unwrap();
        homer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let exporter = Exporter::new(homer.local_addr().unwrap(), 1, None).unwrap();
        exporter.export(&traced("A b c\r\ni: x\r\n\r\n"));
        let mut buffer = [0; 2000];
        let count = homer.recv(&mut buffer).unwrap();
        assert!(buffer[..count].starts_with(b"HEP3") && buffer[..count].ends_with(b"i: x\r\n\r\n"));
    }
}
