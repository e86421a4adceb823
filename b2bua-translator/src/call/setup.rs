//! Gateways in turn, their early dialogs, and the answer.

use std::collections::VecDeque;
use std::sync::Arc;

use metrics::counter;
use node::explain::{Fact, Miss};
use schema::{CallResult, EndedBy, Gateway};
use sip_core::flow::Flow;
use sip_core::transaction::{ClientId, Failure, ServerId};
use sip_core::wire::header::{Contact, Reason};
use sip_core::wire::{Message, StatusCode};
use tracing::{debug, error, info};

use super::state::{Call, Phase, Setup, State};
use super::story::said;
use crate::body::{can_relay, trouble_with};
use crate::bridge::Context;
use crate::cause::Cause;
use crate::env::{Alarm, Env, LocalEnd};
use crate::failure::{self, Verdict};
use crate::identity::digits_of;
use crate::leg::{Agreement, Leg, Offered, Reliability};
use crate::question::Side;
use crate::sdp::Sdp;
use crate::trunks::Candidate;

impl Call {
    /// Begins: refuses what cannot be, or calls the first candidate. `readable`: the INVITE's SDP, if any, could be read.
    pub(crate) fn begin(&mut self, env: &mut Env, readable: bool, agreement: Option<Agreement>) {
        let State::Setup(setup) = &mut self.state else { return };
        let offered = Offered {
            server: setup.server,
            request: setup.request.clone(),
            reliability: Reliability::of(&setup.request),
            agreement,
        };
        if let Err(error) = setup.caller.take_invite(offered) {
            debug!(call = %self.id, %error, "the INVITE makes no dialog");
            self.note(Some(Side::Caller), Fact::Malformed(error.to_string()));
            return self.refuse(env, StatusCode::BAD_REQUEST, &error.to_string());
        }
        if let Some(draft) = &self.draft {
            let mask = env.settings.mask;
            info!(
                call = %self.id,
                sip_call_id = %setup.caller.call_id,
                direction = draft.direction.as_str(),
                caller = %mask.number(&draft.caller),
                callee = %mask.number(&draft.callee),
                "call begins"
            );
        }
        if !readable {
            self.note(Some(Side::Caller), Fact::Unreadable);
            return self.refuse(env, StatusCode::NOT_ACCEPTABLE_HERE, "SDP that cannot be read");
        }
        if let Some(status) = setup.offer.as_ref().and_then(trouble_with) {
            let (words, fact) = match status {
                StatusCode::PRECONDITION_FAILURE => {
                    ("preconditions that we cannot meet", Fact::Preconditions)
                }
                _ => ("no media that can be relayed", Fact::NoRelayableMedia),
            };
            self.note(Some(Side::Caller), fact);
            return self.refuse(env, status, words);
        }
        if setup.candidates.is_empty() {
            self.note_no_route(env);
            return self.refuse(env, StatusCode::NOT_FOUND, "no route");
        }
        env.alarm_in(self.key, Alarm::Ring, env.settings.ring_limit);
        self.next_candidate(env);
    }

    /// The ports are there.
    pub(super) fn ports_opened(&mut self, env: &mut Env) {
        let State::Setup(setup) = &mut self.state else { return };
        match std::mem::replace(&mut setup.phase, Phase::Choosing) {
            Phase::Opening(candidate) => self.call_out(env, candidate),
            other => setup.phase = other,
        }
    }

    /// There are no ports.
    pub(super) fn no_ports(&mut self, env: &mut Env, reason: &str) {
        error!(call = %self.id, reason, "no media ports: the call is refused");
        counter!("centrex6_translator_media_refused_total").increment(1);
        self.note(None, Fact::NoPorts(reason.to_owned()));
        self.refuse(env, StatusCode::SERVICE_UNAVAILABLE, "no media ports");
    }

    /// No provisional response in time: the gateway is left for the next one.
    pub(super) fn no_reply(&mut self, env: &mut Env) {
        let State::Setup(setup) = &mut self.state else { return };
        let Phase::Calling(attempt) = std::mem::replace(&mut setup.phase, Phase::Choosing) else { return };
        let gateway = attempt.candidate.gateway;
        env.gateway_failed(gateway);
        env.abandon(attempt.client, &[]);
        self.note_miss(None, Miss::Silent(env.settings.connect_limit.as_secs()));
        self.fail_over(env, gateway, "no reply");
    }

    /// Nobody answers.
    pub(super) fn rings_too_long(&mut self, env: &mut Env) {
        if matches!(self.state, State::Setup(_)) {
            self.note(Some(Side::Callee), Fact::RangTooLong(env.settings.ring_limit.as_secs()));
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
    pub(super) fn cancelled(&mut self, env: &mut Env, reasons: Vec<Reason>) {
        let State::Setup(setup) = &self.state else { return };
        let (server, request) = (setup.server, setup.request.clone());
        self.reject(env, server, &request, StatusCode::REQUEST_TERMINATED, &[]);
        let words = "cancelled by the caller".to_owned();
        self.end(
            env,
            Cause { result: CallResult::Cancelled, by: EndedBy::Caller, words, reasons, fact: None },
        );
    }

    /// Whether a server transaction is the one of the caller's unanswered INVITE.
    pub(super) fn is_setup_of(&self, server: ServerId) -> bool {
        matches!(&self.state, State::Setup(setup) if setup.server == server)
    }

    /// The INVITE to the current candidate failed without a response; false when it is another request.
    pub(super) fn setup_failed(&mut self, env: &mut Env, client: ClientId, failure: Failure) -> bool {
        let State::Setup(setup) = &self.state else { return false };
        let Some(attempt) = setup.attempt().filter(|attempt| attempt.client == client) else { return false };
        let (gateway, ringing) = (attempt.candidate.gateway, attempt.ringing);
        self.note_failure(env, failure);
        let State::Setup(setup) = &mut self.state else { return false };
        setup.phase = Phase::Choosing;
        if ringing {
            self.note(Some(Side::Callee), Fact::FellSilent);
            self.refuse(env, StatusCode::REQUEST_TIMEOUT, "the gateway fell silent");
            return true;
        }
        env.gateway_failed(gateway);
        let words = match failure {
            Failure::TimedOut => "time-out",
            Failure::Transport => "transport error",
        };
        self.fail_over(env, gateway, words);
        true
    }

    /// Takes a response to the INVITE of the current candidate; false when it is to another request.
    pub(super) fn setup_response(
        &mut self,
        env: &mut Env,
        client: ClientId,
        response: &Message,
        flow: Flow,
    ) -> bool {
        let State::Setup(setup) = &mut self.state else { return false };
        let Phase::Calling(attempt) = &mut setup.phase else { return false };
        let Some(status) = response.status().filter(|_| attempt.client == client) else { return false };
        env.set_alarm(self.key, Alarm::Connect, None);
        if status == StatusCode::TRYING {
            return true;
        }
        let gateway = attempt.candidate.gateway;
        if status.is_provisional() {
            attempt.ringing = true;
            self.note_ringing();
            env.gateway_answered(gateway);
            self.progress(env, response, status, flow);
        } else if status.is_success() {
            env.gateway_answered(gateway);
            self.answer(env, response, flow);
        } else {
            self.attempt_refused(env, response, status);
        }
        true
    }

    fn progress(&mut self, env: &mut Env, response: &Message, status: StatusCode, flow: Flow) {
        let State::Setup(setup) = &mut self.state else { return };
        if status == StatusCode::EARLY_DIALOG_TERMINATED {
            // RFC 6228 §5: the others go on.
            if let Some(at) = setup.forks.iter().position(|fork| fork.callee.is_of(response)) {
                let fork = setup.forks.remove(at);
                fork.drop_early(&mut Context { env, media: &mut self.media, id: &self.id });
            }
            return;
        }
        match setup.fork_of(env, response, flow) {
            Some(at) => {
                let Some(fork) = setup.forks.get_mut(at) else { return };
                note_end(&mut self.ends, fork.caller.end());
                fork.progress(&mut Context { env, media: &mut self.media, id: &self.id }, response, status);
            }
            // It makes no dialog, so it can only be told as it is.
            None if setup.reliability() != Reliability::Required => {
                let forward = setup.caller.response(&setup.request, status, &[], None, None);
                env.layer.respond(env.now, setup.server, forward);
            }
            None => {}
        }
    }

    fn answer(&mut self, env: &mut Env, response: &Message, flow: Flow) {
        let State::Setup(setup) = &mut self.state else { return };
        let Some(at) = setup.fork_of(env, response, flow) else {
            debug!(call = %self.id, "the answer makes no dialog");
            self.note(Some(Side::Callee), Fact::BadAnswer("its answer makes no dialog"));
            return self.refuse(env, StatusCode::BAD_GATEWAY, "the answer makes no dialog");
        };
        let mut fork = setup.forks.swap_remove(at);
        note_end(&mut self.ends, fork.caller.end());
        setup.phase = Phase::Choosing;
        let mut cx = Context { env, media: &mut self.media, id: &self.id };
        if let Err((status, words)) = fork.answered(&mut cx, response) {
            fork.callee.hang_up(env, &[Reason::sip(status.code(), words)]);
            let legs = fork.close(&mut Context { env, media: &mut self.media, id: &self.id });
            self.ending.extend(legs.into_iter().filter(|leg| leg.side == Side::Callee));
            self.note(Some(Side::Callee), Fact::BadAnswer(words));
            return self.refuse(env, status, words);
        }
        // Other early dialogs end with the INVITE; should they answer too, they are hung up.
        for other in std::mem::take(&mut setup.forks) {
            other.close(&mut cx);
        }
        self.state = State::Up(Box::new(fork));
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

    fn attempt_refused(&mut self, env: &mut Env, response: &Message, status: StatusCode) {
        let State::Setup(setup) = &mut self.state else { return };
        let Phase::Calling(mut attempt) = std::mem::replace(&mut setup.phase, Phase::Choosing) else {
            return;
        };
        let again = attempt.sent < MAX_INVITES && status == StatusCode::SESSION_INTERVAL_TOO_SMALL;
        if again && attempt.leg.session.refused(response) {
            // RFC 4028 §7.4: the same call, with the interval that was asked for.
            return self.invite(env, attempt.candidate, attempt.leg, attempt.sent + 1);
        }
        let gateway = attempt.candidate.gateway;
        if status.class() == 3 && setup.redirect(&attempt.candidate, response) {
            env.gateway_answered(gateway);
            info!(call = %self.id, %gateway, %status, "redirected");
            for fork in std::mem::take(&mut setup.forks) {
                fork.drop_early(&mut Context { env, media: &mut self.media, id: &self.id });
            }
            return self.next_candidate(env);
        }
        let reasons = failure::reasons(response);
        match failure::judge(status, failure::q850(&reasons), attempt.ringing) {
            Verdict::TryNext(last) => {
                setup.last = last;
                if status == StatusCode::REQUEST_TIMEOUT {
                    env.gateway_failed(gateway);
                }
                self.note_miss(None, Miss::Said(said(response, status, &reasons)));
                self.fail_over(env, gateway, status.reason());
            }
            Verdict::Final(last) => {
                env.gateway_answered(gateway);
                self.note(Some(Side::Callee), Fact::Said(said(response, status, &reasons)));
                let words = format!("{status} {}", response.reason());
                self.refuse_with(env, last, EndedBy::Callee, &words, reasons);
            }
        }
    }

    fn fail_over(&mut self, env: &mut Env, gateway: Gateway, why: &str) {
        let State::Setup(setup) = &mut self.state else { return };
        info!(call = %self.id, %gateway, why, left = setup.candidates.len(), "gateway failed, trying the next");
        counter!("centrex6_translator_failovers_total").increment(1);
        env.set_alarm(self.key, Alarm::Connect, None);
        // Its early dialogs are over; what the caller saw of them is as well.
        for fork in std::mem::take(&mut setup.forks) {
            fork.drop_early(&mut Context { env, media: &mut self.media, id: &self.id });
        }
        self.next_candidate(env);
    }

    fn next_candidate(&mut self, env: &mut Env) {
        loop {
            let State::Setup(setup) = &mut self.state else { return };
            let Some(candidate) = setup.candidates.pop_front() else {
                let last = setup.last;
                let tried = self.tried();
                self.note(None, tried);
                return self.refuse(env, last, "no gateway takes the call");
            };
            if let Some((trunk, _)) = &candidate.trunk {
                self.permit = None;
                let urgent = env.settings.emergency.contains(&self.number);
                self.permit = env.trunks.admit(trunk, urgent);
                if self.permit.is_none() {
                    debug!(call = %self.id, trunk = %trunk.name, "trunk is full");
                    self.note_full(env, &candidate);
                    continue;
                }
                self.media.set_trunk(Side::Callee, trunk);
                if let Some(draft) = &mut self.draft {
                    draft.trunk = Some(trunk.id);
                }
            }
            if setup.offer.as_ref().is_some_and(|offer| !can_relay(&self.media.allowed(offer))) {
                debug!(call = %self.id, gateway = %candidate.gateway, "nothing that is offered may pass to or from the trunk");
                setup.last = StatusCode::NOT_ACCEPTABLE_HERE;
                self.note_codecs(env, &candidate);
                continue;
            }
            let (caller, callee) = (setup.caller.face.media, candidate.face.media);
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
}

impl Setup {
    /// Puts what a redirection names before the other candidates, the best first; false when it names nothing to try.
    ///
    /// Only where the trunk's operator lets it, and only numbers, which are called over the same gateway: where a Contact's host is does
    /// not matter, so that nobody can send us anywhere (RFC 3261 §8.1.3.4 leaves the choice to us).
    fn redirect(&mut self, from: &Candidate, response: &Message) -> bool {
        if !from.trunk.as_ref().is_some_and(|(trunk, _)| trunk.may_redirect) {
            return false;
        }
        let mut contacts: Vec<Contact> = response.all::<Contact>().take(MAX_FOLLOWED).flatten().collect();
        contacts.sort_by_key(|contact| std::cmp::Reverse(contact.q()));
        let mut found = VecDeque::new();
        for number in contacts.iter().filter_map(|contact| digits_of(&contact.address()?.uri)) {
            if self.followed.len() < MAX_FOLLOWED && !self.followed.contains(&number) {
                self.followed.push(number.clone());
                found.push_back(Candidate { number: Some(number), ..from.clone() });
            }
        }
        let any = !found.is_empty();
        found.append(&mut self.candidates);
        self.candidates = found;
        any
    }

    /// Nobody is called yet.
    pub(super) fn new(
        server: ServerId,
        request: Message,
        offer: Option<Sdp>,
        caller: Leg,
        candidates: VecDeque<Candidate>,
    ) -> Setup {
        Setup {
            server,
            request,
            offer,
            caller,
            caller_taken: false,
            forks: Vec::new(),
            candidates,
            phase: Phase::Choosing,
            followed: Vec::new(),
            // What the caller gets when every gateway is down or full.
            last: StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

fn note_end(ends: &mut Vec<LocalEnd>, end: LocalEnd) {
    if !ends.contains(&end) {
        ends.push(end);
    }
}

/// Numbers that one call is redirected to.
const MAX_FOLLOWED: usize = 5;
/// INVITEs of one attempt: some refusals say how to ask again.
const MAX_INVITES: u32 = 3;
