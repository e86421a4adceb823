//! Between workers: messages that arrived at one and belong to another, over bounded channels.

use std::sync::Arc;

use bytes::Bytes;
use sip_core::core::{Transmit, TransmitId};
use sip_core::flow::{ConnectionId, Flow};
use sip_core::ids::WorkerId;
use tokio::sync::mpsc;

/// What one worker gives to another.
#[derive(Debug)]
pub(crate) enum Handed {
    /// A message that the other one owns.
    Received { flow: Flow, bytes: Bytes },
    /// A message for a connection of the other one.
    Transmit { transmit: Transmit, by: WorkerId },
    /// What the other one wanted to send could not be sent.
    Failed(TransmitId),
    /// The peer of a connection has shown who it is.
    Identified { connection: ConnectionId, names: Arc<[String]> },
    /// A connection has ended that the other one's core may know.
    Closed(ConnectionId),
}

/// Who wanted something sent, and under which name it wants to hear of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) worker: WorkerId,
    pub(crate) id: TransmitId,
}

/// The ways to all workers of the role, one's own among them.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    senders: Arc<[mpsc::Sender<Handed>]>,
}

impl Peers {
    /// The ways, and their ends in the order of the workers.
    pub(crate) fn new(count: usize, queue: usize) -> (Self, Vec<mpsc::Receiver<Handed>>) {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(queue.max(1))).unzip();
        (Peers { senders: senders.into() }, receivers)
    }

    /// How many workers there are.
    pub(crate) fn count(&self) -> usize {
        self.senders.len()
    }

    /// The way to one worker; `None` when there is no such worker.
    pub(crate) fn to(&self, worker: WorkerId) -> Option<&mpsc::Sender<Handed>> {
        self.senders.get(usize::from(worker.0))
    }

    /// Gives without waiting. `false` when the other one's queue is full: then it is lost.
    pub(crate) fn give(&self, worker: WorkerId, handed: Handed) -> bool {
        self.to(worker).is_some_and(|sender| sender.try_send(handed).is_ok())
    }

    /// The ways to all but one's own.
    pub(crate) fn others(&self, own: WorkerId) -> impl Iterator<Item = &mpsc::Sender<Handed>> {
        self.senders
            .iter()
            .enumerate()
            .filter(move |(i, _)| *i != usize::from(own.0))
            .map(|(_, sender)| sender)
    }
}
