//! One stream connection: bytes to messages, messages to bytes, keep-alives, and its end.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use sip_core::core::TransmitId;
use sip_core::flow::{ConnectionId, Flow};
use sip_core::owner::owner;
use sip_core::transaction::unframed;
use sip_core::wire::frame::{Frame, FrameError, Framer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Duration, Instant, sleep_until};

use super::{Shared, StreamEvent};
use crate::handover::{Handed, Origin};

/// A message that waits for a connection.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) origin: Origin,
    pub(super) bytes: Bytes,
}

/// What is known of an open connection.
pub(super) struct Connection {
    pub(super) flow: Flow,
    pub(super) id: ConnectionId,
    pub(super) shared: Rc<Shared>,
    pub(super) queue: mpsc::Receiver<Outgoing>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer closed it")]
    Peer,
    #[error("it was idle")]
    Idle,
    #[error("we are closing")]
    Ours,
    #[error(transparent)]
    Framing(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads and writes until the connection ends from either side; then tells everybody who may have known it.
pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, connection: Connection) {
    let Connection { flow, id, shared, mut queue } = connection;
    shared.metrics.connections_opened.increment(1);
    shared.metrics.connections_open.increment(1);
    let state = State {
        last_use: Cell::new(Instant::now()),
        under_way: Cell::new(None),
        pong: Notify::new(),
        last_word: Cell::new(None),
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let end = tokio::select! {
        end = read(&mut reader, flow, &shared, &state) => end,
        end = write(&mut writer, &mut queue, &shared, &state) => end,
        () = idle(shared.limits.idle, &state) => Err(End::Idle),
    };
    let end = end.err().unwrap_or(End::Ours);
    match end {
        End::Idle => shared.metrics.closed_idle.increment(1),
        End::Framing(_) => shared.metrics.closed_framing.increment(1),
        _ => {}
    }
    tracing::debug!(remote = %shared.mask.addr(flow.remote), reason = %end, "connection ended");
    if matches!(end, End::Framing(_)) && state.under_way.get().is_none() {
        let _ = tokio::time::timeout(PARTING, part(reader, writer, &mut queue, &state)).await;
    }
    if let Some(origin) = state.under_way.get() {
        report(origin, &shared).await;
    }
    shared.metrics.connections_open.decrement(1);
    for peer in shared.peers.others(shared.worker) {
        let _ = peer.send(Handed::Closed(id)).await;
    }
    give_up(queue, id, &shared).await;
}

/// Ends a connection that carries nothing any more: what waits for it has failed.
pub(super) async fn give_up(mut queue: mpsc::Receiver<Outgoing>, id: ConnectionId, shared: &Shared) {
    queue.close();
    while let Ok(outgoing) = queue.try_recv() {
        report(outgoing.origin, shared).await;
    }
    let _ = shared.events.send(StreamEvent::Closed(id)).await;
}

/// What reading and writing tell each other.
struct State {
    /// When the last whole message or keep-alive passed: bytes alone do not keep a connection.
    last_use: Cell<Instant>,
    /// The message that is being written.
    under_way: Cell<Option<Origin>>,
    /// The peer has asked for a sign of life.
    pong: Notify,
    /// What the peer is told before the connection is closed.
    last_word: Cell<Option<Bytes>>,
}

/// Answers what came before the message that could not be framed, then that one, and closes. What still comes is read and dropped,
/// since closing over it would take the answers back.
async fn part(
    reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    queue: &mut mpsc::Receiver<Outgoing>,
    state: &State,
) -> io::Result<()> {
    while let Ok(Some(Outgoing { origin, bytes })) = tokio::time::timeout(LINGER, queue.recv()).await {
        state.under_way.set(Some(origin));
        writer.write_all(&bytes).await?;
        state.under_way.set(None);
    }
    if let Some(word) = state.last_word.take() {
        writer.write_all(&word).await?;
    }
    writer.shutdown().await?;
    tokio::io::copy(&mut reader.take(MOST_LEFT), &mut tokio::io::sink()).await.map(drop)
}

async fn read(
    reader: &mut (impl AsyncRead + Unpin),
    flow: Flow,
    shared: &Shared,
    state: &State,
) -> Result<(), End> {
    let mut framer = Framer::new(&shared.framing);
    let mut buffer = BytesMut::with_capacity(READ_BUFFER);
    loop {
        buffer.clear();
        if reader.read_buf(&mut buffer).await? == 0 {
            return Err(End::Peer);
        }
        framer.push(&buffer);
        loop {
            let frame = match framer.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    state.last_word.set(framer.unframed().and_then(unframed));
                    return Err(error.into());
                }
            };
            state.last_use.set(Instant::now());
            match frame {
                Frame::Message(bytes) => {
                    shared.metrics.stream_messages_received.increment(1);
                    deliver(flow, bytes, shared).await;
                }
                Frame::Ping => {
                    shared.metrics.keep_alives.increment(1);
                    state.pong.notify_one();
                }
            }
        }
    }
}

/// Gives a message to its owner. Waiting here keeps this connection from being read, and so slows a peer that sends too much.
async fn deliver(flow: Flow, bytes: Bytes, shared: &Shared) {
    let owner = owner(&bytes, shared.peers.count());
    if owner == shared.worker {
        let _ = shared.events.send(StreamEvent::Received { flow, bytes }).await;
    } else if let Some(peer) = shared.peers.to(owner) {
        shared.metrics.handed_over.increment(1);
        let _ = peer.send(Handed::Received { flow, bytes }).await;
    }
}

async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    queue: &mut mpsc::Receiver<Outgoing>,
    shared: &Shared,
    state: &State,
) -> Result<(), End> {
    loop {
        tokio::select! {
            outgoing = queue.recv() => {
                let Some(Outgoing { origin, bytes }) = outgoing else {
                    writer.shutdown().await?;
                    return Ok(());
                };
                state.under_way.set(Some(origin));
                writer.write_all(&bytes).await?;
                writer.flush().await?;
                state.under_way.set(None);
                state.last_use.set(Instant::now());
                shared.metrics.stream_messages_sent.increment(1);
            }
            // RFC 5626 §3.5.1: a double CRLF is answered by a single one. Several that wait are one sign of life.
            () = state.pong.notified() => {
                writer.write_all(b"\r\n").await?;
                writer.flush().await?;
            }
        }
    }
}

async fn idle(limit: Duration, state: &State) {
    loop {
        let until = state.last_use.get() + limit;
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

async fn report(origin: Origin, shared: &Shared) {
    shared.metrics.dropped_send_failed.increment(1);
    if origin.id != TransmitId::NONE {
        let _ = shared.events.send(StreamEvent::Failed(origin)).await;
    }
}

/// How long a peer may take to hear the last answers.
const PARTING: Duration = Duration::from_secs(2);
/// How long the workers may take to answer what came before.
const LINGER: Duration = Duration::from_millis(500);
/// How many bytes of a peer that does not stop sending are read meanwhile.
const MOST_LEFT: u64 = 256 * 1024;
/// Bytes read at once.
const READ_BUFFER: usize = 16 * 1024;
