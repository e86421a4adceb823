//! STUN on the SIP port: phones on UDP learn that their flow lives, and what the network makes of their address (RFC 5626 §8, RFC 5389).
//!
//! A binding request is answered from itself alone. Nothing is kept, nobody is asked who he is, and an answer is hardly longer than
//! its request.

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};

/// Whether the datagram is STUN: SIP begins with a letter, STUN with two zero bits, and has its cookie (RFC 5626 §8, RFC 5389 §6).
pub fn is_stun(datagram: &[u8]) -> bool {
    Header::read(datagram).is_some()
}

/// The answer to a binding request that came from `source`; nothing when it is something else, or damaged.
pub fn answer(datagram: &[u8], source: SocketAddr) -> Option<Bytes> {
    let header = Header::read(datagram).filter(|header| header.kind == BINDING_REQUEST)?;
    let Attributes { unknown, fingerprint } = Attributes::read(datagram)?;
    let mut answer = BytesMut::with_capacity(64);
    if unknown.is_empty() {
        begin(&mut answer, BINDING_SUCCESS, &header.transaction);
        put_xor_mapped(&mut answer, source, &header.transaction);
    } else {
        begin(&mut answer, BINDING_ERROR, &header.transaction);
        // RFC 5389 §15.6: the class, the number, and no words.
        put_attribute(&mut answer, ERROR_CODE, &[0, 0, 4, 20]);
        let unknown: Vec<u8> = unknown.into_iter().flat_map(u16::to_be_bytes).collect();
        put_attribute(&mut answer, UNKNOWN_ATTRIBUTES, &unknown);
    }
    if fingerprint {
        // RFC 5389 §15.5: the length that is hashed counts the fingerprint.
        set_length(&mut answer, FINGERPRINT_BYTES);
        let code = crc32(&answer) ^ FINGERPRINT_XOR;
        put_attribute(&mut answer, FINGERPRINT, &code.to_be_bytes());
    }
    set_length(&mut answer, 0);
    Some(answer.freeze())
}

/// What stands before the attributes.
struct Header {
    kind: u16,
    transaction: [u8; 12],
}

impl Header {
    fn read(datagram: &[u8]) -> Option<Header> {
        if datagram.len() > MAX_BYTES {
            return None;
        }
        let (kind, rest) = datagram.split_first_chunk::<2>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (cookie, rest) = rest.split_first_chunk::<4>()?;
        let (transaction, attributes) = rest.split_first_chunk::<12>()?;
        let (kind, length) = (u16::from_be_bytes(*kind), usize::from(u16::from_be_bytes(*length)));
        let is_stun = kind < 0x4000 && *cookie == COOKIE && length == attributes.len() && length % 4 == 0;
        is_stun.then_some(Header { kind, transaction: *transaction })
    }
}

/// What matters of a request's attributes.
#[derive(Default)]
struct Attributes {
    /// Those that must be understood and are not.
    unknown: Vec<u16>,
    /// Whether there is a fingerprint; a false one makes the request unreadable.
    fingerprint: bool,
}

impl Attributes {
    fn read(datagram: &[u8]) -> Option<Attributes> {
        let mut found = Attributes::default();
        let mut at = HEADER_BYTES;
        while let Some((head, rest)) = datagram.get(at..)?.split_first_chunk::<4>() {
            let [a, b, c, d] = *head;
            let (kind, length) = (u16::from_be_bytes([a, b]), usize::from(u16::from_be_bytes([c, d])));
            let value = rest.get(..length)?;
            if kind == FINGERPRINT {
                // It comes last (RFC 5389 §15.5).
                let code = crc32(datagram.get(..at)?) ^ FINGERPRINT_XOR;
                let is_right = value == code.to_be_bytes() && at + FINGERPRINT_BYTES == datagram.len();
                found.fingerprint = is_right.then_some(true)?;
            } else if kind < OPTIONAL && !UNDERSTOOD.contains(&kind) && !found.unknown.contains(&kind) {
                found.unknown.push(kind);
            }
            at += 4 + length.next_multiple_of(4);
        }
        (at == datagram.len()).then_some(found)
    }
}

fn begin(answer: &mut BytesMut, kind: u16, transaction: &[u8; 12]) {
    answer.put_u16(kind);
    answer.put_u16(0);
    answer.put_slice(&COOKIE);
    answer.put_slice(transaction);
}

/// Says how long the attributes are, with `more` bytes that are yet to come.
fn set_length(answer: &mut BytesMut, more: usize) {
    let length = u16::try_from(answer.len() - HEADER_BYTES + more).unwrap_or_default();
    if let Some(place) = answer.get_mut(2..4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// RFC 5389 §15.2: hidden from boxes on the way that change addresses wherever they find them.
fn put_xor_mapped(answer: &mut BytesMut, source: SocketAddr, transaction: &[u8; 12]) {
    let key: Vec<u8> = COOKIE.iter().chain(transaction).copied().collect();
    let xor = |bytes: &[u8]| bytes.iter().zip(&key).map(|(byte, key)| byte ^ key).collect::<Vec<u8>>();
    let (family, ip) = match source.ip() {
        IpAddr::V4(ip) => (1, xor(&ip.octets())),
        IpAddr::V6(ip) => (2, xor(&ip.octets())),
    };
    let mut value = vec![0, family];
    value.extend(xor(&source.port().to_be_bytes()));
    value.extend(ip);
    put_attribute(answer, XOR_MAPPED_ADDRESS, &value);
}

fn put_attribute(answer: &mut BytesMut, kind: u16, value: &[u8]) {
    answer.put_u16(kind);
    answer.put_u16(u16::try_from(value.len()).unwrap_or_default());
    answer.put_slice(value);
    answer.put_bytes(0, value.len().next_multiple_of(4) - value.len());
}

/// The CRC-32 of ITU V.42, bit by bit: requests are short and few.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |code, byte| {
        (0..8).fold(code ^ u32::from(*byte), |code, _| {
            (code >> 1) ^ (CRC_POLYNOMIAL & 0u32.wrapping_sub(code & 1))
        })
    })
}

const HEADER_BYTES: usize = 20;
/// What fits every path over IPv4 (RFC 5389 §7.1); a binding request without credentials is far shorter.
const MAX_BYTES: usize = 548;
const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// From here on attributes may be passed over (RFC 5389 §15).
const OPTIONAL: u16 = 0x8000;
const FINGERPRINT: u16 = 0x8028;
const FINGERPRINT_BYTES: usize = 8;
const FINGERPRINT_XOR: u32 = 0x5354_554e;
const CRC_POLYNOMIAL: u32 = 0xedb8_8320;
/// Attributes of RFC 5389 that must be understood: addresses, and credentials, which nobody asks for here.
const UNDERSTOOD: [u16; 8] =
    [0x0001, 0x0006, 0x0008, ERROR_CODE, UNKNOWN_ATTRIBUTES, 0x0014, 0x0015, XOR_MAPPED_ADDRESS];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(attributes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
        [&[0, 1], &length[..], &COOKIE, b"twelve bytes", attributes].concat()
    }

    fn source() -> SocketAddr {
        "192.0.2.1:32853".parse().unwrap()
    }

    /// The request and the responses of RFC 5769 §2.1 to §2.3: transaction, address, and fingerprint.
    const TRANSACTION: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    /// RFC 5389 §15.2: an address as the test vectors of RFC 5769 have it.
    #[test]
    fn an_address_is_hidden_as_it_should_be() {
        let plain = [&[0, 1, 0, 0], &COOKIE[..], &TRANSACTION].concat();
        let v4 = answer(&plain, source()).unwrap();
        assert_eq!(&v4[..4], [1, 1, 0, 12]);
        assert_eq!(&v4[8..20], TRANSACTION);
        assert_eq!(&v4[20..], [0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let v6 = answer(&plain, "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap()).unwrap();
        assert_eq!(
            &v6[20..],
            [
                0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1,
                0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9
            ]
        );
    }

    /// RFC 5389 §15.5: a fingerprint is checked, and answered with one.
    #[test]
    fn a_fingerprint_is_checked_and_given() {
        // RFC 5769 §2.1, whole: SOFTWARE, PRIORITY, ICE-CONTROLLED, USERNAME, MESSAGE-INTEGRITY, FINGERPRINT.
        let sample = hex(
            "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff80290008932ff9\
             b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf",
        );
        // PRIORITY must be understood, and is ICE's, which does not happen on a SIP port.
        let refused = answer(&sample, source()).unwrap();
        assert_eq!(&refused[..2], [1, 0x11]);
        assert_eq!(&refused[20..36], [0, 9, 0, 4, 0, 0, 4, 20, 0, 10, 0, 2, 0, 0x24, 0, 0]);
        let (body, code) = refused.split_at(refused.len() - 4);
        let hashed = &body[..body.len() - 4];
        assert_eq!(code, (crc32(hashed) ^ FINGERPRINT_XOR).to_be_bytes());
        let mut damaged = sample.clone();
        damaged[30] ^= 1;
        assert_eq!(answer(&damaged, source()), None);
        damaged = sample;
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(answer(&damaged, source()), None);
    }

    /// RFC 5389 §7.3.1: what must be understood and is not gets 420, with its name.
    #[test]
    fn what_must_be_understood_is_refused_by_name() {
        let refused =
            answer(&request(&[0, 3, 0, 4, 0, 0, 0, 6, 0, 3, 0, 0, 0x7f, 0, 0, 0]), source()).unwrap();
        assert_eq!(&refused[..2], [1, 0x11]);
        assert_eq!(&refused[20..], [0, 9, 0, 4, 0, 0, 4, 20, 0, 10, 0, 4, 0, 3, 0x7f, 0]);
        let accepted = answer(&request(&[0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]), source()).unwrap();
        assert_eq!(&accepted[..2], [1, 1]);
    }

    /// RFC 5389 §7.3: what is no binding request gets no answer.
    #[test]
    fn nothing_else_is_answered() {
        let good = request(&[]);
        assert!(is_stun(&good) && answer(&good, source()).is_some());
        for kind in [[0, 0x11], [1, 1], [1, 0x11], [0, 3]] {
            let other = [&kind[..], &good[2..]].concat();
            assert!(is_stun(&other) && answer(&other, source()).is_none(), "{kind:?}");
        }
        let short = good[..19].to_vec();
        let cookie = [&good[..4], &[0; 4], &good[8..]].concat();
        let length = [&good[..2], &[0, 4], &good[4..]].concat();
        for other in [short, cookie, length, b"OPTIONS sip:a SIP/2.0\r\n\r\n".to_vec(), vec![]] {
            assert!(!is_stun(&other) && answer(&other, source()).is_none());
        }
        // An attribute that runs over the end.
        assert_eq!(answer(&request(&[0x80, 0x22, 0, 5, 0, 0, 0, 0]), source()), None);
        assert_eq!(answer(&request(&vec![0; 600]), source()), None);
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().filter(char::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(&String::from_iter(two), 16).unwrap()).collect()
    }

    proptest! {
        /// RFC 5389 §14: an answer can be read, repeats the transaction, and is little longer than its request.
        #[test]
        fn answers_are_sound_whatever_comes(attributes in proptest::collection::vec(any::<u8>(), 0..120), raw: bool) {
            let datagram = if raw { attributes.clone() } else {
                let whole = attributes.len() / 4 * 4;
                request(&attributes[..whole])
            };
            if let Some(answer) = answer(&datagram, source()) {
                prop_assert!(is_stun(&answer) && Attributes::read(&answer).is_some());
                prop_assert_eq!(&answer[4..20], &datagram[4..20]);
                prop_assert!(answer.len() <= datagram.len() + 24);
            }
        }
    }
}
