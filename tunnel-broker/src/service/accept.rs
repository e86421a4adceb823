//! The doors: TCP, and TLS over TCP, with what must be bounded before the broker hears of a client.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use node::lifecycle::{Phase, Shutdown};
use node::slots::{ConnectionSlots, Slot};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::ServiceError;
use super::certificates::Certificates;
use super::client;
use super::driver::Message;
use super::journal::{Refused, refused};
use super::settings::Settings;
use crate::broker::ConnectionId;

/// The sockets, bound.
pub(super) struct Doors {
    plain: Option<TcpListener>,
    tls: Vec<TcpListener>,
}

impl Doors {
    pub(super) async fn open(settings: &Settings) -> Result<Doors, ServiceError> {
        let open = async |key, address: SocketAddrV4| {
            TcpListener::bind(address).await.map_err(|source| ServiceError::Listen { key, address, source })
        };
        let plain = match settings.listen {
            Some(address) => Some(open("listen", address).await?),
            None => None,
        };
        let mut tls = Vec::new();
        for &address in settings.tls.iter().flat_map(|tls| &tls.listen) {
            tls.push(open("tls_listen", address).await?);
        }
        Ok(Doors { plain, tls })
    }

    pub(super) fn plain_address(&self) -> Option<SocketAddrV4> {
        self.plain.as_ref().and_then(local)
    }

    pub(super) fn tls_addresses(&self) -> Vec<SocketAddrV4> {
        self.tls.iter().filter_map(local).collect()
    }

    /// Lets clients in until `shutdown` is stopping.
    pub(super) fn serve(
        self,
        front: &Arc<Front>,
        tls: Option<(Arc<Certificates>, Arc<ServerConfig>)>,
        shutdown: &Shutdown,
    ) {
        let until_stop = |task: std::pin::Pin<Box<dyn Future<Output = Infallible> + Send>>| {
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                tokio::select! {
                    never = task => match never {},
                    () = shutdown.reached(Phase::Stopping) => {}
                }
            });
        };
        if let Some(listener) = self.plain {
            until_stop(Box::pin(accept(listener, Arc::clone(front), None)));
        }
        if let Some((certificates, config)) = tls {
            for listener in self.tls {
                until_stop(Box::pin(accept(
                    listener,
                    Arc::clone(front),
                    Some(TlsAcceptor::from(Arc::clone(&config))),
                )));
            }
            until_stop(Box::pin(async move { certificates.follow_files().await }));
        }
    }
}

/// Where every client comes by, whatever it speaks through.
#[derive(Debug)]
pub(super) struct Front {
    inbox: mpsc::Sender<Message>,
    /// Sockets, those included whose handshake or farewell is not over, of which the broker does not know.
    slots: ConnectionSlots,
    last_connection: AtomicU64,
    alive: mpsc::Sender<Infallible>,
}

impl Front {
    pub(super) fn new(
        inbox: mpsc::Sender<Message>,
        settings: &Settings,
        alive: mpsc::Sender<Infallible>,
    ) -> Front {
        // The broker's own bounds tell a client why; these are a little wider and shut the door.
        let (all, of_source) = (settings.broker.max_connections, settings.broker.max_connections_per_source);
        let slots =
            ConnectionSlots::new(all.saturating_add(all / 8).saturating_add(64), of_source.saturating_add(8));
        Front { inbox, slots, last_connection: AtomicU64::new(0), alive }
    }

    /// Serves one client to its end.
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, peer: Ipv4Addr) {
        let connection = ConnectionId(self.last_connection.fetch_add(1, Ordering::Relaxed));
        let (queue, outgoing) = mpsc::channel(QUEUE);
        if self.inbox.send(Message::Connected { connection, peer, queue }).await.is_ok() {
            client::serve(stream, connection, self.inbox.clone(), outgoing).await;
        }
    }

    async fn serve_tls(&self, tls: TlsAcceptor, stream: TcpStream, peer: Ipv4Addr) {
        match timeout(HANDSHAKE, tls.accept(stream)).await {
            // On the heap: a handshake's state is large, and the task of each client has room for its largest state.
            Ok(Ok(stream)) => Box::pin(self.serve(stream, peer)).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                refused(Refused::Handshake);
            }
            Err(_) => refused(Refused::Handshake),
        }
    }
}

async fn accept(listener: TcpListener, front: Arc<Front>, tls: Option<TlsAcceptor>) -> Infallible {
    let mut pause = FIRST_PAUSE;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok((stream, SocketAddr::V4(peer))) => (stream, *peer.ip()),
            Ok((_, SocketAddr::V6(_))) => continue,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                // Usually for want of open files: connections wait in the system's queue meanwhile.
                tracing::warn!(%error, "no client can be accepted: raise LimitNOFILE, or lower tunnel_broker.max_connections");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        pause = FIRST_PAUSE;
        let slot = match front.slots.take(peer.into()) {
            Ok(slot) => slot,
            Err(_) => {
                refused(Refused::Door);
                continue;
            }
        };
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a client's socket could not be set up");
            continue;
        }
        tokio::spawn(run(Arc::clone(&front), slot, tls.clone(), stream, peer));
    }
}

async fn run(front: Arc<Front>, slot: Slot, tls: Option<TlsAcceptor>, stream: TcpStream, peer: Ipv4Addr) {
    let alive = front.alive.clone();
    match tls {
        None => front.serve(stream, peer).await,
        Some(tls) => Box::pin(front.serve_tls(tls, stream, peer)).await,
    }
    drop((slot, alive));
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_PROBE).with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// The client gave up before we took it; the next one may do better.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

fn local(listener: &TcpListener) -> Option<SocketAddrV4> {
    match listener.local_addr() {
        Ok(SocketAddr::V4(address)) => Some(address),
        _ => None,
    }
}

/// Pieces that wait for a client; one holds at least a line, and at most what 512 bytes of the client's brought about.
const QUEUE: usize = 64;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// When the silent connection of a line that was renumbered is tested, and how soon again.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_PROBE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
