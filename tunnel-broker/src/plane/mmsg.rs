//! Batches of packets over a raw socket, one system call a batch.
#![allow(unsafe_code)] // `sendmmsg` and `recvmmsg` through libc; nix's own read memory that was never written when packets are sent.

use std::io;
use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// How many packets one call takes at most.
pub(super) const BATCH: usize = 64;

/// Sends the first [`BATCH`] packets of `batch`, each with its IPv4 header in front, to their addresses. Waits while the socket's
/// buffer is full. Gives how many went out.
///
/// # Errors
///
/// What kept the first one from being sent; what keeps a later one shows at the next call.
pub(super) fn send<'a>(
    socket: BorrowedFd<'_>,
    batch: impl Iterator<Item = (&'a [u8], Ipv4Addr)>,
) -> io::Result<usize> {
    // SAFETY: all three are plain C structs of integers and pointers, for which all-zero is a valid value.
    let mut names: [libc::sockaddr_in; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut parts: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };

    let mut count: libc::c_uint = 0;
    let slots = names.iter_mut().zip(&mut parts).zip(&mut headers);
    for (((name, part), header), (packet, to)) in slots.zip(batch) {
        name.sin_family = libc::AF_INET as libc::sa_family_t;
        name.sin_addr.s_addr = u32::from_ne_bytes(to.octets());
        part.iov_base = packet.as_ptr().cast_mut().cast();
        part.iov_len = packet.len();
        let header = &mut header.msg_hdr;
        header.msg_name = (&raw mut *name).cast();
        header.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
        header.msg_iov = part;
        header.msg_iovlen = 1;
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: the first `count` headers point into `names` and `parts`, which outlive the call and are not touched while it runs, and
    // the parts at the packets of `batch`, which `'a` keeps alive; the kernel only reads those.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Room for one batch of packets that arrive.
pub(super) struct Inbox {
    bytes: Box<[u8]>,
    lens: [usize; BATCH],
}

impl Inbox {
    pub(super) fn new() -> Inbox {
        Inbox { bytes: vec![0; BATCH * SLOT].into_boxed_slice(), lens: [0; BATCH] }
    }

    /// Waits until there is a packet, and takes what is there then. Gives how many packets came; none when the socket was shut down.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: both are plain C structs of integers and pointers, for which all-zero is a valid value.
        let mut parts: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for ((slot, part), header) in self.bytes.chunks_exact_mut(SLOT).zip(&mut parts).zip(&mut headers) {
            part.iov_base = slot.as_mut_ptr().cast();
            part.iov_len = slot.len();
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        let (fd, count) = (socket.as_raw_fd(), BATCH as libc::c_uint);
        // SAFETY: each header points at one part and each part at a slot of its own in `self.bytes`, all of which outlive the call
        // and are not touched while it runs; no timeout is given.
        let received = unsafe {
            libc::recvmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_WAITFORONE, std::ptr::null_mut())
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (len, header) in self.lens.iter_mut().zip(&headers).take(received) {
            *len = header.msg_len as usize;
        }
        Ok(received)
    }

    /// The first `count` packets of the last batch.
    pub(super) fn packets(&mut self, count: usize) -> impl Iterator<Item = &mut [u8]> {
        let slots = self.bytes.chunks_exact_mut(SLOT).zip(&self.lens).take(count);
        slots.filter_map(|(slot, &len)| slot.get_mut(..len))
    }
}

/// No IPv4 packet is longer.
const SLOT: usize = 65_536;
