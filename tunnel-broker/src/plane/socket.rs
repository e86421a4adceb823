//! The raw socket.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};

use super::error::PlaneError;

/// A raw socket that receives IPv6 in IPv4 at `local`, and sends with the header that it is given.
pub(super) fn open(local: Ipv4Addr) -> Result<Socket, PlaneError> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(PROTOCOL)));
    let socket = socket.map_err(explain)?;
    socket.set_header_included_v4(true).map_err(explain)?;
    // The most that the system's limits allow: a burst waits here while the other side is busy.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&SocketAddrV4::new(local, 0).into()).map_err(|source| match source.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => PlaneError::NotLocal { address: local, source },
        _ => explain(source),
    })?;
    Ok(socket)
}

fn explain(source: io::Error) -> PlaneError {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            PlaneError::NotPermitted { what: "opening a raw socket for protocol 41", source }
        }
        _ => PlaneError::Socket { source },
    }
}

/// IPv6 in IPv4 (RFC 4213 §3.5).
const PROTOCOL: i32 = 41;
/// Bytes.
const BUFFER: usize = 4 << 20;
