//! The broker with a hand-moved clock and a model of the world.

mod operations;
mod rules;
mod servers;

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use schema::secret::Password;

use super::*;
use crate::dtcp::Challenge;
use crate::lease::{Link, TunnelId};

/// A broker, its accounts and its tunnel servers.
struct World {
    broker: Broker,
    now: Instant,
    accounts: BTreeMap<String, Arc<Account>>,
    servers: BTreeMap<ServerId, Model>,
    /// What each client was sent and has not read.
    sent: HashMap<ConnectionId, String>,
    challenges: HashMap<ConnectionId, Challenge>,
    open: Vec<ConnectionId>,
    timers: HashMap<TimerId, Instant>,
    /// Questions that wait for an answer.
    asked: Vec<(Token, Question)>,
    events: Vec<Event>,
    /// Whether questions are answered as soon as they are asked.
    prompt: bool,
    accounts_away: bool,
    connections: u64,
}

/// A tunnel server: what a real one would hold.
#[derive(Debug, Default)]
struct Model {
    held: BTreeMap<TunnelId, HeldTunnel>,
    /// It answers with that instead of doing as it is told.
    failure: Option<TunnelFailure>,
    /// It does not answer, but does as it is told when `true`.
    mute: Option<bool>,
}

impl World {
    /// Two servers: number 1 in the east, number 2 in the west, and four accounts there: s1 and s3 (east), s2 and s4 (west).
    fn new(settings: Settings) -> World {
        let mut world = World {
            broker: Broker::new(settings, [7; 32]),
            now: Instant::now(),
            accounts: BTreeMap::new(),
            servers: BTreeMap::new(),
            sent: HashMap::new(),
            challenges: HashMap::new(),
            open: Vec::new(),
            timers: HashMap::new(),
            asked: Vec::new(),
            events: Vec::new(),
            prompt: true,
            accounts_away: false,
            connections: 0,
        };
        for site in 1..=4u16 {
            let name = format!("s{site}");
            let account = Account {
                name: name.as_str().into(),
                password: Password::new(format!("secret{site}")),
                region: if site % 2 == 1 { "east".into() } else { "west".into() },
                prefix: Some(format!("2001:db8:{site}::/48").parse().unwrap()),
                link: Some(Link {
                    client: format!("2001:db8:ffff::{site}:2").parse().unwrap(),
                    server: "2001:db8:ffff::1".parse().unwrap(),
                }),
            };
            world.accounts.insert(name, Arc::new(account));
        }
        world.start_server(1, "east", 100);
        world.start_server(2, "west", 100);
        world
    }

    fn start_server(&mut self, id: u32, region: &str, capacity: usize) {
        let id = ServerId(id);
        let model = self.servers.entry(id).or_default();
        model.mute = None;
        let held = model.held.values().cloned().collect();
        let address = server_address(id);
        let server = ServerInfo { id, region: region.into(), address, capacity };
        self.input(Input::ServerUp { server, held });
    }

    fn input(&mut self, input: Input) {
        self.broker.handle_input(self.now, input);
        self.drain();
        while self.prompt && !self.asked.is_empty() {
            self.answer_one(0);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.broker.poll_output() {
            match output {
                Output::Send(connection, bytes) => {
                    let text = std::str::from_utf8(&bytes).unwrap();
                    assert!(text.ends_with("\r\n") && text.len() < 200, "{text:?}");
                    if text.starts_with("+OK ") && !self.challenges.contains_key(&connection) {
                        let digits = text.split(' ').nth(1).unwrap();
                        let challenge: [u8; 16] = hex::decode(digits).unwrap().try_into().unwrap();
                        self.challenges.insert(connection, Challenge::new(challenge));
                    }
                    self.sent.entry(connection).or_default().push_str(text);
                }
                Output::Close(connection) => self.open.retain(|&open| open != connection),
                Output::SetTimer(id, Some(at)) => drop(self.timers.insert(id, at)),
                Output::SetTimer(id, None) => drop(self.timers.remove(&id)),
                Output::Ask(token, question) => self.asked.push((token, question)),
                Output::Event(event) => self.events.push(event),
            }
        }
        self.broker.check();
    }

    /// Answers one of the waiting questions as the models say.
    fn answer_one(&mut self, index: usize) {
        let (token, question) = self.asked.remove(index);
        let (answer, lost) = match question {
            Question::LookUp { user } => {
                let found = if self.accounts_away {
                    Err(LookupFailed)
                } else {
                    Ok(self.accounts.get(&user).cloned())
                };
                (Answer::Account(found), None)
            }
            Question::Add { server, tunnel, account, outer, grant } => {
                assert_eq!(outer.server, server_address(server));
                let result = self.tell(server, |held| {
                    let clash = held.values().any(|held| held.client == outer.client || held.grant == grant);
                    if clash {
                        return Err(TunnelFailure::Clash);
                    }
                    held.insert(tunnel, HeldTunnel { tunnel, account, client: outer.client, grant });
                    Ok(())
                });
                (Answer::Tunnel(result), Some(server))
            }
            Question::Move { server, tunnel, outer } => {
                let result = self.tell(server, |held| {
                    held.get_mut(&tunnel).ok_or(TunnelFailure::Unknown)?.client = outer.client;
                    Ok(())
                });
                (Answer::Tunnel(result), Some(server))
            }
            Question::Remove { server, tunnel } => {
                let result = self.tell(server, |held| {
                    held.remove(&tunnel);
                    Ok(())
                });
                (Answer::Tunnel(result), Some(server))
            }
        };
        let unreachable = matches!(answer, Answer::Tunnel(Err(TunnelFailure::Unreachable)));
        self.broker.handle_input(self.now, Input::Answer(token, answer));
        self.drain();
        if let Some(server) = lost.filter(|_| unreachable) {
            self.input(Input::ServerDown(server));
        }
    }

    fn tell(
        &mut self,
        server: ServerId,
        work: impl FnOnce(&mut BTreeMap<TunnelId, HeldTunnel>) -> Result<(), TunnelFailure>,
    ) -> Result<(), TunnelFailure> {
        let model = self.servers.get_mut(&server).unwrap();
        if let Some(does_it) = model.mute {
            if does_it {
                let _ = work(&mut model.held);
            }
            return Err(TunnelFailure::Unreachable);
        }
        match model.failure {
            Some(failure) => Err(failure),
            None => work(&mut model.held),
        }
    }

    /// A client connects; its greeting is left unread.
    fn connect(&mut self, address: [u8; 4]) -> ConnectionId {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        self.open.push(connection);
        self.input(Input::Connected { connection, peer: Ipv4Addr::from(address) });
        connection
    }

    fn say(&mut self, connection: ConnectionId, text: &str) {
        self.input(Input::Received { connection, bytes: Bytes::copy_from_slice(text.as_bytes()) });
    }

    /// What the client was sent since it last read.
    fn heard(&mut self, connection: ConnectionId) -> String {
        self.sent.remove(&connection).unwrap_or_default()
    }

    /// Says one line and gives the reply, without its end.
    fn tell_line(&mut self, connection: ConnectionId, line: &str) -> String {
        self.heard(connection);
        self.say(connection, &format!("{line}\r\n"));
        self.heard(connection).trim_end().to_owned()
    }

    fn login_line(&self, connection: ConnectionId, user: &str, password: &str, kind: &str) -> String {
        let proof = self.challenges[&connection].proof(user, &Password::new(password)).to_hex();
        format!("tunnel {user} {proof} {kind}")
    }

    fn login(&mut self, connection: ConnectionId, site: u16, kind: &str) -> String {
        let line = self.login_line(connection, &format!("s{site}"), &format!("secret{site}"), kind);
        self.tell_line(connection, &line)
    }

    fn is_open(&self, connection: ConnectionId) -> bool {
        self.open.contains(&connection)
    }

    /// Moves the clock, and fires what is due on the way, in order.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((id, at)) = self
            .timers
            .iter()
            .filter(|(_, at)| **at <= end)
            .min_by_key(|(_, at)| **at)
            .map(|(id, at)| (id.clone(), *at))
        {
            self.now = self.now.max(at);
            self.timers.remove(&id);
            self.input(Input::Timer(id));
        }
        self.now = end;
    }

    /// Which accounts have tunnels where, and to which address.
    fn tunnels(&self) -> Vec<(u32, String, Ipv4Addr)> {
        let of = |(id, model): (&ServerId, &Model)| {
            let id = id.0;
            let mut held: Vec<_> =
                model.held.values().map(|held| (id, held.account.to_string(), held.client)).collect();
            held.sort();
            held
        };
        self.servers.iter().flat_map(of).collect()
    }
}

fn server_address(id: ServerId) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, id.0 as u8)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const A: [u8; 4] = [198, 51, 100, 1];
const B: [u8; 4] = [198, 51, 100, 2];
