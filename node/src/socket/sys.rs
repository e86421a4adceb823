//! The system calls of a datagram socket that no safe crate in our tree offers: path-MTU modes, and sending in batches.
#![allow(unsafe_code)] // `setsockopt` and `sendmmsg` through libc; each use states why it is sound.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::SockAddr;

/// How many datagrams one call sends at most.
pub(super) const SEND_BATCH: usize = 32;

/// One datagram to send.
pub(super) struct Outgoing<'a> {
    pub(super) to: SocketAddr,
    /// The source address, where the socket's own is a wildcard.
    pub(super) from: Option<IpAddr>,
    pub(super) bytes: &'a [u8],
}

/// Sets path-MTU discovery back to the system's normal mode, in which a datagram larger than the path is fragmented: quinn-udp
/// forbids fragmentation, as QUIC wants, but a SIP message has no other way when its peer takes no TCP.
pub(super) fn allow_fragments(socket: BorrowedFd<'_>, is_ipv6: bool) -> io::Result<()> {
    // quinn-udp sets the IPv4 mode on IPv6 sockets, too; there it does not matter to us.
    if is_ipv6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT)?;
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_WANT)
    }
}

/// Sends the first [`SEND_BATCH`] datagrams of `batch` by one system call. Gives how many went out.
///
/// # Errors
///
/// What kept the first one from being sent; what keeps a later one shows at the next call.
pub(super) fn send_batch<'a>(
    socket: BorrowedFd<'_>,
    batch: impl Iterator<Item = Outgoing<'a>>,
) -> io::Result<usize> {
    let mut names: [Option<SockAddr>; SEND_BATCH] = [const { None }; SEND_BATCH];
    let mut controls = [Control([0; CONTROL_WORDS]); SEND_BATCH];
    // SAFETY: both are plain C structs of integers and pointers, for which all-zero is a valid value.
    let mut parts: [libc::iovec; SEND_BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut headers: [libc::mmsghdr; SEND_BATCH] = unsafe { mem::zeroed() };

    let mut count: libc::c_uint = 0;
    let slots = names.iter_mut().zip(&mut controls).zip(&mut parts).zip(&mut headers);
    for ((((name, control), part), header), outgoing) in slots.zip(batch) {
        let name = name.insert(SockAddr::from(outgoing.to));
        part.iov_base = outgoing.bytes.as_ptr().cast_mut().cast();
        part.iov_len = outgoing.bytes.len();
        let header = &mut header.msg_hdr;
        header.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_namelen = name.len();
        header.msg_iov = part;
        header.msg_iovlen = 1;
        if let Some(from) = outgoing.from {
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = mem::size_of::<Control>();
            write_source(header, from);
        }
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    loop {
        // SAFETY: the first `count` headers point at names, parts and controls that live on this frame until after the call, and
        // the parts at bytes that the caller lends for longer. The kernel only reads through these pointers.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
        match usize::try_from(sent) {
            Ok(sent) => return Ok(sent),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Writes the source address as the header's only control message and sets its length.
fn write_source(header: &mut libc::msghdr, from: IpAddr) {
    // SAFETY: `msg_control` points at a zeroed, aligned `Control` of `msg_controllen` bytes, which has room for one control message
    // with either payload (asserted below), so the first header exists and its data can be written unaligned.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        let payload_len = match from {
            IpAddr::V4(from) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                (*message).cmsg_level = libc::IPPROTO_IP;
                (*message).cmsg_type = libc::IP_PKTINFO;
                libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().write_unaligned(info);
                mem::size_of::<libc::in_pktinfo>()
            }
            IpAddr::V6(from) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: from.octets() },
                    ipi6_ifindex: 0,
                };
                (*message).cmsg_level = libc::IPPROTO_IPV6;
                (*message).cmsg_type = libc::IPV6_PKTINFO;
                libc::CMSG_DATA(message).cast::<libc::in6_pktinfo>().write_unaligned(info);
                mem::size_of::<libc::in6_pktinfo>()
            }
        };
        // Both payloads are a few bytes long.
        let payload_len = payload_len as libc::c_uint;
        (*message).cmsg_len = libc::CMSG_LEN(payload_len) as _;
        header.msg_controllen = libc::CMSG_SPACE(payload_len) as _;
    }
}

fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Room for one control message, aligned for its header.
#[derive(Clone, Copy)]
#[repr(C)]
struct Control([u64; CONTROL_WORDS]);

const CONTROL_WORDS: usize = 6;
// SAFETY: CMSG_SPACE only computes.
const _: () = assert!(
    unsafe { libc::CMSG_SPACE(mem::size_of::<libc::in6_pktinfo>() as libc::c_uint) } as usize
        <= mem::size_of::<Control>()
);
const _: () = assert!(mem::align_of::<libc::cmsghdr>() <= mem::align_of::<Control>());

#[cfg(test)]
pub(super) fn option(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> libc::c_int {
    let mut value: libc::c_int = -1;
    let mut length = mem::size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointers describe `value` and `length`, which outlive the call.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length)
    };
    assert_eq!(result, 0);
    value
}
