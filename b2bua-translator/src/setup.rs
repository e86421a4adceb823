//! From the caller's INVITE to the answer: candidates in turn, early media, failover.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use metrics::counter;
use schema::{CallResult, Direction, EndedBy, Gateway, Trunk};
use sip_core::dialog::Dialog;
use sip_core::flow::{Flow, Transport};
use sip_core::transaction::{ClientId, Failure, ServerId};
use sip_core::wire::header::{MaxForwards, Reason};
use sip_core::wire::{HostPort, Message, Name, SipUri, StatusCode};
use tracing::{debug, error, info};

use crate::bridge::{Exchange, Step};
use crate::call::{Call, Cause, State};
use crate::env::{Alarm, CallKey, Env, Owner};
use crate::failure::{self, Verdict};
use crate::identity::{Identity, InsideCaller, OutsideCaller, digits_of};
use crate::leg::{Leg, with_sdp};
use crate::media::{Body, Media, can_relay};
use crate::question::Side;
use crate::record::Draft;
use crate::sdp::{Sdp, shares_codec};
use crate::settings::Face;
use crate::trunks::{self, Candidate, Permit};

/// An unanswered call.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The caller's INVITE.
    server: ServerId,
    request: Message,
    /// The caller's offer; `None` when it wants ours (delayed offer).
    offer: Option<Sdp>,
    /// The last early description of the called side.
    early: Option<Sdp>,
    candidates: VecDeque<Candidate>,
    phase: Phase,
    /// What the caller gets when no candidate is left.
    last: StatusCode,
}

#[derive(Debug)]
enum Phase {
    /// Between two candidates.
    Choosing,
    /// Ports are asked for, to call this one.
    Opening(Candidate),
    /// The INVITE is out.
    Calling(Attempt),
}

#[derive(Debug)]
struct Attempt {
    gateway: Gateway,
    client: ClientId,
    request: Message,
    /// Whether the called party was reached: a response beyond 100.
    ringing: bool,
}

/// The caller.
#[derive(Debug)]
pub(crate) enum Party {
    /// A phone, through the proxy.
    Inside(InsideCaller),
    /// Somebody behind a trunk.
    Outside(OutsideCaller),
}

/// An INVITE that is taken for processing.
pub(crate) struct Incoming {
    pub(crate) server: ServerId,
    pub(crate) request: Message,
    pub(crate) flow: Flow,
    pub(crate) offer: Option<Sdp>,
}

impl Call {
    /// A call from the inside to a trunk.
    pub(crate) fn outbound(env: &mut Env, key: CallKey, incoming: Incoming) -> Call {
        let uri = incoming.request.request_uri().ok();
        let number = uri.as_ref().and_then(digits_of).unwrap_or_default();
        let party = InsideCaller::of(&incoming.request, &env.directory);
        let candidates = trunks::candidates(&env.directory, &env.settings, &number);
        let mut call =
            Call::new(env, key, incoming, Party::Inside(party), number, candidates, env.settings.inside);
        if let (Some(draft), Party::Inside(party)) = (&mut call.draft, &call.party) {
            draft.line = party.line;
            draft.caller = party.name.clone();
        }
        call
    }

    /// A call from a trunk to the inside.
    pub(crate) fn inbound(
        env: &mut Env,
        key: CallKey,
        incoming: Incoming,
        trunk: Arc<Trunk>,
        face: Face,
        permit: Permit,
    ) -> Call {
        let uri = incoming.request.request_uri().ok();
        let dialled = uri.as_ref().and_then(digits_of).unwrap_or_default();
        let number = called_number(env, &dialled);
        let party = OutsideCaller::of(&incoming.request, &env.settings.country);
        let candidates = match number.is_empty() {
            true => VecDeque::new(),
            false => trunks::proxies(&env.settings),
        };
        let (name, line) = (party.name(), env.directory.line_of_number(&number).map(|line| line.id));
        let networks = trunk.media_networks.as_slice().into();
        let id = trunk.id;
        let mut call = Call::new(env, key, incoming, Party::Outside(party), number, candidates, face);
        call.permit = Some(permit);
        call.media.set_networks(Side::Caller, Some(networks));
        if let Some(draft) = &mut call.draft {
            draft.line = line;
            draft.trunk = Some(id);
            draft.caller = name;
            draft.callee = if call.number.is_empty() { dialled } else { call.number.clone() };
        }
        call
    }

    fn new(
        env: &mut Env,
        key: CallKey,
        incoming: Incoming,
        party: Party,
        number: String,
        candidates: VecDeque<Candidate>,
        face: Face,
    ) -> Call {
        let id = format!("{}-{:016x}{:016x}", env.settings.node, env.ids.next_u64(), env.ids.next_u64());
        let call_id = incoming.request.call_id().unwrap_or_default().to_owned();
        let caller = Leg::new(env, key, Side::Caller, face, incoming.flow, call_id);
        let direction = match party {
            Party::Inside(_) => Direction::Outbound,
            Party::Outside(_) => Direction::Inbound,
        };
        let draft = Draft {
            id: id.clone(),
            node: env.settings.node.clone(),
            started_at: env.clock.unix_ms(env.now),
            answered_at: None,
            caller: String::new(),
            callee: number.clone(),
            direction,
            line: None,
            trunk: None,
            status: None,
            media: Vec::new(),
            ending: None,
        };
        env.own_server(incoming.server, key);
        let setup = Setup {
            server: incoming.server,
            request: incoming.request,
            offer: incoming.offer,
            early: None,
            // What the caller gets when every gateway is down or full.
            last: StatusCode::SERVICE_UNAVAILABLE,
            candidates,
            phase: Phase::Choosing,
        };
        Call {
            key,
            id: id.into(),
            state: State::Setup(Box::new(setup)),
            ends: vec![caller.end()],
            caller,
            callee: None,
            media: Media::new(key),
            draft: Some(draft),
            party,
            number,
            permit: None,
            exchange: None,
            relayed: Vec::new(),
        }
    }

    /// Begins: refuses what cannot be, or calls the first candidate. `readable`: the INVITE's SDP, if any, could be read.
    pub(crate) fn begin(&mut self, env: &mut Env, readable: bool) {
        let State::Setup(setup) = &mut self.state else { return };
        match Dialog::uas(&setup.request, &self.caller.tag, self.caller.flow) {
            Ok(dialog) => self.caller.dialog = Some(dialog),
            Err(error) => {
                debug!(call = %self.id, %error, "the INVITE makes no dialog");
                return self.refuse(env, StatusCode::BAD_REQUEST, &error.to_string());
            }
        }
        let (caller, direction) =
            self.draft.as_ref().map_or(("", ""), |draft| (draft.caller.as_str(), draft.direction.as_str()));
        info!(call = %self.id, sip_call_id = %self.caller.call_id, direction, caller, callee = %self.number, "call begins");
        if !readable || setup.offer.as_ref().is_some_and(|offer| !can_relay(offer)) {
            return self.refuse(env, StatusCode::NOT_ACCEPTABLE_HERE, "no media that can be relayed");
        }
        if setup.candidates.is_empty() {
            return self.refuse(env, StatusCode::NOT_FOUND, "no route");
        }
        if let Some(offer) = setup.offer.clone() {
            self.media.describe(Side::Caller, offer);
        }
        env.alarm_in(self.key, Alarm::Ring, env.settings.ring_limit);
        self.next_candidate(env);
    }

    /// The ports are there.
    pub(crate) fn ports_opened(&mut self, env: &mut Env) {
        let State::Setup(setup) = &mut self.state else { return };
        match std::mem::replace(&mut setup.phase, Phase::Choosing) {
            Phase::Opening(candidate) => self.call_out(env, candidate),
            other => setup.phase = other,
        }
    }

    /// There are no ports.
    pub(crate) fn no_ports(&mut self, env: &mut Env, reason: &str) {
        error!(call = %self.id, reason, "no media ports: the call is refused");
        counter!("centrex6_translator_media_refused_total").increment(1);
        self.refuse(env, StatusCode::SERVICE_UNAVAILABLE, "no media ports");
    }

    /// No provisional response in time: the gateway is left for the next one.
    pub(crate) fn no_reply(&mut self, env: &mut Env) {
        let State::Setup(setup) = &mut self.state else { return };
        let Phase::Calling(attempt) = std::mem::replace(&mut setup.phase, Phase::Choosing) else { return };
        env.trunks.failed(attempt.gateway, env.settings.keep_alive.failures);
        env.abandon(attempt.client, &[]);
        self.fail_over(env, attempt.gateway, "no reply");
    }

    /// Nobody answers.
    pub(crate) fn rings_too_long(&mut self, env: &mut Env) {
        if matches!(self.state, State::Setup(_)) {
            // Q.850 cause 19: no answer from user.
            self.refuse_with(
                env,
                StatusCode::TEMPORARILY_UNAVAILABLE,
                EndedBy::Platform,
                "rang too long",
                vec![Reason::q850(19, "No answer")],
            );
        }
    }

    /// The caller gives up: by CANCEL, or by BYE in the early dialog.
    pub(crate) fn cancelled(&mut self, env: &mut Env, reasons: Vec<Reason>) {
        let State::Setup(setup) = &self.state else { return };
        let (server, request) = (setup.server, setup.request.clone());
        self.reject(env, server, &request, StatusCode::REQUEST_TERMINATED, &[]);
        let words = "cancelled by the caller".to_owned();
        self.end(env, Cause { result: CallResult::Cancelled, by: EndedBy::Caller, words, reasons });
    }

    /// Whether a server transaction is the one of the caller's unanswered INVITE.
    pub(crate) fn is_setup_of(&self, server: ServerId) -> bool {
        matches!(&self.state, State::Setup(setup) if setup.server == server)
    }

    /// The INVITE to the current candidate failed without a response.
    pub(crate) fn setup_failed(&mut self, env: &mut Env, client: ClientId, failure: Failure) {
        let State::Setup(setup) = &mut self.state else { return };
        let Phase::Calling(attempt) = &setup.phase else { return };
        if attempt.client != client {
            return;
        }
        let (gateway, ringing) = (attempt.gateway, attempt.ringing);
        setup.phase = Phase::Choosing;
        if ringing {
            return self.refuse(env, StatusCode::REQUEST_TIMEOUT, "the gateway fell silent");
        }
        env.trunks.failed(gateway, env.settings.keep_alive.failures);
        let words = match failure {
            Failure::TimedOut => "time-out",
            Failure::Transport => "transport error",
        };
        self.fail_over(env, gateway, words);
    }

    /// Takes a response to the INVITE of the current candidate.
    pub(crate) fn setup_response(
        &mut self,
        env: &mut Env,
        response: &Message,
        status: StatusCode,
        flow: Flow,
    ) {
        let State::Setup(setup) = &mut self.state else { return };
        let Phase::Calling(attempt) = &mut setup.phase else { return };
        env.set_alarm(self.key, Alarm::Connect, None);
        if status == StatusCode::TRYING {
            return;
        }
        if status.is_provisional() {
            attempt.ringing = true;
            self.progress(env, response, status, flow);
        } else if status.is_success() {
            self.answer(env, response, flow);
        } else {
            self.failed(env, response, status);
        }
    }

    fn progress(&mut self, env: &mut Env, response: &Message, status: StatusCode, flow: Flow) {
        let (State::Setup(setup), Some(callee)) = (&mut self.state, &mut self.callee) else { return };
        let Phase::Calling(attempt) = &setup.phase else { return };
        env.trunks.answered(attempt.gateway);
        if let Ok(dialog) = Dialog::uac(&attempt.request, response, flow) {
            callee.dialog = Some(dialog);
        }
        // Without an offer from the caller this would be an offer that it cannot answer yet.
        let early = Body::of(response).sdp().filter(|_| setup.offer.is_some());
        let body = early.map(|early| {
            self.media.describe(Side::Callee, early.clone());
            self.media.publish(env, false);
            let body = self.media.translate(&early, Side::Caller, &mut self.caller.origin);
            setup.early = Some(early);
            body
        });
        if status == StatusCode::EARLY_DIALOG_TERMINATED {
            return;
        }
        let forward = self.caller.response(&setup.request, status, &[], body);
        env.layer.respond(env.now, setup.server, forward);
    }

    fn answer(&mut self, env: &mut Env, response: &Message, flow: Flow) {
        let (State::Setup(setup), Some(callee)) = (&mut self.state, &mut self.callee) else { return };
        let Phase::Calling(attempt) = &setup.phase else { return };
        env.trunks.answered(attempt.gateway);
        let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or(1);
        match Dialog::uac(&attempt.request, response, flow) {
            Ok(dialog) => callee.dialog = Some(dialog),
            Err(error) => {
                debug!(call = %self.id, %error, "the answer makes no dialog");
                return self.refuse(env, StatusCode::BAD_GATEWAY, "the answer makes no dialog");
            }
        }
        // A gateway that gave its answer early need not repeat it, and some do not.
        let early = setup.early.take();
        let described = Body::of(response).sdp().or(early.filter(|_| setup.offer.is_some()));
        let trouble = match (&setup.offer, &described) {
            (_, None) => Some((StatusCode::BAD_GATEWAY, "an answer without SDP")),
            (Some(offer), Some(answer)) if !shares_codec(offer, answer) => {
                Some((StatusCode::NOT_ACCEPTABLE_HERE, "no common codec"))
            }
            (None, Some(offer)) if !can_relay(offer) => {
                Some((StatusCode::NOT_ACCEPTABLE_HERE, "no media that can be relayed"))
            }
            _ => None,
        };
        let delayed = setup.offer.is_none();
        if let Some((status, words)) = trouble {
            let refusal = described
                .filter(|_| delayed)
                .map(|offer| self.media.refusal(&offer, Side::Callee, &mut callee.origin));
            callee.ack(env, cseq, refusal);
            callee.hang_up(env, &[Reason::sip(status.code(), words)]);
            setup.phase = Phase::Choosing;
            return self.refuse(env, status, words);
        }
        let Some(described) = described else { return };
        self.media.describe(Side::Callee, described.clone());
        self.media.publish(env, !delayed);
        let body = self.media.translate(&described, Side::Caller, &mut self.caller.origin);
        let forward = self.caller.response(&setup.request, StatusCode::OK, &[], Some(body));
        if let Some(dialog) = &mut self.caller.dialog {
            // Our own 2xx: it cannot be malformed.
            let _ = dialog.confirm(&forward);
        }
        self.caller.answer(env, setup.server, forward);
        if !delayed {
            callee.ack(env, cseq, None);
        }
        let step = Step::Answered { offered: delayed.then_some(described), cseq };
        self.exchange = Some(Exchange {
            from: Side::Caller,
            server: setup.server,
            request: setup.request.clone(),
            offer: setup.offer.take(),
            step,
            tries: 0,
        });
        self.state = State::Up;
        for alarm in [Alarm::Connect, Alarm::Ring] {
            env.set_alarm(self.key, alarm, None);
        }
        env.alarm_in(self.key, Alarm::Limit, env.settings.call_limit);
        self.media.watch(env);
        if let Some(draft) = &mut self.draft {
            draft.answered_at = Some(env.clock.unix_ms(env.now));
            draft.status = Some(StatusCode::OK.code());
        }
        info!(call = %self.id, "call answered");
    }

    fn failed(&mut self, env: &mut Env, response: &Message, status: StatusCode) {
        let State::Setup(setup) = &mut self.state else { return };
        let Phase::Calling(attempt) = std::mem::replace(&mut setup.phase, Phase::Choosing) else { return };
        let reasons = failure::reasons(response);
        match failure::judge(status, failure::q850(&reasons), attempt.ringing) {
            Verdict::TryNext(last) => {
                setup.last = last;
                if status == StatusCode::REQUEST_TIMEOUT {
                    env.trunks.failed(attempt.gateway, env.settings.keep_alive.failures);
                }
                self.fail_over(env, attempt.gateway, status.reason());
            }
            Verdict::Final(last) => {
                env.trunks.answered(attempt.gateway);
                let words = format!("{status} {}", response.reason());
                self.refuse_with(env, last, EndedBy::Callee, &words, reasons);
            }
        }
    }

    fn fail_over(&mut self, env: &mut Env, gateway: Gateway, why: &str) {
        let State::Setup(setup) = &self.state else { return };
        info!(call = %self.id, %gateway, why, left = setup.candidates.len(), "gateway failed, trying the next");
        counter!("centrex6_translator_failovers_total").increment(1);
        env.set_alarm(self.key, Alarm::Connect, None);
        self.next_candidate(env);
    }

    fn next_candidate(&mut self, env: &mut Env) {
        // An earlier attempt's leg is over; its transaction lives on by itself until it ends.
        self.callee = None;
        loop {
            let State::Setup(setup) = &mut self.state else { return };
            let Some(candidate) = setup.candidates.pop_front() else {
                let last = setup.last;
                return self.refuse(env, last, "no gateway takes the call");
            };
            if !env.trunks.is_up(candidate.gateway) && candidate.trunk.is_some() {
                debug!(call = %self.id, gateway = %candidate.gateway, "gateway is down");
                continue;
            }
            if let Some((trunk, _)) = &candidate.trunk {
                self.permit = None;
                self.permit = env.trunks.admit(trunk);
                if self.permit.is_none() {
                    debug!(call = %self.id, trunk = %trunk.name, "trunk is full");
                    continue;
                }
                self.media.set_networks(Side::Callee, Some(trunk.media_networks.as_slice().into()));
                if let Some(draft) = &mut self.draft {
                    draft.trunk = Some(trunk.id);
                }
            }
            let (caller, callee) = (self.caller.face.media, candidate.face.media);
            if self.media.is_open(caller, callee) {
                return self.call_out(env, candidate);
            }
            // None yet, or ports of the wrong family for this gateway.
            self.media.close(env);
            let wanted =
                setup.offer.as_ref().map_or(1, Sdp::media_count).clamp(1, env.settings.max_streams.max(1));
            setup.phase = Phase::Opening(candidate);
            self.media.open(env, Arc::clone(&self.id), wanted, caller, callee);
            return;
        }
    }

    fn call_out(&mut self, env: &mut Env, candidate: Candidate) {
        let State::Setup(setup) = &mut self.state else { return };
        let call_id = env.ids.call_id();
        let mut leg = Leg::new(env, self.key, Side::Callee, candidate.face, candidate.flow(), call_id);
        self.ends.push(leg.end());
        self.media.publish(env, false);
        let body =
            setup.offer.as_ref().map(|offer| self.media.translate(offer, Side::Callee, &mut leg.origin));
        let (uri, identity) = toward(&self.party, &self.number, &candidate);
        let mut request = compose(env, &leg, &setup.request, &uri, &identity, body.clone());
        let limit = candidate.trunk.as_ref().and_then(|(trunk, _)| trunk.max_udp_bytes);
        let too_long = limit.is_some_and(|limit| request.bytes().len() > limit as usize);
        if too_long && leg.flow.transport == Transport::Udp {
            // RFC 3261 §18.1.1.
            leg.flow.transport = Transport::Tcp;
            request = compose(env, &leg, &setup.request, &uri, &identity, body);
        }
        let flow = leg.flow;
        debug!(call = %self.id, gateway = %candidate.gateway, sip_call_id = %leg.call_id, "calling");
        let client = env.request(Owner::Call(self.key, Side::Callee), request.clone(), flow);
        self.callee = Some(leg);
        let Some(client) = client else {
            return self.refuse(env, StatusCode::SERVICE_UNAVAILABLE, "too many transactions");
        };
        setup.phase = Phase::Calling(Attempt { gateway: candidate.gateway, client, request, ringing: false });
        env.alarm_in(self.key, Alarm::Connect, env.settings.connect_limit);
    }

    fn refuse(&mut self, env: &mut Env, status: StatusCode, words: &str) {
        self.refuse_with(env, status, EndedBy::Platform, words, Vec::new());
    }

    /// The caller gets a final failure, and the call ends.
    fn refuse_with(
        &mut self,
        env: &mut Env,
        status: StatusCode,
        by: EndedBy,
        words: &str,
        reasons: Vec<Reason>,
    ) {
        let State::Setup(setup) = &self.state else { return };
        let (server, request) = (setup.server, setup.request.clone());
        self.reject(env, server, &request, status, &reasons);
        self.end(env, Cause { reasons, ..Cause::failed(status, by, words) });
    }
}

impl Setup {
    /// The transaction of the current attempt.
    pub(crate) fn client(&self) -> Option<ClientId> {
        match &self.phase {
            Phase::Calling(attempt) => Some(attempt.client),
            Phase::Choosing | Phase::Opening(_) => None,
        }
    }

    /// The call ends before it was answered: the called side is told.
    pub(crate) fn give_up(self, env: &mut Env, reasons: &[Reason]) {
        if let Phase::Calling(attempt) = self.phase {
            env.abandon(attempt.client, reasons);
        }
    }
}

/// The INVITE to the called side: written from nothing, so that only what is named here can leave the other side.
fn compose(
    env: &mut Env,
    leg: &Leg,
    original: &Message,
    uri: &str,
    identity: &Identity,
    sdp: Option<Bytes>,
) -> Message {
    let hops = original.header::<MaxForwards>().ok().flatten().map_or(70, |hops| hops.0.min(70));
    let via = env.via(&leg.flow, leg.face);
    let mut builder = leg
        .invite(via, uri, identity.from.clone(), hops.saturating_sub(1))
        .header_if(Name::PAssertedIdentity, identity.asserted.as_ref());
    if identity.private {
        builder = builder.header(Name::Privacy, "id");
    }
    for name in PASSED {
        builder = builder.copy(original, name);
    }
    with_sdp(builder, sdp).finish()
}

/// What the called side is told: the Request-URI, and who calls.
fn toward(party: &Party, number: &str, candidate: &Candidate) -> (String, Identity) {
    let host = HostPort::from(candidate.gateway.address);
    match (party, &candidate.trunk) {
        (Party::Inside(caller), Some((trunk, route))) => {
            let mut uri = SipUri::new(Some(&route.rewrite(number)), host);
            uri.params.set("user", Some("phone"));
            (uri.to_string(), caller.toward_trunk(trunk, candidate.face))
        }
        (Party::Outside(caller), _) => {
            (SipUri::new(Some(number), host).to_string(), caller.toward_proxy(candidate.face))
        }
        // Not made: an inside call has trunks for candidates. It would be shown nothing of the caller.
        (Party::Inside(_), None) => {
            let nobody = OutsideCaller::unknown().toward_proxy(candidate.face);
            (SipUri::new(Some(number), host).to_string(), nobody)
        }
    }
}

/// The number that a trunk means: E.164 by the country's rule, or with the plus sign that some leave out when that is ours.
fn called_number(env: &Env, dialled: &str) -> String {
    if let Some(number) = env.settings.country.e164(dialled) {
        return number;
    }
    let plus = format!("+{dialled}");
    match env.directory.number(&plus) {
        Some(_) => plus,
        None => dialled.to_owned(),
    }
}

/// Headers of the caller's INVITE that pass as they are: they speak to the called party and of nothing inside.
const PASSED: [Name; 3] = [Name::Subject, Name::Other("Priority"), Name::Other("Alert-Info")];
