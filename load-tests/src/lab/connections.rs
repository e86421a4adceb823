//! A router's table of connections, emptied as its own software empties it when the provider gives it another address.
//!
//! The kernel forgets masqueraded connections by itself only when the address or the interface goes, and never those that its port forwarding
//! made. One that stays sends the tunnel's packets on from the old address for as long as there are any.

use std::io::{self, Read, Write};

use socket2::{Domain, Protocol, Socket, Type};

/// Empties the table of the network namespace in which the calling thread is.
///
/// # Errors
/// When the kernel refuses, or has no such table.
pub(super) fn forget() -> io::Result<()> {
    let socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(NETLINK_NETFILTER)))?;
    let mut request = Vec::with_capacity(REQUEST_LEN as usize);
    request.extend(REQUEST_LEN.to_ne_bytes());
    request.extend(DELETE_CONNECTIONS.to_ne_bytes());
    request.extend(REQUEST_WITH_ACK.to_ne_bytes());
    // Sequence number, port; then the netfilter header: IPv4, version 0, resource 0. Without a tuple, it means every connection.
    request.extend([1, 0, 0, 0, 0, 0, 0, 0, AF_INET, 0, 0, 0]);
    (&socket).write_all(&request)?;
    let mut answer = [0; 256];
    let len = (&socket).read(&mut answer)?;
    let error = answer.get(16..20).filter(|_| len >= 20).and_then(|bytes| bytes.first_chunk());
    match error.map(|bytes| i32::from_ne_bytes(*bytes)) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

const AF_NETLINK: i32 = 16;
const NETLINK_NETFILTER: i32 = 12;
const AF_INET: u8 = 2;
/// `struct nlmsghdr` and `struct nfgenmsg`, bytes.
const REQUEST_LEN: u32 = 20;
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`.
const DELETE_CONNECTIONS: u16 = 0x0102;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST_WITH_ACK: u16 = 5;
