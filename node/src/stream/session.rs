//! What every connection does, whatever carries its messages: it counts, delivers, watches for silence, and tells of its end.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use sip_core::core::TransmitId;
use sip_core::flow::{ConnectionId, Flow};
use sip_core::owner::owner;
use sip_core::wire::frame::FrameError;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until};
use tokio_tungstenite::tungstenite;

use super::queue::{Outgoing, Receiver};
use super::{Shared, StreamEvent};
use crate::handover::{Handed, Origin};

/// What is known of an open connection.
pub(super) struct Connection {
    pub(super) flow: Flow,
    pub(super) id: ConnectionId,
    pub(super) shared: Rc<Shared>,
    pub(super) queue: Receiver,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the peer closed it")]
    Peer,
    #[error("it was idle")]
    Idle,
    #[error("we are closing")]
    Ours,
    #[error(transparent)]
    Framing(#[from] FrameError),
    #[error(transparent)]
    WebSocket(#[from] Box<tungstenite::Error>),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What reading and writing tell each other.
pub(super) struct State {
    /// When the last whole message or keep-alive passed: bytes alone do not keep a connection.
    pub(super) last_use: Cell<Instant>,
    /// The message that is being written.
    pub(super) under_way: Cell<Option<Origin>>,
    /// The peer has asked for a sign of life.
    pub(super) pong: Notify,
    /// What the peer is told before the connection is closed.
    pub(super) last_word: Cell<Option<Bytes>>,
}

impl State {
    /// Takes note of a new connection.
    pub(super) fn begin(shared: &Shared) -> State {
        shared.metrics.connections_opened.increment(1);
        shared.metrics.connections_open.increment(1);
        State {
            last_use: Cell::new(Instant::now()),
            under_way: Cell::new(None),
            pong: Notify::new(),
            last_word: Cell::new(None),
        }
    }

    /// Notes a sign of life.
    pub(super) fn touch(&self) {
        self.last_use.set(Instant::now());
    }

    /// Returns when nothing has passed for so long.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let until = self.last_use.get() + limit;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// Counts why a connection ends.
pub(super) fn note_end(end: &End, flow: &Flow, shared: &Shared) {
    match end {
        End::Idle => shared.metrics.closed_idle.increment(1),
        End::Framing(_) => shared.metrics.closed_framing.increment(1),
        End::WebSocket(error) if matches!(**error, tungstenite::Error::Capacity(_)) => {
            shared.metrics.closed_framing.increment(1);
        }
        _ => {}
    }
    tracing::debug!(remote = %shared.mask.addr(flow.remote), reason = %end, "connection ended");
}

/// Tells everybody who may have known the connection that it is gone.
pub(super) async fn farewell(state: State, queue: Receiver, id: ConnectionId, shared: &Shared) {
    if let Some(origin) = state.under_way.get() {
        report(origin, shared).await;
    }
    shared.metrics.connections_open.decrement(1);
    for peer in shared.peers.others(shared.worker) {
        let _ = peer.send(Handed::Closed(id)).await;
    }
    give_up(queue, id, shared).await;
}

/// Ends a connection that carries nothing any more: what waits for it has failed.
pub(super) async fn give_up(mut queue: Receiver, id: ConnectionId, shared: &Shared) {
    queue.close();
    while let Some(Outgoing { origin, .. }) = queue.try_recv() {
        report(origin, shared).await;
    }
    let _ = shared.events.send(StreamEvent::Closed(id)).await;
}

/// Gives a message to its owner. Waiting here keeps this connection from being read, and so slows a peer that sends too much.
pub(super) async fn deliver(flow: Flow, bytes: Bytes, shared: &Shared) {
    shared.metrics.stream_messages_received.increment(1);
    let owner = owner(&bytes, shared.peers.count());
    if owner == shared.worker {
        let _ = shared.events.send(StreamEvent::Received { flow, bytes }).await;
    } else if let Some(peer) = shared.peers.to(owner) {
        shared.metrics.handed_over.increment(1);
        let _ = peer.send(Handed::Received { flow, bytes }).await;
    }
}

async fn report(origin: Origin, shared: &Shared) {
    shared.metrics.dropped_send_failed.increment(1);
    if origin.id != TransmitId::NONE {
        let _ = shared.events.send(StreamEvent::Failed(origin)).await;
    }
}
