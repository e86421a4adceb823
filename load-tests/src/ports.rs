//! Ports that were free a moment ago, for programs that cannot be told to take any.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

/// A UDP port of this address.
///
/// # Errors
/// When the system has none.
pub fn free_udp(ip: IpAddr) -> io::Result<u16> {
    Ok(UdpSocket::bind((ip, 0))?.local_addr()?.port())
}

/// A TCP port of this address.
///
/// # Errors
/// When the system has none.
pub fn free_tcp(ip: IpAddr) -> io::Result<u16> {
    Ok(TcpListener::bind((ip, 0))?.local_addr()?.port())
}

/// The first of `count` UDP ports in a row that are free on both loopback addresses. It is even, and the whole range lies below
/// the ports that the system hands out, so that nobody gets one of them by chance.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] when no such row was found.
pub fn free_range(count: u16) -> io::Result<u16> {
    let room = (END - START).saturating_sub(count);
    // Two load tests at a time shall not look at the same place.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut seed = since.subsec_nanos() ^ std::process::id();
    for _ in 0..TRIES {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let first = START + (seed >> 8).checked_rem(u32::from(room)).unwrap_or(0) as u16 / 2 * 2;
        if (first..first + count.min(END - first)).all(is_free) {
            return Ok(first);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Whether somebody has this UDP port, as the kernel tells it: to try it would be in the way of whoever is about to take it.
pub fn is_bound(local: SocketAddr) -> bool {
    let table = if local.is_ipv6() { "/proc/net/udp6" } else { "/proc/net/udp" };
    let port = format!(":{:04X}", local.port());
    let table = std::fs::read_to_string(table).unwrap_or_default();
    table.lines().filter_map(|line| line.split_whitespace().nth(1)).any(|own| own.ends_with(&port))
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, port)).is_ok()
        && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

const START: u16 = 10_000;
/// Linux hands out ports from 32768.
const END: u16 = 32_768;
const TRIES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_even_and_below_the_systems_own() {
        let first = free_range(8).unwrap();
        assert!(first.is_multiple_of(2) && first >= START && first + 8 <= END, "{first}");
    }

    #[test]
    fn a_bound_port_is_seen() {
        let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        assert!(is_bound(socket.local_addr().unwrap()));
    }
}
