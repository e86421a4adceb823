//! The broker's shell with real clients, over pipes and a hand-moved clock where time matters, over sockets elsewhere.

mod clients;
mod leases;
mod outages;
mod tls;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use node::lifecycle::Shutdown;
use node::telemetry::Mask;
use schema::secret::Password;
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf,
    duplex, split,
};

use super::*;
use crate::broker::{self, Account, LookupFailed};
use crate::control::{Executor, LinkSettings};
use crate::dtcp::{Centre, Challenge};
use crate::lease::Link as TunnelLink;
use crate::testing::{FakePlane, executor};

/// Accounts s1 to s9 with passwords secret1 to secret9, some of them barred.
#[derive(Default)]
struct Book {
    barred: Mutex<Vec<String>>,
    renumbered: Mutex<BTreeMap<String, ipnet::Ipv6Net>>,
    passwords: Mutex<BTreeMap<String, String>>,
}

impl Accounts for Book {
    fn look_up(&self, user: &str) -> Result<Option<Arc<Account>>, LookupFailed> {
        let Some(number) = user.strip_prefix('s').and_then(|digit| digit.parse::<u16>().ok()) else {
            return Ok(None);
        };
        if !(1..=9).contains(&number) || self.barred.lock().unwrap().iter().any(|barred| barred == user) {
            return Ok(None);
        }
        let prefix = format!("2001:db8:{number}::/48").parse().unwrap();
        Ok(Some(Arc::new(Account {
            name: user.into(),
            password: Password::new(
                self.passwords.lock().unwrap().get(user).cloned().unwrap_or(format!("secret{number}")),
            ),
            region: "east".into(),
            prefix: Some(self.renumbered.lock().unwrap().get(user).copied().unwrap_or(prefix)),
            link: Some(TunnelLink {
                client: format!("2001:db8:ffff::{number}:2").parse().unwrap(),
                server: "2001:db8:ffff::1".parse().unwrap(),
            }),
        })))
    }
}

/// A running broker with one tunnel server.
struct Stage {
    service: Service,
    shutdown: Shutdown,
    book: Arc<Book>,
    plane: Arc<FakePlane>,
}

fn settings(servers: Vec<ServerPlace>) -> Settings {
    Settings {
        broker: broker::Settings {
            centre: Centre { sip: "[2001:db8:c::5]:5060".parse().ok(), dns: vec![] },
            ..broker::Settings::default()
        },
        listen: None,
        tls: None,
        servers,
        link: LinkSettings {
            retry: (Duration::from_millis(5), Duration::from_millis(50)),
            ..LinkSettings::default()
        },
        mask: Mask::default(),
    }
}

fn world(book: &Arc<Book>) -> World {
    World {
        accounts: Arc::clone(book) as Arc<dyn Accounts>,
        leases: None,
        control_key: ControlKey::new([7; 32]),
    }
}

impl Stage {
    async fn new(change: impl FnOnce(&mut Settings)) -> Stage {
        let (executor, plane) = executor(100);
        let mut settings = settings(vec![ServerPlace::Here(Arc::clone(&executor))]);
        change(&mut settings);
        let (book, shutdown) = (Arc::new(Book::default()), Shutdown::new());
        let service = Service::start(settings, world(&book), &shutdown).await.unwrap();
        let stage = Stage { service, shutdown, book, plane };
        // The first client finds the tunnel server there.
        loop {
            let mut client = stage.connect([203, 0, 113, 254]).await;
            if client.login(9).await.starts_with("+OK ") {
                break;
            }
        }
        stage.tunnels_become(&[]).await;
        stage
    }

    /// A client over a pipe, which has read its greeting.
    async fn connect(&self, address: [u8; 4]) -> Client<DuplexStream> {
        self.connect_through(4096, address).await
    }

    /// The same through a pipe that holds so many bytes.
    async fn connect_through(&self, pipe: usize, address: [u8; 4]) -> Client<DuplexStream> {
        let (ours, theirs) = duplex(pipe);
        let front = Arc::clone(&self.service.front);
        tokio::spawn(async move { front.serve(ours, Ipv4Addr::from(address)).await });
        Client::new(theirs).await
    }

    /// Waits until the data plane has exactly these far ends.
    async fn tunnels_become(&self, expected: &[[u8; 4]]) {
        let expected: Vec<Ipv4Addr> = expected.iter().copied().map(Ipv4Addr::from).collect();
        loop {
            let there: Vec<Ipv4Addr> = self.plane.tunnels().into_iter().map(|(client, _)| client).collect();
            if there == expected {
                return;
            }
            // A question to the broker gives everything else its turn.
            self.service.desk().tunnels().await.unwrap();
            tokio::task::yield_now().await;
        }
    }
}

/// A DTCP client.
struct Client<S> {
    reader: BufReader<ReadHalf<S>>,
    writer: WriteHalf<S>,
    challenge: Challenge,
}

impl<S: AsyncRead + AsyncWrite> Client<S> {
    async fn new(stream: S) -> Client<S> {
        let (reader, writer) = split(stream);
        let mut client =
            Client { reader: BufReader::new(reader), writer, challenge: Challenge::new([0; 16]) };
        let greeting = client.line().await;
        let digits = greeting.split(' ').nth(1).unwrap_or_else(|| panic!("{greeting}"));
        client.challenge = Challenge::new(hex::decode(digits).unwrap().try_into().unwrap());
        client
    }

    /// The next line without its end; empty when the broker closed the connection.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        // A reset is an end, too.
        let _ = self.reader.read_line(&mut line).await;
        assert!(line.is_empty() || line.ends_with("\r\n"), "{line:?}");
        line.trim_end().to_owned()
    }

    async fn send(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).await.unwrap();
        self.writer.flush().await.unwrap();
    }

    /// Says a line and gives the reply.
    async fn say(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.line().await
    }

    fn login_line(&self, site: u16, password: &str, kind: &str) -> String {
        let user = format!("s{site}");
        format!("tunnel {user} {} {kind}", self.challenge.proof(&user, &Password::new(password)).to_hex())
    }

    async fn login(&mut self, site: u16) -> String {
        self.say(&self.login_line(site, &format!("secret{site}"), "network")).await
    }

    async fn is_closed(&mut self) -> bool {
        self.line().await.is_empty()
    }
}

fn local(address: std::net::SocketAddrV4) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], address.port()))
}

const A: [u8; 4] = [198, 51, 100, 1];
const B: [u8; 4] = [198, 51, 100, 2];
const AUTHENTICATION_FAILED: &str = "-ERR authentication failed.";
