//! What an agent does with calls and OPTIONS that come in.

use std::{collections::VecDeque, net::SocketAddr, sync::Mutex, time::Duration};

use tokio::sync::Notify;

use crate::message::Message;

/// What to do with an INVITE that opens a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// 180, then 200 after this time; without 180 when the time is zero.
    Answer {
        /// Ringing time.
        after: Duration,
    },
    /// 183 with SDP and RTP at once, then 200 after this time.
    EarlyMedia {
        /// How long early media lasts before the answer.
        answer_after: Duration,
    },
    /// 180, and nothing more until the caller gives up.
    RingForever,
    /// 486 Busy Here.
    Busy,
    /// 603 Decline.
    Decline,
    /// This status at once (clamped to 300–699).
    Status(u16),
    /// 180, then this status after this time.
    RingThen {
        /// Ringing time.
        after: Duration,
        /// The status, 300–699.
        status: u16,
    },
    /// 183 with SDP and RTP, then this status after this time: a network announcement.
    Announce {
        /// How long early media lasts.
        after: Duration,
        /// The status, 300–699.
        status: u16,
    },
    /// 100, then the call is handed over; see `next_incoming`.
    Ask,
    /// Nothing at all, not even 100: a dead device.
    Silent,
}

/// What to do with OPTIONS outside a dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OptionsPolicy {
    /// 200 with Allow and Accept.
    #[default]
    Ok,
    /// This status.
    Status(u16),
    /// No answer.
    Silent,
}

/// An INVITE that opened a call here, as it arrived.
#[derive(Debug, Clone)]
pub struct ReceivedInvite {
    /// Where the datagram came from.
    pub source: SocketAddr,
    /// User part of the Request-URI: the dialled number.
    pub dialled: String,
    /// The whole message.
    pub message: Message,
}

/// Policies by prefix of the dialled number; the longest prefix wins.
#[derive(Debug)]
pub(crate) struct Policies {
    by_prefix: Vec<(String, Incoming)>,
    default: Incoming,
}

impl Policies {
    pub(crate) fn new(default: Incoming) -> Self {
        Self { by_prefix: Vec::new(), default }
    }

    pub(crate) fn set_default(&mut self, incoming: Incoming) {
        self.default = incoming;
    }

    pub(crate) fn set(&mut self, prefix: &str, incoming: Incoming) {
        self.by_prefix.retain(|(known, _)| known != prefix);
        self.by_prefix.push((prefix.to_owned(), incoming));
        self.by_prefix.sort_by_key(|(known, _)| std::cmp::Reverse(known.len()));
    }

    pub(crate) fn choose(&self, dialled: &str) -> Incoming {
        let dialled = dialled.trim_start_matches('+');
        self.by_prefix
            .iter()
            .find(|(prefix, _)| dialled.starts_with(prefix.trim_start_matches('+')))
            .map_or(self.default, |(_, incoming)| *incoming)
    }
}

/// A bounded queue whose oldest entry gives way to a new one.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    added: Notify,
    limit: usize,
}

impl<T> Queue<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { items: Mutex::new(VecDeque::new()), added: Notify::new(), limit }
    }

    pub(crate) fn push(&self, item: T) {
        let mut items = lock(&self.items);
        if items.len() >= self.limit {
            items.pop_front();
        }
        items.push_back(item);
        drop(items);
        self.added.notify_waiters();
    }

    pub(crate) async fn pop(&self) -> T {
        loop {
            let added = self.added.notified();
            tokio::pin!(added);
            added.as_mut().enable();
            if let Some(item) = lock(&self.items).pop_front() {
                return item;
            }
            added.await;
        }
    }

    pub(crate) async fn wait_for_len(&self, len: usize) {
        loop {
            let added = self.added.notified();
            tokio::pin!(added);
            added.as_mut().enable();
            if lock(&self.items).len() >= len {
                return;
            }
            added.await;
        }
    }
}

impl<T: Clone> Queue<T> {
    pub(crate) fn snapshot(&self) -> Vec<T> {
        lock(&self.items).iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        lock(&self.items).clear();
    }
}

/// Locks a mutex whose holders cannot leave the value half changed, so that poison means nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let mut policies = Policies::new(Incoming::Busy);
        policies.set("0", Incoming::RingForever);
        policies.set("03", Incoming::Decline);
        assert_eq!(policies.choose("0312"), Incoming::Decline);
        assert_eq!(policies.choose("0412"), Incoming::RingForever);
        assert_eq!(policies.choose("+81"), Incoming::Busy);
    }
}
