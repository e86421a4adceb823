//! A worker's part of the relay: its addresses, its ports, its sessions.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::gauges::Gauges;
use super::pool::{PortPair, PortPool, PortRange};
use super::session::{RelayHandle, SessionId};
use super::stream::{Sockets, Stream};
use super::{Endpoint, RelayError, StreamSpec};

/// What a worker's relay is built from.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// The local addresses on which media is relayed, of either family.
    pub addresses: Vec<IpAddr>,
    /// This worker's ports, the same on each address. Workers of one node must not share any: see
    /// [`PortRange::split`].
    pub ports: PortRange,
    /// How long a freed pair rests before it is used again.
    pub rest: Duration,
    /// How long a side that is bound to send may deliver nothing; `None` never ends a call for silence.
    pub silence: Option<Duration>,
    /// The differentiated-services code point of what is sent, 0–63: 46 (expedited forwarding, RFC 4594 §4.1) for
    /// telephony.
    pub dscp: u8,
}

impl RelaySettings {
    /// The usual: 30 s of rest, 60 s of silence, expedited forwarding.
    pub fn new(addresses: Vec<IpAddr>, ports: PortRange) -> Self {
        RelaySettings {
            addresses,
            ports,
            rest: Duration::from_secs(30),
            silence: Some(Duration::from_secs(60)),
            dscp: 46,
        }
    }
}

/// Opens media sessions on one worker of the node. Clones share the ports.
#[derive(Debug, Clone)]
pub struct RelayWorker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    silence: Option<Duration>,
    dscp: u8,
    pools: Mutex<Pools>,
    next_id: AtomicU64,
    gauges: Gauges,
}

#[derive(Debug)]
struct Pools {
    by_address: HashMap<IpAddr, PortPool>,
    /// What the gauge has been told.
    reported_free: usize,
}

impl RelayWorker {
    /// A relay with all its ports free. Opens nothing yet.
    pub fn new(settings: RelaySettings) -> Self {
        let RelaySettings { addresses, ports, rest, silence, dscp } = settings;
        let by_address = addresses.into_iter().map(|address| (address, PortPool::new(ports, rest))).collect();
        let worker = RelayWorker {
            inner: Arc::new(Inner {
                silence,
                dscp,
                pools: Mutex::new(Pools { by_address, reported_free: 0 }),
                next_id: AtomicU64::new(1),
                gauges: Gauges::new(),
            }),
        };
        worker.pools().report_free(clock(), &worker.inner.gauges);
        worker
    }

    /// Opens a session with its sockets and starts relaying. Until [`RelayHandle::update`] nobody may send.
    ///
    /// Must be called within the tokio runtime that shall run the session. Does not block.
    ///
    /// # Errors
    ///
    /// [`RelayError::PortsExhausted`], [`RelayError::Bind`], [`RelayError::UnknownAddress`],
    /// [`RelayError::TooManyStreams`]. Nothing stays open then.
    pub fn open(&self, streams: &[StreamSpec]) -> Result<RelayHandle, RelayError> {
        let opened = self.open_streams(streams, 0)?;
        let id = SessionId(self.inner.next_id.fetch_add(1, Ordering::Relaxed));
        self.inner.gauges.sessions.increment(1);
        Ok(RelayHandle::start(id, opened, self.inner.silence, self.clone()))
    }

    /// How many port pairs of an address can be taken now.
    pub fn free_ports(&self, address: IpAddr) -> usize {
        self.pools().by_address.get_mut(&address).map_or(0, |pool| pool.free(clock()))
    }

    pub(super) fn open_streams(
        &self,
        specs: &[StreamSpec],
        before: usize,
    ) -> Result<Vec<Stream>, RelayError> {
        if before + specs.len() > MAX_STREAMS {
            return Err(RelayError::TooManyStreams { limit: MAX_STREAMS });
        }
        let now = clock();
        let mut pools = self.pools();
        let mut opened = Vec::with_capacity(specs.len());
        let mut failure = None;
        for spec in specs {
            match pools.stream(spec, now, self.inner.dscp) {
                Ok(stream) => opened.push(stream),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = failure {
            for stream in opened {
                pools.put_back(stream);
            }
            return Err(error);
        }
        pools.report_free(now, &self.inner.gauges);
        Ok(opened)
    }

    /// Ends a session: closes its sockets and lets their ports rest.
    pub(super) fn close_streams(&self, streams: Vec<Stream>) {
        let now = clock();
        let mut pools = self.pools();
        for stream in streams {
            let endpoints = stream.endpoints();
            drop(stream);
            for endpoint in [endpoints.a, endpoints.b] {
                if let Some(pool) = pools.by_address.get_mut(&endpoint.address) {
                    pool.release(endpoint.ports, now);
                }
            }
        }
        pools.report_free(now, &self.inner.gauges);
        self.inner.gauges.sessions.decrement(1);
    }

    pub(super) fn gauges(&self) -> &Gauges {
        &self.inner.gauges
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.inner.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let pools = self.pools.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.gauges.ports_free.decrement(pools.reported_free as f64);
    }
}

impl Pools {
    fn stream(&mut self, spec: &StreamSpec, now: Instant, dscp: u8) -> Result<Stream, RelayError> {
        let a = self.sockets(spec.side_a_local, now, dscp)?;
        match self.sockets(spec.side_b_local, now, dscp) {
            Ok(b) => Ok(Stream::new(a, b)),
            Err(error) => {
                self.put_back_endpoint(a.endpoint);
                Err(error)
            }
        }
    }

    /// Takes a pair and opens it. A pair that another process holds is laid to rest, and the next one is tried.
    fn sockets(&mut self, address: IpAddr, now: Instant, dscp: u8) -> Result<Sockets, RelayError> {
        let pool = self.by_address.get_mut(&address).ok_or(RelayError::UnknownAddress { address })?;
        let mut attempts = 0;
        loop {
            let ports = pool.take(now).map_err(|_| RelayError::PortsExhausted { address })?;
            attempts += 1;
            match open_pair(address, ports, dscp) {
                Ok(sockets) => return Ok(sockets),
                Err((addr, source)) => {
                    let foreign = source.kind() == io::ErrorKind::AddrInUse;
                    if foreign {
                        tracing::warn!(%addr, "media port is held by another process");
                        pool.release(ports, now);
                    } else {
                        pool.put_back(ports);
                    }
                    if !foreign || attempts == MAX_ATTEMPTS {
                        return Err(RelayError::Bind { addr, source });
                    }
                }
            }
        }
    }

    fn put_back(&mut self, stream: Stream) {
        let endpoints = stream.endpoints();
        drop(stream);
        self.put_back_endpoint(endpoints.a);
        self.put_back_endpoint(endpoints.b);
    }

    fn put_back_endpoint(&mut self, endpoint: Endpoint) {
        if let Some(pool) = self.by_address.get_mut(&endpoint.address) {
            pool.put_back(endpoint.ports);
        }
    }

    /// Several workers share the gauge, so that each adds only its change.
    fn report_free(&mut self, now: Instant, gauges: &Gauges) {
        let free: usize = self.by_address.values_mut().map(|pool| pool.free(now)).sum();
        gauges.ports_free.increment(free as f64 - self.reported_free as f64);
        self.reported_free = free;
    }
}

fn open_pair(address: IpAddr, ports: PortPair, dscp: u8) -> Result<Sockets, (SocketAddr, io::Error)> {
    let endpoint = Endpoint { address, ports };
    let open = |addr: SocketAddr| open_socket(addr, dscp).map_err(|source| (addr, source));
    Ok(Sockets { endpoint, rtp: open(endpoint.rtp())?, rtcp: open(endpoint.rtcp())? })
}

fn open_socket(addr: SocketAddr, dscp: u8) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    let class = u32::from(dscp & 0x3f) << 2;
    // Marking is a courtesy to routers: a system that refuses it relays all the same.
    let marked = if addr.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(class)
    } else {
        socket.set_tos_v4(class)
    };
    if let Err(error) = marked {
        tracing::debug!(%addr, %error, "media socket cannot be marked");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

/// The runtime's clock, which tests can pause.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Streams of a session: as many as media sections are read from SDP.
const MAX_STREAMS: usize = 16;
/// Ports held by other processes that are passed over in one go.
const MAX_ATTEMPTS: usize = 16;
