//! A call: its state, its two legs, and its way to the end.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use schema::{CallResult, EndedBy};
use sip_core::transaction::{ClientId, Failure, ServerId};
use sip_core::wire::header::Reason;
use sip_core::wire::{Message, Method, StatusCode};
use tracing::{info, warn};

use crate::bridge::{Exchange, Relayed, Step};
use crate::env::{Alarm, CallKey, Env, LocalEnd};
use crate::failure;
use crate::incoming::Party;
use crate::leg::{Leg, Retransmission};
use crate::media::Media;
use crate::question::{Answer, Question, Side};
use crate::record::{Draft, Ending};
use crate::setup::Setup;
use crate::trunks::Permit;

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) key: CallKey,
    /// The call's id in logs and records.
    pub(crate) id: Arc<str>,
    pub(crate) state: State,
    pub(crate) caller: Leg,
    /// Made with the first INVITE to the called side.
    pub(crate) callee: Option<Leg>,
    pub(crate) media: Media,
    /// `None` once it is with the world.
    pub(crate) draft: Option<Draft>,
    pub(crate) party: Party,
    /// Who is called, in E.164 form where it has one.
    pub(crate) number: String,
    /// The trunk's share that the call takes.
    pub(crate) permit: Option<Permit>,
    /// The INVITE of either side that is under way in an answered call.
    pub(crate) exchange: Option<Exchange>,
    /// Other requests under way.
    pub(crate) relayed: Vec<Relayed>,
    /// Our ends of every dialog that the call ever had.
    pub(crate) ends: Vec<LocalEnd>,
}

/// How far a call is.
#[derive(Debug)]
pub(crate) enum State {
    /// The caller waits for an answer.
    Setup(Box<Setup>),
    /// Answered.
    Up,
    /// Over for both sides; the loose ends are being tied.
    Closing(Closing),
}

/// What the end of a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The statistics of its media.
    Media,
    /// The store, which takes the record.
    Record,
    /// The last transactions.
    Legs,
}

/// Why a call ends.
#[derive(Debug)]
pub(crate) struct Cause {
    pub(crate) result: CallResult,
    pub(crate) by: EndedBy,
    /// In words, for the record.
    pub(crate) words: String,
    /// For the other side's BYE or CANCEL.
    pub(crate) reasons: Vec<Reason>,
}

impl Call {
    /// A side's leg.
    pub(crate) fn leg(&mut self, side: Side) -> Option<&mut Leg> {
        match side {
            Side::Caller => Some(&mut self.caller),
            Side::Callee => self.callee.as_mut(),
        }
    }

    /// Whether the call is over and nothing of it is left to do.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.state, State::Closing(Closing::Legs)) && self.legs_over()
    }

    /// Ends the call: whatever is still open on either leg is closed, and the record gets its last lines.
    pub(crate) fn end(&mut self, env: &mut Env, cause: Cause) {
        let was = std::mem::replace(&mut self.state, State::Closing(Closing::Media));
        match was {
            State::Closing(closing) => {
                self.state = State::Closing(closing);
                return;
            }
            State::Setup(setup) => setup.give_up(env, &cause.reasons),
            State::Up => {
                self.drop_exchange(env);
                self.drop_relayed(env);
                self.caller.hang_up(env, &cause.reasons);
                if let Some(callee) = &mut self.callee {
                    callee.hang_up(env, &cause.reasons);
                }
            }
        }
        for alarm in [Alarm::Connect, Alarm::Ring, Alarm::Limit, Alarm::Glare] {
            env.set_alarm(self.key, alarm, None);
        }
        env.alarm_in(self.key, Alarm::Closing, CLOSING_LIMIT);
        self.permit = None;
        if let Some(draft) = &mut self.draft {
            info!(call = %self.id, result = %cause.result, by = %cause.by, reason = %cause.words, status = draft.status, "call ended");
            let status = draft.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
            counter!(
                "centrex6_translator_calls_total",
                "direction" => draft.direction.as_str(),
                "result" => cause.result.as_str(),
                "status" => status
            )
            .increment(1);
            let at = env.clock.unix_ms(env.now);
            draft.ending = Some(Ending { at, result: cause.result, reason: cause.words, by: cause.by });
        }
        self.media.close(env);
        self.proceed(env);
    }

    /// Ends an answered call that neither party asked to end.
    pub(crate) fn end_by_us(&mut self, env: &mut Env, words: &str, reason: Reason) {
        let cause = Cause {
            result: CallResult::Answered,
            by: EndedBy::Platform,
            words: words.to_owned(),
            reasons: vec![reason],
        };
        self.end(env, cause);
    }

    /// The node stops: the parties are told, and the record gets its last lines.
    pub(crate) fn cut(&mut self, env: &mut Env) {
        match self.state {
            State::Setup(_) => self.refuse(env, StatusCode::SERVICE_UNAVAILABLE, "the node stopped"),
            // Q.850 cause 41: temporary failure.
            State::Up => self.end_by_us(env, "the node stopped", Reason::q850(41, "Temporary failure")),
            State::Closing(_) => {}
        }
    }

    /// Takes an answer of the world.
    pub(crate) fn answered_by_world(&mut self, env: &mut Env, answer: Answer) {
        match answer {
            Answer::Opened { media, streams } => {
                self.media.opened(media, streams);
                match &self.state {
                    State::Setup(_) => self.ports_opened(env),
                    State::Up => self.more_ports(env),
                    // It ended meanwhile: nothing must stay open.
                    State::Closing(_) => self.media.close(env),
                }
            }
            Answer::NotOpened { reason } => {
                self.media.not_opened();
                match &self.state {
                    State::Setup(_) => self.no_ports(env, &reason),
                    State::Up => {
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
                if matches!(self.state, State::Up) {
                    warn!(call = %self.id, ?side, "media is silent");
                    // Q.850 cause 102: recovery on timer expiry.
                    self.end_by_us(env, "media time-out", Reason::q850(102, "Media time-out"));
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
            Answer::Updated | Answer::WatchEnded => {}
        }
        self.proceed(env);
    }

    /// Takes an expired timer.
    pub(crate) fn alarm(&mut self, env: &mut Env, alarm: Alarm) {
        match alarm {
            Alarm::Connect => self.no_reply(env),
            Alarm::Ring => self.rings_too_long(env),
            Alarm::Limit => {
                if matches!(self.state, State::Up) {
                    self.end_by_us(env, "longest duration reached", Reason::q850(102, "Call limit"));
                }
            }
            Alarm::CallerAnswer => self.answer_again(env, Side::Caller),
            Alarm::CalleeAnswer => self.answer_again(env, Side::Callee),
            Alarm::Glare => self.try_again(env),
            Alarm::Closing => self.close_anyway(env),
        }
        self.proceed(env);
    }

    /// Takes the failure of a client transaction: no response came.
    pub(crate) fn client_failed(&mut self, env: &mut Env, client: ClientId, side: Side, failure: Failure) {
        if self.leg(side).is_some_and(|leg| leg.bye_ended(client)) {
            return;
        }
        match self.state {
            State::Setup(_) => self.setup_failed(env, client, failure),
            State::Up => self.exchange_failed(env, client, side, failure),
            State::Closing(_) => {}
        }
    }

    /// Takes a response to a request that we sent on a side.
    pub(crate) fn response(
        &mut self,
        env: &mut Env,
        client: ClientId,
        side: Side,
        response: &Message,
        flow: sip_core::flow::Flow,
    ) {
        let Some(status) = response.status() else { return };
        let of_invite = response.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        if !of_invite && status.is_final() && self.leg(side).is_some_and(|leg| leg.bye_ended(client)) {
            return;
        }
        if let State::Setup(setup) = &self.state
            && setup.client() == Some(client)
        {
            self.setup_response(env, response, status, flow);
        } else if self.exchange.as_ref().is_some_and(|exchange| exchange.client() == Some(client)) {
            self.exchange_response(env, response, status);
        } else if of_invite && status.is_success() {
            self.answer_repeated(env, client, side, response, flow);
        } else if !of_invite {
            self.relayed_response(env, client, response, status);
        }
    }

    /// Goes on with closing as far as possible.
    pub(crate) fn proceed(&mut self, env: &mut Env) {
        if matches!(self.state, State::Closing(Closing::Media)) && self.media.is_over() {
            self.save(env);
        }
    }

    fn save(&mut self, env: &mut Env) {
        self.state = State::Closing(Closing::Record);
        match self.draft.take() {
            Some(draft) => env.ask(self.key, Question::SaveRecord(Box::new(draft.finish()))),
            None => self.state = State::Closing(Closing::Legs),
        }
    }

    /// The world or a peer is late. The record is written without what is missing, and nothing is waited for any more.
    fn close_anyway(&mut self, env: &mut Env) {
        match self.state {
            State::Closing(Closing::Media) => {
                warn!(call = %self.id, "the relay did not answer: the record has no statistics");
                self.save(env);
                env.alarm_in(self.key, Alarm::Closing, CLOSING_LIMIT);
            }
            State::Closing(_) => {
                if self.draft.is_none() && matches!(self.state, State::Closing(Closing::Record)) {
                    warn!(call = %self.id, "nobody said whether the call record was written");
                }
                self.state = State::Closing(Closing::Legs);
                self.caller.over(env);
                if let Some(callee) = &mut self.callee {
                    callee.over(env);
                }
            }
            State::Setup(_) | State::Up => {}
        }
    }

    fn legs_over(&self) -> bool {
        self.caller.is_over() && self.callee.as_ref().is_none_or(Leg::is_over)
    }

    fn answer_again(&mut self, env: &mut Env, side: Side) {
        let Some(leg) = self.leg(side) else { return };
        if leg.answer_again(env) != Retransmission::GaveUp {
            return;
        }
        // RFC 3261 §13.3.1.4: the session is not there, and BYE says so.
        leg.hang_up_if_waiting(env);
        if matches!(self.state, State::Up) {
            warn!(call = %self.id, ?side, "no ACK came");
            self.end_by_us(env, "no ACK", Reason::sip(408, "No ACK"));
        }
    }

    /// Answers what a side still waits for, since the call is ending.
    fn drop_exchange(&mut self, env: &mut Env) {
        let Some(exchange) = self.exchange.take() else { return };
        match exchange.step {
            Step::Answered { offered, cseq } => {
                // The other side's answer was never acknowledged: it must be before BYE (RFC 3261 §13.2.2.4).
                let to = exchange.from.other();
                if let Some(offer) = offered {
                    self.refuse_in_ack(env, to, cseq, &offer);
                }
            }
            Step::Opening | Step::Sent { .. } | Step::Resting => {
                let terminated = StatusCode::REQUEST_TERMINATED;
                if let Some(leg) = self.leg(exchange.from) {
                    let response = leg.response(&exchange.request, terminated, &[], None);
                    env.layer.respond(env.now, exchange.server, response);
                }
            }
        }
    }

    /// Acknowledges an offer that nobody will answer.
    pub(crate) fn refuse_in_ack(&mut self, env: &mut Env, to: Side, cseq: u32, offer: &crate::sdp::Sdp) {
        let leg = match to {
            Side::Caller => Some(&mut self.caller),
            Side::Callee => self.callee.as_mut(),
        };
        if let Some(leg) = leg {
            let refusal = self.media.refusal(offer, to, &mut leg.origin);
            leg.ack(env, cseq, Some(refusal));
        }
    }

    fn drop_relayed(&mut self, env: &mut Env) {
        for relayed in std::mem::take(&mut self.relayed) {
            env.refuse(relayed.server, StatusCode::CALL_DOES_NOT_EXIST, &[]);
        }
    }

    /// The caller's INVITE and what to answer it with, once and finally.
    pub(crate) fn reject(
        &mut self,
        env: &mut Env,
        server: ServerId,
        request: &Message,
        status: StatusCode,
        reasons: &[Reason],
    ) {
        let response = self.caller.response(request, status, reasons, None);
        let response = if status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = env.settings.retry_after.as_secs();
            response.edit().append(sip_core::wire::Name::RetryAfter, seconds).finish()
        } else {
            response
        };
        env.layer.respond(env.now, server, response);
        if let Some(draft) = &mut self.draft {
            draft.status = Some(status.code());
        }
    }
}

impl Cause {
    /// A party hung up.
    pub(crate) fn hung_up(side: Side, reasons: Vec<Reason>) -> Cause {
        let by = match side {
            Side::Caller => EndedBy::Caller,
            Side::Callee => EndedBy::Callee,
        };
        let words = reasons.first().map_or_else(|| "hung up".to_owned(), Reason::to_string);
        Cause { result: CallResult::Answered, by, words, reasons }
    }

    /// The call was never answered, and the caller got this status.
    pub(crate) fn failed(status: StatusCode, by: EndedBy, words: impl Into<String>) -> Cause {
        Cause { result: failure::result_of(status), by, words: words.into(), reasons: Vec::new() }
    }
}

/// How long the end of a call waits for the relay, and then again for the store and the peers.
const CLOSING_LIMIT: Duration = Duration::from_secs(40);
