//! Batches of packets over a raw socket, one system call a batch.
#![allow(unsafe_code)] // `sendmmsg` and `recvmmsg` through libc: what nix gives back for sent packets is read from memory never written.

use std::io;
use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::tunnel::OuterHeader;

/// How many packets one call takes at most.
pub(super) const BATCH: usize = 64;

/// A packet to send.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub(super) header: &'a OuterHeader,
    pub(super) inner: &'a [u8],
}

/// Room for one batch of packets to send.
pub(super) struct Outbox {
    names: Box<[libc::sockaddr_in; BATCH]>,
    parts: Box<[[libc::iovec; 2]; BATCH]>,
    headers: Box<[libc::mmsghdr; BATCH]>,
}

impl Outbox {
    pub(super) fn new() -> Outbox {
        // SAFETY: all three are plain C structs of integers and pointers, for which all-zero is a valid value.
        let (names, parts, headers) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Outbox { names: Box::new(names), parts: Box::new(parts), headers: Box::new(headers) }
    }

    /// Sends the first [`BATCH`] packets of `batch`, waiting while the socket's buffer is full. Gives how many went out; none when there
    /// were none.
    ///
    /// # Errors
    ///
    /// What kept the first one from being sent; what keeps a later one shows at the next call.
    pub(super) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        batch: impl Iterator<Item = Outgoing<'a>>,
    ) -> io::Result<usize> {
        let mut count: libc::c_uint = 0;
        let slots = self.names.iter_mut().zip(self.parts.iter_mut()).zip(self.headers.iter_mut());
        for (((name, parts), header), Outgoing { header: outer, inner }) in slots.zip(batch) {
            name.sin_family = libc::AF_INET as libc::sa_family_t;
            name.sin_addr.s_addr = u32::from_ne_bytes(outer.destination.octets());
            for (part, bytes) in parts.iter_mut().zip([&outer.bytes[..], inner]) {
                part.iov_base = bytes.as_ptr().cast_mut().cast();
                part.iov_len = bytes.len();
            }
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut *name).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_iov = parts.as_mut_ptr();
            header.msg_iovlen = 2;
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        // SAFETY: the first `count` headers were filled above. They point into `names` and `parts`, which belong to `self` and are not
        // touched while the call runs, and the parts at the bytes of `batch`, which `'a` keeps alive; the kernel only reads those.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Room for one batch of packets that arrive.
pub(super) struct Inbox {
    bytes: Box<[u8]>,
    lens: [usize; BATCH],
    parts: Box<[libc::iovec; BATCH]>,
    headers: Box<[libc::mmsghdr; BATCH]>,
}

impl Inbox {
    pub(super) fn new() -> Inbox {
        // SAFETY: both are plain C structs of integers and pointers, for which all-zero is a valid value.
        let (parts, headers) = unsafe { (mem::zeroed(), mem::zeroed()) };
        Inbox {
            bytes: vec![0; BATCH * SLOT].into_boxed_slice(),
            lens: [0; BATCH],
            parts: Box::new(parts),
            headers: Box::new(headers),
        }
    }

    /// Waits until there is a packet, and takes what is there then. Gives how many packets came.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let slots = self.bytes.chunks_exact_mut(SLOT).zip(self.parts.iter_mut());
        for ((slot, part), header) in slots.zip(self.headers.iter_mut()) {
            part.iov_base = slot.as_mut_ptr().cast();
            part.iov_len = slot.len();
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        let (fd, count) = (socket.as_raw_fd(), BATCH as libc::c_uint);
        let headers = self.headers.as_mut_ptr();
        // SAFETY: all `BATCH` headers were filled above. Each points at one part and each part at a slot of its own in `bytes`, all of
        // which belong to `self` and are not touched while the call runs; no timeout is given.
        let received =
            unsafe { libc::recvmmsg(fd, headers, count, libc::MSG_WAITFORONE, std::ptr::null_mut()) };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (len, header) in self.lens.iter_mut().zip(self.headers.iter()).take(received) {
            *len = header.msg_len as usize;
        }
        Ok(received)
    }

    /// One packet of the last batch.
    pub(super) fn at(&self, index: usize) -> Option<&[u8]> {
        let start = index.checked_mul(SLOT)?;
        self.bytes.get(start..start + self.lens.get(index)?)
    }

    /// The same, to be edited.
    pub(super) fn at_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        let start = index.checked_mul(SLOT)?;
        self.bytes.get_mut(start..start + self.lens.get(index)?)
    }
}

/// Packets that waited for a socket and found no room since it was opened; `None` when the system does not tell (Linux 4.12).
pub(super) fn overflows(socket: BorrowedFd<'_>) -> Option<u32> {
    let mut info = [0u32; MEMORY_INFO];
    let mut len = mem::size_of_val(&info) as libc::socklen_t;
    // SAFETY: `info` and `len` live through the call, and `len` is the size of `info` in bytes.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &mut len,
        )
    };
    let told = len as usize / mem::size_of::<u32>();
    info.get(..told).filter(|_| done == 0)?.get(DROPS).copied()
}

/// No IPv4 packet is longer. The odd lines at the end spread the slots' beginnings over the processor's cache.
const SLOT: usize = 65_536 + 3 * 64;
/// Numbers in SO_MEMINFO, and which of them counts packets without room (SK_MEMINFO_DROPS).
const MEMORY_INFO: usize = 9;
const DROPS: usize = 8;
const _: () = assert!(mem::size_of::<Ipv4Addr>() == mem::size_of::<libc::in_addr_t>());
