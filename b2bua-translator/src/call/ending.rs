//! The way to the end: who is told, and the record.

use std::time::Duration;

use metrics::counter;
use node::explain::Fact;
use schema::{CallRecord, EndedBy};
use sip_core::transaction::ServerId;
use sip_core::wire::header::Reason;
use sip_core::wire::{Message, Name, StatusCode};
use tracing::{info, warn};

use super::state::{Call, Closing, Phase, State};
use crate::bridge::Context;
use crate::cause::Cause;
use crate::env::{Alarm, Env};
use crate::question::Question;
use crate::record::Ending;

impl Call {
    /// Ends the call: whatever is still open on either leg is closed, and the record gets its last lines.
    pub(super) fn end(&mut self, env: &mut Env, cause: Cause) {
        self.note_end(&cause, self.draft.as_ref().and_then(|draft| draft.status));
        self.drop_transfer(env, &cause.reasons);
        let was = std::mem::replace(&mut self.state, State::Closing(Closing::Media));
        let mut cx = Context { env, media: &mut self.media, id: &self.id };
        match was {
            State::Closing(closing) => {
                self.state = State::Closing(closing);
                return;
            }
            State::Setup(setup) => {
                if let Phase::Calling(attempt) = &setup.phase {
                    cx.env.abandon(attempt.client, &cause.reasons);
                }
                // The early dialogs end with their INVITEs.
                for fork in setup.forks {
                    fork.close(&mut cx);
                }
            }
            State::Up(bridge) => {
                let mut legs = bridge.close(&mut cx);
                for leg in &mut legs {
                    leg.hang_up(cx.env, &cause.reasons);
                }
                self.ending.append(&mut legs);
            }
        }
        for alarm in [Alarm::Connect, Alarm::Ring, Alarm::Limit] {
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

    /// We refuse the call before anybody answered it.
    pub(super) fn refuse(&mut self, env: &mut Env, status: StatusCode, words: &str) {
        self.refuse_with(env, status, EndedBy::Platform, words, Vec::new());
    }

    /// The caller gets a final failure, and the call ends.
    pub(super) fn refuse_with(
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

    /// Answers the caller's INVITE once and finally.
    pub(super) fn reject(
        &mut self,
        env: &mut Env,
        server: ServerId,
        request: &Message,
        status: StatusCode,
        reasons: &[Reason],
    ) {
        let State::Setup(setup) = &self.state else { return };
        let mut response = setup.caller.response(request, status, reasons, None, None);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = env.settings.retry_after.as_secs();
            response = response.edit().append(Name::RetryAfter, seconds).finish();
        }
        env.layer.respond(env.now, server, response);
        if let Some(draft) = &mut self.draft {
            draft.status = Some(status.code());
        }
    }

    /// The node stops: the parties are told, and the record gets its last lines.
    pub(crate) fn cut(&mut self, env: &mut Env) {
        match self.state {
            State::Setup(_) => {
                self.note(None, Fact::NodeStopped);
                self.refuse(env, StatusCode::SERVICE_UNAVAILABLE, "the node stopped");
            }
            // Q.850 cause 41: temporary failure.
            State::Up(_) => {
                self.note(None, Fact::NodeStopped);
                self.end(env, Cause::ours("the node stopped", Reason::q850(41, "Temporary failure")));
            }
            State::Closing(_) => {}
        }
    }

    /// Goes on with closing as far as possible.
    pub(super) fn proceed(&mut self, env: &mut Env) {
        if matches!(self.state, State::Closing(Closing::Media)) && self.media.is_over() {
            self.save(env);
        }
    }

    /// The world or a peer is late. The record is written without what is missing, and nothing is waited for any more.
    pub(super) fn close_anyway(&mut self, env: &mut Env) {
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
                for leg in &mut self.ending {
                    leg.over();
                }
            }
            State::Setup(_) | State::Up(_) => {}
        }
    }

    fn save(&mut self, env: &mut Env) {
        self.state = State::Closing(Closing::Record);
        match self.draft.take() {
            Some(draft) => {
                let explanation = self.explanation(&draft.media);
                let record = CallRecord { explanation, ..draft.finish() };
                env.ask(self.key, Question::SaveRecord(Box::new(record)));
            }
            None => self.state = State::Closing(Closing::Legs),
        }
    }
}

/// How long the end of a call waits for the relay, and then again for the store and the peers.
const CLOSING_LIMIT: Duration = Duration::from_secs(40);
