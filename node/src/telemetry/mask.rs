//! What log lines hide: subscriber numbers and network addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::Log;

/// What is hidden. Everything shows by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mask {
    /// Whether subscriber numbers are hidden but for their first digits.
    pub numbers: bool,
    /// Whether addresses are hidden but for their network.
    pub addresses: bool,
}

impl Mask {
    /// As the configuration says.
    pub fn new(log: &Log) -> Self {
        Mask { numbers: log.mask_numbers, addresses: log.mask_addresses }
    }

    /// A number, an extension or an address-of-record for a log line. Masked, the last four characters and at least half of it are
    /// stars; a URI's scheme and host are not counted and show.
    pub fn number<'a>(&self, number: &'a str) -> impl fmt::Display + use<'a> {
        MaskedNumber { number, masked: self.numbers }
    }

    /// An address for a log line. Masked, an IPv6 address keeps its first 48 bits, which name the site, and an IPv4 address 16.
    pub fn ip(&self, ip: IpAddr) -> impl fmt::Display + use<> {
        MaskedIp { ip, masked: self.addresses }
    }

    /// An address and port for a log line, masked as [`ip`](Self::ip).
    pub fn addr(&self, addr: SocketAddr) -> impl fmt::Display + use<> {
        MaskedAddr { addr, masked: self.addresses }
    }
}

struct MaskedNumber<'a> {
    number: &'a str,
    masked: bool,
}

impl fmt::Display for MaskedNumber<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.masked {
            return f.write_str(self.number);
        }
        let scheme =
            SCHEMES.iter().find(|scheme| self.number.starts_with(**scheme)).map_or(0, |scheme| scheme.len());
        let (scheme, rest) = self.number.split_at(scheme);
        let (user, host) = rest.split_at(rest.rfind('@').unwrap_or(rest.len()));
        let length = user.chars().count();
        let shown = (length / 2).min(length.saturating_sub(4));
        f.write_str(scheme)?;
        for c in user.chars().enumerate().map(|(i, c)| if i < shown { c } else { '*' }) {
            fmt::Write::write_char(f, c)?;
        }
        f.write_str(host)
    }
}

struct MaskedIp {
    ip: IpAddr,
    masked: bool,
}

impl fmt::Display for MaskedIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            ip if !self.masked => write!(f, "{ip}"),
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                write!(f, "{}/16", Ipv4Addr::new(a, b, 0, 0))
            }
            IpAddr::V6(ip) => {
                let [a, b, c, ..] = ip.segments();
                write!(f, "{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
            }
        }
    }
}

struct MaskedAddr {
    addr: SocketAddr,
    masked: bool,
}

impl fmt::Display for MaskedAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.masked {
            return MaskedIp { ip: self.addr.ip(), masked: true }.fmt(f);
        }
        write!(f, "{}", self.addr)
    }
}

/// Of URIs that have a number in them.
const SCHEMES: [&str; 3] = ["sip:", "sips:", "tel:"];

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Mask = Mask { numbers: true, addresses: true };

    #[test]
    fn masked_values_keep_what_helps_and_hide_who() {
        for (number, masked) in [
            ("+81312345678", "+81312******"),
            ("101", "***"),
            ("1234567", "123****"),
            ("", ""),
            ("s042-101", "s042****"),
            ("101@s042.example.net", "***@s042.example.net"),
            ("sip:+81312345678@192.0.2.1", "sip:+81312******@192.0.2.1"),
            ("tel:0312345678", "tel:03123*****"),
        ] {
            assert_eq!(ALL.number(number).to_string(), masked);
        }
        let v6: SocketAddr = "[2001:db8:42:1::7]:5060".parse().unwrap();
        assert_eq!(ALL.addr(v6).to_string(), "2001:db8:42::/48");
        assert_eq!(ALL.ip(IpAddr::from([192, 0, 2, 1])).to_string(), "192.0.0.0/16");
    }

    #[test]
    fn nothing_is_hidden_by_default() {
        let mask = Mask::default();
        assert_eq!(mask.number("101").to_string(), "101");
        assert_eq!(mask.addr("[::1]:5060".parse().unwrap()).to_string(), "[::1]:5060");
        assert_eq!(mask.ip("::1".parse().unwrap()).to_string(), "::1");
    }
}
