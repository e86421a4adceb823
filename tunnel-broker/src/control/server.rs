//! Where a tunnel server takes orders from brokers on other machines.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::executor::{Executor, Seat};
use super::frame::{ControlKey, Direction, FrameError, FrameReader};
use super::hello::{HelloError, Seals, hello};
use super::message::{FromBroker, FromServer, HELD_AT_ONCE};

/// Takes orders until it is dropped.
#[derive(Debug)]
pub struct ControlServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// Why no orders are taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The address cannot be listened on.
    #[error("[tunnel_server] control_listen: cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl ControlServer {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ControlError::Listen`].
    pub async fn start(
        address: SocketAddr,
        key: ControlKey,
        executor: Arc<Executor>,
    ) -> Result<ControlServer, ControlError> {
        let failed = |source| ControlError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(ControlServer { address, task: tokio::spawn(accept(listener, key, executor)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and returns once its connections and its port are closed. The tunnels stand.
    pub async fn close(mut self) {
        self.task.abort();
        // It was cancelled, or has died before.
        let _ = (&mut self.task).await;
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        // The connections are in the task's set, so they end with it.
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, key: ControlKey, executor: Arc<Executor>) {
    let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a control connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&strangers).try_acquire_owned() else {
            tracing::warn!(%peer, "too many control connections without authentication: refused");
            continue;
        };
        let (key, executor) = (key.clone(), Arc::clone(&executor));
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            let (reader, writer) = stream.into_split();
            let (mut reader, mut writer) = (FrameReader::new(reader), writer);
            let taken = timeout(AUTHENTICATION, authenticate(&mut reader, &mut writer, &key)).await;
            drop(place);
            let end = match taken {
                Ok(Ok(seals)) => {
                    tracing::info!(%peer, "a broker gives orders");
                    serve(reader, writer, seals, executor.take_seat()).await
                }
                Ok(Err(end)) => Err(end),
                Err(_) => Err(End::Silent),
            };
            let Err(end) = end;
            tracing::warn!(%peer, reason = %end, "a control connection ended");
        });
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it said nothing for too long")]
    Silent,
    #[error("it said what does not belong here")]
    Confused,
    #[error("a newer broker gives the orders")]
    Ousted,
}

/// Hears who is there. Returns once the other end has proved that it has the key.
pub(super) async fn authenticate<R, W>(
    reader: &mut FrameReader<R>,
    writer: &mut W,
    key: &ControlKey,
) -> Result<Seals, End>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut seals = hello(reader, writer, key, Direction::FromServer).await?;
    match reader.read(&mut seals.incoming).await? {
        FromBroker::Take => Ok(seals),
        FromBroker::Order { .. } | FromBroker::Ping => Err(End::Confused),
    }
}

/// Tells what there is, then does as it is told.
pub(super) async fn serve<R, W>(
    mut reader: FrameReader<R>,
    mut writer: W,
    Seals { mut outgoing, mut incoming }: Seals,
    seat: Seat,
) -> Result<std::convert::Infallible, End>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let identity = seat.identity();
    let welcome = FromServer::Welcome {
        region: identity.region.clone(),
        address: identity.address,
        capacity: identity.capacity,
    };
    let mut bytes = Vec::new();
    outgoing.write(&welcome, &mut bytes)?;
    let held = seat.held().map_err(|_| End::Ousted)?;
    for tunnels in held.chunks(HELD_AT_ONCE) {
        outgoing.write(&FromServer::Held { tunnels: tunnels.to_vec(), last: false }, &mut bytes)?;
    }
    outgoing.write(&FromServer::Held { tunnels: vec![], last: true }, &mut bytes)?;
    send(&mut writer, &mut bytes).await?;
    loop {
        let message =
            timeout(BROKER_SILENCE, reader.read(&mut incoming)).await.map_err(|_| End::Silent)??;
        match message {
            FromBroker::Order { number, order } => match seat.execute(&order) {
                Ok(result) => outgoing.write(&FromServer::Done { number, result }, &mut bytes)?,
                Err(_) => {
                    outgoing.write(&FromServer::Ousted, &mut bytes)?;
                    send(&mut writer, &mut bytes).await?;
                    return Err(End::Ousted);
                }
            },
            FromBroker::Ping if seat.is_taken_by_us() => outgoing.write(&FromServer::Pong, &mut bytes)?,
            FromBroker::Ping => {
                outgoing.write(&FromServer::Ousted, &mut bytes)?;
                send(&mut writer, &mut bytes).await?;
                return Err(End::Ousted);
            }
            FromBroker::Take => return Err(End::Confused),
        }
        // What came together is answered together.
        if !reader.has_frame() {
            send(&mut writer, &mut bytes).await?;
        }
    }
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &mut Vec<u8>) -> Result<(), End> {
    let sent = timeout(BROKER_SILENCE, async {
        writer.write_all(bytes).await?;
        writer.flush().await
    });
    sent.await.map_err(|_| End::Silent)?.map_err(FrameError::from)?;
    bytes.clear();
    Ok(())
}

/// Connections at a time that have proved nothing.
const MAX_STRANGERS: usize = 16;
/// How long a connection may take to prove that it is a broker's.
const AUTHENTICATION: Duration = Duration::from_secs(5);
/// A broker says something every second or so; one that is silent for so long has gone.
const BROKER_SILENCE: Duration = Duration::from_secs(60);
/// After a failed accept, usually for want of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
