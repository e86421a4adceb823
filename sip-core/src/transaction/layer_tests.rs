//! The layer from outside: bytes and commands in, outputs out.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::machine_tests::parse;
use super::{ClientId, Event, Failure, Layer, Output, Overflow, ServerId, Settings};
use crate::core::{TimerId, Transmit};
use crate::flow::{ConnectionId, Flow, Transport};
use crate::wire::header::Reason;
use crate::wire::{Builder, Message, Method, Name, StatusCode};

/// A layer, a clock moved by hand, and what came out since it was last looked at.
struct Bench {
    layer: Layer,
    now: Instant,
    flow: Flow,
    sent: Vec<Transmit>,
    events: Vec<Event>,
    timers: std::collections::BTreeMap<TimerId, Instant>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(Settings::default())
    }

    fn with(settings: Settings) -> Bench {
        Bench {
            layer: Layer::new(settings),
            now: Instant::now(),
            flow: flow(Transport::Udp, None),
            sent: Vec::new(),
            events: Vec::new(),
            timers: Default::default(),
        }
    }

    fn act<T>(&mut self, action: impl FnOnce(&mut Layer, Instant) -> T) -> T {
        self.sent.clear();
        self.events.clear();
        let result = action(&mut self.layer, self.now);
        while let Some(output) = self.layer.poll_output() {
            match output {
                Output::Transmit(transmit) => self.sent.push(transmit),
                Output::Event(event) => self.events.push(event),
                Output::SetTimer(id, Some(at)) => drop(self.timers.insert(id, at)),
                Output::SetTimer(id, None) => drop(self.timers.remove(&id)),
            }
        }
        result
    }

    fn receive(&mut self, text: &str) {
        let (flow, bytes) = (self.flow, Bytes::copy_from_slice(text.as_bytes()));
        self.act(|layer, now| layer.receive(now, flow, bytes));
    }

    fn request(&mut self, text: &str) -> ClientId {
        let (flow, message) = (self.flow, parse(text.to_owned()));
        self.act(|layer, now| layer.request(now, message, flow)).unwrap()
    }

    fn respond(&mut self, server: ServerId, code: u16) {
        let request = self.layer.request_of(server).cloned().expect("not yet answered");
        let response =
            Builder::response_to(&request, StatusCode::new(code).unwrap(), None, Some("t")).finish();
        self.act(|layer, now| layer.respond(now, server, response));
    }

    /// Moves the clock, firing timers on the way; outputs of all of them are kept.
    fn advance(&mut self, span: Duration) {
        let end = self.now + span;
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        while let Some((&id, &at)) =
            self.timers.iter().min_by_key(|(_, at)| **at).filter(|(_, at)| **at <= end)
        {
            self.timers.remove(&id);
            self.now = at;
            self.act(|layer, now| layer.timer(now, id));
            sent.append(&mut self.sent);
            events.append(&mut self.events);
        }
        (self.now, self.sent, self.events) = (end, sent, events);
    }

    fn server(&self) -> ServerId {
        match self.events.as_slice() {
            [Event::Request { server, .. }] => *server,
            other => panic!("no single request: {other:?}"),
        }
    }

    fn sent_lines(&self) -> Vec<String> {
        self.sent.iter().map(|transmit| first_line(&transmit.bytes)).collect()
    }

    /// Every transaction has run out.
    fn assert_empty(&mut self) {
        self.advance(Duration::from_secs(70));
        assert_eq!((self.layer.active(), self.timers.len()), (0, 0));
    }
}

fn flow(transport: Transport, connection: Option<u64>) -> Flow {
    Flow {
        transport,
        local: "[2001:db8::1]:5060".parse().unwrap(),
        remote: "[2001:db8::9]:40000".parse().unwrap(),
        connection: connection.map(ConnectionId),
    }
}

fn first_line(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned()
}

fn message(method: &str) -> String {
    format!(
        "{method} sip:101@s042.example.net SIP/2.0\r\nVia: SIP/2.0/UDP phone.example;branch=z9hG4bKa;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:102@s042.example.net>;tag=f\r\nTo: <sip:101@s042.example.net>\r\n\
         Call-ID: c\r\nCSeq: 7 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// An answer to [`message`].
fn answer(code: u16, method: &str) -> String {
    format!(
        "SIP/2.0 {code} X\r\nVia: SIP/2.0/UDP phone.example;branch=z9hG4bKa;rport\r\n\
         From: <sip:102@s042.example.net>;tag=f\r\nTo: <sip:101@s042.example.net>;tag=t\r\nCall-ID: c\r\n\
         CSeq: 7 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn ack_with_tag(tag: &str) -> String {
    message("ACK")
        .replace("To: <sip:101@s042.example.net>", &format!("To: <sip:101@s042.example.net>;tag={tag}"))
}

#[test]
fn a_request_reaches_the_user_once_with_its_source_noted() {
    let mut bench = Bench::new();
    bench.receive(&message("OPTIONS"));
    let server = bench.server();
    let request = bench.layer.request_of(server).unwrap();
    assert_eq!(
        request.text(Name::Via),
        Some("SIP/2.0/UDP phone.example;branch=z9hG4bKa;rport=40000;received=2001:db8::9")
    );
    bench.receive(&message("OPTIONS"));
    assert!(bench.events.is_empty() && bench.sent.is_empty());
    bench.respond(server, 200);
    assert_eq!(bench.sent_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(bench.sent[0].flow, bench.flow);
    bench.receive(&message("OPTIONS"));
    assert_eq!(bench.sent_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!((bench.layer.counters().requests, bench.layer.counters().retransmissions), (1, 2));
    bench.assert_empty();
}

#[test]
fn another_sent_by_or_method_is_another_transaction() {
    let mut bench = Bench::with(Settings { detect_merged: |_| false, ..Settings::default() });
    for text in [
        message("OPTIONS"),
        message("INFO"),
        message("OPTIONS").replace("phone.example", "phone.example:5070"),
        message("OPTIONS").replace("z9hG4bKa", "z9hG4bKb"),
    ] {
        bench.receive(&text);
        bench.server();
    }
    bench.receive(&message("OPTIONS").replace("phone.example", "PHONE.example"));
    assert!(bench.events.is_empty());
}

#[test]
fn an_invite_without_an_answer_gets_a_100_after_200_ms() {
    let mut bench = Bench::new();
    bench.receive(&message("INVITE"));
    let server = bench.server();
    bench.advance(Duration::from_millis(199));
    assert!(bench.sent.is_empty());
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.sent_lines(), ["SIP/2.0 100 Trying"]);
    assert_eq!(parse(String::from_utf8(bench.sent[0].bytes.to_vec()).unwrap()).to_tag(), None);
    bench.receive(&message("INVITE"));
    assert_eq!(bench.sent_lines(), ["SIP/2.0 100 Trying"]);
    bench.respond(server, 486);
    bench.receive(&ack_with_tag("t"));
    assert!(bench.events.is_empty(), "the ACK is the layer's");
    bench.assert_empty();
}

/// RFC 6026 §7.1: once a call is answered, its INVITE is absorbed when it comes again, and ACKs and 2xx pass.
#[test]
fn an_accepted_invite_passes_acks_and_absorbs_invites() {
    let mut bench = Bench::new();
    bench.receive(&message("INVITE"));
    let server = bench.server();
    bench.respond(server, 200);
    bench.receive(&message("INVITE"));
    assert!(bench.sent.is_empty() && bench.events.is_empty());
    for branch in ["z9hG4bKa", "z9hG4bKother"] {
        bench.receive(&ack_with_tag("t").replace("z9hG4bKa", branch));
        assert!(matches!(bench.events.as_slice(), [Event::Ack { .. }]));
    }
    bench.assert_empty();
}

#[test]
fn a_failure_without_an_ack_is_told() {
    let mut bench = Bench::new();
    bench.receive(&message("INVITE"));
    let server = bench.server();
    bench.respond(server, 404);
    bench.advance(Duration::from_secs(32));
    assert_eq!(bench.sent.len(), 10);
    assert!(matches!(
        bench.events.as_slice(),
        [Event::ServerFailed { server: failed, failure: Failure::TimedOut }, Event::ServerEnded { server: ended }]
            if *failed == server && *ended == server
    ));
    bench.assert_empty();
}

#[test]
fn a_refusal_of_a_stranger_goes_out_once_for_each_invite() {
    let mut bench = Bench::new();
    bench.receive(&message("INVITE"));
    let server = bench.server();
    bench.layer.answer_once(server);
    bench.respond(server, 407);
    assert_eq!(bench.sent.len(), 1);
    bench.advance(Duration::from_secs(20));
    assert!(bench.sent.is_empty());
    bench.receive(&message("INVITE"));
    assert!(bench.events.is_empty());
    assert!(matches!(bench.sent_lines().as_slice(), [line] if line.contains("407")));
    bench.advance(Duration::from_secs(13));
    assert_eq!(bench.layer.active(), 0);
}

/// RFC 3261 §9.2: a CANCEL is answered each time, and takes effect once.
#[test]
fn a_cancel_is_answered_and_told_once() {
    let mut bench = Bench::new();
    bench.receive(&message("INVITE"));
    let server = bench.server();
    bench.respond(server, 180);
    bench.receive(&message("CANCEL"));
    assert_eq!(bench.sent_lines(), ["SIP/2.0 200 OK"]);
    let answer = parse(String::from_utf8(bench.sent[0].bytes.to_vec()).unwrap());
    assert_eq!(answer.to_tag().as_deref(), Some("t"), "the tag of the INVITE's own response");
    assert!(matches!(bench.events.as_slice(), [Event::Cancelled { server: told, .. }] if *told == server));
    bench.receive(&message("CANCEL"));
    assert_eq!((bench.sent_lines().len(), bench.events.len()), (1, 0));
    bench.respond(server, 487);
    assert_eq!(bench.sent_lines(), ["SIP/2.0 487 Request Terminated"]);
    bench.receive(&message("CANCEL"));
    assert_eq!((bench.sent_lines().len(), bench.events.len()), (1, 0));
    bench.assert_empty();
}

#[test]
fn a_cancel_without_match_gets_481() {
    let mut bench = Bench::new();
    bench.receive(&message("CANCEL"));
    assert_eq!(bench.sent_lines(), ["SIP/2.0 481 Call/Transaction Does Not Exist"]);
    assert!(bench.events.is_empty());
    assert_eq!(bench.layer.counters().refused_unmatched, 1);
}

/// RFC 3261 §8.2.2.2: a request that came by another path already is answered with 482.
#[test]
fn a_merged_request_gets_482() {
    let mut bench = Bench::new();
    bench.receive(&message("INVITE"));
    let second = message("INVITE").replace("z9hG4bKa", "z9hG4bKb");
    bench.receive(&second);
    assert_eq!(bench.sent_lines(), ["SIP/2.0 482 Loop Detected"]);
    assert!(bench.events.is_empty());

    // Its ACK is the layer's, though no transaction remembers the 482.
    let refusal = parse(String::from_utf8(bench.sent[0].bytes.to_vec()).unwrap());
    bench.receive(&ack_with_tag(&refusal.to_tag().unwrap()).replace("z9hG4bKa", "z9hG4bKb"));
    assert!(bench.events.is_empty() && bench.sent.is_empty());

    // Another target, or a request inside a dialog, is no merged request.
    bench.receive(&second.replace("z9hG4bKb", "z9hG4bKc").replace("INVITE sip:101@", "INVITE sip:103@"));
    bench.server();
    bench.receive(
        &second
            .replace("z9hG4bKb", "z9hG4bKd")
            .replace("To: <sip:101@s042.example.net>", "To: <sip:a@b>;tag=x"),
    );
    bench.server();
}

#[test]
fn spirals_pass_where_the_user_does_its_own_loop_detection() {
    let mut bench = Bench::with(Settings { detect_merged: |_| false, ..Settings::default() });
    bench.receive(&message("INVITE"));
    bench.receive(&message("INVITE").replace("z9hG4bKa", "z9hG4bKb"));
    bench.server();
}

#[test]
fn a_full_table_refuses_with_503_and_retry_after() {
    let mut bench = Bench::with(Settings { max_transactions: 1, ..Settings::default() });
    bench.receive(&message("OPTIONS"));
    bench.receive(&message("INFO"));
    assert_eq!(bench.sent_lines(), ["SIP/2.0 503 Service Unavailable"]);
    assert!(String::from_utf8_lossy(&bench.sent[0].bytes).contains("\r\nRetry-After: 5\r\n"));
    assert_eq!(bench.layer.counters().refused_overload, 1);

    bench.request(&message("OPTIONS"));
    let (flow, another) = (bench.flow, parse(message("INFO")));
    let result = bench.act(|layer, now| layer.request(now, another, flow));
    assert_eq!(result, Err(Overflow { limit: 1 }));
}

/// A client of RFC 2543: no cookie, no rport (RFC 3261 §17.2.3).
#[test]
fn matches_rfc_2543() {
    let mut bench = Bench::new();
    let old = |text: String| text.replace(";branch=z9hG4bKa;rport", "");
    bench.receive(&old(message("INVITE")));
    let server = bench.server();
    bench.receive(&old(message("INVITE")));
    assert!(bench.events.is_empty());
    bench.receive(&old(message("CANCEL")));
    assert!(matches!(bench.events.as_slice(), [Event::Cancelled { .. }]));
    bench.respond(server, 487);
    assert_eq!(bench.sent[0].flow.remote, "[2001:db8::9]:5060".parse().unwrap(), "the Via's port");
    bench.receive(&old(ack_with_tag("other")));
    assert!(matches!(bench.events.as_slice(), [Event::Ack { .. }]), "another response's ACK");
    bench.receive(&old(ack_with_tag("t")));
    assert!(bench.events.is_empty());
    bench.advance(Duration::from_secs(5));
    assert!(matches!(bench.events.as_slice(), [Event::ServerEnded { .. }]));
    bench.assert_empty();
}

#[test]
fn a_stream_is_answered_on_its_connection_or_on_a_new_one() {
    let mut bench = Bench::new();
    bench.flow = flow(Transport::Tcp, Some(4));
    bench.receive(&message("INVITE"));
    let server = bench.server();
    bench.respond(server, 180);
    assert_eq!(bench.sent[0].flow, bench.flow);
    bench.act(|layer, now| layer.connection_closed(now, ConnectionId(4)));
    bench.respond(server, 486);
    let reply = bench.sent[0].flow;
    assert_eq!((reply.connection, reply.remote), (None, "[2001:db8::9]:5060".parse().unwrap()));
    bench.assert_empty();
}

#[test]
fn malformed_requests_are_refused_and_nonsense_is_dropped() {
    let mut bench = Bench::new();
    for (text, line) in [
        (message("OPTIONS").replace("\r\nFrom:", "\r\nX:"), "SIP/2.0 400 From is missing"),
        (
            message("OPTIONS").replace("CSeq: 7 OPTIONS", "CSeq: 7 INVITE"),
            "SIP/2.0 400 CSeq names another method",
        ),
        (message("OPTIONS").replace("net SIP/2.0", "net SIP/3.0"), "SIP/2.0 505 "),
        (message("OPTIONS").replace("\r\nMax", "\r\nno colon\r\nMax"), "SIP/2.0 400 header line 2 "),
    ] {
        bench.receive(&text);
        assert_eq!(bench.sent.len(), 1);
        assert!(bench.sent_lines()[0].starts_with(line), "{:?}", bench.sent_lines());
    }
    assert_eq!(bench.layer.counters().refused_malformed, 4);

    for text in [
        message("OPTIONS").replace("\r\nVia:", "\r\nX:"),
        message("OPTIONS").replace("\r\nCSeq:", "\r\nX:"),
        message("ACK").replace("\r\nFrom:", "\r\nX:"),
        answer(200, "OPTIONS").replace("\r\nVia:", "\r\nX:"),
        answer(200, "OPTIONS").replace("Content-Length: 0", "Content-Length: 9"),
        "\r\n\r\n".into(),
        "GET / HTTP/1.1\r\n\r\n".into(),
        "\0\u{1}".into(),
    ] {
        bench.receive(&text);
        assert!(bench.sent.is_empty() && bench.events.is_empty(), "{text}");
    }
    let counters = bench.layer.counters();
    assert_eq!((counters.dropped_unreadable, counters.dropped_ack), (4, 1));
    assert_eq!((counters.dropped_response, counters.keep_alives), (2, 1));
}

#[test]
fn an_ack_is_never_answered() {
    let mut bench = Bench::with(Settings { max_transactions: 0, ..Settings::default() });
    for text in [
        message("ACK"),
        message("ACK").replace("ACK\r\n", "INVITE\r\n"),
        message("ACK").replace("Call-ID", "X"),
    ] {
        bench.receive(&text);
        assert!(bench.sent.is_empty(), "{text}");
    }
}

#[test]
fn a_clients_response_is_matched_by_branch_and_method() {
    let mut bench = Bench::new();
    let client = bench.request(&message("OPTIONS"));
    assert_eq!(bench.sent_lines(), ["OPTIONS sip:101@s042.example.net SIP/2.0"]);
    bench.receive(&answer(200, "INFO"));
    assert!(matches!(bench.events.as_slice(), [Event::Stray { .. }]));
    bench.receive(&answer(200, "OPTIONS"));
    assert!(matches!(bench.events.as_slice(), [Event::Response { client: told, .. }] if *told == client));
    bench.receive(&answer(200, "OPTIONS"));
    assert!(bench.events.is_empty());
    bench.advance(Duration::from_secs(5));
    assert!(matches!(bench.events.as_slice(), [Event::ClientEnded { client: ended }] if *ended == client));
    bench.assert_empty();
}

#[test]
fn a_failed_invite_is_acknowledged_by_the_layer() {
    let mut bench = Bench::new();
    bench.request(&message("INVITE"));
    for expected in [1, 0] {
        bench.receive(&answer(486, "INVITE"));
        assert_eq!(bench.sent_lines(), ["ACK sip:101@s042.example.net SIP/2.0"]);
        assert_eq!(bench.events.len(), expected);
    }
    bench.assert_empty();
}

#[test]
fn a_cancel_goes_out_after_the_provisional_response_and_stays_in_the_layer() {
    let mut bench = Bench::new();
    let client = bench.request(&message("INVITE"));
    let reason = Reason::sip(200, "Call completed elsewhere");
    bench.act(|layer, now| layer.cancel(now, client, Some(&reason)));
    assert!(bench.sent.is_empty());
    bench.receive(&answer(180, "INVITE"));
    assert_eq!(bench.sent_lines(), ["CANCEL sip:101@s042.example.net SIP/2.0"]);
    assert!(String::from_utf8_lossy(&bench.sent[0].bytes).contains("Reason: SIP;cause=200"));
    bench.receive(&answer(200, "CANCEL"));
    assert!(bench.events.is_empty() && bench.sent.is_empty());
    bench.receive(&answer(487, "INVITE"));
    assert!(matches!(bench.events.as_slice(), [Event::Response { .. }]));
    bench.assert_empty();
}

#[test]
fn a_closed_connection_fails_what_waits_on_it() {
    let mut bench = Bench::new();
    bench.flow = flow(Transport::Tls, Some(9));
    let options = bench.request(&message("OPTIONS"));
    let ringing = bench.request(&message("INVITE"));
    bench.receive(&answer(180, "INVITE"));
    bench.act(|layer, now| layer.connection_closed(now, ConnectionId(9)));
    assert!(matches!(
        bench.events.as_slice(),
        [Event::ClientFailed { client: failed, failure: Failure::Transport }, Event::ClientEnded { .. }]
            if *failed == options
    ));
    bench.receive(&answer(486, "INVITE"));
    assert!(
        matches!(bench.events.as_slice(), [Event::Response { client, .. }, Event::ClientEnded { .. }] if *client == ringing)
    );
    bench.assert_empty();
}

#[test]
fn a_transmission_that_fails_is_told() {
    let mut bench = Bench::new();
    let client = bench.request(&message("OPTIONS"));
    let id = bench.sent[0].id;
    assert!(Layer::owns_transmit(id));
    bench.act(|layer, now| layer.transmit_failed(now, id));
    assert!(matches!(
        bench.events.as_slice(),
        [Event::ClientFailed { client: failed, failure: Failure::Transport }, Event::ClientEnded { .. }]
            if *failed == client
    ));
    bench.receive(&message("INFO"));
    let server = bench.server();
    bench.respond(server, 100);
    let id = bench.sent[0].id;
    bench.act(|layer, now| layer.transmit_failed(now, id));
    assert!(matches!(bench.events.as_slice(), [Event::ServerFailed { failure: Failure::Transport, .. }]));
    bench.respond(server, 200);
    bench.assert_empty();
}

#[test]
fn a_request_that_can_have_no_transaction_fails() {
    let mut bench = Bench::new();
    bench.request(&message("OPTIONS"));
    for text in [message("OPTIONS"), message("ACK"), message("INFO").replace(";branch=z9hG4bKa", "")] {
        bench.request(&text);
        assert!(matches!(bench.events.as_slice(), [Event::ClientFailed { .. }, Event::ClientEnded { .. }]));
    }
}

#[test]
fn a_simple_response_has_a_tag_and_headers() {
    let mut bench = Bench::new();
    bench.receive(&message("REGISTER"));
    let server = bench.server();
    let headers = [(Name::MinExpires, "60".to_owned())];
    bench.act(|layer, now| layer.respond_simple(now, server, StatusCode::INTERVAL_TOO_BRIEF, &headers));
    let response = Message::parse(bench.sent[0].bytes.clone(), &Default::default()).unwrap();
    assert!(response.to_tag().is_some());
    assert_eq!(response.text(Name::MinExpires), Some("60"));
    assert_eq!(response.cseq().unwrap().method, Method::Register);
}
