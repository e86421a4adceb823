//! The transactions of one agent on UDP (RFC 3261 §17 with RFC 6026), without I/O: bytes to send are queued in `out`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    message::Message,
    via::{client_key, response_address, server_key},
};

/// Whose request it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Register,
    Invite(u64),
    Reinvite(u64),
    Bye(u64),
    /// CANCEL, and BYE of a call nobody holds: its answer interests nobody.
    Nobody,
}

/// Timers of the layer above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AppTimer {
    /// The next step of an incoming call's policy.
    Policy(u64),
    /// An outgoing call has rung long enough.
    RingTimeout(u64),
    /// CANCEL was sent and the INVITE is still open.
    CancelGuard(u64),
    /// Try a re-INVITE again after 491.
    Reinvite(u64),
    /// Register again.
    Refresh(u64),
}

/// What happened without a message.
#[derive(Debug)]
pub(crate) enum Expired {
    /// No final response in 64·T1.
    NoResponse(Owner),
    /// A final response to this call's INVITE was not acknowledged in 64·T1.
    NoAck(u64),
    App(AppTimer),
}

/// What to do with a response.
#[derive(Debug)]
pub(crate) enum Matched {
    /// A provisional response, or the first final one; with it the request, for a challenge.
    Ours(Owner, Box<Message>),
    /// A retransmission that is dealt with.
    Absorbed,
    /// It belongs to no transaction: a repeated 2xx to INVITE, or a stray.
    Unknown,
}

/// The two tables and the timers.
#[derive(Debug)]
pub(crate) struct Transactions {
    t1: Duration,
    limit: usize,
    /// The agent's clock, moved by hand: [`Transactions::advance`].
    now: Instant,
    clients: HashMap<String, Client>,
    servers: HashMap<String, Server>,
    timers: BinaryHeap<Reverse<(Instant, u64, Timer)>>,
    timer_number: u64,
    pub(crate) out: VecDeque<(SocketAddr, Bytes)>,
}

#[derive(Debug)]
struct Client {
    owner: Owner,
    request: Message,
    bytes: Bytes,
    to: SocketAddr,
    state: ClientState,
}

#[derive(Debug)]
enum ClientState {
    /// Nothing came yet (INVITE: "calling"; others: "trying").
    Waiting {
        interval: Duration,
    },
    Proceeding {
        interval: Duration,
    },
    /// INVITE only: a final response other than 2xx came; this ACK answers its repetitions.
    Acknowledged(Bytes),
}

#[derive(Debug)]
struct Server {
    invite: bool,
    call: Option<u64>,
    to: SocketAddr,
    last: Option<Bytes>,
    state: ServerState,
}

#[derive(Debug)]
enum ServerState {
    Proceeding,
    /// A final response to INVITE that is repeated until the ACK comes.
    Repeating {
        interval: Duration,
    },
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Timers A and E.
    Resend(String),
    /// Timers B and F.
    GiveUp(String),
    /// Timer D.
    ForgetClient(String),
    /// Timer G, and the repetition of 2xx (§13.3.1.4).
    Repeat(String),
    /// Timer H.
    NoAck(String),
    /// Timers I, J and L.
    ForgetServer(String),
    App(AppTimer),
}

impl Transactions {
    pub(crate) fn new(t1: Duration, limit: usize, now: Instant) -> Self {
        Self {
            t1,
            limit,
            now,
            clients: HashMap::new(),
            servers: HashMap::new(),
            timers: BinaryHeap::new(),
            timer_number: 0,
            out: VecDeque::new(),
        }
    }

    /// Moves the clock; timers run in [`Transactions::expire`].
    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(crate) fn set(&mut self, after: Duration, timer: AppTimer) {
        self.arm(after, Timer::App(timer));
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.t1 * 64
    }

    pub(crate) fn send(&mut self, to: SocketAddr, bytes: impl Into<Bytes>) {
        self.out.push_back((to, bytes.into()));
    }

    /// Starts a client transaction; the request's top Via holds its branch.
    pub(crate) fn request(&mut self, request: Message, to: SocketAddr, owner: Owner) {
        let Some(key) = client_key(&request) else { return };
        let bytes = Bytes::from(request.to_bytes());
        self.send(to, bytes.clone());
        let state = ClientState::Waiting { interval: self.t1 };
        self.clients.insert(key.clone(), Client { owner, request, bytes, to, state });
        self.arm(self.t1, Timer::Resend(key.clone()));
        self.arm(self.timeout(), Timer::GiveUp(key));
    }

    /// Takes a response.
    pub(crate) fn response(&mut self, response: &Message) -> Matched {
        let Some((status, _)) = response.status() else { return Matched::Unknown };
        let Some(key) = client_key(response) else { return Matched::Unknown };
        let Some(client) = self.clients.get_mut(&key) else { return Matched::Unknown };
        let invite = client.request.method() == Some("INVITE");
        let (owner, request) = (client.owner, client.request.clone());
        match &client.state {
            ClientState::Acknowledged(ack) => {
                if status >= 300 {
                    let (to, ack) = (client.to, ack.clone());
                    self.send(to, ack);
                }
                return Matched::Absorbed;
            }
            ClientState::Waiting { interval } | ClientState::Proceeding { interval } => {
                if status < 200 {
                    client.state = ClientState::Proceeding { interval: *interval };
                } else if invite && status >= 300 {
                    let ack = Bytes::from(ack_for(&client.request, response).to_bytes());
                    client.state = ClientState::Acknowledged(ack.clone());
                    let to = client.to;
                    self.send(to, ack);
                    self.arm(self.timeout(), Timer::ForgetClient(key));
                } else {
                    self.clients.remove(&key);
                }
            }
        }
        Matched::Ours(owner, Box::new(request))
    }

    /// Whether anything has come for this request of ours yet, and no final response (§9.1).
    pub(crate) fn is_proceeding(&self, request: &Message) -> bool {
        let client = client_key(request).and_then(|key| self.clients.get(&key));
        client.is_some_and(|client| matches!(client.state, ClientState::Proceeding { .. }))
    }

    /// Forgets a request whose answer no longer matters.
    pub(crate) fn abandon(&mut self, request: &Message) {
        if let Some(key) = client_key(request) {
            self.clients.remove(&key);
        }
    }

    /// Takes a request: gives its key if it is new, repeats the last response if it is not.
    pub(crate) fn receive(&mut self, request: &Message, from: SocketAddr) -> Option<String> {
        let key = server_key(request, None)?;
        if let Some(server) = self.servers.get(&key) {
            if let Some(last) = server.last.clone() {
                let to = server.to;
                self.send(to, last);
            }
            return None;
        }
        if self.servers.len() >= self.limit {
            return None;
        }
        let invite = request.method() == Some("INVITE");
        let to = response_address(request, from);
        self.servers.insert(
            key.clone(),
            Server { invite, call: None, to, last: None, state: ServerState::Proceeding },
        );
        if !invite {
            self.arm(self.timeout(), Timer::ForgetServer(key.clone()));
        }
        Some(key)
    }

    /// Names the call that an INVITE belongs to.
    pub(crate) fn assign(&mut self, key: &str, call: u64) {
        if let Some(server) = self.servers.get_mut(key) {
            server.call = Some(call);
        }
    }

    /// Answers a request.
    pub(crate) fn respond(&mut self, key: &str, response: &Message) {
        let (t1, timeout) = (self.t1, self.timeout());
        let Some(server) = self.servers.get_mut(key) else { return };
        if !matches!(server.state, ServerState::Proceeding) {
            return;
        }
        let bytes = Bytes::from(response.to_bytes());
        server.last = Some(bytes.clone());
        let to = server.to;
        let is_final = response.status().is_some_and(|(status, _)| status >= 200);
        let repeat = is_final && server.invite;
        if is_final {
            server.state = if repeat { ServerState::Repeating { interval: t1 } } else { ServerState::Done };
        }
        self.send(to, bytes);
        if repeat {
            self.arm(t1, Timer::Repeat(key.to_owned()));
            self.arm(timeout, Timer::NoAck(key.to_owned()));
        }
    }

    /// Drops an INVITE that shall never be answered.
    pub(crate) fn ignore(&mut self, key: &str) {
        self.arm(self.timeout(), Timer::ForgetServer(key.to_owned()));
    }

    /// The INVITE that a CANCEL or the ACK of a non-2xx response means (§9.2, §17.2.3).
    pub(crate) fn invite_of(&self, request: &Message) -> Option<String> {
        server_key(request, Some("INVITE")).filter(|key| self.servers.contains_key(key))
    }

    /// The call of an INVITE.
    pub(crate) fn call_of(&self, key: &str) -> Option<u64> {
        self.servers.get(key)?.call
    }

    /// The final response to this INVITE was acknowledged.
    pub(crate) fn acknowledged(&mut self, key: &str) {
        if let Some(server) = self.servers.get_mut(key)
            && matches!(server.state, ServerState::Repeating { .. })
        {
            server.state = ServerState::Done;
            self.arm(self.timeout(), Timer::ForgetServer(key.to_owned()));
        }
    }

    /// Runs the timers that are due.
    pub(crate) fn expire(&mut self) -> Vec<Expired> {
        let mut expired = Vec::new();
        while let Some(Reverse((at, _, _))) = self.timers.peek()
            && *at <= self.now
        {
            let Some(Reverse((_, _, timer))) = self.timers.pop() else { break };
            match timer {
                Timer::Resend(key) => self.resend(key),
                Timer::GiveUp(key) => expired.extend(self.give_up(&key)),
                Timer::ForgetClient(key) => {
                    self.clients.remove(&key);
                }
                Timer::Repeat(key) => self.repeat(key),
                Timer::NoAck(key) => {
                    if let Some(server) = self.servers.get(&key)
                        && matches!(server.state, ServerState::Repeating { .. })
                    {
                        expired.extend(server.call.map(Expired::NoAck));
                        self.servers.remove(&key);
                    }
                }
                Timer::ForgetServer(key) => {
                    self.servers.remove(&key);
                }
                Timer::App(timer) => expired.push(Expired::App(timer)),
            }
        }
        expired
    }

    fn resend(&mut self, key: String) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let invite = client.request.method() == Some("INVITE");
        let next = match &mut client.state {
            // Timer A doubles without a bound.
            ClientState::Waiting { interval } if invite => {
                *interval *= 2;
                *interval
            }
            ClientState::Waiting { interval } => {
                *interval = (*interval * 2).min(T2);
                *interval
            }
            ClientState::Proceeding { .. } if !invite => T2,
            ClientState::Proceeding { .. } | ClientState::Acknowledged(_) => return,
        };
        let (to, bytes) = (client.to, client.bytes.clone());
        self.send(to, bytes);
        self.arm(next, Timer::Resend(key));
    }

    fn give_up(&mut self, key: &str) -> Option<Expired> {
        let client = self.clients.get(key)?;
        let invite = client.request.method() == Some("INVITE");
        let waiting = match client.state {
            ClientState::Waiting { .. } => true,
            ClientState::Proceeding { .. } => !invite,
            ClientState::Acknowledged(_) => false,
        };
        if !waiting {
            return None;
        }
        let owner = client.owner;
        self.clients.remove(key);
        Some(Expired::NoResponse(owner))
    }

    fn repeat(&mut self, key: String) {
        let Some(server) = self.servers.get_mut(&key) else { return };
        let ServerState::Repeating { interval } = &mut server.state else { return };
        *interval = (*interval * 2).min(T2);
        let next = *interval;
        let (to, last) = (server.to, server.last.clone());
        if let Some(last) = last {
            self.send(to, last);
        }
        self.arm(next, Timer::Repeat(key));
    }

    fn arm(&mut self, after: Duration, timer: Timer) {
        self.timer_number += 1;
        self.timers.push(Reverse((self.now + after, self.timer_number, timer)));
    }
}

/// ACK for a final response other than 2xx (RFC 3261 §17.1.1.3).
fn ack_for(invite: &Message, response: &Message) -> Message {
    let mut ack = Message::request("ACK", invite.request_uri().unwrap_or_default());
    ack.push("Via", invite.header("Via").unwrap_or_default());
    ack.push("Max-Forwards", "70");
    for route in invite.headers("Route") {
        ack.push("Route", route);
    }
    ack.push("From", invite.header("From").unwrap_or_default());
    ack.push("To", response.header("To").unwrap_or_default());
    ack.push("Call-ID", invite.header("Call-ID").unwrap_or_default());
    let number = invite.cseq().map_or(0, |(number, _)| number);
    ack.push("CSeq", format!("{number} ACK"));
    ack
}

/// The longest interval between retransmissions (RFC 3261 Table 4).
const T2: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    fn addr() -> SocketAddr {
        "[2001:db8::9]:7000".parse().expect("an address")
    }

    fn options(via: &str) -> Message {
        let text = format!("OPTIONS sip:a@b SIP/2.0\r\nVia: {via}\r\nCSeq: 1 OPTIONS\r\nCall-ID: x\r\n\r\n");
        Message::parse(text.as_bytes()).expect("well formed")
    }

    #[test]
    fn a_request_is_repeated_and_given_up() {
        let start = Instant::now();
        let mut table = Transactions::new(Duration::from_millis(500), 8, start);
        table.request(options("SIP/2.0/UDP [::1]:1;branch=z9hG4bKb"), addr(), Owner::Register);
        let (gave_up, at) = loop {
            let deadline = table.next_deadline().expect("a timer");
            table.advance(deadline);
            let expired = table.expire();
            if !expired.is_empty() {
                break (expired, deadline);
            }
        };
        assert!(matches!(gave_up[..], [Expired::NoResponse(Owner::Register)]));
        assert_eq!(at - start, Duration::from_secs(32));
        // At 0, 0.5, 1.5, 3.5 and then every 4 s up to 31.5 s (§17.1.2.2).
        assert_eq!(table.out.len(), 11);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = Transactions::new(Duration::from_millis(500), 2, Instant::now());
        for number in 0..5 {
            let request = options(&format!("SIP/2.0/UDP [::1]:1;branch=z9hG4bK{number}"));
            let key = table.receive(&request, addr());
            assert_eq!(key.is_some(), number < 2);
            assert!(table.receive(&request, addr()).is_none());
        }
    }
}
