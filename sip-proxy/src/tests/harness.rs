//! Drives a [`ProxyCore`] as `node` would, without sockets: messages in, messages out, timers by hand.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::config::Admission;
use node::dns::{DnsError, Located};
use node::sources::{Neighbourhood, Sources};
use registrar::Locations;
use schema::{Binding, CallRecord, Change, Directory, LineId, SaveError, Sighting};
use sip_core::auth::{Algorithm, Answer as DigestAnswer, DigestSettings, NonceKey, ha1};
use sip_core::clock::WallClock;
use sip_core::core::{Core, Input, Output, TimerId, Transmit};
use sip_core::flow::{ConnectionId, Flow, Transport};
use sip_core::ids::{IdSource, WorkerId};
use sip_core::wire::header::{ProxyAuthenticate, WwwAuthenticate};
use sip_core::wire::{Builder, Limits, Message, Method, Name, StatusCode};

use crate::core::{Answer, ProxyCore, Question, Shared};
use crate::fixture;
use crate::gate::Gate;
use crate::settings::Settings;

pub(crate) const PROXY: &str = "[2001:db8::1]:5060";
/// Line 101 of site 1, 102 of site 1, 201 of site 2.
pub(crate) const A: &str = "[2001:db8:1::101]:5060";
pub(crate) const B: &str = "[2001:db8:1::102]:5060";
pub(crate) const C: &str = "[2001:db8:2::201]:5060";
pub(crate) const STRANGER: &str = "[2001:db8:bad::1]:5060";
pub(crate) const TRANSLATOR_1: &str = "[2001:db8::5]:5070";
pub(crate) const TRANSLATOR_2: &str = "[2001:db8::6]:5070";

pub(crate) struct Harness {
    pub(crate) core: ProxyCore,
    pub(crate) now: Instant,
    timers: BTreeMap<TimerId, Instant>,
    /// What was sent and not taken yet, in order.
    sent: VecDeque<(Transmit, Message)>,
    pub(crate) records: Vec<CallRecord>,
    pub(crate) sightings: Vec<Sighting>,
    pub(crate) locations: Arc<Locations>,
    directory: Arc<Directory>,
    /// What names lead to; others are unknown.
    pub(crate) names: BTreeMap<String, Result<Located, DnsError>>,
    /// What the store says to every save.
    pub(crate) save: Result<(), SaveError>,
    counter: u32,
}

impl Harness {
    /// Phones A, B and C are registered.
    pub(crate) fn new() -> Harness {
        let mut harness = Harness::with(Settings::for_tests());
        harness.bind(1, "sip:101@[2001:db8:1::101]:5060", 1000, A);
        harness.bind(2, "sip:102@[2001:db8:1::102]:5060", 1000, B);
        harness.bind(4, "sip:201@[2001:db8:2::201]:5060", 1000, C);
        harness
    }

    /// Nobody is registered.
    pub(crate) fn with(settings: Settings) -> Harness {
        Harness::over(settings, fixture::directory())
    }

    /// The same over a directory of the test's own.
    pub(crate) fn over(settings: Settings, directory: Arc<Directory>) -> Harness {
        let admission =
            Admission { site_calls_per_second: 0, source_requests_per_second: 0, ..Admission::default() };
        Harness::limited(settings, directory, admission)
    }

    /// The same with limits.
    pub(crate) fn limited(settings: Settings, directory: Arc<Directory>, admission: Admission) -> Harness {
        let now = Instant::now();
        let locations = Arc::new(Locations::new());
        let sources = Sources::new(admission.sources(), Box::new(Nobody(Arc::clone(&locations))));
        let digest = DigestSettings::new(fixture::REALM, NonceKey::new([3; 32]), 1, WorkerId(0));
        let shared = Shared {
            settings: Arc::new(settings),
            directory: Arc::clone(&directory),
            locations: Arc::clone(&locations),
            gate: Arc::new(Gate::new(&admission, Arc::new(sources))),
        };
        let ids = IdSource::new(WorkerId(0), [5; 32]);
        let clock = WallClock::new(now, Duration::from_secs(1_000_000));
        Harness {
            core: ProxyCore::new(shared, digest, ids, clock),
            now,
            timers: BTreeMap::new(),
            sent: VecDeque::new(),
            records: Vec::new(),
            sightings: Vec::new(),
            locations,
            directory,
            names: BTreeMap::new(),
            save: Ok(()),
            counter: 0,
        }
    }

    pub(crate) fn bind(&mut self, line: i64, contact: &str, q: u16, source: &str) {
        self.locations.put(Binding {
            line: LineId(line),
            contact: contact.to_owned(),
            call_id: "r".to_owned(),
            cseq: 1,
            q,
            expires_at: 2_000_000,
            stored_until: 2_000_000,
            path: Vec::new(),
            received: format!("UDP {PROXY} {source}"),
            user_agent: None,
            instance: None,
            reg_id: None,
            source: None,
        });
    }

    /// A datagram arrives.
    pub(crate) fn deliver(&mut self, from: &str, message: &Message) {
        let flow =
            Flow { transport: Transport::Udp, local: addr(PROXY), remote: addr(from), connection: None };
        self.deliver_over(flow, message);
    }

    /// A datagram arrives at another address of ours.
    pub(crate) fn deliver_from(&mut self, to: &str, from: &str, message: &Message) {
        let (local, remote) = (addr(to), addr(from));
        self.deliver_over(Flow { transport: Transport::Udp, local, remote, connection: None }, message);
    }

    /// A message arrives over a stream.
    pub(crate) fn deliver_tcp(&mut self, from: &str, connection: u64, message: &Message) {
        let connection = Some(ConnectionId(connection));
        self.deliver_over(
            Flow { transport: Transport::Tcp, local: addr(PROXY), remote: addr(from), connection },
            message,
        );
    }

    fn deliver_over(&mut self, flow: Flow, message: &Message) {
        self.input(Input::Received { flow, bytes: message.bytes().clone() });
    }

    pub(crate) fn input(&mut self, input: Input<Answer>) {
        self.core.handle_input(self.now, input);
        let mut answers = Vec::new();
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    let message = Message::parse(transmit.bytes.clone(), &Limits::default()).unwrap();
                    self.sent.push_back((transmit, message));
                }
                Output::SetTimer(id, Some(at)) => {
                    self.timers.insert(id, at);
                }
                Output::SetTimer(id, None) => {
                    self.timers.remove(&id);
                }
                Output::Ask(token, Question::Save(changes)) => {
                    self.apply(changes);
                    answers.push((token, Answer::Saved(self.save.clone())));
                }
                Output::Ask(token, Question::Locate(wanted)) => {
                    let known = self.names.get(&wanted.host).cloned();
                    answers
                        .push((token, Answer::Located(known.unwrap_or(Err(DnsError::Unknown(wanted.host))))));
                }
            }
        }
        for (token, answer) in answers {
            self.input(Input::Answer(token, answer));
        }
    }

    fn apply(&mut self, changes: Vec<Change>) {
        if self.save.is_err() {
            return;
        }
        for change in changes {
            match change {
                Change::AddCallRecord(record) => self.records.push(record),
                Change::PutSighting(sighting) => {
                    self.directory.apply(&Change::PutSighting(sighting.clone()));
                    self.sightings.push(sighting);
                }
                Change::PutBinding(binding) => self.locations.put(binding),
                Change::RemoveBinding { line, contact } => self.locations.remove(line, &contact),
                Change::RemoveBindings { line } => self.locations.remove_line(line),
                other => panic!("unexpected change {other:?}"),
            }
        }
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn wait(&mut self, seconds: f32) {
        let until = self.now + Duration::from_secs_f32(seconds);
        while let Some((id, at)) =
            self.timers.iter().map(|(id, at)| (*id, *at)).min_by_key(|(id, at)| (*at, *id))
        {
            if at > until {
                break;
            }
            self.timers.remove(&id);
            self.now = self.now.max(at);
            self.input(Input::Timer(id));
        }
        self.now = until;
    }

    /// The next message to this address; earlier ones to others stay.
    pub(crate) fn take(&mut self, to: &str) -> Message {
        self.take_transmit(to).1
    }

    pub(crate) fn take_transmit(&mut self, to: &str) -> (Transmit, Message) {
        let place = self.sent.iter().position(|(transmit, _)| transmit.flow.remote == addr(to));
        match place.and_then(|place| self.sent.remove(place)) {
            Some(sent) => sent,
            None => panic!("nothing was sent to {to}; sent: {:?}", self.sent),
        }
    }

    /// The next message to this address must be a response with this status.
    pub(crate) fn expect(&mut self, to: &str, status: u16) -> Message {
        let message = self.take(to);
        assert_eq!(message.status().map(StatusCode::code), Some(status), "{message:?}");
        message
    }

    /// The next message to this address must be a request.
    pub(crate) fn expect_request(&mut self, to: &str, method: &Method) -> Message {
        let message = self.take(to);
        assert!(message.is(method), "{message:?}");
        message
    }

    /// Nothing more was sent to this address.
    pub(crate) fn expect_nothing(&mut self, to: &str) {
        let sent: Vec<&Message> = self
            .sent
            .iter()
            .filter(|(transmit, _)| transmit.flow.remote == addr(to))
            .map(|(_, m)| m)
            .collect();
        assert!(sent.is_empty(), "{sent:?}");
    }

    /// Whether something was sent to this address and not taken yet.
    pub(crate) fn has_sent(&self, to: &str) -> bool {
        self.sent.iter().any(|(transmit, _)| transmit.flow.remote == addr(to))
    }

    /// Forgets what was sent: retransmissions.
    pub(crate) fn forget(&mut self) {
        self.sent.clear();
    }

    /// A request outside a dialog, with a fresh branch, tag and Call-ID.
    pub(crate) fn request(&mut self, method: &Method, from: &str, user: &str, uri: &str) -> Message {
        self.counter += 1;
        let n = self.counter;
        Builder::request(method, uri)
            .header(Name::Via, format_args!("SIP/2.0/UDP {from};branch=z9hG4bKtest{n};rport"))
            .header(Name::MaxForwards, 70)
            .header(Name::From, format_args!("<sip:{user}>;tag=from{n}"))
            .header(Name::To, format_args!("<{uri}>"))
            .header(Name::CallId, format_args!("call-{n}"))
            .header(Name::CSeq, format_args!("1 {method}"))
            .header(Name::Contact, format_args!("<sip:{}@{from}>", user.split('@').next().unwrap_or("x")))
            .body("application/sdp", Bytes::from_static(b"v=0\r\n"))
            .finish()
    }

    /// Sends a request and answers the challenge. Gives the request that was sent last.
    pub(crate) fn send_as(&mut self, from: &str, auth_user: &str, request: &Message) -> Message {
        self.deliver(from, request);
        let challenge = self.expect(from, 407);
        if request.is(&Method::Invite) {
            self.deliver(from, &ack_of_failure(request, &challenge));
        }
        let authorized = self.authorize(request, &challenge, auth_user, fixture::PASSWORD);
        self.deliver(from, &authorized);
        authorized
    }

    /// A REGISTER with the answer to its challenge, which was sent without.
    pub(crate) fn register(&mut self, from: &str, to: &str, auth_user: &str, password: &str) -> Message {
        let request = self.request(&Method::Register, from, to, "sip:s1.example.net");
        let request =
            request.edit().set(Name::To, format_args!("<sip:{to}>")).append(Name::Expires, 600).finish();
        self.answer_challenge(from, &request, auth_user, password)
    }

    /// Sends a request to ourselves, and gives it with the answer to its challenge, which was not sent.
    pub(crate) fn answer_challenge(
        &mut self,
        from: &str,
        request: &Message,
        auth_user: &str,
        password: &str,
    ) -> Message {
        self.deliver(from, request);
        let challenge = self.expect(from, 401);
        // The same arithmetic as for a proxy's challenge.
        let as_proxy = challenge
            .edit()
            .append(Name::ProxyAuthenticate, challenge.required::<WwwAuthenticate>().unwrap())
            .finish();
        let again = self.authorize(request, &as_proxy, auth_user, password);
        let credentials = again.text(Name::ProxyAuthorization).unwrap().to_owned();
        again.edit().remove(Name::ProxyAuthorization).append(Name::Authorization, credentials).finish()
    }

    /// The request again with credentials, the next CSeq and a new branch.
    pub(crate) fn authorize(
        &mut self,
        request: &Message,
        challenge: &Message,
        auth_user: &str,
        password: &str,
    ) -> Message {
        let challenge = challenge.header::<ProxyAuthenticate>().unwrap().unwrap();
        let (nonce, uri) = (challenge.value("nonce").unwrap(), request.request_uri_text().to_owned());
        let method = request.method().unwrap();
        let answer = DigestAnswer { method, uri: &uri, nonce: &nonce, count: Some(("00000001", "cnonce")) };
        let secret = ha1(Algorithm::Md5, auth_user, fixture::REALM, password);
        let response = answer.response(Algorithm::Md5, &secret);
        let credentials = format!(
            "Digest username=\"{auth_user}\", realm=\"{}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm=MD5, qop=auth, nc=00000001, cnonce=\"cnonce\"",
            fixture::REALM
        );
        self.counter += 1;
        let branch = format!("z9hG4bKtest{}", self.counter);
        let mut via = request.top_via().unwrap();
        via.params.set("branch", Some(&branch));
        let cseq = request.cseq().unwrap();
        request
            .edit()
            .replace_first(Name::Via, via)
            .set(Name::CSeq, format_args!("{} {method}", cseq.number + 1))
            .append(Name::ProxyAuthorization, credentials)
            .finish()
    }

    /// A calls `uri`; gives the INVITE after the proxy's 100.
    pub(crate) fn call(&mut self, from: &str, auth_user: &str, uri: &str) -> Message {
        let invite = self.request(&Method::Invite, from, &format!("{auth_user}@example.net"), uri);
        let invite = self.send_as(from, auth_user, &invite);
        self.expect(from, 100);
        invite
    }
}

/// Only registered phones are known.
struct Nobody(Arc<Locations>);

impl Neighbourhood for Nobody {
    fn is_known(&self, address: IpAddr) -> bool {
        self.0.has_source(address)
    }

    fn is_shared(&self, network: Ipv6Addr) -> bool {
        self.0.has_network(network)
    }
}

/// A response of the phone at `at`, with its tag, Contact and the Record-Route of the request.
pub(crate) fn answer(request: &Message, status: u16, at: &str) -> Message {
    let tag = format!("at{}", at.replace(['[', ']', ':'], ""));
    Builder::response_to(request, StatusCode::new(status).unwrap(), None, Some(&tag))
        .copy(request, Name::RecordRoute)
        .header(Name::Contact, format_args!("<sip:phone@{at}>"))
        .finish()
}

/// The ACK for a final response other than 2xx (RFC 3261 §17.1.1.3).
pub(crate) fn ack_of_failure(invite: &Message, response: &Message) -> Message {
    Builder::request(&Method::Ack, invite.request_uri_text())
        .header(Name::Via, invite.top_via().unwrap())
        .copy(invite, Name::From)
        .copy(response, Name::To)
        .copy(invite, Name::CallId)
        .header(Name::CSeq, format_args!("{} ACK", invite.cseq().unwrap().number))
        .header(Name::MaxForwards, 70)
        .finish()
}

/// The CANCEL of an INVITE.
pub(crate) fn cancel_of(invite: &Message) -> Message {
    Builder::request(&Method::Cancel, invite.request_uri_text())
        .header(Name::Via, invite.top_via().unwrap())
        .copy(invite, Name::From)
        .copy(invite, Name::To)
        .copy(invite, Name::CallId)
        .copy(invite, Name::Route)
        .header(Name::CSeq, format_args!("{} CANCEL", invite.cseq().unwrap().number))
        .header(Name::MaxForwards, 70)
        .finish()
}

/// A request inside the dialog that a 2xx made, from the caller (`true`) or the callee, with the right Route.
pub(crate) fn in_dialog(
    method: &Method,
    cseq: u32,
    from: &str,
    response: &Message,
    caller: bool,
    target: &str,
) -> Message {
    let mut routes: Vec<String> =
        response.raws(Name::RecordRoute).map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    if caller {
        routes.reverse();
    }
    let (local, remote) = match caller {
        true => (Name::From, Name::To),
        false => (Name::To, Name::From),
    };
    let branch = format!("z9hG4bK{}{cseq}{caller}", response.call_id().unwrap());
    let builder = Builder::request(method, target)
        .header(Name::Via, format_args!("SIP/2.0/UDP {from};branch={branch};rport"))
        .header(Name::MaxForwards, 70)
        .header(Name::From, response.text(local).unwrap())
        .header(Name::To, response.text(remote).unwrap())
        .copy(response, Name::CallId)
        .header(Name::CSeq, format_args!("{cseq} {method}"));
    routes.iter().fold(builder, |builder, route| builder.header(Name::Route, route)).finish()
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
