//! What peers, clock and world bring, taken to where it belongs.

use std::ops::ControlFlow;

use node::explain::Fact;
use sip_core::flow::Flow;
use sip_core::transaction::{ClientId, Failure, ServerId};
use sip_core::wire::header::Reason;
use sip_core::wire::{Builder, Message, Method, Name, StatusCode};
use tracing::{debug, warn};

use super::state::{Call, Closing, Place, State};
use crate::body::ACCEPTED;
use crate::bridge::Step;
use crate::cause::Cause;
use crate::env::{Alarm, Env};
use crate::failure;
use crate::leg::Leg;
use crate::question::{Answer, Side};
use schema::EndedBy;

impl Call {
    /// Takes a request in one of the call's dialogs.
    pub(crate) fn request(&mut self, env: &mut Env, server: ServerId, request: Message) {
        let Some(place) = self.find(|leg| leg.owns(&request)) else {
            return env.refuse(server, StatusCode::CALL_DOES_NOT_EXIST, &[]);
        };
        let Some(leg) = self.leg_at(place) else { return };
        if let Some(Err(error)) = leg.dialog.as_mut().map(|dialog| dialog.receive(&request)) {
            debug!(call = %self.id, ?place, %error, "a request is refused");
            let headers = match error.status() {
                StatusCode::SERVER_INTERNAL_ERROR => vec![env.soon()],
                _ => Vec::new(),
            };
            return env.refuse(server, error.status(), &headers);
        }
        match request.method() {
            Some(Method::Bye) => return self.bye(env, place, server, &request),
            Some(Method::Options) => {
                let allow = self.leg_at(place).map(|leg| leg.allow().to_owned()).unwrap_or_default();
                return env.refuse(
                    server,
                    StatusCode::OK,
                    &[(Name::Allow, allow), (Name::Accept, ACCEPTED.to_owned())],
                );
            }
            _ => {}
        }
        let side = match place {
            Place::Fork(_, side) | Place::Up(side) => side,
            // Before anybody has answered there is nobody to ask, and afterwards nobody is left.
            Place::Caller | Place::Ending(_) => {
                return env.refuse(server, StatusCode::CALL_DOES_NOT_EXIST, &[]);
            }
        };
        if request.is(&Method::Refer) {
            return self.refer(env, side, server, &request);
        }
        let Some((bridge, mut cx)) = self.bridge_at(env, place) else { return };
        let step = bridge.request(&mut cx, side, server, request);
        self.step(env, step);
    }

    /// Takes a CANCEL of an INVITE.
    pub(crate) fn cancel(&mut self, env: &mut Env, server: ServerId, cancel: &Message) {
        let reasons = failure::reasons(cancel);
        if self.is_setup_of(server) {
            return self.cancelled(env, reasons);
        }
        let (bridges, mut cx) = self.bridges(env);
        for bridge in bridges {
            if bridge.cancel(&mut cx, server, &reasons) {
                return;
            }
        }
    }

    /// Takes the ACK of a 2xx.
    pub(crate) fn ack(&mut self, env: &mut Env, ack: &Message) {
        let Some(place) = self.find(|leg| leg.owns(ack)) else { return };
        let step = match place {
            Place::Ending(at) => {
                if let Some(leg) = self.ending.get_mut(at)
                    && leg.acked(ack)
                {
                    leg.hang_up_if_waiting(env);
                }
                return;
            }
            Place::Up(side) | Place::Fork(_, side) => {
                let Some((bridge, mut cx)) = self.bridge_at(env, place) else { return };
                bridge.ack(&mut cx, side, ack)
            }
            Place::Caller => return,
        };
        self.step(env, step);
    }

    /// Takes a response to a request that we sent.
    pub(crate) fn response(&mut self, env: &mut Env, client: ClientId, response: &Message, flow: Flow) {
        let Some(status) = response.status() else { return };
        if status.is_final() && self.bye_ended(client) {
            return;
        }
        if self.setup_response(env, client, response, flow)
            || self.transfer_response(env, client, response, flow)
        {
            return;
        }
        let (bridges, mut cx) = self.bridges(env);
        for bridge in bridges {
            if let Some(step) = bridge.response(&mut cx, client, response) {
                return self.step(env, step);
            }
        }
        let of_invite = response.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        if of_invite && status.is_success() {
            self.answer_repeated(env, client, response, flow);
        }
    }

    /// Takes the failure of a client transaction: no response came.
    pub(crate) fn client_failed(&mut self, env: &mut Env, client: ClientId, failure: Failure) {
        if self.bye_ended(client)
            || self.setup_failed(env, client, failure)
            || self.transfer_failed(env, client)
        {
            return;
        }
        let (bridges, mut cx) = self.bridges(env);
        for bridge in bridges {
            if let Some(step) = bridge.failed(&mut cx, client, failure) {
                return self.step(env, step);
            }
        }
    }

    /// Takes an expired timer.
    pub(crate) fn alarm(&mut self, env: &mut Env, alarm: Alarm) {
        match alarm {
            Alarm::Connect => self.no_reply(env),
            Alarm::Ring => {
                self.rings_too_long(env);
                self.transfer_too_long(env);
            }
            Alarm::Limit => {
                if matches!(self.state, State::Up(_)) {
                    self.note(None, Fact::CallLimit(env.settings.call_limit.as_secs()));
                    self.end(env, Cause::ours("longest duration reached", Reason::q850(102, "Call limit")));
                }
            }
            Alarm::Legs => self.legs_due(env),
            Alarm::Closing => self.close_anyway(env),
        }
        self.proceed(env);
    }

    /// Takes an answer of the world.
    pub(crate) fn answered_by_world(&mut self, env: &mut Env, answer: Answer) {
        match answer {
            Answer::Opened { media, streams } => {
                self.media.opened(media, streams);
                match &self.state {
                    State::Setup(setup) if setup.attempt().is_none() => self.ports_opened(env),
                    State::Setup(_) | State::Up(_) => self.more_ports(env),
                    // It ended meanwhile: nothing must stay open.
                    State::Closing(_) => self.media.close(env),
                }
            }
            Answer::NotOpened { reason } => {
                self.media.not_opened();
                match &self.state {
                    State::Setup(setup) if setup.attempt().is_none() => self.no_ports(env, &reason),
                    State::Setup(_) | State::Up(_) => {
                        warn!(call = %self.id, reason, "no media ports for further streams: they are refused");
                        self.more_ports(env);
                    }
                    State::Closing(_) => {}
                }
            }
            Answer::Closed(statistics) => {
                self.media.closed();
                if let Some(draft) = &mut self.draft {
                    draft.media.push(statistics);
                }
            }
            Answer::Silent(side) => {
                if matches!(self.state, State::Up(_)) {
                    warn!(call = %self.id, ?side, "media is silent");
                    // Q.850 cause 102: recovery on timer expiry.
                    let cause = Cause::ours("media time-out", Reason::q850(102, "Media time-out"));
                    self.end(env, cause.on(side, Fact::MediaSilent));
                }
            }
            Answer::Saved(saved) => {
                if let Err(error) = saved {
                    warn!(call = %self.id, error, "the call record was not written");
                }
                if matches!(self.state, State::Closing(Closing::Record)) {
                    self.state = State::Closing(Closing::Legs);
                }
            }
            // Names are not asked for by calls.
            Answer::Updated | Answer::WatchEnded | Answer::Located(_) => {}
        }
        self.proceed(env);
    }

    /// Sets the legs' timer to what they wait for now. After each input.
    pub(crate) fn rearm(&mut self, env: &mut Env) {
        let in_pairs = match &self.state {
            State::Setup(setup) => setup.forks.iter().filter_map(|fork| fork.deadline()).min(),
            State::Up(bridge) => bridge.deadline(),
            State::Closing(_) => None,
        };
        let deadline = self.ending.iter().filter_map(Leg::deadline).chain(in_pairs).min();
        if deadline != self.armed {
            self.armed = deadline;
            env.set_alarm(self.key, Alarm::Legs, deadline);
        }
    }

    fn legs_due(&mut self, env: &mut Env) {
        self.armed = None;
        for leg in &mut self.ending {
            // Whatever it is, the leg ends already.
            while leg.due(env).is_some() {}
        }
        let (bridges, mut cx) = self.bridges(env);
        for bridge in bridges {
            let step = bridge.due(&mut cx);
            if step.is_break() {
                return self.step(env, step);
            }
        }
    }

    fn more_ports(&mut self, env: &mut Env) {
        let (bridges, mut cx) = self.bridges(env);
        for bridge in bridges {
            let step = bridge.more_ports(&mut cx);
            if step.is_break() {
                return self.step(env, step);
            }
        }
    }

    /// Ends the call when a pair says so, and hangs up on those whose place others took.
    pub(super) fn step(&mut self, env: &mut Env, step: Step) {
        if let State::Up(bridge) = &mut self.state {
            for mut leg in std::mem::take(&mut bridge.left) {
                leg.hang_up(env, &[]);
                self.ending.push(leg);
            }
        }
        let ControlFlow::Break(mut cause) = step else { return };
        match self.state {
            State::Setup(_) => {
                if let Some((side, fact)) = cause.fact.take() {
                    self.note(side, fact);
                }
                let status = failure::status_in(&cause.reasons).unwrap_or(StatusCode::SERVER_INTERNAL_ERROR);
                self.refuse_with(env, status, EndedBy::Platform, &cause.words, cause.reasons);
            }
            State::Up(_) => self.end(env, cause),
            State::Closing(_) => {}
        }
    }

    fn bye(&mut self, env: &mut Env, place: Place, server: ServerId, request: &Message) {
        if matches!(place, Place::Fork(_, Side::Callee)) {
            // A UAS may not end an early dialog by BYE (RFC 3261 §15).
            return env.refuse(server, StatusCode::CALL_DOES_NOT_EXIST, &[]);
        }
        let reasons = failure::reasons(request);
        let may_leave = matches!(place, Place::Up(side) if self.may_leave(side));
        let Some(leg) = self.leg_at(place) else { return };
        let response = Builder::response_to(request, StatusCode::OK, None, Some(&leg.tag)).finish();
        env.layer.respond(env.now, server, response);
        match place {
            Place::Fork(..) | Place::Caller => self.cancelled(env, reasons),
            Place::Up(_) if may_leave => leg.over(),
            Place::Up(side) => {
                leg.over();
                self.end(env, Cause::hung_up(side, reasons));
            }
            Place::Ending(_) => leg.over(),
        }
    }

    /// A 2xx that came before, or one of another fork.
    fn answer_repeated(&mut self, env: &mut Env, client: ClientId, response: &Message, flow: Flow) {
        let Some(place) = self.find(|leg| leg.is_of(response)) else {
            return env.reap(client, response, flow);
        };
        if let Place::Up(side) = place
            && let State::Up(bridge) = &self.state
            && bridge.ack_waits(side, response)
        {
            return;
        }
        if let Some(leg) = self.leg_at(place) {
            leg.ack_again(env, response);
        }
    }

    fn bye_ended(&mut self, client: ClientId) -> bool {
        self.ending.iter_mut().any(|leg| leg.bye_ended(client))
    }
}
