//! What waits for one connection: a queue within one thread, which costs nothing while it is empty.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::handover::Origin;

/// A message that waits for a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) origin: Origin,
    pub(super) bytes: Bytes,
}

/// The end of the worker. Dropped, it lets the connection send what waits and end.
#[derive(Debug)]
pub(super) struct Sender(Rc<Inner>);

/// The end of the connection.
#[derive(Debug)]
pub(super) struct Receiver(Rc<Inner>);

/// Why a message was not taken; it comes back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many as may wait do.
    Full(Outgoing),
    /// The connection has ended.
    Closed(Outgoing),
}

#[derive(Debug, Default)]
struct Inner {
    waiting: RefCell<VecDeque<Outgoing>>,
    /// No sender any more, or no receiver.
    ended: Cell<bool>,
    changed: Notify,
}

/// Both ends of an empty queue.
pub(super) fn queue() -> (Sender, Receiver) {
    let inner = Rc::new(Inner::default());
    (Sender(Rc::clone(&inner)), Receiver(inner))
}

impl Sender {
    pub(super) fn try_send(&self, outgoing: Outgoing) -> Result<(), Refused> {
        if self.0.ended.get() {
            return Err(Refused::Closed(outgoing));
        }
        let mut waiting = self.0.waiting.borrow_mut();
        if waiting.len() >= LIMIT {
            return Err(Refused::Full(outgoing));
        }
        waiting.push_back(outgoing);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.ended.set(true);
        self.0.changed.notify_one();
    }
}

impl Receiver {
    /// The next message; `None` when no more will come. Nothing is lost when it is cancelled.
    pub(super) async fn recv(&mut self) -> Option<Outgoing> {
        loop {
            if let Some(outgoing) = self.try_recv() {
                return Some(outgoing);
            }
            if self.0.ended.get() {
                return None;
            }
            self.0.changed.notified().await;
        }
    }

    pub(super) fn try_recv(&mut self) -> Option<Outgoing> {
        let mut waiting = self.0.waiting.borrow_mut();
        let outgoing = waiting.pop_front();
        if waiting.is_empty() {
            // Most connections are idle most of the time.
            *waiting = VecDeque::new();
        }
        outgoing
    }

    /// Takes no more; what waits can still be had.
    pub(super) fn close(&mut self) {
        self.0.ended.set(true);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.close();
    }
}

/// Messages that wait for one connection.
const LIMIT: usize = 256;

#[cfg(test)]
mod tests {
    use sip_core::core::TransmitId;
    use sip_core::ids::WorkerId;

    use super::*;

    fn message(number: u64) -> Outgoing {
        Outgoing { origin: Origin { worker: WorkerId(0), id: TransmitId(number) }, bytes: Bytes::new() }
    }

    #[tokio::test]
    async fn messages_pass_in_order_within_the_limit() {
        let (sender, mut receiver) = queue();
        for number in 0..LIMIT as u64 {
            sender.try_send(message(number)).unwrap();
        }
        assert_eq!(sender.try_send(message(9)), Err(Refused::Full(message(9))));
        drop(sender);
        for number in 0..LIMIT as u64 {
            assert_eq!(receiver.recv().await, Some(message(number)));
        }
        assert_eq!(receiver.recv().await, None);
    }

    #[tokio::test]
    async fn a_message_wakes_who_waits_and_a_closed_queue_takes_none() {
        let (sender, mut receiver) = queue();
        let waits = async { (receiver.recv().await, receiver) };
        let sends = async { sender.try_send(message(1)) };
        let ((got, mut receiver), sent) = tokio::join!(waits, sends);
        assert_eq!((got, sent), (Some(message(1)), Ok(())));
        receiver.close();
        assert_eq!(sender.try_send(message(2)), Err(Refused::Closed(message(2))));
    }
}
