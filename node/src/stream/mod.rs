//! Stream connections of one worker: accepted, reused, opened on demand.
//!
//! A connection belongs to the worker that accepted or opened it. What a transport does before the first message stands in
//! [`greeting`]; then it is a stream of bytes ([`connection`]) or of messages ([`websocket`]). What both do is in [`session`].

mod connection;
mod greeting;
mod queue;
mod remotes;
mod session;
mod websocket;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sip_core::core::Transmit;
use sip_core::flow::{ConnectionId, Flow, Transport};
use sip_core::ids::WorkerId;
use sip_core::wire::Limits;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(crate) use self::remotes::Remotes;

use self::queue::{Outgoing, Receiver, Refused, Sender, queue};
use self::session::Connection;
use crate::config::StreamLimits;
use crate::handover::{Origin, Peers};
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::slots::{ConnectionSlots, NoSlot};
use crate::telemetry::Mask;
use crate::tls::RoleTls;

/// What connections tell their worker.
#[derive(Debug)]
pub(crate) enum StreamEvent {
    /// Somebody connected.
    Accepted { stream: TcpStream, transport: Transport, remote: SocketAddr },
    /// A connection's peer has shown who it is.
    Identified { connection: ConnectionId, names: Arc<[String]> },
    /// A message that this worker owns.
    Received { flow: Flow, bytes: Bytes },
    /// A message could not be sent.
    Failed(Origin),
    /// The connection has ended; nothing more comes from it.
    Closed(ConnectionId),
}

/// What all connections of a worker share.
pub(crate) struct Shared {
    pub(crate) worker: WorkerId,
    pub(crate) peers: Peers,
    pub(crate) metrics: Metrics,
    pub(crate) limits: StreamLimits,
    pub(crate) tls: Option<RoleTls>,
    pub(crate) framing: Limits,
    pub(crate) mask: Mask,
    /// For one read at a time.
    read_buffer: RefCell<Box<[u8]>>,
    events: mpsc::Sender<StreamEvent>,
}

/// The connections of one worker.
pub(crate) struct Streams {
    shared: Rc<Shared>,
    slots: ConnectionSlots,
    local: Vec<Listener>,
    open: HashMap<ConnectionId, Handle>,
    remotes: Remotes,
    accepting: JoinSet<()>,
    serving: JoinSet<()>,
}

struct Handle {
    remote: (Transport, SocketAddr),
    queue: Sender,
}

impl Streams {
    /// Begins to accept on `listeners`, within a `LocalSet` only. Events come out of the receiver.
    pub(crate) fn new(
        shared: SharedParts,
        listeners: Vec<(Transport, std::net::TcpListener)>,
        slots: ConnectionSlots,
        remotes: Remotes,
    ) -> io::Result<(Self, mpsc::Receiver<StreamEvent>)> {
        let (events, receiver) = mpsc::channel(EVENT_QUEUE);
        let SharedParts { worker, peers, metrics, limits, tls, max_message_bytes, mask } = shared;
        let read_buffer = RefCell::new(vec![0; READ_BUFFER].into_boxed_slice());
        let framing = Limits { max_bytes: max_message_bytes, ..Limits::default() };
        let shared =
            Rc::new(Shared { worker, peers, metrics, limits, tls, framing, mask, read_buffer, events });
        let (mut local, mut accepting) = (vec![], JoinSet::new());
        for (transport, listener) in listeners {
            local.push(Listener { transport, addr: listener.local_addr()? });
            let listener = TcpListener::from_std(listener)?;
            accepting.spawn_local(accept(listener, transport, shared.events.clone()));
        }
        let streams = Streams {
            shared,
            slots,
            local,
            open: HashMap::new(),
            remotes,
            accepting,
            serving: JoinSet::new(),
        };
        Ok((streams, receiver))
    }

    /// Serves a connection that was accepted, unless there are too many.
    pub(crate) fn accepted(&mut self, stream: TcpStream, transport: Transport, remote: SocketAddr) {
        let metrics = &self.shared.metrics;
        let slot = match self.slots.take(remote.ip()) {
            Ok(slot) => slot,
            Err(why) => {
                let counter = match why {
                    NoSlot::Total => &metrics.refused_total,
                    NoSlot::Source => &metrics.refused_source,
                };
                counter.increment(1);
                return;
            }
        };
        let Ok(local) = stream.local_addr() else { return };
        let (id, queue) = self.register(transport, remote);
        let flow = Flow { transport, local, remote, connection: Some(id) };
        let shared = Rc::clone(&self.shared);
        self.serving.spawn_local(async move {
            let _slot = slot;
            // Messages are small and must not wait for each other.
            let _ = stream.set_nodelay(true);
            greeting::accepted(stream, Connection { flow, id, shared, queue }).await;
        });
    }

    /// Sends over the flow's connection while it lives, else over any other of ours to the same place, else over a new one. Gives the message's
    /// origin back when that cannot even be tried.
    pub(crate) fn send(&mut self, transmit: Transmit, origin: Origin) -> Result<(), Origin> {
        let Transmit { flow, bytes, .. } = transmit;
        let key = (flow.transport, flow.remote);
        let mut outgoing = Outgoing { origin, bytes };
        // Each turn but the last forgets a connection that has just ended, and a new one takes its first message.
        loop {
            let named = flow.connection.map(ConnectionId::name).filter(|id| self.open.contains_key(id));
            let other = || self.remotes.find(&key).filter(|id| self.open.contains_key(id));
            let id = match (named, flow.connection.is_some_and(ConnectionId::is_only)) {
                (Some(id), _) => id,
                (None, true) => return Err(origin),
                (None, false) => match other() {
                    Some(id) => id,
                    None => self.open(flow).map_err(|()| origin)?,
                },
            };
            let handle = self.open.get(&id).ok_or(origin)?;
            match handle.queue.try_send(outgoing) {
                Ok(()) => return Ok(()),
                Err(Refused::Full(_)) => {
                    self.shared.metrics.dropped_send_full.increment(1);
                    return Err(origin);
                }
                Err(Refused::Closed(back)) => {
                    self.closed(id);
                    outgoing = back;
                }
            }
        }
    }

    /// Forgets a connection that has ended.
    pub(crate) fn closed(&mut self, id: ConnectionId) {
        if let Some(handle) = self.open.remove(&id) {
            self.remotes.remove(&handle.remote, id);
        }
        // Finished tasks are only kept for their results, which nobody wants.
        while self.serving.try_join_next().is_some() {}
    }

    /// Accepts nothing more, sends what is queued for a short while, and closes every connection.
    pub(crate) async fn shut_down(mut self) {
        self.accepting.shutdown().await;
        // Without their queues' senders the connections send what is left and end.
        self.open.clear();
        let finished = async { while self.serving.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(CLOSING_GRACE, finished).await;
        self.serving.shutdown().await;
    }

    fn open(&mut self, flow: Flow) -> Result<ConnectionId, ()> {
        // A WebSocket is opened by its client, and only ever leads there (RFC 7118 §5).
        let is_possible = match flow.transport {
            // The connection was named, and the place behind it is not known.
            _ if flow.remote.port() == 0 => false,
            Transport::Tcp => true,
            Transport::Tls => self.shared.tls.is_some(),
            Transport::Udp | Transport::Ws | Transport::Wss => false,
        };
        if !is_possible {
            self.shared.metrics.dropped_unreachable.increment(1);
            return Err(());
        }
        let slot =
            self.slots.take(flow.remote.ip()).map_err(|_| self.shared.metrics.refused_total.increment(1))?;
        let (id, queue) = self.register(flow.transport, flow.remote);
        let shared = Rc::clone(&self.shared);
        let fits =
            |own: &&Listener| own.transport == flow.transport && own.addr.is_ipv6() == flow.remote.is_ipv6();
        let listener = self.local.iter().find(fits).copied();
        self.serving.spawn_local(async move {
            let _slot = slot;
            let timeout = shared.limits.connect;
            match connect(flow, timeout).await {
                Ok((stream, local)) => {
                    // Our end is named by a port that others can reach, not by the one that the system chose.
                    let port = listener.map_or(local.port(), |listener| listener.addr.port());
                    let local = SocketAddr::new(local.ip(), port);
                    let flow = Flow { local, connection: Some(id), ..flow };
                    greeting::opened(stream, Connection { flow, id, shared, queue }).await;
                }
                Err(error) => {
                    tracing::debug!(remote = %shared.mask.addr(flow.remote), %error, "cannot connect");
                    session::give_up(queue, id, &shared).await;
                }
            }
        });
        Ok(id)
    }

    fn register(&mut self, transport: Transport, remote: SocketAddr) -> (ConnectionId, Receiver) {
        let id = new_id(self.shared.worker);
        let (sender, queue) = queue();
        let remote = (transport, remote);
        self.open.insert(id, Handle { remote, queue: sender });
        self.remotes.add(remote, id);
        (id, queue)
    }
}

/// What [`Shared`] is made from.
pub(crate) struct SharedParts {
    pub(crate) worker: WorkerId,
    pub(crate) peers: Peers,
    pub(crate) metrics: Metrics,
    pub(crate) limits: StreamLimits,
    pub(crate) tls: Option<RoleTls>,
    pub(crate) max_message_bytes: usize,
    pub(crate) mask: Mask,
}

/// The worker that owns a connection: its number stands in the identifier's top byte.
pub(crate) fn owner_of(id: ConnectionId) -> WorkerId {
    let [worker, ..] = id.0.to_be_bytes();
    WorkerId(worker)
}

fn new_id(worker: WorkerId) -> ConnectionId {
    // Counted over the whole process, so that connections of two roles never share an identifier; and from where no earlier process on this
    // machine has counted to, because phones and stored bindings name connections of before a restart.
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        AtomicU64::new((since_1970.as_secs() << CONNECTIONS_A_SECOND) & COUNTED)
    });
    let number = NEXT.fetch_add(1, Ordering::Relaxed) & COUNTED;
    ConnectionId(u64::from(worker.0) << 56 | number)
}

/// The part of an identifier that counts.
const COUNTED: u64 = (1 << 55) - 1;
/// More connections than any process opens in a second, as a power of two.
const CONNECTIONS_A_SECOND: u32 = 22;

async fn accept(listener: TcpListener, transport: Transport, events: mpsc::Sender<StreamEvent>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                if events.send(StreamEvent::Accepted { stream, transport, remote }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Out of file descriptors, most likely: to try again at once would only burn the processor.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connect(flow: Flow, timeout: Duration) -> io::Result<(TcpStream, SocketAddr)> {
    let socket = if flow.remote.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    if is_usable_source(flow.local.ip(), flow.remote.ip()) {
        socket.bind(SocketAddr::new(flow.local.ip(), 0))?;
    }
    socket.set_nodelay(true)?;
    let stream = tokio::time::timeout(timeout, socket.connect(flow.remote)).await??;
    let local = stream.local_addr()?;
    Ok((stream, local))
}

fn is_usable_source(local: IpAddr, remote: IpAddr) -> bool {
    local.is_ipv6() == remote.is_ipv6() && !local.is_unspecified()
}

/// Bytes read at once.
const READ_BUFFER: usize = 16 * 1024;
/// Events that wait for the worker; beyond it the connections are not read, and TCP slows their peers.
const EVENT_QUEUE: usize = 1024;
/// How long closing connections may take to send what is queued.
const CLOSING_GRACE: Duration = Duration::from_secs(1);
/// Between attempts to accept after one has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_names_its_worker() {
        let (a, b) = (new_id(WorkerId(3)), new_id(WorkerId(255)));
        assert_eq!((owner_of(a), owner_of(b)), (WorkerId(3), WorkerId(255)));
        assert_ne!(a, new_id(WorkerId(3)));
        assert!(!b.is_only() && b.only().is_only());
        assert_eq!((b.only().name(), owner_of(a.only())), (b, WorkerId(3)));
    }
}
