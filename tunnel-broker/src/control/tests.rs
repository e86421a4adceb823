//! Links, executors and what lies between them.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::frame::{Direction, FrameError, FrameReader};
use super::hello::{HelloError, hello};
use super::message::{FromBroker, FromServer};
use super::*;
use crate::broker::{HeldTunnel, ServerId, Token, TunnelFailure};
use crate::lease::{Grant, Outer, TunnelId};
use crate::testing::{FakePlane, SERVER, executor};

const ONE: ServerId = ServerId(1);

fn key() -> ControlKey {
    ControlKey::new([7; 32])
}

fn outer(host: u32) -> Outer {
    Outer { client: Ipv4Addr::from(0xC633_6400 + host), server: SERVER }
}

fn add(number: u32) -> Order {
    let grant = Grant { prefix: Some(format!("2001:db8:{number:x}::/48").parse().unwrap()), link: None };
    Order::Add {
        tunnel: TunnelId(u64::from(number)),
        account: format!("s{number}").into(),
        outer: outer(number),
        grant,
    }
}

fn impatient() -> LinkSettings {
    LinkSettings { retry: (Duration::from_millis(5), Duration::from_millis(20)), ..LinkSettings::default() }
}

/// The broker's end in a test: what it is told, in order.
struct Broker {
    link: Link,
    events: mpsc::Receiver<LinkEvent>,
    last_token: u64,
}

impl Broker {
    fn remote(address: SocketAddr, key: ControlKey) -> Broker {
        let (sender, events) = mpsc::channel(16);
        Broker { link: Link::remote(ONE, address, key, sender, impatient()), events, last_token: 0 }
    }

    fn local(executor: &Arc<Executor>) -> Broker {
        let (sender, events) = mpsc::channel(16);
        Broker { link: Link::local(ONE, Arc::clone(executor), sender, impatient()), events, last_token: 0 }
    }

    fn order(&mut self, order: Order) -> Token {
        self.last_token += 1;
        self.link.order(Token(self.last_token), order).unwrap();
        Token(self.last_token)
    }

    async fn up(&mut self) -> Vec<HeldTunnel> {
        match self.events.recv().await.unwrap() {
            LinkEvent::Up { server, held } => {
                assert_eq!((server.id, &*server.region, server.address), (ONE, "east", SERVER));
                held
            }
            other => panic!("{other:?}"),
        }
    }

    async fn down(&mut self) {
        match self.events.recv().await.unwrap() {
            LinkEvent::Down(ONE) => {}
            other => panic!("{other:?}"),
        }
    }

    async fn answer(&mut self) -> (Token, Result<(), TunnelFailure>) {
        match self.events.recv().await.unwrap() {
            LinkEvent::Answer(token, result) => (token, result),
            other => panic!("{other:?}"),
        }
    }

    async fn done(&mut self, order: Order) -> Result<(), TunnelFailure> {
        let token = self.order(order);
        let (answered, result) = self.answer().await;
        assert_eq!(answered, token);
        result
    }
}

async fn server(executor: &Arc<Executor>) -> ControlServer {
    ControlServer::start("127.0.0.1:0".parse().unwrap(), key(), Arc::clone(executor)).await.unwrap()
}

/// What must be so over any link.
async fn orders_are_carried_out(broker: &mut Broker, plane: &FakePlane) {
    assert!(broker.up().await.is_empty());
    assert_eq!(broker.done(add(1)).await, Ok(()));
    assert_eq!(broker.done(add(2)).await, Ok(()));
    assert_eq!(broker.done(add(2)).await, Err(TunnelFailure::Clash));
    assert_eq!(broker.done(add(3)).await, Err(TunnelFailure::Full));
    assert_eq!(broker.done(Order::Move { tunnel: TunnelId(1), outer: outer(9) }).await, Ok(()));
    let unknown = Order::Move { tunnel: TunnelId(7), outer: outer(7) };
    assert_eq!(broker.done(unknown).await, Err(TunnelFailure::Unknown));
    let elsewhere = Outer { server: Ipv4Addr::LOCALHOST, ..outer(9) };
    let foreign = Order::Move { tunnel: TunnelId(1), outer: elsewhere };
    assert_eq!(broker.done(foreign).await, Err(TunnelFailure::Clash));
    for _ in 0..2 {
        assert_eq!(broker.done(Order::Remove { tunnel: TunnelId(2) }).await, Ok(()));
    }
    assert_eq!(plane.tunnels(), [(outer(9).client, Some("2001:db8:1::/48".to_owned()))]);
}

#[tokio::test]
async fn a_server_in_the_same_process_does_as_it_is_told() {
    let (executor, plane) = executor(2);
    orders_are_carried_out(&mut Broker::local(&executor), &plane).await;
    // A new broker finds what there is.
    let held = Broker::local(&executor).up().await;
    assert_eq!((held.len(), &*held[0].account, held[0].client), (1, "s1", outer(9).client));
}

#[tokio::test]
async fn a_server_elsewhere_does_as_it_is_told() {
    let (executor, plane) = executor(2);
    let server = server(&executor).await;
    orders_are_carried_out(&mut Broker::remote(server.address(), key()), &plane).await;
    let held = Broker::remote(server.address(), key()).up().await;
    assert_eq!((held.len(), &*held[0].account, held[0].client), (1, "s1", outer(9).client));
}

#[tokio::test]
async fn a_burst_of_orders_is_answered_in_order_and_what_is_held_is_told_whole() {
    let (executor, plane) = executor(10_000);
    let server = server(&executor).await;
    let mut broker = Broker::remote(server.address(), key());
    broker.up().await;
    let tokens: Vec<Token> = (1..=1_234).map(|number| broker.order(add(number))).collect();
    for token in tokens {
        assert_eq!(broker.answer().await, (token, Ok(())));
    }
    assert_eq!(plane.tunnels().len(), 1_234);
    drop(broker);
    let held = Broker::remote(server.address(), key()).up().await;
    assert_eq!(held.len(), 1_234);
    assert_eq!(held.last().unwrap().tunnel, TunnelId(1_234));
}

#[tokio::test]
async fn a_server_that_dies_and_returns_is_told_of_in_order() {
    let (executor, _) = executor(10);
    let first = server(&executor).await;
    let address = first.address();
    let mut broker = Broker::remote(address, key());
    broker.up().await;
    assert_eq!(broker.done(add(1)).await, Ok(()));
    first.close().await;
    broker.down().await;
    // While it is away, orders are answered at once.
    assert_eq!(broker.done(add(2)).await, Err(TunnelFailure::Unreachable));
    let _second = ControlServer::start(address, key(), Arc::clone(&executor)).await.unwrap();
    let held = broker.up().await;
    assert_eq!(held.len(), 1);
    assert_eq!(broker.done(add(2)).await, Ok(()));
}

#[tokio::test]
async fn the_newest_broker_gives_the_orders() {
    let (executor, plane) = executor(10);
    let server = server(&executor).await;
    let mut old = Broker::remote(server.address(), key());
    old.up().await;
    assert_eq!(old.done(add(1)).await, Ok(()));
    let seat = executor.take_seat();
    assert_eq!(old.done(add(2)).await, Err(TunnelFailure::Unreachable));
    old.down().await;
    assert_eq!(plane.tunnels().len(), 1, "an ousted broker's order is not carried out");
    assert_eq!(seat.held().map(|held| held.len()), Ok(1));
}

#[tokio::test]
async fn a_plane_that_fails_counts_as_a_server_that_is_away_until_it_works() {
    for remote in [false, true] {
        let (executor, plane) = executor(10);
        let server = server(&executor).await;
        let mut broker = match remote {
            true => Broker::remote(server.address(), key()),
            false => Broker::local(&executor),
        };
        broker.up().await;
        plane.set_broken(true);
        assert_eq!(broker.done(add(1)).await, Err(TunnelFailure::Unreachable));
        broker.down().await;
        plane.set_broken(false);
        assert!(broker.up().await.is_empty());
        assert_eq!(broker.done(add(1)).await, Ok(()));
    }
}

/// A server's connection over a pipe, as it runs until it ends.
async fn serve_pipe(pipe: DuplexStream, executor: Arc<Executor>) -> server::End {
    let (reader, mut writer) = split(pipe);
    let mut reader = FrameReader::new(reader);
    let end = match server::authenticate(&mut reader, &mut writer, &key()).await {
        Ok(seals) => server::serve(reader, writer, seals, executor.take_seat()).await,
        Err(end) => Err(end),
    };
    let Err(end) = end;
    end
}

/// A broker's connection over a pipe, as it runs until it ends.
async fn link_pipe(
    pipe: DuplexStream,
    key: ControlKey,
    events: &mpsc::Sender<LinkEvent>,
    orders: &mut link::Orders,
) -> remote::End {
    let settings = LinkSettings::default();
    let mut session =
        remote::Session { server: ONE, events, settings: &settings, pending: VecDeque::new(), was_up: false };
    let (reader, writer) = split(pipe);
    let Err(end) = session.serve(reader, writer, &key, orders).await;
    end
}

#[tokio::test]
async fn whoever_has_another_key_is_refused_and_moves_nothing() {
    let (executor, plane) = executor(10);
    let (ours, theirs) = duplex(64 * 1024);
    let (events, mut told) = mpsc::channel(16);
    let (orders, mut queue) = mpsc::unbounded_channel();
    orders.send((Token(1), add(1))).unwrap();
    let (server, link) = tokio::join!(
        serve_pipe(ours, Arc::clone(&executor)),
        link_pipe(theirs, ControlKey::new([8; 32]), &events, &mut queue),
    );
    assert!(matches!(server, server::End::Frame(FrameError::Forged)), "{server:?}");
    assert!(matches!(link, remote::End::Frame(FrameError::Closed)), "{link:?}");
    assert!(told.try_recv().is_err() && plane.tunnels().is_empty());
    assert!(executor.take_seat().held().is_ok());
}

#[tokio::test]
async fn a_server_with_another_key_is_not_believed() {
    let (ours, theirs) = duplex(64 * 1024);
    let (events, mut told) = mpsc::channel(16);
    let (_orders, mut queue) = mpsc::unbounded_channel();
    let impostor = async {
        let (reader, mut writer) = split(ours);
        let mut reader = FrameReader::new(reader);
        let mut seals =
            hello(&mut reader, &mut writer, &ControlKey::new([8; 32]), Direction::FromServer).await.unwrap();
        let mut bytes = Vec::new();
        let welcome = FromServer::Welcome { region: "east".into(), address: SERVER, capacity: 9 };
        seals.outgoing.write(&welcome, &mut bytes).unwrap();
        writer.write_all(&bytes).await.unwrap();
        (reader, writer)
    };
    let (_open, link) = tokio::join!(impostor, link_pipe(theirs, key(), &events, &mut queue));
    assert!(matches!(link, remote::End::Frame(FrameError::Forged)), "{link:?}");
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn what_a_broker_once_said_cannot_be_said_again() {
    let (executor, plane) = executor(10);
    let recorded = {
        // A broker that gives one order, through a pipe of which every byte is kept.
        let (broker_end, mut near) = duplex(64 * 1024);
        let (mut far, server_end) = duplex(64 * 1024);
        let server = tokio::spawn(serve_pipe(server_end, Arc::clone(&executor)));
        let tapped = tokio::spawn(async move {
            let mut recorded = Vec::new();
            let (mut up, mut down) = ([0; 4096], [0; 4096]);
            loop {
                tokio::select! {
                    count = near.read(&mut up) => match count.unwrap() {
                        0 => return recorded,
                        count => {
                            recorded.extend_from_slice(&up[..count]);
                            far.write_all(&up[..count]).await.unwrap();
                        }
                    },
                    count = far.read(&mut down) => near.write_all(&down[..count.unwrap()]).await.unwrap(),
                }
            }
        });
        let (events, mut told) = mpsc::channel(16);
        let (orders, mut queue) = mpsc::unbounded_channel();
        orders.send((Token(1), add(1))).unwrap();
        let broker = tokio::spawn(async move { link_pipe(broker_end, key(), &events, &mut queue).await });
        assert!(matches!(told.recv().await, Some(LinkEvent::Up { .. })));
        assert!(matches!(told.recv().await, Some(LinkEvent::Answer(Token(1), Ok(())))));
        drop(orders);
        assert!(matches!(broker.await.unwrap(), remote::End::BrokerGone));
        let recorded = tapped.await.unwrap();
        server.await.unwrap();
        recorded
    };
    assert_eq!(plane.tunnels().len(), 1);
    let (server_end, mut attacker) = duplex(64 * 1024);
    attacker.write_all(&recorded).await.unwrap();
    let seat = executor.take_seat();
    let end = serve_pipe(server_end, Arc::clone(&executor)).await;
    assert!(matches!(end, server::End::Frame(FrameError::Forged)), "{end:?}");
    assert!(seat.is_taken_by_us(), "nobody took the seat");
}

#[tokio::test]
async fn another_version_is_told_in_plain_words() {
    let (ours, mut theirs) = duplex(1024);
    let newer = br#"{"protocol":2,"cipher":"new"}"#;
    theirs.write_all(&(newer.len() as u32).to_be_bytes()).await.unwrap();
    theirs.write_all(newer).await.unwrap();
    let (executor, _) = executor(1);
    let end = serve_pipe(ours, executor).await;
    assert!(matches!(end, server::End::Hello(HelloError::Version { theirs: 2 })), "{end:?}");
    assert!(end.to_string().contains("run the same release"), "{end}");
}

/// A server that welcomes the broker, and from then on says nothing.
async fn mute_server(pipe: DuplexStream) -> (FrameReader<tokio::io::ReadHalf<DuplexStream>>, hello::Seals) {
    let (reader, mut writer) = split(pipe);
    let mut reader = FrameReader::new(reader);
    let mut seals = hello(&mut reader, &mut writer, &key(), Direction::FromServer).await.unwrap();
    assert!(matches!(reader.read(&mut seals.incoming).await.unwrap(), FromBroker::Take));
    let mut bytes = Vec::new();
    let welcome = FromServer::Welcome { region: "east".into(), address: SERVER, capacity: 9 };
    seals.outgoing.write(&welcome, &mut bytes).unwrap();
    seals.outgoing.write(&FromServer::Held { tunnels: vec![], last: true }, &mut bytes).unwrap();
    writer.write_all(&bytes).await.unwrap();
    // The halves know each other: the pipe stays open as long as the reader does.
    (reader, seals)
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_noticed_within_seconds() {
    let (ours, theirs) = duplex(64 * 1024);
    let (events, mut told) = mpsc::channel(16);
    let (_orders, mut queue) = mpsc::unbounded_channel();
    let started = tokio::time::Instant::now();
    let ((mut reader, mut seals), end) =
        tokio::join!(mute_server(ours), link_pipe(theirs, key(), &events, &mut queue));
    assert!(matches!(end, remote::End::TimedOut), "{end:?}");
    assert_eq!(started.elapsed().as_secs(), LinkSettings::default().timeout.as_secs());
    assert!(matches!(told.try_recv(), Ok(LinkEvent::Up { .. })));
    // It was asked whether it is there.
    assert!(matches!(reader.read(&mut seals.incoming).await.unwrap(), FromBroker::Ping));
}

#[tokio::test]
async fn strangers_that_say_nothing_are_bounded_and_do_not_shut_brokers_out() {
    let (executor, _) = executor(1);
    let server = server(&executor).await;
    let mut strangers = Vec::new();
    for _ in 0..40 {
        strangers.push(tokio::net::TcpStream::connect(server.address()).await.unwrap());
    }
    // Those above the bound are closed without a word; all others have heard the server's hello.
    let mut closed = 0;
    for stranger in &mut strangers {
        let mut byte = [0];
        if stranger.read(&mut byte).await.unwrap_or(0) == 0 {
            closed += 1;
        }
    }
    assert_eq!(closed, 40 - 16);
    drop(strangers);
    Broker::remote(server.address(), key()).up().await;
}

#[tokio::test]
async fn a_broker_that_finds_nobody_tries_again() {
    // A port that is free now.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut broker = Broker::remote(address, key());
    assert_eq!(broker.done(add(1)).await, Err(TunnelFailure::Unreachable));
    let (executor, _) = executor(1);
    let _server = ControlServer::start(address, key(), executor).await.unwrap();
    assert!(broker.up().await.is_empty());
}
