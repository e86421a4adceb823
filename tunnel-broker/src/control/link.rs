//! The broker's end toward one tunnel server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::executor::Executor;
use super::frame::ControlKey;
use super::message::Order;
use super::{local, remote};
use crate::broker::{HeldTunnel, ServerId, ServerInfo, Token, TunnelFailure};

/// What a link tells the broker.
#[derive(Debug)]
pub enum LinkEvent {
    /// What became of an order. Each order has one answer.
    Answer(Token, Result<(), TunnelFailure>),
    /// The server is there, with what it holds now.
    Up {
        /// What it is.
        server: ServerInfo,
        /// Its tunnels.
        held: Vec<HeldTunnel>,
    },
    /// The server is away.
    Down(ServerId),
}

/// How patient a link is.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// How long the server may take for an order, or be silent.
    pub timeout: Duration,
    /// How long after a failure the server is tried again, at first and at most.
    pub retry: (Duration, Duration),
}

impl Default for LinkSettings {
    fn default() -> Self {
        LinkSettings {
            timeout: Duration::from_secs(3),
            retry: (Duration::from_millis(200), Duration::from_secs(5)),
        }
    }
}

/// A link to a tunnel server; its task ends when it is dropped. What the server holds stays.
#[derive(Debug)]
pub struct Link {
    server: ServerId,
    orders: mpsc::UnboundedSender<(Token, Order)>,
    task: JoinHandle<()>,
}

impl Link {
    /// A link to the server in this process.
    pub fn local<E>(
        server: ServerId,
        executor: Arc<Executor>,
        events: mpsc::Sender<E>,
        settings: LinkSettings,
    ) -> Link
    where
        E: From<LinkEvent> + Send + 'static,
    {
        Link::start(server, |orders| local::run(server, executor, orders, events, settings))
    }

    /// A link to a server that takes orders at `address`.
    pub fn remote<E>(
        server: ServerId,
        address: SocketAddr,
        key: ControlKey,
        events: mpsc::Sender<E>,
        settings: LinkSettings,
    ) -> Link
    where
        E: From<LinkEvent> + Send + 'static,
    {
        Link::start(server, |orders| remote::run(server, address, key, orders, events, settings))
    }

    fn start<F>(server: ServerId, run: impl FnOnce(Orders) -> F) -> Link
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // The broker has at most one order under way for an account and one for a stray tunnel, so the queue is bounded by it.
        let (orders, queue) = mpsc::unbounded_channel();
        Link { server, orders, task: tokio::spawn(run(queue)) }
    }

    /// Which server this leads to.
    pub fn server(&self) -> ServerId {
        self.server
    }

    /// Gives an order. Orders are carried out one after the other.
    ///
    /// # Errors
    /// The token, when the link's task has died: there will be no answer.
    pub fn order(&self, token: Token, order: Order) -> Result<(), Token> {
        self.orders.send((token, order)).map_err(|unsent| unsent.0.0)
    }
}

/// What waits for the link's task.
pub(super) type Orders = mpsc::UnboundedReceiver<(Token, Order)>;

/// The broker has stopped: nobody gives orders or hears answers.
pub(super) struct BrokerGone;

/// Answers what is ordered until then, at least what waits already: the server is away.
pub(super) async fn refuse_until<E: From<LinkEvent>>(
    until: Instant,
    orders: &mut Orders,
    events: &mpsc::Sender<E>,
) -> Result<(), BrokerGone> {
    loop {
        let (token, _) = tokio::select! {
            biased;
            order = orders.recv() => order.ok_or(BrokerGone)?,
            () = sleep_until(until) => return Ok(()),
        };
        let answer = LinkEvent::Answer(token, Err(TunnelFailure::Unreachable));
        events.send(answer.into()).await.map_err(|_| BrokerGone)?;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}
