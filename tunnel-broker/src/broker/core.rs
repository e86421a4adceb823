//! The two verbs, and what each line of a client does.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schema::secret::Password;

use super::desk::{Desk, Outcome, Want};
use super::io::{
    Answer, ConnectionId, Event, Input, LookupFailed, Output, Question, Standing, TimerId, Token,
};
use super::session::{Session, State};
use super::{Account, Settings};
use crate::dtcp::{Challenge, Kind, LineBuffer, Login, Refusal, Reply, Report, Request};

/// The broker. See the [module](super) for its law and its promises.
#[derive(Debug)]
pub struct Broker {
    settings: Settings,
    sessions: HashMap<ConnectionId, Session>,
    /// Places taken by each source.
    sources: HashMap<Ipv4Addr, usize>,
    /// Whose login an answer is for.
    lookups: HashMap<Token, ConnectionId>,
    desk: Desk,
    /// Hashed where there is no account.
    nobody: Password,
    random: StdRng,
    outputs: VecDeque<Output>,
}

impl Broker {
    /// A broker without sessions and servers. The seed makes challenges and tunnel names: it comes from the operating system.
    pub fn new(settings: Settings, seed: [u8; 32]) -> Broker {
        let mut random = StdRng::from_seed(seed);
        let mut desk_seed = [0; 32];
        random.fill_bytes(&mut desk_seed);
        Broker {
            desk: Desk::new(settings.adoption, settings.server_grace, desk_seed),
            settings,
            nobody: Password::new("no account has this password"),
            sessions: HashMap::new(),
            sources: HashMap::new(),
            lookups: HashMap::new(),
            random,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input. `now` never runs backwards.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Connected { connection, peer } => self.connected(connection, peer, now),
            Input::Received { connection, bytes } => self.received(connection, &bytes, now),
            Input::Closed(connection) => self.left(connection, now),
            Input::Timer(TimerId::Session(connection)) => self.silent(connection, now),
            Input::Timer(TimerId::Adoption(account)) => self.desk.adoption_over(&account, now),
            Input::Timer(TimerId::Server(server)) => self.desk.server_grace_over(server, now),
            Input::Answer(token, Answer::Account(found)) => self.looked_up(token, found, now),
            Input::Answer(token, Answer::Tunnel(result)) => self.desk.answer(token, result, now),
            Input::ServerUp { server, held } => self.desk.server_up(server, held, now),
            Input::ServerDown(server) => self.desk.server_down(server, now),
            Input::Revoked(account) => self.revoke(&account, Refusal::AuthenticationFailed, now),
            Input::Changed(account) => self.revoke(&account, Refusal::Changed, now),
        }
        self.tell_outcomes(now);
    }

    /// Gives the next thing to do, or `None` when there is nothing until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How many connections there are.
    pub fn active(&self) -> usize {
        self.sessions.len()
    }

    /// The tunnels, in no order.
    pub fn tunnels(&self) -> impl Iterator<Item = Standing> {
        self.desk.tunnels()
    }

    /// The accounts that have logged in, and the passwords that they proved to know.
    pub fn credentials(&self) -> HashMap<&Arc<str>, &Password> {
        self.sessions.values().filter_map(Session::credentials).collect()
    }

    fn revoke(&mut self, account: &Arc<str>, refusal: Refusal, now: Instant) {
        if let Some(connection) = self.desk.revoke(account, now) {
            self.dismiss(connection, refusal, now);
        }
    }

    fn connected(&mut self, connection: ConnectionId, peer: Ipv4Addr, now: Instant) {
        if self.sessions.contains_key(&connection) {
            return;
        }
        let places = self.sources.entry(peer).or_insert(0);
        if *places >= self.settings.max_connections_per_source
            || self.sessions.len() >= self.settings.max_connections
        {
            if *places == 0 {
                self.sources.remove(&peer);
            }
            self.send(connection, Refusal::TooBusy);
            self.outputs.push_back(Output::Close(connection));
            return;
        }
        *places += 1;
        let mut random = [0; 16];
        self.random.fill_bytes(&mut random);
        let session = Session {
            peer,
            challenge: Challenge::new(random),
            buffer: LineBuffer::default(),
            state: State::Open,
            deadline: now,
            lines: 0,
            failures: 0,
        };
        self.send(connection, Reply::Greeting(session.challenge));
        self.sessions.insert(connection, session);
        self.await_line(connection, now);
    }

    fn received(&mut self, connection: ConnectionId, bytes: &[u8], now: Instant) {
        // In pieces, so that many short lines in one segment are no long line.
        for piece in bytes.chunks(LineBuffer::LIMIT / 2) {
            let Some(session) = self.sessions.get_mut(&connection) else { return };
            if matches!(session.state, State::Punished { .. }) {
                return;
            }
            if session.buffer.extend(piece).is_err() {
                self.dismiss(connection, Refusal::InvalidCommand, now);
                return;
            }
            self.take_lines(connection, now);
        }
    }

    /// The client's side of the connection ended.
    fn left(&mut self, connection: ConnectionId, now: Instant) {
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        match &mut session.state {
            State::Punished { gone } => *gone = true,
            State::Open | State::LookingUp { .. } if session.failures > 0 => {
                self.punish(connection, true, now);
            }
            _ => self.end(connection, now),
        }
    }

    fn silent(&mut self, connection: ConnectionId, now: Instant) {
        let Some(session) = self.sessions.get(&connection) else { return };
        if now < session.deadline {
            return;
        }
        match session.state {
            State::Punished { gone: true } => self.end(connection, now),
            State::Punished { gone: false } => {
                self.outputs.push_back(Output::Close(connection));
                self.end(connection, now);
            }
            _ => self.dismiss(connection, Refusal::TimedOut, now),
        }
    }

    /// Takes whole lines for as long as the session is waiting for one.
    fn take_lines(&mut self, connection: ConnectionId, now: Instant) {
        while let Some(session) = self.sessions.get_mut(&connection)
            && matches!(session.state, State::Open | State::Up { .. })
            && let Some(line) = session.buffer.next_line()
        {
            self.take_line(connection, &line, now);
        }
    }

    fn take_line(&mut self, connection: ConnectionId, line: &[u8], now: Instant) {
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        if matches!(session.state, State::Open) {
            session.lines = session.lines.saturating_add(1);
            if session.lines > self.settings.max_lines_before_login {
                self.dismiss(connection, Refusal::InvalidCommand, now);
                return;
            }
        }
        let has_tunnel = matches!(session.state, State::Up { .. });
        self.await_line(connection, now);
        match Request::parse(line) {
            Request::Tunnel(_) if has_tunnel => self.send(connection, Refusal::SecondTunnel),
            Request::Tunnel(Some(login)) => self.look_up(connection, login),
            Request::Tunnel(None) => self.failed(connection, None, now),
            Request::Ping => self.send(connection, Reply::Pong),
            Request::Help => self.send(connection, Reply::Help),
            Request::Quit => {
                self.send(connection, Reply::Bye);
                self.outputs.push_back(Output::Close(connection));
                self.end(connection, now);
            }
            Request::Centre if has_tunnel => {
                self.send(connection, Reply::Centre(self.settings.centre.clone()))
            }
            Request::Report(report) if has_tunnel => self.reported(connection, report, now),
            Request::Centre | Request::Report(_) | Request::Unknown => {
                self.send(connection, Refusal::InvalidCommand);
            }
        }
    }

    /// Always thanked for, so that a hasty IAD has nothing to repeat; not always looked at.
    fn reported(&mut self, connection: ConnectionId, report: Report, now: Instant) {
        if let Some(Session { state: State::Up { account, reported, .. }, .. }) =
            self.sessions.get_mut(&connection)
            && reported.is_none_or(|last| now.saturating_duration_since(last) >= REPORT_INTERVAL)
        {
            *reported = Some(now);
            let event = Event::Reported { account: account.clone(), report };
            self.outputs.push_back(Output::Event(event));
        }
        self.send(connection, Reply::Noted);
    }

    fn look_up(&mut self, connection: ConnectionId, login: Login) {
        if self.lookups.len() >= self.settings.max_lookups {
            self.send(connection, Refusal::TooBusy);
            return;
        }
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        let token = self.desk.token();
        let Login { user, proof, kind } = login;
        session.state = State::LookingUp { token, user: user.clone(), proof, kind };
        self.lookups.insert(token, connection);
        self.outputs.push_back(Output::Ask(token, Question::LookUp { user }));
    }

    fn looked_up(&mut self, token: Token, found: Result<Option<Arc<Account>>, LookupFailed>, now: Instant) {
        let Some(connection) = self.lookups.remove(&token) else { return };
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        let (user, proof, kind) = match std::mem::replace(&mut session.state, State::Open) {
            State::LookingUp { token: asked, user, proof, kind } if asked == token => (user, proof, kind),
            other => {
                session.state = other;
                return;
            }
        };
        let Ok(account) = found else {
            self.send(connection, Refusal::AccountsAway);
            self.take_lines(connection, now);
            return;
        };
        // An unknown user costs a hash too, so that the answer's time does not tell who is known.
        let password = account.as_ref().map_or(&self.nobody, |account| &account.password);
        let proven = session.challenge.proof(&user, password).matches(&proof);
        match account.filter(|_| proven) {
            Some(account) => self.authenticated(connection, &account, kind, now),
            None => {
                self.failed(connection, Some(user), now);
                self.take_lines(connection, now);
            }
        }
    }

    /// The challenge is used up: whatever happens now, this connection authenticates nobody again.
    fn authenticated(
        &mut self,
        connection: ConnectionId,
        account: &Account,
        kind: Result<Kind, String>,
        now: Instant,
    ) {
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        session.failures = 0;
        let granted = kind.and_then(|kind| Ok((kind, account.grant(kind).ok_or_else(|| kind.to_string())?)));
        let (kind, grant) = match granted {
            Ok(granted) => granted,
            Err(kind) => return self.dismiss(connection, Refusal::UnsupportedType(kind), now),
        };
        let (name, peer) = (account.name.clone(), session.peer);
        session.state = State::Raising { account: name.clone(), password: account.password.clone(), kind };
        let want = Want { session: connection, client: peer, grant, region: account.region.clone() };
        match self.desk.login(&name, want, now) {
            Ok(None) => {}
            Ok(Some((older, from))) => {
                self.outputs.push_back(Output::Event(Event::TakenOver { account: name, from, to: peer }));
                self.dismiss(older, Refusal::TakenOver, now);
            }
            Err(holder) => {
                let event = Event::AddressConflict { account: name, holder, address: peer };
                self.outputs.push_back(Output::Event(event));
                self.dismiss(connection, Refusal::AddressInUse(peer), now);
            }
        }
    }

    fn failed(&mut self, connection: ConnectionId, user: Option<String>, now: Instant) {
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        session.failures = session.failures.saturating_add(1);
        let (peer, too_often) = (session.peer, session.failures >= self.settings.max_failures);
        self.outputs.push_back(Output::Event(Event::AuthenticationFailed { peer, user }));
        self.send(connection, Refusal::AuthenticationFailed);
        if too_often {
            self.punish(connection, false, now);
        }
    }

    fn punish(&mut self, connection: ConnectionId, gone: bool, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.state = State::Punished { gone };
            session.buffer.clear();
            self.close_at(connection, now + self.settings.failure_delay);
        }
    }

    fn tell_outcomes(&mut self, now: Instant) {
        loop {
            // In the order in which they came about: questions before what follows from them.
            while let Some(output) = self.desk.poll_output() {
                self.outputs.push_back(output);
            }
            match self.desk.next_outcome() {
                None => return,
                Some(Outcome::Failed { session, refusal }) => self.dismiss(session, refusal, now),
                Some(Outcome::Raised { session: connection, server, outer, grant }) => {
                    let Some(session) = self.sessions.get_mut(&connection) else { continue };
                    let (account, password, kind) = match &session.state {
                        State::Raising { account, password, kind } => (account, password, kind),
                        // Raised anew. When our end is another now, the client must hear of it.
                        State::Up { server, .. } if *server != outer.server => {
                            self.dismiss(connection, Refusal::ServerAway, now);
                            continue;
                        }
                        _ => continue,
                    };
                    let reply = match (kind, grant.prefix, grant.link) {
                        (Kind::Host, _, Some(link)) => Reply::Host(outer, link),
                        (Kind::Network, Some(prefix), _) => Reply::Network(outer, prefix),
                        _ => Reply::Tunnel(outer),
                    };
                    let (account, password) = (account.clone(), password.clone());
                    session.state = State::Up {
                        account: account.clone(),
                        password,
                        server: outer.server,
                        reported: None,
                    };
                    self.outputs.push_back(Output::Event(Event::LoggedIn { account, outer, server }));
                    self.send(connection, reply);
                    self.await_line(connection, now);
                    self.take_lines(connection, now);
                }
            }
        }
    }

    /// Tells a client why, closes its connection and forgets it.
    fn dismiss(&mut self, connection: ConnectionId, refusal: Refusal, now: Instant) {
        if self.sessions.contains_key(&connection) {
            self.send(connection, refusal);
            self.outputs.push_back(Output::Close(connection));
            self.end(connection, now);
        }
    }

    /// Forgets a session, and ends its lease.
    fn end(&mut self, connection: ConnectionId, now: Instant) {
        let Some(session) = self.sessions.remove(&connection) else { return };
        self.outputs.push_back(Output::SetTimer(TimerId::Session(connection), None));
        if let Some(places) = self.sources.get_mut(&session.peer) {
            *places = places.saturating_sub(1);
            if *places == 0 {
                self.sources.remove(&session.peer);
            }
        }
        if let Some(account) = session.account() {
            let event = Event::LoggedOut { account: account.clone(), peer: session.peer };
            self.outputs.push_back(Output::Event(event));
            self.desk.logout(account, connection, now);
        }
    }

    fn await_line(&mut self, connection: ConnectionId, now: Instant) {
        if let Some(session) = self.sessions.get(&connection) {
            let idle = match session.state {
                State::Up { .. } => self.settings.idle_after_login,
                _ => self.settings.idle_before_login,
            };
            self.close_at(connection, now + idle);
        }
    }

    fn close_at(&mut self, connection: ConnectionId, deadline: Instant) {
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.deadline = deadline;
            self.outputs.push_back(Output::SetTimer(TimerId::Session(connection), Some(deadline)));
        }
    }

    fn send(&mut self, connection: ConnectionId, reply: impl Into<Reply>) {
        self.outputs.push_back(Output::Send(connection, Bytes::from(reply.into().to_line())));
    }

    /// Checks what must always hold.
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.desk.check();
        assert_eq!(self.sources.values().sum::<usize>(), self.sessions.len(), "places have drifted");
        assert!(self.sources.values().all(|&places| places > 0), "a source without places is left behind");
    }

    /// The accounts and addresses of the sessions that have a tunnel.
    #[cfg(test)]
    pub(super) fn leases(&self) -> Vec<(String, Ipv4Addr)> {
        let up = self.sessions.values().filter(|session| matches!(session.state, State::Up { .. }));
        let mut leases: Vec<_> =
            up.filter_map(|session| Some((session.account()?.to_string(), session.peer))).collect();
        leases.sort();
        leases
    }

    /// How many sessions, sources, lookups, slots, claims and tunnel questions there are.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 6] {
        let [slots, claims, pending] = self.desk.sizes();
        [self.sessions.len(), self.sources.len(), self.lookups.len(), slots, claims, pending]
    }
}

/// One report of a session is looked at in so long.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
