//! Two layers and a bad network: who gets an answer, by loss and delay.
//!
//! The table is `snapshots/transaction-success.txt`. After a change that is meant to move it, write it anew with
//! `UPDATE_SNAPSHOTS=1 cargo test -p sip-core pair_tests` and look at the difference.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write;
use std::time::{Duration, Instant};

use super::{Event, Layer, Output, ServerId, Settings};
use crate::core::{Core, Input, Output as CoreOutput, TimerId};
use crate::flow::{Flow, Transport};
use crate::ids::{IdSource, WorkerId};
use crate::testing::{End, Pair, Weather, address};
use crate::wire::header::{CSeq, MaxForwards, Via};
use crate::wire::{Builder, Message, Method, Name, StatusCode};

type Network = Pair<Caller, Callee>;

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// OPTIONS, answered with 200 after 50 ms.
    Options,
    /// INVITE, ringing after 100 ms, refused with 486 after 3 s.
    Refused,
    /// INVITE, ringing after 100 ms, answered with 200 after 3 s; the 200 is repeated until its ACK comes.
    Answered,
    /// INVITE, ringing after 100 ms, cancelled by the caller after 1 s.
    Cancelled,
}

impl Scene {
    const ALL: [Scene; 4] = [Scene::Options, Scene::Refused, Scene::Answered, Scene::Cancelled];

    fn method(self) -> Method {
        if self == Scene::Options { Method::Options } else { Method::Invite }
    }

    /// The final response that counts as a success.
    fn expected(self) -> StatusCode {
        match self {
            Scene::Options | Scene::Answered => StatusCode::OK,
            Scene::Refused => StatusCode::BUSY_HERE,
            Scene::Cancelled => StatusCode::REQUEST_TERMINATED,
        }
    }
}

/// The layer's outputs beside the user's own.
struct Desk {
    layer: Layer,
    own: VecDeque<CoreOutput<Infallible>>,
    events: VecDeque<Event>,
}

impl Desk {
    fn new() -> Desk {
        Desk { layer: Layer::new(Settings::default()), own: VecDeque::new(), events: VecDeque::new() }
    }

    /// The user's timer, when it is not the layer's.
    fn handle(&mut self, now: Instant, input: Input<Infallible>) -> Option<TimerId> {
        match input {
            Input::Received { flow, bytes } => self.layer.receive(now, flow, bytes),
            Input::Timer(id) if Layer::owns_timer(id) => self.layer.timer(now, id),
            Input::Timer(id) => return Some(id),
            _ => {}
        }
        None
    }

    fn set_timer(&mut self, id: TimerId, at: Option<Instant>) {
        self.own.push_back(CoreOutput::SetTimer(id, at));
    }

    fn next_event(&mut self) -> Option<Event> {
        while let Some(output) = self.layer.poll_output() {
            match output {
                Output::Transmit(transmit) => self.own.push_back(CoreOutput::Transmit(transmit)),
                Output::SetTimer(id, at) => self.own.push_back(CoreOutput::SetTimer(id, at)),
                Output::Event(event) => self.events.push_back(event),
            }
        }
        self.events.pop_front()
    }

    fn poll_output(&mut self) -> Option<CoreOutput<Infallible>> {
        // A command outside handle_input leaves its outputs in the layer.
        if let Some(event) = self.next_event() {
            self.events.push_front(event);
        }
        self.own.pop_front()
    }
}

struct Caller {
    desk: Desk,
    ids: IdSource,
    scene: Scene,
    flow: Flow,
    client: Option<super::ClientId>,
    request: Option<Message>,
    finals: Vec<StatusCode>,
    failures: usize,
    ended: usize,
}

/// Hangs up: at once when that is the scene, else as late as a proxy's timer C.
const HANG_UP: TimerId = TimerId(1);

impl Caller {
    fn new(scene: Scene, flow: Flow) -> Caller {
        let ids = IdSource::new(WorkerId(0), [1; 32]);
        let (desk, finals) = (Desk::new(), Vec::new());
        Caller { desk, ids, scene, flow, client: None, request: None, finals, failures: 0, ended: 0 }
    }

    fn call(&mut self, now: Instant) {
        let method = self.scene.method();
        let request = Builder::request(&method, "sip:callee@[2001:db8::2]")
            .header(Name::Via, self.via())
            .header(Name::MaxForwards, MaxForwards(70))
            .header(Name::From, format_args!("<sip:caller@example.net>;tag={}", self.ids.tag()))
            .header(Name::To, "<sip:callee@example.net>")
            .header(Name::CallId, self.ids.call_id())
            .header(Name::CSeq, CSeq { number: 1, method })
            .finish();
        self.request = Some(request.clone());
        self.client = self.desk.layer.request(now, request, self.flow).ok();
        if self.scene == Scene::Cancelled {
            self.desk.set_timer(HANG_UP, Some(now + Duration::from_secs(1)));
        }
    }

    fn via(&mut self) -> Via {
        Via::new(self.flow.transport, address(End::Left), &self.ids.branch())
    }

    fn on_response(&mut self, now: Instant, response: &Message) {
        let status = response.status().unwrap();
        if status.is_provisional() {
            if self.scene != Scene::Cancelled {
                self.desk.set_timer(HANG_UP, Some(now + Duration::from_secs(180)));
            }
            return;
        }
        self.desk.set_timer(HANG_UP, None);
        if status.is_success() && self.scene != Scene::Options {
            let invite = self.request.as_ref().unwrap().clone();
            let ack = Builder::request(&Method::Ack, "sip:callee@[2001:db8::2]")
                .header(Name::Via, self.via())
                .copy(&invite, Name::From)
                .copy(response, Name::To)
                .copy(&invite, Name::CallId)
                .header(Name::CSeq, CSeq { number: 1, method: Method::Ack })
                .finish();
            self.desk.layer.send(&ack, self.flow);
            // RFC 6026: the same 200 may come any number of times.
            if self.finals.last() == Some(&status) {
                return;
            }
        }
        self.finals.push(status);
    }
}

impl Core for Caller {
    type Question = Infallible;
    type Answer = Infallible;

    fn handle_input(&mut self, now: Instant, input: Input<Infallible>) {
        if self.desk.handle(now, input) == Some(HANG_UP) {
            self.desk.layer.cancel(now, self.client.unwrap(), None);
        }
        while let Some(event) = self.desk.next_event() {
            match event {
                Event::Response { response, .. } => self.on_response(now, &response),
                Event::ClientFailed { .. } => {
                    self.desk.set_timer(HANG_UP, None);
                    self.failures += 1;
                }
                Event::ClientEnded { .. } => self.ended += 1,
                Event::Stray { .. } => {}
                other => panic!("not for a caller: {other:?}"),
            }
        }
    }

    fn poll_output(&mut self) -> Option<CoreOutput<Infallible>> {
        self.desk.poll_output()
    }

    fn active(&self) -> usize {
        self.desk.layer.active()
    }
}

struct Callee {
    desk: Desk,
    scene: Scene,
    server: Option<ServerId>,
    answer: Option<Message>,
    repeat_in: Duration,
    give_up_at: Option<Instant>,
    requests: usize,
    acked: bool,
    ended: usize,
}

const RING: TimerId = TimerId(1);
const ANSWER: TimerId = TimerId(2);
/// Sends a 200 to INVITE again (RFC 3261 §13.3.1.4).
const REPEAT: TimerId = TimerId(3);

impl Callee {
    fn new(scene: Scene) -> Callee {
        Callee {
            desk: Desk::new(),
            scene,
            server: None,
            answer: None,
            repeat_in: Duration::from_millis(500),
            give_up_at: None,
            requests: 0,
            acked: false,
            ended: 0,
        }
    }

    fn on_request(&mut self, now: Instant, server: ServerId) {
        self.requests += 1;
        self.server = Some(server);
        if self.scene == Scene::Options {
            self.desk.set_timer(ANSWER, Some(now + Duration::from_millis(50)));
        } else {
            self.desk.set_timer(RING, Some(now + Duration::from_millis(100)));
        }
        if matches!(self.scene, Scene::Refused | Scene::Answered) {
            self.desk.set_timer(ANSWER, Some(now + Duration::from_secs(3)));
        }
    }

    fn respond(&mut self, now: Instant, status: StatusCode) {
        let server = self.server.unwrap();
        // Nothing more to say once there is a final response.
        let Some(request) = self.desk.layer.request_of(server) else { return };
        let response = Builder::response_to(request, status, None, Some("callee")).finish();
        self.desk.layer.respond(now, server, response.clone());
        if status.is_success() && self.scene == Scene::Answered {
            self.answer = Some(response);
            self.give_up_at = Some(now + Duration::from_secs(32));
            self.desk.set_timer(REPEAT, Some(now + self.repeat_in));
        }
    }

    fn repeat(&mut self, now: Instant) {
        if self.acked || self.give_up_at.is_none_or(|at| at <= now) {
            return;
        }
        self.desk.layer.respond(now, self.server.unwrap(), self.answer.clone().unwrap());
        self.repeat_in = (self.repeat_in * 2).min(Duration::from_secs(4));
        self.desk.set_timer(REPEAT, Some(now + self.repeat_in));
    }
}

impl Core for Callee {
    type Question = Infallible;
    type Answer = Infallible;

    fn handle_input(&mut self, now: Instant, input: Input<Infallible>) {
        match self.desk.handle(now, input) {
            Some(RING) => self.respond(now, StatusCode::RINGING),
            Some(ANSWER) => {
                let status = self.scene.expected();
                self.respond(now, status);
            }
            Some(REPEAT) => self.repeat(now),
            _ => {}
        }
        while let Some(event) = self.desk.next_event() {
            match event {
                Event::Request { server, .. } => self.on_request(now, server),
                Event::Cancelled { .. } => {
                    self.desk.set_timer(ANSWER, None);
                    self.respond(now, StatusCode::REQUEST_TERMINATED);
                }
                Event::Ack { .. } => self.acked = true,
                Event::ServerEnded { .. } => self.ended += 1,
                Event::ServerFailed { .. } => {}
                other => panic!("not for a callee: {other:?}"),
            }
        }
    }

    fn poll_output(&mut self) -> Option<CoreOutput<Infallible>> {
        self.desk.poll_output()
    }

    fn active(&self) -> usize {
        self.desk.layer.active()
    }
}

/// Plays a scene to its end, checks what must hold whatever the weather, and gives whether the caller got the answer.
fn play(scene: Scene, transport: Transport, weather: Weather, seed: u64) -> bool {
    let caller = Caller::new(scene, Network::flow(End::Left, transport));
    let mut pair = Network::new(caller, Callee::new(scene), weather, seed);
    pair.at_left(|caller, now| caller.call(now));
    let context = format!("{scene:?} over {transport}, {weather:?}, seed {seed}");
    // A server that is asked and never cancelled again, because every CANCEL was lost, has nothing to end it but its user.
    let quiet = pair.run(Duration::from_secs(600));
    assert!(quiet, "{context}: it never ends");
    let unanswered =
        usize::from(pair.right.server.is_some_and(|id| pair.right.desk.layer.request_of(id).is_some()));
    if unanswered == 1 {
        pair.at_right(|callee, now| callee.respond(now, StatusCode::REQUEST_TERMINATED));
        assert!(pair.run(Duration::from_secs(600)), "{context}: it never ends");
    }

    let (caller, callee) = (&pair.left, &pair.right);
    assert_eq!(caller.finals.len() + caller.failures, 1, "{context}: {:?}", caller.finals);
    assert!(callee.requests <= 1, "{context}: the request came {} times", callee.requests);
    assert!(callee.requests == 1 || caller.finals.is_empty(), "{context}: an answer from nowhere");
    assert_eq!((caller.ended, callee.ended), (1, callee.requests), "{context}: transactions that ended");
    assert_eq!((caller.active(), callee.active()), (0, 0), "{context}: transactions that are left");
    assert_eq!((pair.armed(), pair.misdirected), (0, 0), "{context}: armed timers, misdirected messages");
    caller.finals == [scene.expected()]
}

#[test]
fn success_by_loss_and_delay() {
    let mut table = String::from(
        "# Runs of 100 in which the caller's user got the callee's final response, by loss and longest delay.\n\
         # 5 % of the datagrams are duplicated, and any may overtake any. Write anew with:\n\
         # UPDATE_SNAPSHOTS=1 cargo test -p sip-core pair_tests\n",
    );
    for scene in Scene::ALL {
        writeln!(table, "\n{scene:<10?} {:>6} {:>6} {:>6} {:>6}", "0ms", "100ms", "500ms", "2000ms").unwrap();
        for loss in [0, 100, 200, 300, 400, 500] {
            write!(table, "loss {:>3} % ", loss / 10).unwrap();
            for delay_ms in [0, 100, 500, 2000] {
                let weather = Weather { loss, duplication: 50, max_delay: Duration::from_millis(delay_ms) };
                let seeds = (0..100).map(|run| run + 1_000 * delay_ms + 10_000_000 * u64::from(loss));
                let successes = seeds.filter(|seed| play(scene, Transport::Udp, weather, *seed)).count();
                write!(table, " {successes:>6}").unwrap();
            }
            table.push('\n');
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots/transaction-success.txt");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        table == committed,
        "the table has changed; look at it, and see {path} for how to write it anew:\n{table}"
    );
}

#[test]
fn over_a_stream_everybody_gets_an_answer() {
    for scene in Scene::ALL {
        for delay_ms in [0, 100, 2000] {
            let weather = Weather { loss: 500, duplication: 50, max_delay: Duration::from_millis(delay_ms) };
            assert!(play(scene, Transport::Tcp, weather, 1), "{scene:?}");
        }
    }
}
