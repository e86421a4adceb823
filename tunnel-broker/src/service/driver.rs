//! The one task that owns the broker and drives it by its law: one input, then drain every output, then the next input.
//!
//! It never waits for anybody but the clock and its inbox. So whoever has something to say to it may wait for room in the inbox,
//! and no two tasks ever wait for each other.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use node::timers::Timers;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::accounts::{Accounts, Verdict};
use super::journal::Journal;
use super::settings::Settings;
use crate::broker::{
    Answer, Broker, ConnectionId, Input, Output, Question, ServerId, Standing, TimerId, Token, TunnelFailure,
};
use crate::control::{Link, LinkEvent, Order};

/// What the driver is told.
#[derive(Debug)]
pub(super) enum Message {
    /// A client connected; what it is to be sent goes into `queue`.
    Connected { connection: ConnectionId, peer: std::net::Ipv4Addr, queue: mpsc::Sender<Bytes> },
    /// A client sent bytes.
    Received { connection: ConnectionId, bytes: Bytes },
    /// A client's connection ended.
    Closed(ConnectionId),
    /// A tunnel server did something.
    Link(LinkEvent),
    /// Which tunnels are there?
    Inspect(oneshot::Sender<Vec<Standing>>),
    /// Accounts or prefixes are not what they were.
    AccountsChanged,
}

impl From<LinkEvent> for Message {
    fn from(event: LinkEvent) -> Message {
        Message::Link(event)
    }
}

pub(super) struct Driver {
    broker: Broker,
    accounts: Arc<dyn Accounts>,
    links: BTreeMap<ServerId, Link>,
    timers: Timers<TimerId>,
    clients: HashMap<ConnectionId, mpsc::Sender<Bytes>>,
    /// Inputs that follow from outputs; empty between messages.
    inputs: VecDeque<Input>,
    /// What each client is to be sent; empty between messages. A burst of lines makes one piece.
    sending: Vec<(ConnectionId, BytesMut)>,
    journal: Journal,
}

impl Driver {
    pub(super) fn new(
        settings: &Settings,
        accounts: Arc<dyn Accounts>,
        seed: [u8; 32],
        links: Vec<Link>,
        journal: Journal,
    ) -> Driver {
        Driver {
            broker: Broker::new(settings.broker.clone(), seed),
            accounts,
            links: links.into_iter().map(|link| (link.server(), link)).collect(),
            timers: Timers::default(),
            clients: HashMap::new(),
            inputs: VecDeque::new(),
            sending: Vec::new(),
            journal,
        }
    }

    /// Runs until nobody can say anything any more.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        loop {
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                timer = self.timers.expired() => self.input(Input::Timer(timer)),
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Connected { connection, peer, queue } => {
                self.clients.insert(connection, queue);
                self.input(Input::Connected { connection, peer });
            }
            Message::Received { connection, bytes } => self.input(Input::Received { connection, bytes }),
            Message::Closed(connection) => {
                self.clients.remove(&connection);
                self.input(Input::Closed(connection));
            }
            Message::Link(LinkEvent::Answer(token, result)) => {
                self.input(Input::Answer(token, Answer::Tunnel(result)));
            }
            Message::Link(LinkEvent::Up { server, held }) => {
                self.journal.server(server.id, true);
                self.input(Input::ServerUp { server, held });
                // What was found may belong to an account that is gone or changed.
                self.revoke();
            }
            Message::Link(LinkEvent::Down(server)) => {
                self.journal.server(server, false);
                self.input(Input::ServerDown(server));
            }
            Message::Inspect(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.broker.tunnels().collect());
            }
            Message::AccountsChanged => self.revoke(),
        }
        self.journal.connections(self.broker.active());
    }

    /// Ends what accounts have and may not have any more.
    fn revoke(&mut self) {
        let credentials = self.broker.credentials();
        let judged = self.broker.tunnels().map(|tunnel| {
            let password = credentials.get(&tunnel.account).copied();
            (self.accounts.verdict(&tunnel.account, &tunnel.grant, password), tunnel.account)
        });
        let judged: Vec<_> = judged.filter(|(verdict, _)| *verdict != Verdict::Stands).collect();
        for (verdict, account) in judged {
            if verdict == Verdict::Ended {
                tracing::info!(%account, "the account was barred, removed or given another password: its tunnel goes");
                self.input(Input::Revoked(account));
            } else {
                tracing::info!(%account, "the account was changed: its site logs in again");
                self.input(Input::Changed(account));
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            self.broker.handle_input(now(), input);
            while let Some(output) = self.broker.poll_output() {
                self.carry_out(output);
            }
            if self.inputs.is_empty() {
                // This may give further inputs.
                self.send_all();
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send(connection, bytes) => {
                match self.sending.iter_mut().find(|(to, _)| *to == connection) {
                    Some((_, waiting)) => waiting.extend_from_slice(&bytes),
                    None => self.sending.push((connection, BytesMut::from(&bytes[..]))),
                }
            }
            Output::Close(connection) => {
                self.send_all();
                self.clients.remove(&connection);
            }
            Output::SetTimer(timer, at) => self.timers.set(timer, at),
            Output::Ask(token, question) => self.ask(token, question),
            Output::Event(event) => self.journal.note(&event),
        }
    }

    fn ask(&mut self, token: Token, question: Question) {
        let (server, order) = match question {
            Question::LookUp { user } => {
                let found = self.accounts.look_up(&user);
                self.inputs.push_back(Input::Answer(token, Answer::Account(found)));
                return;
            }
            Question::Add { server, tunnel, account, outer, grant } => {
                (server, Order::Add { tunnel, account, outer, grant })
            }
            Question::Move { server, tunnel, outer } => (server, Order::Move { tunnel, outer }),
            Question::Remove { server, tunnel } => (server, Order::Remove { tunnel }),
        };
        let given = self.links.get(&server).is_some_and(|link| link.order(token, order).is_ok());
        if !given {
            let failed = Answer::Tunnel(Err(TunnelFailure::Unreachable));
            self.inputs.push_back(Input::Answer(token, failed));
            self.inputs.push_back(Input::ServerDown(server));
        }
    }

    /// Hands over what clients are to be sent. One that does not read loses its connection.
    fn send_all(&mut self) {
        for (connection, bytes) in std::mem::take(&mut self.sending) {
            let Some(queue) = self.clients.get(&connection) else { continue };
            match queue.try_send(bytes.freeze()) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    self.journal.slow_reader();
                    self.clients.remove(&connection);
                    self.inputs.push_back(Input::Closed(connection));
                }
                // Its task has ended and says so itself.
                Err(TrySendError::Closed(_)) => {}
            }
        }
    }
}

/// The broker's clock is the timers'.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
