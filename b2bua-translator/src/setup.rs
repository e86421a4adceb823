//! From the first candidate to the answer: gateways in turn, early media, failover.

use std::collections::VecDeque;
use std::sync::Arc;

use metrics::counter;
use schema::{CallResult, EndedBy, Gateway};
use sip_core::dialog::Dialog;
use sip_core::flow::{Flow, Transport};
use sip_core::transaction::{ClientId, Failure, ServerId};
use sip_core::wire::header::Reason;
use sip_core::wire::{Message, StatusCode};
use tracing::{debug, error, info};

use crate::bridge::{Exchange, Step};
use crate::call::{Call, Cause, State};
use crate::env::{Alarm, Env, Owner};
use crate::failure::{self, Verdict};
use crate::invite::{compose, toward};
use crate::leg::Leg;
use crate::media::{Body, can_relay};
use crate::question::Side;
use crate::sdp::{Sdp, shares_codec};
use crate::trunks::Candidate;

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

impl Call {
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
        if let Some(draft) = &self.draft {
            let mask = env.settings.mask;
            info!(
                call = %self.id,
                sip_call_id = %self.caller.call_id,
                direction = draft.direction.as_str(),
                caller = %mask.number(&draft.caller),
                callee = %mask.number(&draft.callee),
                "call begins"
            );
        }
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
        env.gateway_failed(attempt.gateway);
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
        env.gateway_failed(gateway);
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
        env.gateway_answered(attempt.gateway);
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
        env.gateway_answered(attempt.gateway);
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
                    env.gateway_failed(attempt.gateway);
                }
                self.fail_over(env, attempt.gateway, status.reason());
            }
            Verdict::Final(last) => {
                env.gateway_answered(attempt.gateway);
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
        if let Some(draft) = &mut self.draft {
            draft.call_ids.push(leg.call_id.clone());
        }
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

    /// We refuse the call before anybody answered it.
    pub(crate) fn refuse(&mut self, env: &mut Env, status: StatusCode, words: &str) {
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
    /// Nobody is called yet.
    pub(crate) fn new(
        server: ServerId,
        request: Message,
        offer: Option<Sdp>,
        candidates: VecDeque<Candidate>,
    ) -> Setup {
        // What the caller gets when every gateway is down or full.
        let last = StatusCode::SERVICE_UNAVAILABLE;
        Setup { server, request, offer, early: None, candidates, phase: Phase::Choosing, last }
    }

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
