//! Which worker owns a message: what the shell must know before anything is parsed.
//!
//! The kernel spreads datagrams by address, so what belongs together may arrive at different workers. The owner is found by
//! one quick look at the header lines, and the same for every message of a call, so that nothing of a call is shared.

use crate::ids::{WorkerId, worker_of_branch, worker_of_call_id};

/// The worker out of `count` that owns the message in `bytes`.
///
/// A response belongs to the worker that our branch in its top Via names, a request to the worker that our own Call-ID
/// names; everything else to the worker that its Call-ID hashes to. What cannot be read has an owner as well.
pub fn owner(bytes: &[u8], count: usize) -> WorkerId {
    if count <= 1 {
        return WorkerId(0);
    }
    let head = Head::read(bytes);
    let named = match head.top_branch {
        Some(branch) if head.is_response => worker_of_branch(branch),
        _ => worker_of_call_id(head.call_id),
    };
    // A number beyond ours comes from a node with more workers, or from a stranger.
    match named {
        Some(worker) if usize::from(worker.0) < count => worker,
        _ => {
            let count = u64::try_from(count.min(MAX_WORKERS)).unwrap_or(1);
            WorkerId(u8::try_from(hash(head.call_id) % count).unwrap_or(0))
        }
    }
}

/// The Call-ID of the message in `bytes`, found without parsing the rest; nothing when it has none.
pub fn call_id(bytes: &[u8]) -> &[u8] {
    Head::read(bytes).call_id
}

/// Whether the datagram is a keep-alive (RFC 5626 §3.5.1) or an empty one that some phones send in its stead: line ends,
/// blanks and zeros, and nothing else.
pub fn is_keep_alive(datagram: &[u8]) -> bool {
    datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0))
}

/// Whether the datagram can begin a SIP message: a start line is printable ASCII, which STUN, RTP, DTLS and noise are not.
/// Line ends before it are passed over (RFC 3261 §7.5).
pub fn may_be_sip(datagram: &[u8]) -> bool {
    let start = datagram.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(datagram.len());
    let Some(first) = datagram.get(start..start.saturating_add(SHORTEST_START)) else { return false };
    first.iter().all(|byte| matches!(byte, 0x20..=0x7e)) && first.first() != Some(&b' ')
}

/// What of a message names its owner.
struct Head<'a> {
    is_response: bool,
    call_id: &'a [u8],
    top_branch: Option<&'a [u8]>,
}

impl<'a> Head<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let mut lines = Lines { rest: skip_line_ends(bytes) };
        let start_line = lines.next().unwrap_or_default();
        let is_response = start_line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"));
        let mut head = Head { is_response, call_id: b"", top_branch: None };
        let mut via_seen = false;
        for line in lines {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (name, value) = line.split_at(colon);
            let name = name.trim_ascii();
            if head.call_id.is_empty()
                && (name.eq_ignore_ascii_case(b"call-id") || name.eq_ignore_ascii_case(b"i"))
            {
                head.call_id = first_word(value.get(1..).unwrap_or_default());
            } else if !via_seen && (name.eq_ignore_ascii_case(b"via") || name.eq_ignore_ascii_case(b"v")) {
                via_seen = true;
                head.top_branch = branch(value.get(1..).unwrap_or_default());
            }
            if via_seen && !head.call_id.is_empty() {
                break;
            }
        }
        head
    }
}

/// Header lines with their continuations (RFC 3261 §7.3.1), up to the empty line.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut end = 0;
        loop {
            let tail = self.rest.get(end..)?;
            end += memchr::memchr(b'\n', tail).map_or(tail.len(), |newline| newline + 1);
            let ends_here = self.rest.get(..end).is_some_and(|line| line.trim_ascii().is_empty());
            if ends_here || !matches!(self.rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        let line = line.trim_ascii();
        (!line.is_empty()).then_some(line)
    }
}

fn skip_line_ends(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    bytes.get(start..).unwrap_or_default()
}

fn first_word(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii_start();
    let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
    value.get(..end).unwrap_or_default()
}

/// The branch parameter of the first value in a Via field.
fn branch(value: &[u8]) -> Option<&[u8]> {
    let mut rest = value;
    let mut quoted = false;
    let mut start = None;
    for (at, byte) in value.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b';' | b',' if !quoted => {
                if let Some(found) = start.and_then(|start| branch_value(value.get(start..at)?)) {
                    return Some(found);
                }
                if *byte == b',' {
                    return None;
                }
                start = Some(at + 1);
                rest = value.get(at + 1..)?;
            }
            _ => {}
        }
    }
    start.and_then(|_| branch_value(rest))
}

fn branch_value(param: &[u8]) -> Option<&[u8]> {
    let (name, value) = param.split_at(memchr::memchr(b'=', param)?);
    name.trim_ascii().eq_ignore_ascii_case(b"branch").then(|| first_word(value.get(1..).unwrap_or_default()))
}

/// FNV-1a, its high half folded into the low one, which the remainder is taken of. It need not withstand an attacker: whoever
/// chooses a Call-ID may load one worker of ours, as one source address always could.
fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
    let hash = bytes.iter().fold(FNV_OFFSET, fold);
    hash ^ (hash >> 32)
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// As many as a [`WorkerId`] can name.
const MAX_WORKERS: usize = 256;
/// So much of a start line is looked at, and none is shorter: `A a: SIP/2.0`, `SIP/2.0 200`.
const SHORTEST_START: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::IdSource;

    fn request(call_id: &str) -> Vec<u8> {
        format!("INVITE sip:101@s042.example.net SIP/2.0\r\nVia: SIP/2.0/UDP [::1];branch=z9hG4bKx\r\n{call_id}\r\n\r\n")
            .into_bytes()
    }

    #[test]
    fn a_request_belongs_to_its_call_id_however_it_is_written() {
        for count in [2, 3, 8, 256, 1000] {
            let owner_of = |call_id| owner(&request(call_id), count);
            let expected = owner_of("Call-ID: a84b4c76e66710@pc33");
            for same in [
                "call-id:a84b4c76e66710@pc33",
                "CALL-ID \t:   a84b4c76e66710@pc33  ",
                "i: a84b4c76e66710@pc33",
                "I:\r\n\ta84b4c76e66710@pc33",
                "X-Other: Call-ID: no\r\n folded: i: no\r\ni: a84b4c76e66710@pc33",
                "i: a84b4c76e66710@pc33\r\n\r\ni: body",
            ] {
                assert_eq!(owner_of(same), expected, "{same:?}");
            }
        }
    }

    #[test]
    fn our_own_call_id_names_its_worker() {
        let call_id = IdSource::new(WorkerId(5), [1; 32]).call_id();
        assert_eq!(owner(&request(&format!("Call-ID: {call_id}")), 8), WorkerId(5));
        // A node with fewer workers still finds one.
        assert!(owner(&request(&format!("Call-ID: {call_id}")), 4).0 < 4);
    }

    #[test]
    fn a_response_belongs_to_the_worker_in_our_branch() {
        let branch = IdSource::new(WorkerId(6), [1; 32]).branch();
        for via in [
            format!("Via: SIP/2.0/UDP [2001:db8::1]:5060;branch={branch}"),
            format!("v: SIP / 2.0 / UDP [2001:db8::1]:5060 ;rport; BRANCH = {branch} ;received=::1"),
            format!(
                "Via: SIP/2.0/UDP a;x=\"a,;branch=no\"\r\n ;branch={branch}, SIP/2.0/UDP b;branch=z9hG4bKc6w02-0"
            ),
            format!("Via: SIP/2.0/UDP a;branch={branch}\r\nVia: SIP/2.0/UDP b;branch=z9hG4bKc6w02-0"),
        ] {
            let response = format!("SIP/2.0 200 OK\r\n{via}\r\nCall-ID: x\r\n\r\n");
            assert_eq!(owner(response.as_bytes(), 8), WorkerId(6), "{via}");
        }
        // The second Via is not ours to look at, and a request's Via is its sender's.
        let response = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKy, SIP/2.0/UDP b;branch={branch}\r\ni: x\r\n\r\n"
        );
        let request = request("i: x");
        assert_eq!(owner(response.as_bytes(), 8), owner(&request, 8));
    }

    #[test]
    fn bare_line_feeds_and_leading_line_ends_are_tolerated() {
        let request = request("Call-ID: abc");
        let bare: Vec<u8> =
            b"\r\n\r\n".iter().chain(&request).copied().filter(|byte| *byte != b'\r').collect();
        assert_eq!(owner(&bare, 7), owner(&request, 7));
    }

    #[test]
    fn workers_share_the_calls_evenly() {
        let mut loads = [0_u32; 8];
        for i in 0..8_000 {
            let worker = owner(&request(&format!("Call-ID: call-{i}@host")), loads.len());
            loads[usize::from(worker.0)] += 1;
        }
        assert!(loads.iter().all(|load| (850..1150).contains(load)), "{loads:?}");
    }

    #[test]
    fn keep_alives_and_noise_are_told_from_sip() {
        for keep_alive in [&b""[..], b"\r\n\r\n", b"\r\n", b"\0\0\0\0", b" "] {
            assert!(is_keep_alive(keep_alive));
            assert!(!may_be_sip(keep_alive));
        }
        for noise in [
            &b"\x00\x01\x00\x00\x21\x12\xa4\x42"[..],
            b"\x80\x00\x12\x34aaaaaaaaaa",
            b" INVITE sip:a SIP/2.0",
            b"hi",
        ] {
            assert!(!may_be_sip(noise), "{noise:?}");
        }
        for sip in
            [&b"A a: SIP/2.0\r\n\r\n"[..], b"SIP/2.0 200 \r\n\r\n", b"\r\n\r\nOPTIONS sip:a SIP/2.0\r\n\r\n"]
        {
            assert!(may_be_sip(sip), "{sip:?}");
            assert!(!is_keep_alive(sip));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_owner(bytes in proptest::collection::vec(any::<u8>(), 0..600), count in 0_usize..300) {
            prop_assert!(usize::from(owner(&bytes, count).0) < count.max(1));
            let _ = may_be_sip(&bytes);
        }

        #[test]
        fn header_soup_has_an_owner(text in "(SIP/2.0 |A )?[\r\n \t:;,=\"viaVIbrnchcl9zG4Kw0-]{0,200}", count in 1_usize..9) {
            prop_assert!(usize::from(owner(text.as_bytes(), count).0) < count);
        }

        #[test]
        fn what_surrounds_a_call_id_does_not_matter(call_id in "[!-~]{1,40}", count in 1_usize..17, subject in "[ -~]{0,40}") {
            let plain = request(&format!("Call-ID: {call_id}"));
            let other = request(&format!("Subject: {subject}\r\nTo: <sip:a@b>\r\ni:{call_id}\r\nFrom: x"));
            prop_assert_eq!(owner(&plain, count), owner(&other, count));
        }
    }
}
