//! The raw socket.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use socket2::{Domain, Protocol, Socket, Type};

use super::error::PlaneError;

/// A raw socket that receives IPv6 in IPv4 at `local`, and sends with the header that it is given.
pub(super) fn open(local: Ipv4Addr) -> Result<Socket, PlaneError> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(PROTOCOL)));
    let socket = socket.map_err(explain)?;
    socket.set_header_included_v4(true).map_err(explain)?;
    // Bursts wait here while the thread waits for a processor. With CAP_NET_ADMIN, which the device needs anyhow, the system's limit
    // (net.core.rmem_max) does not matter; without it, less is no error.
    if setsockopt(&socket, RcvBufForce, &BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(BUFFER);
    }
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
/// Bytes, as the system counts them: about 1,300 for a packet of a call.
const BUFFER: usize = 8 << 20;
