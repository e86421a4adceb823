//! Addresses in SDP: the values of `c=` and `o=`.

use std::net::IpAddr;

use super::line::fields;

/// A `c=` value: `IN IP4 192.0.2.1` (RFC 8866 §5.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection<'a> {
    /// The address; `None` when a host name stands there.
    pub address: Option<IpAddr>,
    /// The address as it is written.
    pub text: &'a [u8],
}

impl<'a> Connection<'a> {
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        let mut fields = fields(value).map(|(_, field)| field).skip(2);
        let text = fields.next()?;
        Some(Connection { address: parse_address(text), text })
    }

    /// Whether this is the address that RFC 2543 used for hold: `0.0.0.0` or `::` (RFC 3264 §8.4, RFC 6157 §5.1).
    pub fn is_unspecified(&self) -> bool {
        self.address.is_some_and(|address| address.is_unspecified())
    }
}

/// An `o=` value (RFC 8866 §5.2). Fields are bytes, because devices write names in any character set and numbers of any
/// length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The user's name, or `-`.
    pub username: &'a [u8],
    /// The session identifier: digits, unique together with the name and the address.
    pub session_id: &'a [u8],
    /// The version: digits, one more whenever the body changes (RFC 3264 §8).
    pub version: &'a [u8],
    /// The address; `None` when a host name stands there.
    pub address: Option<IpAddr>,
}

impl<'a> Origin<'a> {
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        // From the right, since some devices write a user name with blanks in it.
        let fields: Vec<(usize, &[u8])> = fields(value).collect();
        let [first, .., session_id, version, _net, _family, address] = fields.as_slice() else { return None };
        let username = value.get(first.0..session_id.0)?.trim_ascii_end();
        Some(Origin {
            username,
            session_id: session_id.1,
            version: version.1,
            address: parse_address(address.1),
        })
    }
}

/// `IP4` or `IP6` with the address, as `c=`, `o=` and `a=rtcp` write it.
pub(super) fn typed_address(address: IpAddr) -> String {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    format!("IN {family} {address}")
}

/// Reads an address without its multicast suffix, and with the brackets that some devices put around IPv6.
pub(super) fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = text.split(|&byte| byte == b'/').next()?;
    let text = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]")).unwrap_or(text);
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections() {
        let address = |text: &'static str| Connection::parse(text.as_bytes()).unwrap().address;
        assert_eq!(address("IN IP4 192.0.2.1"), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(address("IN IP4 224.2.1.1/127/3"), Some("224.2.1.1".parse().unwrap()));
        assert_eq!(address("IN IP6 [2001:db8::1]"), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(address("IN IP4 gw.example.net"), None);
        assert!(Connection::parse(b"IN IP4").is_none());
    }

    #[test]
    fn an_origin_name_with_blanks() {
        let origin = Origin::parse(b"Grand Hotel 17 18 IN IP6 2001:db8::1").unwrap();
        assert_eq!(
            (origin.username, origin.session_id, origin.version),
            (&b"Grand Hotel"[..], &b"17"[..], &b"18"[..])
        );
        assert!(Origin::parse(b"17 18 IN IP6 ::1").is_none());
    }
}
