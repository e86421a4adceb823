//! Dials, logs in and stays logged in, for ever: the shell around [`Client`].

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::backoff::Backoff;
use super::client::{Client, End, Event, Input, Output};
use super::dial::{self, DialError, Line};
use super::settings::Settings;
use crate::dtcp::{Denial, Report};

/// What comes from the sessions.
#[derive(Debug)]
pub(super) enum News {
    /// There is a connection to the broker.
    Connected { local: Ipv4Addr, remote: SocketAddrV4 },
    /// There is none.
    Unreachable(DialError),
    /// Something happened on the connection.
    Event(Event),
}

/// What the sessions are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Tell the broker how full the neighbour table is.
    Report(Report),
    /// The line has another address: begin anew, at once.
    Redial,
    /// Log out and end.
    Quit,
}

/// The sessions' task and the two ways to it.
pub(super) struct Sessions {
    pub(super) news: mpsc::Receiver<News>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

impl Sessions {
    /// Begins to dial.
    pub(super) fn start(settings: &Settings) -> Sessions {
        let (news_in, news) = mpsc::channel(QUEUE);
        let (orders, orders_out) = mpsc::channel(QUEUE);
        let dialler = Dialler { settings: settings.clone(), news: news_in, orders: orders_out };
        Sessions { news, orders, task: tokio::spawn(dialler.run()) }
    }

    /// Gives an order. One too many is forgotten: each is given again when it still matters.
    pub(super) fn order(&self, order: Order) {
        let _ = self.orders.try_send(order);
    }

    /// Logs out, and waits a moment for it.
    pub(super) async fn quit(mut self) {
        let _ = timeout(LOG_OUT, async {
            let _ = self.orders.send(Order::Quit).await;
            // What is not taken would block the task.
            while self.news.recv().await.is_some() {}
        })
        .await;
        self.task.abort();
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Dialler {
    settings: Settings,
    news: mpsc::Sender<News>,
    orders: mpsc::Receiver<Order>,
}

/// How a session ended for the dialler.
enum Next {
    Wait { at_least: Duration, lasted: Duration },
    Redial,
    Quit,
}

impl Dialler {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut rng = StdRng::from_rng(&mut rand::rng());
        loop {
            let next = match self.dial().await {
                Some(Ok(line)) => self.talk(line).await,
                Some(Err(error)) => {
                    let _ = self.news.send(News::Unreachable(error)).await;
                    Next::Wait { at_least: Duration::ZERO, lasted: Duration::ZERO }
                }
                None => Next::Quit,
            };
            match next {
                Next::Quit => return,
                Next::Redial => backoff.reset(),
                Next::Wait { at_least, lasted } => {
                    if lasted >= SOUND {
                        backoff.reset();
                    }
                    let wait = backoff.next_wait(&mut rng).max(at_least);
                    tracing::debug!(seconds = wait.as_secs_f32(), "waiting before the next login");
                    if self.pause(wait).await {
                        return;
                    }
                }
            }
        }
    }

    /// Dials; nothing when we shall quit.
    async fn dial(&mut self) -> Option<Result<Line, DialError>> {
        let broker = self.settings.broker.clone();
        let mut dialling = Box::pin(dial::dial(&broker));
        loop {
            tokio::select! {
                line = &mut dialling => return Some(line),
                order = self.orders.recv() => match order {
                    Some(Order::Quit) | None => return None,
                    Some(Order::Redial) => dialling = Box::pin(dial::dial(&broker)),
                    Some(Order::Report(_)) => {}
                },
            }
        }
    }

    /// Waits; whether we shall quit.
    async fn pause(&mut self, wait: Duration) -> bool {
        let mut pause = Box::pin(sleep(wait));
        loop {
            tokio::select! {
                () = &mut pause => return false,
                order = self.orders.recv() => match order {
                    Some(Order::Quit) | None => return true,
                    Some(Order::Redial) => return false,
                    Some(Order::Report(_)) => {}
                },
            }
        }
    }

    /// One session from its greeting to its end.
    async fn talk(&mut self, mut line: Line) -> Next {
        let started = Instant::now();
        let _ = self.news.send(News::Connected { local: line.local, remote: line.remote }).await;
        let (user, password) = (&self.settings.user, self.settings.password.clone());
        let random = StdRng::from_rng(&mut rand::rng());
        let mut client = Client::new(started, line.local, user, password, random);
        let mut bytes = [0; 256];
        let mut next = Next::Wait { at_least: Duration::ZERO, lasted: Duration::ZERO };
        loop {
            while let Some(output) = client.poll_output() {
                match output {
                    Output::Send(bytes) => {
                        if !matches!(timeout(SEND, line.stream.write_all(&bytes)).await, Ok(Ok(()))) {
                            client.handle_input(Instant::now(), Input::Closed);
                        }
                    }
                    Output::Event(event) => {
                        if let (Event::Ended(end), Next::Wait { at_least, lasted }) = (&event, &mut next) {
                            (*at_least, *lasted) = (rest_after(end), started.elapsed());
                        }
                        let _ = self.news.send(News::Event(event)).await;
                    }
                    Output::Close => {
                        let _ = timeout(SEND, line.stream.shutdown()).await;
                        return next;
                    }
                }
            }
            let deadline = client.deadline().map(tokio::time::Instant::from_std);
            let timer = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                read = line.stream.read(&mut bytes) => match read {
                    Ok(len @ 1..) => {
                        let received = bytes.get(..len).unwrap_or_default();
                        client.handle_input(Instant::now(), Input::Received(received));
                    }
                    Ok(0) | Err(_) => client.handle_input(Instant::now(), Input::Closed),
                },
                () = timer => client.handle_input(Instant::now(), Input::Timer),
                order = self.orders.recv() => match order {
                    Some(Order::Report(report)) => {
                        client.handle_input(Instant::now(), Input::Report(report));
                    }
                    Some(Order::Redial) => {
                        next = Next::Redial;
                        client.handle_input(Instant::now(), Input::Closed);
                    }
                    Some(Order::Quit) | None => {
                        next = Next::Quit;
                        client.handle_input(Instant::now(), Input::Quit);
                    }
                },
            }
        }
    }
}

/// How long to leave the broker alone at least: when two boxes have one account, they shall not take it from each other every second, and a
/// wrong password does not become right by being said again.
fn rest_after(end: &End) -> Duration {
    match end {
        End::Denied(Denial::TakenOver | Denial::AuthenticationFailed | Denial::AddressInUse) => REST,
        _ => Duration::ZERO,
    }
}

const QUEUE: usize = 16;
/// How long a write may take.
const SEND: Duration = Duration::from_secs(10);
/// How long logging out may take.
const LOG_OUT: Duration = Duration::from_secs(2);
/// A session that lasted so long was a sound one: the next login comes soon.
const SOUND: Duration = Duration::from_secs(30);
const REST: Duration = Duration::from_secs(30);
