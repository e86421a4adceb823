//! What the box sees of SIP: how many phones the centre has let in, and whether their calls were answered, without I/O.
//!
//! Only what comes out of the tunnel from the centre over UDP is looked at: that is where it says 200. A phone that speaks TLS or TCP is not
//! seen here, and counts for nothing that is claimed.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::{Duration, Instant};

/// Counts what passes.
#[derive(Debug, Default)]
pub(super) struct SipWatch {
    centre: Option<SocketAddrV6>,
    /// When the centre last said 200 to a phone's REGISTER.
    registered: BTreeMap<Ipv6Addr, Instant>,
    calls: u64,
    last_call: Option<Instant>,
    /// The Call-ID of the last answered call: its 200 may come again.
    last_call_id: String,
}

/// What a message from the centre says.
#[derive(Debug, PartialEq, Eq)]
enum Said<'a> {
    /// 200 to REGISTER; whether a binding is left.
    Registered(bool),
    /// A call of a phone here was answered: 200 to INVITE, with the call's Call-ID.
    Answered(&'a str),
}

impl SipWatch {
    /// The centre is there from now on.
    pub(super) fn set_centre(&mut self, centre: Option<SocketAddrV6>) {
        if self.centre != centre {
            *self = SipWatch { centre, ..SipWatch::default() };
        }
    }

    /// The centre's port, which is all that the kernel needs to sort packets out.
    pub(super) fn port(&self) -> Option<u16> {
        self.centre.map(|centre| centre.port())
    }

    /// An IPv6 packet came out of the tunnel.
    pub(super) fn see(&mut self, now: Instant, packet: &[u8]) {
        let Some((source, port, phone, text)) = datagram(packet) else { return };
        if self.centre.is_none_or(|centre| (*centre.ip(), centre.port()) != (source, port)) {
            return;
        }
        match Said::read(text) {
            Some(Said::Registered(true)) => {
                self.registered.retain(|_, when| now.saturating_duration_since(*when) < FRESH);
                if self.registered.len() < MAX_PHONES || self.registered.contains_key(&phone) {
                    self.registered.insert(phone, now);
                }
            }
            Some(Said::Registered(false)) => {
                self.registered.remove(&phone);
            }
            Some(Said::Answered(call_id)) if call_id != self.last_call_id => {
                self.calls += 1;
                self.last_call = Some(now);
                self.last_call_id = call_id.to_owned();
            }
            Some(Said::Answered(_)) | None => {}
        }
    }

    /// How many phones the centre has let in within the last hour.
    pub(super) fn registered(&self, now: Instant) -> usize {
        self.registered.values().filter(|when| now.saturating_duration_since(**when) < FRESH).count()
    }

    /// How many calls were answered, and when the last one was.
    pub(super) fn calls(&self) -> (u64, Option<Instant>) {
        (self.calls, self.last_call)
    }
}

impl<'a> Said<'a> {
    fn read(text: &'a str) -> Option<Said<'a>> {
        let (first, headers) = text.split_once("\r\n")?;
        let value = |long: &str, short: &str| {
            let lines = headers.lines().take_while(|line| !line.is_empty());
            let mut values = lines.filter_map(|line| line.split_once(':'));
            let (_, value) = values.find(|(name, _)| {
                let name = name.trim_end();
                name.eq_ignore_ascii_case(long) || (!short.is_empty() && name.eq_ignore_ascii_case(short))
            })?;
            Some(value.trim())
        };
        if !first.starts_with("SIP/2.0 200") {
            return None;
        }
        match value("CSeq", "")?.rsplit(' ').next()? {
            "REGISTER" => Some(Said::Registered(value("Contact", "m").is_some())),
            "INVITE" => value("Call-ID", "i").map(Said::Answered),
            _ => None,
        }
    }
}

/// Sender, its port, receiver and text of a UDP datagram in an IPv6 packet without extension headers.
fn datagram(packet: &[u8]) -> Option<(Ipv6Addr, u16, Ipv6Addr, &str)> {
    let (header, rest) = packet.split_first_chunk::<IPV6_HEADER>()?;
    if header[0] >> 4 != 6 || header[6] != UDP {
        return None;
    }
    let address = |octets: &[u8]| <[u8; 16]>::try_from(octets).map(Ipv6Addr::from).ok();
    let (source, destination) = (address(&header[8..24])?, address(&header[24..40])?);
    let (&[p0, p1, _, _, _, _, _, _], payload) = rest.split_first_chunk::<8>()?;
    // The body may be anything; it is cut off, together with what the socket cut.
    let text = std::str::from_utf8(payload)
        .or_else(|error| std::str::from_utf8(payload.get(..error.valid_up_to()).unwrap_or_default()));
    Some((source, u16::from_be_bytes([p0, p1]), destination, text.ok()?))
}

const IPV6_HEADER: usize = 40;
const UDP: u8 = 17;
/// For so long a phone counts as let in: the usual time after which it registers again.
const FRESH: Duration = Duration::from_secs(3700);
/// More phones than a site has.
const MAX_PHONES: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REGISTERED: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x\r\nCSeq: 2 REGISTER\r\nContact: <sip:101@[2001:db8:1::11]>\r\n\r\n";

    fn packet(from: &str, port: u16, to: &str, text: &str) -> Vec<u8> {
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, UDP, 60];
        packet.extend(address(from));
        packet.extend(address(to));
        packet.extend(port.to_be_bytes());
        packet.extend([0; 6]);
        packet.extend(text.as_bytes());
        packet
    }

    fn watch() -> (SipWatch, Instant) {
        let mut watch = SipWatch::default();
        watch.set_centre(Some("[2001:db8:c::5]:5060".parse().unwrap()));
        (watch, Instant::now())
    }

    fn from_centre(text: &str) -> Vec<u8> {
        packet("2001:db8:c::5", 5060, "2001:db8:1::11", text)
    }

    #[test]
    fn a_phone_that_was_let_in_counts_for_an_hour() {
        let (mut watch, now) = watch();
        watch.see(now, &from_centre(REGISTERED));
        watch.see(now, &from_centre(REGISTERED));
        watch.see(now, &packet("2001:db8:c::5", 5060, "2001:db8:1::12", REGISTERED));
        assert_eq!(watch.registered(now), 2);
        assert_eq!(watch.registered(now + FRESH), 0);
        let gone = "SIP/2.0 200 OK\r\nCSeq: 3 REGISTER\r\nContent-Length: 0\r\n\r\nContact: not a header\r\n";
        watch.see(now, &from_centre(gone));
        assert_eq!(watch.registered(now), 1, "no binding is left of the first one");
    }

    #[test]
    fn what_is_no_200_of_the_centre_counts_for_nothing() {
        let (mut watch, now) = watch();
        watch.see(now, &packet("2001:db8:bad::5", 5060, "2001:db8:1::11", REGISTERED));
        watch.see(now, &packet("2001:db8:c::5", 5070, "2001:db8:1::11", REGISTERED));
        watch.see(now, &from_centre(&REGISTERED.replace("200 OK", "401 Unauthorized")));
        watch.see(now, &from_centre(&REGISTERED.replace("REGISTER", "OPTIONS")));
        assert_eq!((watch.registered(now), watch.calls()), (0, (0, None)));
        let mut other = SipWatch::default();
        other.see(now, &from_centre(REGISTERED));
        assert_eq!(other.registered(now), 0, "nobody knows where the centre is");
    }

    #[test]
    fn an_answered_call_counts_once() {
        let (mut watch, now) = watch();
        let answered =
            |id: &str| from_centre(&format!("SIP/2.0 200 OK\r\ni: {id}\r\ncseq: 1 INVITE\r\n\r\nv=0"));
        watch.see(now, &answered("a"));
        watch.see(now, &answered("a"));
        watch.see(now, &from_centre("SIP/2.0 180 Ringing\r\nCall-ID: b\r\nCSeq: 1 INVITE\r\n\r\n"));
        let later = now + Duration::from_secs(9);
        watch.see(later, &answered("c"));
        assert_eq!(watch.calls(), (2, Some(later)));
    }

    #[test]
    fn another_centre_begins_anew_and_the_number_of_phones_is_bounded() {
        let (mut watch, now) = watch();
        for number in 0..MAX_PHONES + 10 {
            watch.see(now, &packet("2001:db8:c::5", 5060, &format!("2001:db8:1::{number:x}"), REGISTERED));
        }
        assert_eq!(watch.registered(now), MAX_PHONES);
        watch.set_centre(Some("[2001:db8:c::5]:5060".parse().unwrap()));
        assert_eq!(watch.registered(now), MAX_PHONES);
        watch.set_centre(None);
        assert_eq!(watch.registered(now), 0);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), text in any::<String>()) {
            let (mut watch, now) = watch();
            watch.see(now, &bytes);
            watch.see(now, &from_centre(&text));
            watch.see(now, &from_centre(&format!("SIP/2.0 200 {text}\r\nCSeq: {text}\r\n")));
        }
    }
}
