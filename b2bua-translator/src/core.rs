//! The translator's core: takes each input to the call that it belongs to.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use schema::{Directory, Trunk};
use sip_core::core::{Core, Input, Output};
use sip_core::flow::{ConnectionId, Flow};
use sip_core::ids::{IdSource, WorkerId};
use sip_core::transaction::{Event, Layer, Output as LayerOutput, ServerId};
use sip_core::wire::header::{MaxForwards, MinSe};
use sip_core::wire::{Message, Method, Name, StatusCode};
use tracing::{debug, info};

use crate::body::{Body, SDP_TYPE};
use crate::call::{Call, Incoming};
use crate::env::{CallKey, Env, Owner, alarm_of};
use crate::keep_alive::{self, KeepAlive};
use crate::leg::{Agreement, Peering, allow};
use crate::question::{Answer, Question};
use crate::required::unacceptable;
use crate::settings::Settings;
use crate::trunks::{TrunkStates, trunk_of_source};
use sip_core::clock::WallClock;

/// What the workers of one translator share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What is stored of lines, numbers, trunks and routes.
    pub directory: Arc<Directory>,
    /// Which gateways are up, and how many calls each trunk carries.
    pub trunks: Arc<TrunkStates>,
    calls: Arc<AtomicUsize>,
}

impl Shared {
    /// Nothing known of any gateway yet.
    pub fn new(directory: Arc<Directory>) -> Shared {
        Shared { directory, trunks: Arc::default(), calls: Arc::default() }
    }

    /// Calls in all workers.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// One worker of the role `translator`.
pub struct TranslatorCore {
    env: Env,
    shared: Shared,
    calls: HashMap<CallKey, Call>,
    next_call: u64,
    /// The one worker that watches the gateways.
    keep_alive: Option<KeepAlive>,
    /// The certificates' names of open connections; as many as there are connections.
    identified: HashMap<ConnectionId, Arc<[String]>>,
    draining: bool,
}

/// Who sent a request.
enum Peer {
    Proxy,
    Trunk(Arc<Trunk>),
}

impl Peer {
    fn peering(&self) -> Peering {
        match self {
            Peer::Proxy => Peering::Inside,
            Peer::Trunk(_) => Peering::Trunk,
        }
    }
}

impl TranslatorCore {
    /// A core without calls. The worker with number 0 watches the gateways: its first output, there before any input, is the
    /// timer for that.
    pub fn new(settings: Arc<Settings>, shared: Shared, ids: IdSource, clock: WallClock) -> TranslatorCore {
        let keep_alive = (ids.worker() == WorkerId(0)).then(KeepAlive::default);
        let (directory, trunks) = (Arc::clone(&shared.directory), Arc::clone(&shared.trunks));
        let mut env = Env::new(clock.anchor(), clock, settings, directory, trunks, ids);
        if keep_alive.is_some() {
            env.out.push_back(Output::SetTimer(keep_alive::TIMER, Some(clock.anchor())));
        }
        TranslatorCore {
            env,
            shared,
            calls: HashMap::new(),
            next_call: 1,
            keep_alive,
            identified: HashMap::new(),
            draining: false,
        }
    }

    fn drain_layer(&mut self) {
        while let Some(output) = self.env.layer.poll_output() {
            match output {
                LayerOutput::Transmit(transmit) => self.env.out.push_back(Output::Transmit(transmit)),
                LayerOutput::SetTimer(id, at) => self.env.out.push_back(Output::SetTimer(id, at)),
                LayerOutput::Event(event) => self.event(event),
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Request { server, request, flow } => self.request(server, request, flow),
            Event::Cancelled { server, cancel } => {
                if let Some(key) = self.env.call_of_server(server) {
                    self.with(key, |call, env| call.cancel(env, server, &cancel));
                }
            }
            Event::Ack { request, .. } => {
                if let Some(key) = self.env.call_of_dialog(&request) {
                    self.with(key, |call, env| call.ack(env, &request));
                }
            }
            Event::Response { client, response, flow } => match self.env.owner_of(client) {
                Some(Owner::Call(key)) if self.calls.contains_key(&key) => {
                    self.with(key, |call, env| call.response(env, client, &response, flow));
                }
                Some(Owner::KeepAlive(_)) => {
                    if let Some(keep_alive) = &mut self.keep_alive {
                        keep_alive.response(&mut self.env, client, &response);
                    }
                }
                // The call is over, or gave this INVITE up.
                Some(_) if is_answer(&response) => self.env.reap(client, &response, flow),
                _ => {}
            },
            Event::ClientFailed { client, failure } => match self.env.owner_of(client) {
                Some(Owner::Call(key)) => {
                    self.with(key, |call, env| call.client_failed(env, client, failure));
                }
                Some(Owner::KeepAlive(_)) => {
                    if let Some(keep_alive) = &mut self.keep_alive {
                        keep_alive.failed(&mut self.env, client);
                    }
                }
                Some(Owner::Nobody) | None => {}
            },
            Event::ClientEnded { client } => self.env.client_ended(client),
            Event::ServerEnded { server } => self.env.server_ended(server),
            Event::ServerFailed { server, failure } => {
                debug!(?server, ?failure, "a response was not received");
            }
            Event::Stray { response, flow } => {
                debug!(?response, transport = %flow.transport, "a stray response")
            }
        }
    }

    /// Lets a call act, and forgets it when it is over.
    fn with(&mut self, key: CallKey, act: impl FnOnce(&mut Call, &mut Env)) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        act(call, &mut self.env);
        call.rearm(&mut self.env);
        if call.is_gone()
            && let Some(call) = self.calls.remove(&key)
        {
            self.env.forget(key, call.ends);
            self.shared.calls.fetch_sub(1, Ordering::Relaxed);
            self.show_calls();
        }
    }

    fn request(&mut self, server: ServerId, request: Message, flow: Flow) {
        let Some(peer) = self.peer(&flow) else {
            // No louder: whoever can send us a datagram could fill the log.
            let remote = self.env.settings.mask.addr(flow.remote);
            debug!(%remote, method = ?request.method(), "a request of a stranger is refused");
            counter!("centrex6_translator_strangers_total").increment(1);
            // Its source may be forged.
            self.env.layer.answer_once(server);
            return self.env.refuse(server, StatusCode::FORBIDDEN, &[]);
        };
        if request.to_tag().is_some() {
            match self.env.call_of_dialog(&request) {
                Some(key) => self.with(key, |call, env| call.request(env, server, request)),
                None => self.env.refuse(server, StatusCode::CALL_DOES_NOT_EXIST, &[]),
            }
            return;
        }
        match request.method() {
            Some(Method::Invite) => self.invite(server, request, flow, peer),
            Some(Method::Options) => {
                let headers =
                    [(Name::Allow, allow(peer.peering()).to_owned()), (Name::Accept, SDP_TYPE.to_owned())];
                // A draining translator shows itself so to the one who asks before calling.
                let status = if self.draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
                self.env.refuse(server, status, &headers);
            }
            Some(Method::Bye | Method::Prack | Method::Update | Method::Info | Method::Notify) => {
                self.env.refuse(server, StatusCode::CALL_DOES_NOT_EXIST, &[]);
            }
            Some(Method::Other(_)) => self.env.refuse(server, StatusCode::NOT_IMPLEMENTED, &[]),
            _ => {
                let allow = [(Name::Allow, allow(peer.peering()).to_owned())];
                self.env.refuse(server, StatusCode::METHOD_NOT_ALLOWED, &allow);
            }
        }
    }

    /// On the inside the configured proxies alone, by exact address and port; on the outside trunks, by their networks and, where one
    /// is set, by the name in their certificate.
    fn peer(&self, flow: &Flow) -> Option<Peer> {
        let settings = &self.env.settings;
        if settings.inside.listens_at(flow.local) && settings.proxies.contains(&flow.remote) {
            return Some(Peer::Proxy);
        }
        settings.outside(flow.remote.ip()).filter(|face| face.listens_at(flow.local))?;
        let names = flow.connection.and_then(|connection| self.identified.get(&connection));
        let names = names.map_or(&[][..], |names| names);
        trunk_of_source(&self.env.directory, flow.remote, names).map(Peer::Trunk)
    }

    fn invite(&mut self, server: ServerId, request: Message, flow: Flow, peer: Peer) {
        let retry = || vec![(Name::RetryAfter, self.env.settings.retry_after.as_secs().to_string())];
        let busy = |words: &str| {
            info!(words, "a new call is refused");
            Some((StatusCode::SERVICE_UNAVAILABLE, retry()))
        };
        let hops = request.header::<MaxForwards>().ok().flatten();
        let body = Body::of(&request);
        let agreement = Agreement::with(&request, &self.env.settings.session);
        let mut permit = None;
        let refusal = if self.draining {
            busy("draining")
        } else if hops.is_some_and(|hops| hops.0 == 0) {
            Some((StatusCode::TOO_MANY_HOPS, Vec::new()))
        } else if matches!(peer, Peer::Proxy) && request.has(Name::Route) {
            // A proxy that sends us a call to the outside names no Route. One is left only where a phone registered a Path that
            // leads here, to call out past the proxy's rights.
            info!("a call that was routed here by a Path is refused");
            Some((StatusCode::FORBIDDEN, Vec::new()))
        } else if let Some(refusal) = unacceptable(&request) {
            Some(refusal)
        } else if matches!(body, Body::Foreign) {
            Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, vec![(Name::Accept, SDP_TYPE.to_owned())]))
        } else if agreement.is_err() {
            let min = MinSe::new(self.env.settings.session.min);
            Some((StatusCode::SESSION_INTERVAL_TOO_SMALL, vec![(Name::MinSe, min.to_string())]))
        } else if !self.take_share() {
            busy("too many calls")
        } else if let Peer::Trunk(trunk) = &peer {
            permit = self.env.trunks.admit(trunk);
            match permit {
                Some(_) => None,
                None => {
                    self.shared.calls.fetch_sub(1, Ordering::Relaxed);
                    busy("the trunk is full")
                }
            }
        } else {
            None
        };
        if let Some((status, headers)) = refusal {
            counter!("centrex6_translator_refused_total", "status" => status.to_string()).increment(1);
            return self.env.refuse(server, status, &headers);
        }
        let key = CallKey(self.next_call);
        self.next_call += 1;
        let readable = !matches!(body, Body::Broken);
        let incoming = Incoming { server, request, flow, offer: body.sdp() };
        let env = &mut self.env;
        let call = match (peer, permit) {
            (Peer::Trunk(trunk), Some(permit)) => {
                let face = env.settings.outside(flow.remote.ip()).unwrap_or(env.settings.inside);
                Call::inbound(env, key, incoming, trunk, face, permit)
            }
            _ => Call::outbound(env, key, incoming),
        };
        self.calls.insert(key, call);
        self.show_calls();
        self.with(key, |call, env| call.begin(env, readable, agreement.unwrap_or_default()));
    }

    fn take_share(&self) -> bool {
        let limit = self.env.settings.max_calls;
        let more = |calls: usize| (calls < limit).then_some(calls + 1);
        self.shared.calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn show_calls(&self) {
        gauge!("centrex6_translator_calls_active").set(self.shared.calls() as f64);
    }

    /// Calls that were ever taken.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn begun(&self) -> usize {
        self.next_call as usize - 1
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.env.is_idle()
    }
}

impl Core for TranslatorCore {
    type Question = Question;
    type Answer = Answer;

    fn handle_input(&mut self, now: Instant, input: Input<Answer>) {
        self.env.now = now;
        match input {
            Input::Received { flow, bytes } => self.env.layer.receive(now, flow, bytes),
            Input::TransmitFailed(id) => self.env.layer.transmit_failed(now, id),
            Input::Identified { connection, names } => {
                self.identified.insert(connection, names);
            }
            Input::ConnectionClosed(connection) => {
                self.identified.remove(&connection);
                self.env.layer.connection_closed(now, connection);
            }
            Input::Timer(id) if Layer::owns_timer(id) => self.env.layer.timer(now, id),
            Input::Timer(keep_alive::TIMER) => {
                if let Some(keep_alive) = self.keep_alive.as_mut().filter(|_| !self.draining) {
                    keep_alive.tick(&mut self.env);
                }
            }
            Input::Timer(id) => {
                if let Some((key, alarm)) = alarm_of(id) {
                    self.with(key, |call, env| call.alarm(env, alarm));
                }
            }
            Input::Answer(token, answer) => match (self.env.take_question(token), answer) {
                (Some(asked), answer) if self.calls.contains_key(&asked.call) => {
                    self.with(asked.call, |call, env| call.answered_by_world(env, answer));
                }
                // The call did not wait for it.
                (Some(asked), Answer::Opened { media, .. }) if asked.opens => {
                    self.env.ask(asked.call, Question::CloseMedia { media });
                }
                (_, answer) => debug!(?token, ?answer, "an answer that nobody waits for"),
            },
            Input::Drain => {
                info!(calls = self.calls.len(), "draining: no new calls");
                self.draining = true;
                if let Some(keep_alive) = &mut self.keep_alive {
                    keep_alive.stop(&mut self.env);
                }
            }
            Input::Stop => {
                self.draining = true;
                let calls: Vec<CallKey> = self.calls.keys().copied().collect();
                for key in calls {
                    self.with(key, Call::cut);
                }
            }
        }
        self.drain_layer();
    }

    fn poll_output(&mut self) -> Option<Output<Question>> {
        self.env.out.pop_front()
    }

    /// Calls, and INVITEs that were given up and whose answer may still come.
    fn active(&self) -> usize {
        self.calls.len() + self.env.abandoned()
    }
}

fn is_answer(response: &Message) -> bool {
    response.status().is_some_and(StatusCode::is_success)
        && response.cseq().is_ok_and(|cseq| cseq.method == Method::Invite)
}

/// Says what the translator's metrics mean. Once, before the first call.
pub fn describe_metrics() {
    describe_gauge!("centrex6_translator_calls_active", "Calls in this process, ringing ones too.");
    describe_counter!(
        "centrex6_translator_calls_total",
        "Calls that ended, by direction, result and the final status that the caller got."
    );
    describe_counter!(
        "centrex6_translator_refused_total",
        "INVITEs refused before they became calls, by status."
    );
    describe_counter!(
        "centrex6_translator_strangers_total",
        "Requests from addresses that may not send any."
    );
    describe_counter!(
        "centrex6_translator_failovers_total",
        "Gateways left for the next one during a call's set-up."
    );
    describe_counter!("centrex6_translator_media_refused_total", "Calls refused for want of media ports.");
    describe_gauge!("centrex6_translator_gateway_up", "Whether a gateway takes calls: 1 or 0.");
    crate::relay::describe_metrics();
}

impl fmt::Debug for TranslatorCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TranslatorCore").field("calls", &self.calls.len()).finish_non_exhaustive()
    }
}
