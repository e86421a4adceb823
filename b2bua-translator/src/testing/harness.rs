//! The core between a proxy and some gateways.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::dns::{DnsError, Located};
use schema::secret::{Ha1Set, Password, Sealed};
use schema::{
    CallRecord, Change, Directory, Line, LineId, Number, Route, RouteId, Site, SiteId, Trunk, TrunkId,
};
use sip_core::core::{Core, Input, Output, TimerId, Token, TransmitId};
use sip_core::dialog::Dialog;
use sip_core::flow::{Flow, Transport};
use sip_core::ids::{IdSource, WorkerId};
use sip_core::wire::header::{NameAddr, Via};
use sip_core::wire::{Builder, Limits, Message, Method, Name, StatusCode};

use crate::core::{Shared, TranslatorCore};
use crate::question::{Answer, MediaId, PortPair, Question, Side, Sides, StreamPorts};
use crate::relay::SideUpdate;
use crate::sdp::Sdp;
use crate::settings::{Face, Settings};
use sip_core::clock::WallClock;

pub(crate) const PROXY: &str = "[2001:db8:1::10]:5060";
pub(crate) const INSIDE: &str = "[2001:db8:1::9]:5070";
pub(crate) const OUTSIDE: &str = "198.51.100.9:5070";
pub(crate) const OUTSIDE_V6: &str = "[2001:db8:9::9]:5071";
pub(crate) const GATEWAY_1: &str = "192.0.2.1:5060";
pub(crate) const GATEWAY_2: &str = "192.0.2.2:5060";
pub(crate) const GATEWAY_V6: &str = "[2001:db8:ff::1]:5060";
pub(crate) const PHONE_MEDIA: &str = "2001:db8:42:10::101";
pub(crate) const GATEWAY_MEDIA: &str = "192.0.2.77";

pub(crate) struct Harness {
    pub(crate) core: TranslatorCore,
    pub(crate) shared: Shared,
    pub(crate) now: Instant,
    timers: BTreeMap<TimerId, Instant>,
    sent: VecDeque<(Flow, Message)>,
    /// The last transmission to each peer.
    transmits: BTreeMap<SocketAddr, TransmitId>,
    pub(crate) world: FakeWorld,
    counter: u32,
}

/// Answers at once, unless told otherwise.
#[derive(Default)]
pub(crate) struct FakeWorld {
    pub(crate) open: BTreeMap<MediaId, Vec<StreamPorts>>,
    pub(crate) opened: usize,
    pub(crate) closed: usize,
    /// Refuse to open media.
    pub(crate) exhausted: bool,
    /// Keep questions instead of answering them.
    pub(crate) slow: bool,
    pub(crate) waiting: VecDeque<(Token, Question)>,
    pub(crate) records: Vec<CallRecord>,
    /// The last update of each session and side.
    pub(crate) updates: Vec<(MediaId, Side, Vec<SideUpdate>)>,
    /// What names lead to; others are unknown.
    pub(crate) names: BTreeMap<String, Result<Located, DnsError>>,
    watches: BTreeMap<MediaId, Token>,
    next: u64,
}

/// A scripted peer: where it is, and its end of a dialog.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) tag: String,
    pub(crate) dialog: Option<Dialog>,
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn settings() -> Settings {
    let face = |text: &str| Face::new(address(text), address(text).ip());
    let mut settings = Settings::new("node1", face(INSIDE), vec![address(PROXY)]);
    settings.outside_v4 = Some(face(OUTSIDE));
    settings.outside_v6 = Some(face(OUTSIDE_V6));
    settings.keep_alive.every = Duration::ZERO;
    settings
}

pub(crate) fn directory() -> Directory {
    let directory = Directory::default();
    let mut site = Site::new("Dorm 42", "042", "s042.example.net").unwrap();
    site.id = SiteId(1);
    directory.apply(&Change::PutSite(site));
    for (id, extension, number) in [(1, "101", Some("+81312340101")), (2, "102", None)] {
        let user = format!("s042-{extension}");
        let ha1 = Ha1Set::of(&user, "realm", &Password::new("secret"));
        let mut line = Line::new(SiteId(1), extension, &user, ha1, Sealed::from_stored("x".into())).unwrap();
        line.id = LineId(id);
        directory.apply(&Change::PutLine(line));
        if let Some(number) = number {
            directory.apply(&Change::PutNumber(Number::new(number, LineId(id)).unwrap()));
        }
    }
    let trunk = |id, name: &str, gateways: &[&str]| {
        let gateways = gateways.iter().map(|gateway| gateway.parse().unwrap()).collect();
        Trunk {
            id: TrunkId(id),
            default_caller: Some("+81312340000".into()),
            ..Trunk::new(name, gateways).unwrap()
        }
    };
    let mut carrier = trunk(1, "carrier", &[GATEWAY_1, GATEWAY_2]);
    carrier.media_networks = vec!["192.0.2.0/24".parse().unwrap()];
    directory.apply(&Change::PutTrunk(carrier));
    directory.apply(&Change::PutTrunk(trunk(2, "six", &[GATEWAY_V6])));
    for (id, prefix, priority, trunk) in
        [(1, "+81", 0, 1), (2, "+44", 0, 2), (3, "110", 0, 1), (4, "+81", 5, 2)]
    {
        let mut route = Route::new(prefix, priority, TrunkId(trunk)).unwrap();
        route.id = RouteId(id);
        if id == 1 {
            route.strip = 3;
            route.prepend = "0".into();
        }
        directory.apply(&Change::PutRoute(route));
    }
    directory
}

pub(crate) fn sdp(ip: &str, port: u16) -> String {
    sdp_with(ip, &format!("m=audio {port} RTP/AVP 0 8\r\n"))
}

pub(crate) fn sdp_with(ip: &str, media: &str) -> String {
    let family = if ip.contains(':') { "IP6" } else { "IP4" };
    format!("v=0\r\no=peer 5 6 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n{media}")
}

impl Harness {
    pub(crate) fn new() -> Harness {
        Harness::with(settings(), 1)
    }

    pub(crate) fn with(settings: Settings, seed: u8) -> Harness {
        let shared = Shared::new(Arc::new(directory()), node::explain::Troubles::default());
        let now = Instant::now();
        let clock = WallClock::new(now, Duration::from_secs(1_700_000_000));
        let ids = IdSource::new(WorkerId(0), [seed; 32]);
        let core = TranslatorCore::new(Arc::new(settings), shared.clone(), ids, clock);
        let mut harness = Harness {
            core,
            shared,
            now,
            timers: BTreeMap::new(),
            sent: VecDeque::new(),
            transmits: BTreeMap::new(),
            world: FakeWorld::default(),
            counter: 0,
        };
        harness.drain();
        harness
    }

    /// Lets the carrier send calls elsewhere.
    pub(crate) fn trust_the_carrier(&self) {
        let mut carrier = (*self.shared.directory.trunk(TrunkId(1)).unwrap()).clone();
        carrier.may_redirect = true;
        self.shared.directory.apply(&Change::PutTrunk(carrier));
    }

    pub(crate) fn input(&mut self, input: Input<Answer>) {
        self.core.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.core.poll_output() {
                match output {
                    Output::Transmit(transmit) => {
                        self.transmits.insert(transmit.flow.remote, transmit.id);
                        let message = Message::parse(transmit.bytes, &Limits::default()).unwrap();
                        self.sent.push_back((transmit.flow, message));
                    }
                    Output::SetTimer(id, Some(at)) => {
                        self.timers.insert(id, at);
                    }
                    Output::SetTimer(id, None) => {
                        self.timers.remove(&id);
                    }
                    Output::Ask(token, question) => self.world.waiting.push_back((token, question)),
                }
            }
            if self.world.slow {
                return;
            }
            let Some((token, question)) = self.world.waiting.pop_front() else { return };
            let answers = self.world.answer(token, question);
            for (token, answer) in answers {
                self.core.handle_input(self.now, Input::Answer(token, answer));
            }
        }
    }

    /// Answers what was kept.
    pub(crate) fn answer_all(&mut self) {
        self.world.slow = false;
        self.drain();
    }

    /// Lets time pass, with every timer on its way.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((&id, &at)) =
            self.timers.iter().min_by_key(|(id, at)| (**at, **id)).filter(|(_, at)| **at <= until)
        {
            self.timers.remove(&id);
            self.now = self.now.max(at);
            self.input(Input::Timer(id));
        }
        self.now = until;
    }

    /// Gives the core a message of a peer.
    pub(crate) fn send(&mut self, peer: &Peer, message: &Message) {
        self.receive(peer.address, peer.local, message.bytes().clone());
    }

    pub(crate) fn receive(&mut self, remote: SocketAddr, local: SocketAddr, bytes: Bytes) {
        let flow = Flow { transport: Transport::Udp, local, remote, connection: None };
        self.input(Input::Received { flow, bytes });
    }

    /// The next message to a peer.
    pub(crate) fn take(&mut self, to: &str) -> Message {
        self.try_take(to).unwrap_or_else(|| panic!("nothing was sent to {to}, but: {:?}", self.sent))
    }

    pub(crate) fn try_take(&mut self, to: &str) -> Option<Message> {
        let to = address(to);
        let at = self.sent.iter().position(|(flow, _)| flow.remote == to)?;
        self.sent.remove(at).map(|(_, message)| message)
    }

    pub(crate) fn try_take_any(&mut self) -> Option<(Flow, Message)> {
        self.sent.pop_front()
    }

    /// The next message to a peer that is a request of this method, dropping what comes before.
    pub(crate) fn take_request(&mut self, to: &str, method: Method) -> Message {
        loop {
            let message = self.take(to);
            if message.is(&method) {
                return message;
            }
        }
    }

    /// The next response to a peer with this status, dropping what comes before.
    pub(crate) fn take_status(&mut self, to: &str, status: u16) -> Message {
        loop {
            let message = self.take(to);
            if message.status().map(StatusCode::code) == Some(status) {
                return message;
            }
        }
    }

    pub(crate) fn forget_sent(&mut self) {
        self.sent.clear();
    }

    pub(crate) fn nothing_for(&self, to: &str) -> bool {
        let to = address(to);
        self.sent.iter().all(|(flow, _)| flow.remote != to)
    }

    pub(crate) fn count(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }

    pub(crate) fn proxy(&mut self) -> Peer {
        Peer::new(PROXY, INSIDE, &format!("proxy{}", self.count()))
    }

    pub(crate) fn gateway(&mut self, at: &str) -> Peer {
        let local = if at == GATEWAY_V6 { OUTSIDE_V6 } else { OUTSIDE };
        Peer::new(at, local, &format!("gateway{}", self.count()))
    }

    /// An INVITE of line 101 through the proxy.
    pub(crate) fn dial(&mut self, peer: &Peer, number: &str, body: Option<String>) -> Message {
        let invite = self.invite(peer, &format!("sip:{number}@{INSIDE}"), "<sip:101@s042.example.net>", body);
        let invite = invite
            .edit()
            .append(Name::PAssertedIdentity, "<sip:101@s042.example.net>")
            .append(Name::RecordRoute, format!("<sip:{PROXY};lr>"))
            .append(Name::UserAgent, "Phone 1.0")
            .append(Name::Supported, "replaces, gruu")
            .finish();
        self.send(peer, &invite);
        invite
    }

    /// The same, and the phone says what it knows.
    pub(crate) fn dial_with(
        &mut self,
        peer: &Peer,
        body: Option<String>,
        headers: &[(Name, &str)],
    ) -> Message {
        let uri = format!("sip:+81901234567@{INSIDE}");
        let invite = self.invite(peer, &uri, "<sip:101@s042.example.net>", body);
        let invite = with_headers(&invite, headers);
        self.send(peer, &invite);
        invite
    }

    /// A response of a peer with further headers.
    pub(crate) fn reply_with(
        &mut self,
        peer: &mut Peer,
        request: &Message,
        status: u16,
        body: Option<String>,
        headers: &[(Name, &str)],
    ) -> Message {
        let response = with_headers(&peer.response(request, status, body), headers);
        self.send(peer, &response);
        response
    }

    /// A peer's request in its dialog with further headers.
    pub(crate) fn ask_with(
        &mut self,
        peer: &mut Peer,
        method: Method,
        body: Option<String>,
        headers: &[(Name, &str)],
    ) -> Message {
        let request = self.compose_with(peer, method, body, headers);
        self.send(peer, &request);
        request
    }

    pub(crate) fn invite(&mut self, peer: &Peer, uri: &str, from: &str, body: Option<String>) -> Message {
        let number = self.count();
        let via = Via::new(Transport::Udp, peer.address, &format!("z9hG4bKpeer{number}"));
        let builder = Builder::request(&Method::Invite, uri)
            .header(Name::Via, via)
            .header(Name::MaxForwards, "68")
            .header(Name::From, format!("{from};tag={}", peer.tag))
            .header(Name::To, format!("<{uri}>"))
            .header(Name::CallId, format!("call{number}@inside.example.net"))
            .header(Name::CSeq, "1 INVITE")
            .header(Name::Contact, format!("<sip:peer@{}>", peer.address));
        match body {
            Some(body) => builder.body("application/sdp", body.into()).finish(),
            None => builder.finish(),
        }
    }

    /// A response of a peer.
    pub(crate) fn reply(
        &mut self,
        peer: &mut Peer,
        request: &Message,
        status: u16,
        body: Option<String>,
    ) -> Message {
        let response = peer.response(request, status, body);
        self.send(peer, &response);
        response
    }

    /// A peer's request in its dialog.
    pub(crate) fn ask(&mut self, peer: &mut Peer, method: Method, body: Option<(&str, String)>) -> Message {
        let request = self.compose(peer, method, body);
        self.send(peer, &request);
        request
    }

    /// A peer's request in its dialog with further headers, not sent yet.
    pub(crate) fn compose_with(
        &mut self,
        peer: &mut Peer,
        method: Method,
        body: Option<String>,
        headers: &[(Name, &str)],
    ) -> Message {
        with_headers(&self.compose(peer, method, body.map(|sdp| ("application/sdp", sdp))), headers)
    }

    fn compose(&mut self, peer: &mut Peer, method: Method, body: Option<(&str, String)>) -> Message {
        let number = self.count();
        let via = Via::new(Transport::Udp, peer.address, &format!("z9hG4bKin{number}"));
        let contact: NameAddr = NameAddr::parse(&format!("<sip:peer@{}>", peer.address)).unwrap();
        let builder = peer.dialog.as_mut().unwrap().request(&method, via, Some(&contact));
        match body {
            Some((kind, body)) => builder.body(kind, body.into()).finish(),
            None => builder.finish(),
        }
    }

    /// A peer's ACK of a 2xx.
    pub(crate) fn ack(&mut self, peer: &Peer, response: &Message, body: Option<String>) {
        let number = self.count();
        let via = Via::new(Transport::Udp, peer.address, &format!("z9hG4bKack{number}"));
        let builder = peer.dialog.as_ref().unwrap().ack(via, response.cseq().unwrap().number);
        let ack = match body {
            Some(body) => builder.body("application/sdp", body.into()).finish(),
            None => builder.finish(),
        };
        self.send(peer, &ack);
    }

    /// An answered outbound call, both ACKs done and nothing unread.
    pub(crate) fn call_up(&mut self) -> (Peer, Peer) {
        let mut proxy = self.proxy();
        let mut gateway = self.gateway(GATEWAY_1);
        let invite = self.dial(&proxy, "+81901234567", Some(sdp(PHONE_MEDIA, 11_000)));
        let out = self.take_request(GATEWAY_1, Method::Invite);
        self.reply(&mut gateway, &out, 200, Some(sdp(GATEWAY_MEDIA, 4_000)));
        let ok = self.take_status(PROXY, 200);
        proxy.learn(&invite, &ok);
        self.ack(&proxy, &ok, None);
        self.take_request(GATEWAY_1, Method::Ack);
        self.forget_sent();
        (proxy, gateway)
    }

    /// Hangs up on the proxy's side, and checks that all is over.
    pub(crate) fn hang_up(&mut self, proxy: &mut Peer, gateway: &mut Peer) {
        self.ask(proxy, Method::Bye, None);
        self.take_status(PROXY, 200);
        let at = gateway.address.to_string();
        let bye = self.take_request(&at, Method::Bye);
        self.reply(gateway, &bye, 200, None);
        self.assert_over();
    }

    /// No call is left, its media is closed, and there is one record for each call that there was.
    pub(crate) fn assert_over(&self) {
        assert!(self.core.is_idle(), "{:?}", self.core);
        assert!(self.world.open.is_empty());
        assert_eq!(self.world.opened, self.world.closed);
        assert_eq!(self.shared.calls(), 0);
        assert_eq!(self.shared.trunks.calls(TrunkId(1)), 0);
        assert_eq!(self.core.active(), 0);
    }

    pub(crate) fn record(&self) -> &CallRecord {
        assert_eq!(self.world.records.len(), 1);
        &self.world.records[0]
    }

    /// Tells the core that a side is silent.
    pub(crate) fn silence(&mut self, side: Side) {
        let (_, token) = self.world.watches.pop_first().expect("somebody watches");
        self.input(Input::Answer(token, Answer::Silent(side)));
    }

    /// What the relay was last told of a side.
    pub(crate) fn last_update(&self, side: Side) -> &[SideUpdate] {
        let found = self.world.updates.iter().rev().find(|(_, told, _)| *told == side);
        &found.expect("an update").2
    }
}

impl FakeWorld {
    fn answer(&mut self, token: Token, question: Question) -> Vec<(Token, Answer)> {
        let answer = match question {
            Question::OpenMedia { .. } if self.exhausted => {
                Answer::NotOpened { reason: "no free media ports".into() }
            }
            Question::OpenMedia { streams, .. } => {
                self.next += 1;
                let media = MediaId(self.next);
                self.opened += 1;
                let streams = (0..streams).map(|index| ports(self.next, index)).collect::<Vec<_>>();
                self.open.insert(media, streams.clone());
                Answer::Opened { media, streams }
            }
            Question::GrowMedia { .. } if self.exhausted => Answer::NotOpened { reason: "none".into() },
            Question::GrowMedia { media, streams } => {
                let open = self.open.get_mut(&media).expect("an open session");
                for _ in 0..streams {
                    open.push(ports(media.0, open.len()));
                }
                Answer::Opened { media, streams: open.clone() }
            }
            Question::UpdateMedia { media, side, streams } => {
                assert_eq!(
                    self.open.get(&media).map(Vec::len),
                    Some(streams.len()),
                    "an update of an open session"
                );
                self.updates.push((media, side, streams));
                Answer::Updated
            }
            Question::WatchMedia { media } => {
                assert!(self.open.contains_key(&media));
                self.watches.insert(media, token);
                return Vec::new();
            }
            Question::CloseMedia { media } => {
                self.open.remove(&media).expect("media is closed once");
                self.closed += 1;
                let mut answers = vec![(token, Answer::Closed(serde_json::json!({"session": media.0})))];
                if let Some(watch) = self.watches.remove(&media) {
                    answers.push((watch, Answer::WatchEnded));
                }
                return answers;
            }
            Question::SaveRecord(record) => {
                record.check().unwrap();
                assert!(self.records.iter().all(|other| other.id != record.id), "one record a call");
                self.records.push(*record);
                Answer::Saved(Ok(()))
            }
            Question::Locate(wanted) => {
                let known = self.names.get(&wanted.host).cloned();
                Answer::Located(known.unwrap_or(Err(DnsError::Unknown(wanted.host))))
            }
        };
        vec![(token, answer)]
    }
}

fn ports(session: u64, index: usize) -> StreamPorts {
    let base = 20_000 + (session as u16 % 2_000) * 20 + index as u16 * 2;
    Sides {
        caller: PortPair { rtp: base, rtcp: base + 1 },
        callee: PortPair { rtp: base + 1_000, rtcp: base + 1_001 },
    }
}

impl Peer {
    pub(crate) fn new(at: &str, local: &str, tag: &str) -> Peer {
        Peer { address: address(at), local: address(local), tag: tag.into(), dialog: None }
    }

    fn flow(&self) -> Flow {
        Flow { transport: Transport::Udp, local: self.address, remote: self.local, connection: None }
    }

    /// Takes over the dialog that the core's answer made.
    pub(crate) fn learn(&mut self, request: &Message, response: &Message) {
        self.dialog = Some(Dialog::uac(request, response, self.flow()).unwrap());
    }

    pub(crate) fn response(&mut self, request: &Message, status: u16, body: Option<String>) -> Message {
        let code = StatusCode::new(status).unwrap();
        let mut builder =
            Builder::response_to(request, code, None, (status > 100).then_some(self.tag.as_str()));
        if request.is(&Method::Invite) && (101..300).contains(&status) {
            builder = builder.header(Name::Contact, format!("<sip:peer@{}>", self.address));
            if request.to_tag().is_none() {
                let mut dialog = Dialog::uas(request, &self.tag, self.flow()).unwrap();
                if let Some(old) = &self.dialog {
                    dialog = old.clone();
                }
                self.dialog = Some(dialog);
            }
        }
        match body {
            Some(body) => builder.body("application/sdp", body.into()).finish(),
            None => builder.finish(),
        }
    }
}

fn with_headers(message: &Message, headers: &[(Name, &str)]) -> Message {
    let mut edit = message.edit();
    for (name, value) in headers {
        edit.append(*name, value);
    }
    edit.finish()
}

/// The description in a message.
pub(crate) fn described(message: &Message) -> Sdp {
    Sdp::parse(message.body()).unwrap()
}

impl Harness {
    /// As [`hang_up`](Harness::hang_up), and waits for abandoned INVITEs to end.
    pub(crate) fn hang_up_and_settle(&mut self, proxy: &mut Peer, gateway: &mut Peer) {
        self.forget_sent();
        self.ask(proxy, Method::Bye, None);
        let at = gateway.address.to_string();
        let bye = self.take_request(&at, Method::Bye);
        self.reply(gateway, &bye, 200, None);
        self.pass(Duration::from_secs(120));
        self.assert_over();
    }
}

impl Harness {
    /// The transmission of the first message to a peer, which is dropped.
    pub(crate) fn transmit_of(&mut self, to: &str) -> TransmitId {
        let to = address(to);
        let at = self.sent.iter().position(|(flow, ..)| flow.remote == to).expect("a message");
        self.sent.remove(at);
        *self.transmits.get(&to).expect("a transmission")
    }

    pub(crate) fn core_active(&self) -> usize {
        self.core.active()
    }

    /// Tells the core that a side is silent, if somebody listens.
    pub(crate) fn maybe_silence(&mut self) {
        if !self.world.watches.is_empty() {
            self.silence(Side::Caller);
        }
    }
}
