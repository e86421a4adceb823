//! The core of the role `registrar-proxy`: takes inputs, runs the layers under it, and hands out what they want done.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use node::dns::{DnsError, Located};
use registrar::{Gatekeeper, Locations, Registrar, Sightings};
use schema::{CallRecord, Change, Directory, LineId, SaveError};
use sip_core::auth::{Digest, DigestSettings};
use sip_core::clock::WallClock;
use sip_core::core::{Core, Input, Output, TimerId, Token};
use sip_core::flow::Flow;
use sip_core::ids::IdSource;
use sip_core::locate::Wanted;
use sip_core::overload::Throttle;
use sip_core::subscription::Ending;
use sip_core::transaction::{self, ClientId, Event, Layer, ServerId};

use crate::call_table::CallTable;
use crate::forward::{Context, LOOKUP, Waiting};
use crate::gate::Gate;
use crate::settings::Settings;
use crate::subscribe::Subscriptions;
use crate::telemetry;

/// What the core asks of the world.
#[derive(Debug)]
pub enum Question {
    /// Put these changes on disk, together.
    Save(Vec<Change>),
    /// Where the servers behind a name are.
    Locate(Wanted),
}

/// What the world replies.
#[derive(Debug)]
pub enum Answer {
    /// What became of [`Question::Save`].
    Saved(Result<(), SaveError>),
    /// What [`Question::Locate`] found.
    Located(Result<Located, DnsError>),
}

/// Everything that the workers of the role share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The policy.
    pub settings: Arc<Settings>,
    /// Sites, lines, numbers, routes.
    pub directory: Arc<Directory>,
    /// Where each line can be reached.
    pub locations: Arc<Locations>,
    /// How much is taken, and from whom.
    pub gate: Arc<Gate>,
}

/// Registrar and stateful proxy (RFC 3261 §10.3, §16) of one worker.
#[derive(Debug)]
pub struct ProxyCore {
    pub(crate) settings: Arc<Settings>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) locations: Arc<Locations>,
    pub(crate) layer: Layer,
    pub(crate) registrar: Registrar,
    pub(crate) gatekeeper: Gatekeeper,
    sightings: Sightings,
    pub(crate) ids: IdSource,
    pub(crate) clock: WallClock,
    pub(crate) contexts: HashMap<u64, Context>,
    pub(crate) by_server: HashMap<ServerId, u64>,
    pub(crate) by_client: HashMap<ClientId, (u64, usize)>,
    /// Contexts whose final response has not gone upstream.
    pub(crate) unanswered: usize,
    pub(crate) next_context: u64,
    pub(crate) next_translator: usize,
    pub(crate) calls: CallTable,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) gate: Arc<Gate>,
    /// What the translators say of their load.
    pub(crate) throttles: HashMap<SocketAddr, Throttle>,
    pub(crate) draining: bool,
    sweep_at: Option<Instant>,
    next_record: u64,
    /// What waits for a name to be looked up.
    pub(crate) lookups: HashMap<u64, Waiting>,
    pub(crate) next_lookup: u64,
    outputs: VecDeque<Output<Question>>,
}

impl ProxyCore {
    /// The core of one worker. `digest` must be of the realm in the settings; `clock` tells what time it is.
    pub fn new(shared: Shared, digest: DigestSettings, ids: IdSource, clock: WallClock) -> ProxyCore {
        let Shared { settings, directory, locations, gate } = shared;
        let algorithms = settings.registrar.algorithms.clone();
        ProxyCore {
            layer: Layer::new(settings.transactions.clone()),
            registrar: Registrar::new(
                settings.registrar.clone(),
                Arc::clone(&locations),
                Arc::clone(&directory),
            ),
            gatekeeper: Gatekeeper::new(
                Digest::new(digest),
                algorithms,
                Arc::clone(&directory),
                settings.mask,
            ),
            sightings: Sightings::new(Arc::clone(&directory)),
            ids,
            clock,
            contexts: HashMap::new(),
            by_server: HashMap::new(),
            by_client: HashMap::new(),
            unanswered: 0,
            next_context: FIRST_CONTEXT,
            next_translator: 0,
            calls: CallTable::new(settings.limits.max_calls, settings.limits.lost_call),
            subscriptions: Subscriptions::new(settings.subscriptions.clone()),
            gate,
            throttles: HashMap::new(),
            draining: false,
            sweep_at: None,
            next_record: 0,
            lookups: HashMap::new(),
            next_lookup: 0,
            outputs: VecDeque::new(),
            settings,
            directory,
            locations,
        }
    }

    pub(crate) fn unix_ms(&self, now: Instant) -> i64 {
        self.clock.unix_ms(now)
    }

    pub(crate) fn ask(&mut self, token: Token, question: Question) {
        self.outputs.push_back(Output::Ask(token, question));
    }

    pub(crate) fn set_timer(&mut self, timer: TimerId, at: Option<Instant>) {
        self.outputs.push_back(Output::SetTimer(timer, at));
    }

    /// Sends a call record to the store. The store keeps it while the database is away, so there is nothing to do about the answer.
    pub(crate) fn write_record(&mut self, record: CallRecord) {
        self.next_record += 1;
        self.ask(Token(RECORD | self.next_record), Question::Save(vec![Change::AddCallRecord(record)]));
    }

    /// Saves what nobody waits for, and what does no harm when it is lost.
    pub(crate) fn save_quietly(&mut self, changes: Vec<Change>) {
        self.next_record += 1;
        self.ask(Token(QUIET | self.next_record), Question::Save(changes));
    }

    /// Tells the store where a line's credential was used from. The refusal does not wait for it.
    pub(crate) fn sighted(&mut self, now: Instant, line: LineId, flow: &Flow) {
        if let Some(sighting) = self.sightings.see(self.unix_ms(now), line, flow.remote.ip()) {
            let token = Token(SIGHTING | line.0.unsigned_abs());
            self.ask(token, Question::Save(vec![Change::PutSighting(sighting)]));
        }
    }

    fn answered(&mut self, now: Instant, token: Token, answer: Answer) {
        let result = match answer {
            Answer::Saved(result) => result,
            Answer::Located(answer) => return self.located(now, token.0 & !LOOKUP, answer),
        };
        if token.0 & QUIET != 0 {
            return;
        }
        if token.0 & RECORD != 0 {
            if let Err(error) = result {
                telemetry::record_lost();
                tracing::error!(%error, "a call record could not be saved");
            }
            return;
        }
        if token.0 & SIGHTING != 0 {
            self.sightings.saved(LineId((token.0 & !SIGHTING).cast_signed()));
            if let Err(error) = result {
                tracing::debug!(%error, "a sighting could not be saved; the line's next request tries again");
            }
            return;
        }
        let answer = self.registrar.saved(self.clock.unix(now), token.0, result, &mut self.ids);
        if let Some((server, response)) = answer {
            self.respond(now, server, response);
        }
    }

    /// Passes on what the transaction layer wants, until it wants nothing more.
    fn run(&mut self, now: Instant) {
        while let Some(output) = self.layer.poll_output() {
            match output {
                transaction::Output::Transmit(transmit) => self.outputs.push_back(Output::Transmit(transmit)),
                transaction::Output::SetTimer(timer, at) => self.set_timer(timer, at),
                transaction::Output::Event(event) => self.event(now, event),
            }
        }
    }

    fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Request { server, request, flow } => self.request(now, server, request, flow),
            Event::Cancelled { server, cancel } => self.cancelled(now, server, &cancel),
            Event::Ack { request, flow } => self.ack(now, &request, flow),
            Event::Response { client, response, .. } => {
                if !self.notify_answered(now, client, &response) {
                    self.response(now, client, &response);
                }
            }
            Event::ClientFailed { client, failure } => {
                if !self.notify_failed(client) {
                    self.client_failed(now, client, failure);
                }
            }
            Event::ClientEnded { client } => self.client_ended(client),
            Event::ServerEnded { server } => self.server_ended(server),
            // What is still owed upstream is retransmitted or given up by the layer.
            Event::ServerFailed { failure, .. } => tracing::debug!(?failure, "a response found no taker"),
            // RFC 6026 §8.9: a response that belongs to nothing is not forwarded.
            Event::Stray { response, flow } => {
                telemetry::dropped("stray_response");
                let from = self.settings.mask.addr(flow.remote);
                tracing::debug!(status = ?response.status(), %from, "a stray response was dropped");
            }
        }
    }

    fn rearm_sweep(&mut self) {
        let at = self.calls.next_deadline();
        if at != self.sweep_at {
            self.sweep_at = at;
            self.set_timer(SWEEP, at);
        }
    }
}

impl Core for ProxyCore {
    type Question = Question;
    type Answer = Answer;

    fn handle_input(&mut self, now: Instant, input: Input<Answer>) {
        match input {
            Input::Received { flow, .. } if !self.gate.sources.admits(now, flow.remote.ip()) => {}
            Input::Received { flow, bytes } => self.layer.receive(now, flow, bytes),
            Input::TransmitFailed(id) => self.layer.transmit_failed(now, id),
            // Who connects is told by digest here, not by certificates.
            Input::Identified { .. } => {}
            Input::ConnectionClosed(connection) => self.layer.connection_closed(now, connection),
            Input::Timer(id) if Layer::owns_timer(id) => self.layer.timer(now, id),
            Input::Timer(SWEEP) => {
                self.sweep_at = None;
                for record in self.calls.lost(now, self.unix_ms(now)) {
                    let mask = self.settings.mask;
                    tracing::warn!(
                        caller = %mask.number(&record.caller),
                        callee = %mask.number(&record.callee),
                        "a call is closed as lost"
                    );
                    self.write_record(record);
                }
            }
            Input::Timer(NOTIFIER) => self.tick_subscriptions(now),
            Input::Timer(id) => self.tick(now, id),
            Input::Answer(token, answer) => self.answered(now, token, answer),
            Input::Drain => {
                self.draining = true;
                self.subscriptions.notifier.end_all(now, Ending::Deactivated);
                self.notify(now);
            }
            Input::Stop => {
                self.draining = true;
                self.give_up(now);
                for record in self.calls.cut(self.unix_ms(now)) {
                    self.write_record(record);
                }
            }
        }
        self.run(now);
        self.rearm_sweep();
        self.rearm_subscriptions();
    }

    fn poll_output(&mut self) -> Option<Output<Question>> {
        self.outputs.pop_front()
    }

    /// Requests without a final response, and calls that are up. Transactions that only absorb retransmissions do not keep a node alive.
    fn active(&self) -> usize {
        self.unanswered + self.registrar.waiting() + self.calls.len()
    }
}

/// The timer of the call table.
const SWEEP: TimerId = TimerId(0);
/// The timer of the subscriptions; contexts number theirs from here on.
pub(crate) const NOTIFIER: TimerId = TimerId(1);
const FIRST_CONTEXT: u64 = 2;
/// Marks the tokens of call records; the registrar's are small.
const RECORD: u64 = 1 << 63;
/// Marks the tokens of saves that nobody waits for.
const QUIET: u64 = 1 << 61;
/// Marks the tokens of sightings, which hold the line's number.
const SIGHTING: u64 = 1 << 62;
