//! One datagram socket: batches in by quinn-udp (recvmmsg, GRO), batches out by sendmmsg.

use std::array;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use tokio::io::Interest;

use super::bind::local_of;
use super::sys::{self, Outgoing};

/// A bound datagram socket on a runtime.
///
/// Datagrams larger than the path are fragmented by the system, and none is cut short at receiving.
#[derive(Debug)]
pub struct UdpSocket {
    io: tokio::net::UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

impl UdpSocket {
    /// Takes a bound socket; within a runtime only.
    ///
    /// # Errors
    ///
    /// When the socket refuses an option.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        sys::allow_fragments(socket.as_fd(), local.is_ipv6())?;
        Ok(UdpSocket { io: tokio::net::UdpSocket::from_std(socket)?, state, local })
    }

    /// The address that it is bound to; it may be a wildcard.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Receives at least one datagram into `batch`, whose earlier content is lost.
    ///
    /// # Errors
    ///
    /// What the system says; the socket stays usable.
    pub fn poll_recv(&self, context: &mut Context<'_>, batch: &mut RecvBatch) -> Poll<io::Result<()>> {
        loop {
            ready!(self.io.poll_recv_ready(context))?;
            match self.io.try_io(Interest::READABLE, || batch.fill(&self.io, &self.state, self.local)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Receives at least one datagram into `batch`, whose earlier content is lost. Nothing is lost when it is cancelled.
    ///
    /// # Errors
    ///
    /// As [`poll_recv`](Self::poll_recv).
    pub async fn recv(&self, batch: &mut RecvBatch) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_recv(context, batch)).await
    }

    /// Returns when sending may go on after a [`SendQueue`] was held up.
    ///
    /// # Errors
    ///
    /// When the runtime is going down.
    pub async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }
}

/// One received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub remote: SocketAddr,
    /// Our address that it was sent to.
    pub local: SocketAddr,
    /// What it holds.
    pub bytes: &'a [u8],
}

/// Memory for one batch of received datagrams; one serves many sockets in turn.
pub struct RecvBatch {
    memory: Vec<u8>,
    metas: Vec<RecvMeta>,
    filled: usize,
    listener: Option<SocketAddr>,
}

impl RecvBatch {
    /// An empty batch. It reserves 2 MiB of address space, of which the system gives as much as is used.
    pub fn new() -> Self {
        RecvBatch {
            memory: vec![0; BATCH_SIZE * MAX_DATAGRAM],
            metas: vec![RecvMeta::default(); BATCH_SIZE],
            filled: 0,
            listener: None,
        }
    }

    /// A batch without memory: it holds the place of another one and receives nothing.
    pub(crate) fn placeholder() -> Self {
        RecvBatch { memory: vec![], metas: vec![], filled: 0, listener: None }
    }

    /// The datagrams in it, in the order of their arrival.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let buffers = self.memory.chunks_exact(MAX_DATAGRAM).zip(&self.metas).take(self.filled);
        buffers.flat_map(|(buffer, meta)| {
            let local = self.listener.map_or(meta.addr, |listener| local_of(listener, meta.dst_ip));
            let remote = without_flow_label(meta.addr);
            let filled = buffer.get(..meta.len).unwrap_or_default();
            // An empty datagram has no stride, and no chunk either.
            let empty = filled.is_empty().then_some(filled);
            let segments = filled.chunks(meta.stride.max(1)).chain(empty);
            segments.map(move |bytes| Datagram { remote, local, bytes })
        })
    }

    fn fill(
        &mut self,
        socket: &tokio::net::UdpSocket,
        state: &UdpSocketState,
        listener: SocketAddr,
    ) -> io::Result<()> {
        self.filled = 0;
        self.listener = Some(listener);
        let mut chunks = self.memory.chunks_exact_mut(MAX_DATAGRAM);
        let mut buffers: [IoSliceMut<'_>; BATCH_SIZE] =
            array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        self.filled = state.recv(UdpSockRef::from(socket), &mut buffers, &mut self.metas)?;
        Ok(())
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        RecvBatch::new()
    }
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatch").field("filled", &self.filled).finish_non_exhaustive()
    }
}

/// Datagrams that wait to be sent over one socket. `T` names a datagram to whom wants to hear of its failure.
#[derive(Debug)]
pub struct SendQueue<T> {
    waiting: VecDeque<Waiting<T>>,
    limit: usize,
    is_blocked: bool,
}

#[derive(Debug)]
struct Waiting<T> {
    name: T,
    to: SocketAddr,
    from: Option<IpAddr>,
    bytes: Bytes,
}

/// A datagram that was not sent.
#[derive(Debug)]
pub struct Undelivered<T> {
    /// As given to [`SendQueue::push`].
    pub name: T,
    /// Where it should have gone.
    pub to: SocketAddr,
    /// Why not.
    pub error: io::Error,
}

impl<T> SendQueue<T> {
    /// A queue for at most `limit` datagrams.
    pub fn new(limit: usize) -> Self {
        SendQueue { waiting: VecDeque::new(), limit, is_blocked: false }
    }

    /// Queues a datagram. `from` chooses the source address where the socket is bound to a wildcard.
    ///
    /// Gives `name` back when the queue is full.
    pub fn push(&mut self, name: T, to: SocketAddr, from: Option<IpAddr>, bytes: Bytes) -> Result<(), T> {
        if self.waiting.len() >= self.limit {
            return Err(name);
        }
        self.waiting.push_back(Waiting { name, to, from, bytes });
        Ok(())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the socket took no more at the last [`flush`](Self::flush): wait for [`UdpSocket::writable`].
    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// How many datagrams a batch of sendmmsg would fill.
    pub fn is_batch_full(&self) -> bool {
        self.waiting.len() >= sys::SEND_BATCH
    }

    /// Sends what waits until the socket takes no more, and gives how many went out. What the system refuses goes to `failed`.
    pub fn flush(&mut self, socket: &UdpSocket, mut failed: impl FnMut(Undelivered<T>)) -> usize {
        self.is_blocked = false;
        let mut sent_in_all = 0;
        while !self.waiting.is_empty() {
            let batch = self.waiting.iter().map(|waiting| Outgoing {
                to: waiting.to,
                from: waiting.from,
                bytes: &waiting.bytes,
            });
            match socket.io.try_io(Interest::WRITABLE, || sys::send_batch(socket.io.as_fd(), batch)) {
                Ok(sent) => {
                    sent_in_all += sent;
                    self.waiting.drain(..sent.min(self.waiting.len()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    break;
                }
                Err(error) => {
                    if let Some(Waiting { name, to, .. }) = self.waiting.pop_front() {
                        failed(Undelivered { name, to, error });
                    }
                }
            }
        }
        sent_in_all
    }
}

/// The flow label is no part of a peer's identity, but it would take part in comparisons.
fn without_flow_label(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(mut addr) => {
            addr.set_flowinfo(0);
            SocketAddr::V6(addr)
        }
        addr => addr,
    }
}

/// Bytes; no datagram, and nothing that GRO puts together, is larger.
const MAX_DATAGRAM: usize = 65_536;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn socket(ip: impl Into<IpAddr>) -> UdpSocket {
        UdpSocket::new(std::net::UdpSocket::bind((ip.into(), 0)).unwrap()).unwrap()
    }

    async fn receive(socket: &UdpSocket, count: usize) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        let (mut batch, mut got) = (RecvBatch::new(), vec![]);
        while got.len() < count {
            socket.recv(&mut batch).await.unwrap();
            got.extend(batch.datagrams().map(|d| (d.remote, d.local, d.bytes.to_vec())));
        }
        got
    }

    /// Sends everything. Gives how many went out, and the names of what was refused.
    async fn flush<T>(queue: &mut SendQueue<T>, socket: &UdpSocket) -> (usize, Vec<T>) {
        let (mut sent, mut failed) = (0, vec![]);
        while !queue.is_empty() {
            socket.writable().await.unwrap();
            sent += queue.flush(socket, |undelivered| failed.push(undelivered.name));
        }
        (sent, failed)
    }

    fn to(socket: &UdpSocket, ip: impl Into<IpAddr>) -> SocketAddr {
        SocketAddr::new(ip.into(), socket.local().port())
    }

    #[tokio::test]
    async fn batches_go_and_come_in_order() {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let (a, b) = (socket(ip), socket(ip));
            let mut queue = SendQueue::new(100);
            for i in 0..70_u8 {
                queue.push((), b.local(), None, Bytes::from(vec![i; 10 + usize::from(i)])).unwrap();
            }
            assert_eq!(flush(&mut queue, &a).await, (70, vec![]));
            let got = receive(&b, 70).await;
            for (i, (remote, local, bytes)) in got.into_iter().enumerate() {
                assert_eq!((remote, local), (a.local(), b.local()));
                assert_eq!(bytes, vec![u8::try_from(i).unwrap(); 10 + i]);
            }
        }
    }

    #[tokio::test]
    async fn large_and_empty_datagrams_pass_whole() {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let (a, b) = (socket(ip), socket(ip));
            let mut queue = SendQueue::new(9);
            for size in [3000, 0, 65_000] {
                queue.push((), b.local(), None, Bytes::from(vec![7; size])).unwrap();
            }
            assert_eq!(flush(&mut queue, &a).await, (3, vec![]));
            let sizes: Vec<usize> = receive(&b, 3).await.iter().map(|(_, _, bytes)| bytes.len()).collect();
            assert_eq!(sizes, [3000, 0, 65_000]);
        }
    }

    #[tokio::test]
    async fn a_wildcard_socket_tells_and_chooses_its_address() {
        let server = socket(Ipv4Addr::UNSPECIFIED);
        let client = socket(Ipv4Addr::UNSPECIFIED);
        let (server_ip, client_ip) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
        let mut queue = SendQueue::new(1);
        queue.push((), to(&server, server_ip), Some(client_ip.into()), Bytes::from_static(b"x")).unwrap();
        assert_eq!(flush(&mut queue, &client).await, (1, vec![]));
        let got = receive(&server, 1).await;
        assert_eq!((got[0].0, got[0].1), (to(&client, client_ip), to(&server, server_ip)));
        // And over IPv6, where the loopback has one address only.
        let (server, client) = (socket(Ipv6Addr::UNSPECIFIED), socket(Ipv6Addr::UNSPECIFIED));
        let ip = Ipv6Addr::LOCALHOST;
        queue.push((), to(&server, ip), Some(ip.into()), Bytes::from_static(b"x")).unwrap();
        assert_eq!(flush(&mut queue, &client).await, (1, vec![]));
        let got = receive(&server, 1).await;
        assert_eq!((got[0].0, got[0].1), (to(&client, ip), to(&server, ip)));
    }

    #[tokio::test]
    async fn a_refused_datagram_is_named_and_the_others_go() {
        let (a, b) = (socket(Ipv4Addr::LOCALHOST), socket(Ipv4Addr::LOCALHOST));
        let mut queue = SendQueue::new(3);
        queue.push(1, b.local(), None, Bytes::from_static(b"one")).unwrap();
        // 65,508 bytes fit no IPv4 datagram.
        queue.push(2, b.local(), None, Bytes::from(vec![0; 65_508])).unwrap();
        queue.push(3, b.local(), None, Bytes::from_static(b"three")).unwrap();
        assert_eq!(queue.push(4, b.local(), None, Bytes::new()), Err(4));
        assert_eq!(flush(&mut queue, &a).await, (2, vec![2]));
        assert_eq!(receive(&b, 2).await.len(), 2);
    }

    #[tokio::test]
    async fn path_mtu_discovery_is_the_systems_normal_one() {
        let v6 = socket(Ipv6Addr::LOCALHOST);
        assert_eq!(
            sys::option(v6.io.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
            libc::IPV6_PMTUDISC_WANT
        );
        assert_eq!(sys::option(v6.io.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG), 0);
        let v4 = socket(Ipv4Addr::LOCALHOST);
        assert_eq!(
            sys::option(v4.io.as_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
            libc::IP_PMTUDISC_WANT
        );
    }
}
