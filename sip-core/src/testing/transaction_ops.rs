//! Any bytes, read as a sequence of what can happen to a transaction layer. The fuzz target of this name and a property test run it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::tape::Tape;
use super::{End, address};
use crate::core::{TimerId, TransmitId};
use crate::flow::{ConnectionId, Flow, Transport};
use crate::transaction::{ClientId, Event, Layer, Output, ServerId, Settings};
use crate::wire::{Builder, Limits, Message, StatusCode};

/// Plays the sequence and then lets everything run out. Panics when a promise of the layer is broken:
///
/// - tables stay within their bounds, and are empty with no timer armed when all is over;
/// - a transaction begins once, ends once, and nothing is said about it afterwards;
/// - a client's user gets one final response or one failure, except for further 2xx to INVITE.
pub fn transaction_ops(data: &[u8]) {
    let mut play = Play::new();
    let mut tape = Tape::new(data);
    while let Some(op) = tape.byte() {
        play.op(op, &mut tape);
        play.drain();
    }
    play.wind_up();
}

const MAX_TRANSACTIONS: usize = 8;
const RESERVE: usize = 2;
const METHODS: [&str; 7] = ["INVITE", "ACK", "CANCEL", "OPTIONS", "BYE", "PRACK", "X"];
const STATUSES: [u16; 8] = [100, 180, 183, 200, 202, 302, 486, 603];

#[derive(Default)]
struct Client {
    finals: usize,
    failed: bool,
    ended: bool,
    accepted: bool,
}

struct Play {
    layer: Layer,
    now: Instant,
    timers: BTreeMap<TimerId, Instant>,
    clients: BTreeMap<ClientId, Client>,
    /// `true` once ended.
    servers: BTreeMap<ServerId, bool>,
    transmits: BTreeSet<u64>,
    heard: Vec<(Flow, Bytes)>,
    said: Vec<(Flow, Bytes)>,
}

impl Play {
    fn new() -> Play {
        let settings =
            Settings { max_transactions: MAX_TRANSACTIONS, reserve: RESERVE, ..Settings::default() };
        Play {
            layer: Layer::new(settings),
            now: Instant::now(),
            timers: BTreeMap::new(),
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            transmits: BTreeSet::new(),
            heard: Vec::new(),
            said: Vec::new(),
        }
    }

    fn op(&mut self, op: u8, tape: &mut Tape<'_>) {
        let now = self.now;
        match op % 13 {
            0 | 1 => {
                let (flow, text) = (any_flow(tape), any_request(tape));
                self.heard.push((flow, Bytes::from(text)));
                self.repeat(self.heard.len() - 1);
            }
            2 => self.repeat(tape.below(self.heard.len())),
            3 => self.answer(tape),
            4 => {
                let (flow, text) = (any_flow(tape), any_response(tape));
                self.layer.receive(now, flow, Bytes::from(text));
            }
            5 => {
                let length = tape.below(256);
                let (flow, bytes) = (any_flow(tape), Bytes::copy_from_slice(tape.take(length)));
                self.layer.receive(now, flow, bytes);
            }
            6 => {
                let (flow, text) = (any_flow(tape), any_request(tape));
                let request = Message::parse(Bytes::from(text), &Limits::default());
                if let Some(Ok(client)) = request.ok().map(|request| self.layer.request(now, request, flow)) {
                    let before = self.clients.insert(client, Client::default());
                    assert!(before.is_none(), "{client:?} is used twice");
                }
            }
            7 => {
                let servers: Vec<ServerId> = self.servers.keys().copied().collect();
                if let (Some(server), Some(code)) = (tape.pick(&servers), tape.pick(&STATUSES)) {
                    self.respond(server, code);
                }
            }
            8 => {
                let clients: Vec<ClientId> = self.clients.keys().copied().collect();
                if let Some(client) = tape.pick(&clients) {
                    self.layer.cancel(now, client, None);
                }
            }
            9 => {
                let transmits: Vec<u64> = self.transmits.iter().copied().collect();
                if let Some(id) = tape.pick(&transmits) {
                    self.layer.transmit_failed(now, TransmitId(id));
                }
            }
            10 => self.layer.connection_closed(now, ConnectionId(tape.below(3) as u64)),
            _ => {
                let ms = 1_u64 << tape.below(16);
                self.advance(Duration::from_millis(ms));
            }
        }
    }

    /// A datagram that came before comes again.
    fn repeat(&mut self, at: usize) {
        if let Some((flow, bytes)) = self.heard.get(at).cloned() {
            self.layer.receive(self.now, flow, bytes);
        }
    }

    /// The peer answers something that the layer has sent.
    fn answer(&mut self, tape: &mut Tape<'_>) {
        let Some((flow, bytes)) = self.said.get(tape.below(self.said.len())).cloned() else { return };
        let request = Message::parse(bytes, &Limits::default()).ok().filter(Message::is_request);
        let status = tape.pick(&STATUSES).and_then(StatusCode::new);
        if let (Some(request), Some(status)) = (request, status) {
            let response = Builder::response_to(&request, status, None, Some("t")).finish();
            self.layer.receive(self.now, flow, response.bytes().clone());
        }
    }

    fn respond(&mut self, server: ServerId, code: u16) {
        let (Some(request), Some(status)) = (self.layer.request_of(server), StatusCode::new(code)) else {
            return;
        };
        let response = Builder::response_to(request, status, None, Some("t")).finish();
        self.layer.respond(self.now, server, response);
    }

    fn advance(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some((&id, &at)) =
            self.timers.iter().min_by_key(|(_, at)| **at).filter(|(_, at)| **at <= end)
        {
            self.timers.remove(&id);
            self.now = self.now.max(at);
            self.layer.timer(self.now, id);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(output) = self.layer.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    self.transmits.insert(transmit.id.0);
                    self.said.push((transmit.flow, transmit.bytes));
                }
                Output::SetTimer(id, at) => {
                    assert!(Layer::owns_timer(id), "{id:?} is not the layer's");
                    match at {
                        Some(at) => drop(self.timers.insert(id, at)),
                        None => drop(self.timers.remove(&id)),
                    }
                }
                Output::Event(event) => self.note(event),
            }
        }
        let active = self.layer.active();
        // As many servers, as many clients, and as many CANCELs of the layer's own.
        assert!(active <= 3 * MAX_TRANSACTIONS + RESERVE, "{active} transactions");
        assert!(self.timers.len() <= active, "{} timers for {active} transactions", self.timers.len());
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Request { server, request, .. } => {
                assert!(request.method().is_some_and(|method| !["ACK", "CANCEL"].contains(&method.as_str())));
                assert!(self.servers.insert(server, false).is_none(), "{server:?} begins twice");
            }
            Event::Cancelled { server, .. } | Event::ServerFailed { server, .. } => {
                assert_eq!(self.servers.get(&server), Some(&false), "{server:?} is not alive");
            }
            Event::ServerEnded { server } => {
                assert_eq!(self.servers.insert(server, true), Some(false), "{server:?} is not alive");
            }
            Event::Response { client, response, .. } => {
                let known = self.clients.entry(client).or_default();
                assert!(!known.ended && !known.failed, "{client:?} is over");
                let Some(status) = response.status() else { return };
                if status.is_final() && !(known.accepted && status.is_success()) {
                    known.finals += 1;
                    known.accepted = status.is_success();
                    assert_eq!(known.finals, 1, "{client:?} has several final responses");
                }
            }
            Event::ClientFailed { client, .. } => {
                let known = self.clients.entry(client).or_default();
                assert!(!known.ended && !known.failed && known.finals == 0, "{client:?} is over");
                known.failed = true;
            }
            Event::ClientEnded { client } => {
                let known = self.clients.entry(client).or_default();
                assert!(!known.ended, "{client:?} ends twice");
                assert!(known.failed || known.finals == 1, "{client:?} ends without a word");
                known.ended = true;
            }
            Event::Ack { .. } | Event::Stray { .. } => {}
        }
    }

    /// Answers and cancels whatever is open: then only the layer's own deadlines are left.
    fn wind_up(&mut self) {
        let (servers, clients): (Vec<_>, Vec<_>) =
            (self.servers.keys().copied().collect(), self.clients.keys().copied().collect());
        for server in servers {
            self.respond(server, 500);
            self.drain();
        }
        for client in clients {
            self.layer.cancel(self.now, client, None);
            self.drain();
        }
        self.advance(Duration::from_secs(120));
        assert_eq!((self.layer.active(), self.timers.len()), (0, 0), "transactions and timers that are left");
        assert!(self.servers.values().all(|ended| *ended), "a server transaction did not end");
        assert!(self.clients.values().all(|client| client.ended), "a client transaction did not end");
    }
}

fn any_flow(tape: &mut Tape<'_>) -> Flow {
    let (transport, connection) = match tape.below(4) {
        0 => (Transport::Tcp, Some(ConnectionId(1))),
        1 => (Transport::Tls, Some(ConnectionId(2))),
        _ => (Transport::Udp, None),
    };
    Flow { transport, local: address(End::Left), remote: address(End::Right), connection }
}

/// Mostly well-formed, and often alike, so that something matches.
fn any_request(tape: &mut Tape<'_>) -> String {
    let method = tape.pick(&METHODS).unwrap_or("INVITE");
    let cseq_method = if tape.below(16) == 15 { "OPTIONS" } else { method };
    format!(
        "{method} sip:{}@example.net SIP/2.0\r\n{}From: <sip:a@example.net>;tag=f\r\nTo: <sip:b@example.net>{}\r\n\
         Call-ID: {}\r\nCSeq: {} {cseq_method}\r\nMax-Forwards: 70\r\n\r\n",
        tape.below(2),
        any_via(tape),
        any_to_tag(tape),
        tape.below(3),
        tape.below(2),
    )
}

fn any_response(tape: &mut Tape<'_>) -> String {
    let (code, method) = (tape.pick(&STATUSES).unwrap_or(200), tape.pick(&METHODS).unwrap_or("INVITE"));
    format!(
        "SIP/2.0 {code} X\r\n{}From: <sip:a@example.net>;tag=f\r\nTo: <sip:b@example.net>{}\r\n\
         Call-ID: {}\r\nCSeq: {} {method}\r\n\r\n",
        any_via(tape),
        any_to_tag(tape),
        tape.below(3),
        tape.below(2),
    )
}

fn any_via(tape: &mut Tape<'_>) -> String {
    let branch = tape.below(6);
    match tape.below(8) {
        0 => "Via: SIP/2.0/UDP h.example\r\n".into(),
        1 => String::new(),
        2 => format!("v: SIP/2.0/TCP [2001:db8::9]:5070;branch={branch}\r\n"),
        _ => format!("Via: SIP/2.0/UDP h.example;rport;branch=z9hG4bK{branch}\r\n"),
    }
}

fn any_to_tag(tape: &mut Tape<'_>) -> &'static str {
    tape.pick(&["", ";tag=t", ";tag=c6s-0"]).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_sequence_keeps_the_layers_promises(data in vec(any::<u8>(), 0..2_000)) {
            super::transaction_ops(&data);
        }
    }
}
