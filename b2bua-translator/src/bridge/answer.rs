//! What the other side says to an offer, and the ACK that ends it.

use std::ops::ControlFlow;
use std::time::Duration;

use node::explain::Fact;
use sip_core::wire::header::Reason;
use sip_core::wire::{Message, Method, StatusCode};
use tracing::warn;

use super::exchange::{Exchange, Offer, Progress};
use super::pair::{Bridge, Context, ON, Step};
use crate::body::{Body, can_relay};
use crate::cause::Cause;
use crate::env::Env;
use crate::failure;
use crate::question::Side;
use crate::sdp::Sdp;

impl Bridge {
    /// Takes the final response to the offer under way.
    pub(super) fn exchange_response(
        &mut self,
        cx: &mut Context<'_>,
        response: &Message,
        status: StatusCode,
    ) -> Step {
        let Some(exchange) = self.exchange.take() else { return ON };
        let to = exchange.to;
        self.leg(to).peer.learn(response);
        if status.is_success() {
            return self.accepted(cx, exchange, response);
        }
        let by_update = matches!(&exchange.step, Progress::Sent { method: Method::Update, .. });
        let is_up = self.leg(to).is_up();
        match status {
            // An UPDATE's sender tries again by itself; of an INVITE's we know that it waits for us.
            StatusCode::REQUEST_PENDING if exchange.tries < MAX_TRIES && !by_update => {
                let until = cx.env.now + pause(cx.env, to);
                let (step, tries) = (Progress::Resting { until }, exchange.tries + 1);
                self.exchange = Some(Exchange { step, tries, ..exchange });
            }
            // RFC 4028 §7.4.
            StatusCode::SESSION_INTERVAL_TOO_SMALL
                if exchange.tries < MAX_TRIES && self.leg(to).session.refused(response) =>
            {
                self.exchange = Some(Exchange { tries: exchange.tries + 1, ..exchange });
                return self.forward(cx);
            }
            // It says that it takes UPDATE, and does not.
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED if by_update => {
                self.leg(to).peer.refused_update();
                self.exchange = Some(exchange);
                return self.forward(cx);
            }
            StatusCode::CALL_DOES_NOT_EXIST | StatusCode::REQUEST_TIMEOUT if is_up => {
                self.finish(cx, exchange, status, &[]);
                return ControlFlow::Break(Cause::lost(to, status));
            }
            status => self.finish(cx, exchange, status, &failure::reasons(response)),
        }
        ON
    }

    fn accepted(&mut self, cx: &mut Context<'_>, mut exchange: Exchange, response: &Message) -> Step {
        let (from, to) = (exchange.to.other(), exchange.to);
        let Progress::Sent { method, body, .. } = std::mem::replace(&mut exchange.step, Progress::Opening)
        else {
            return ON;
        };
        let by_invite = method == Method::Invite;
        let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        if method != Method::Prack {
            self.refresh_target(to, response);
            if self.leg(to).is_up() {
                self.leg(to).session.agreed(cx.env.now, response, &cx.env.settings.session);
            }
        }
        let delayed = matches!(exchange.offer, Offer::Delayed);
        // An answer that is missing can only mean that nothing changed on that side.
        let described = Body::of(response).sdp().or_else(|| self.talk.described(to).cloned());
        let Some(described) = described.filter(|sdp| !delayed || can_relay(sdp)) else {
            if by_invite {
                self.leg(to).ack(cx.env, cseq, None);
            }
            self.finish(cx, exchange, StatusCode::NOT_ACCEPTABLE_HERE, &[]);
            return ON;
        };
        if let Some(mut joins) = exchange.asked.as_mut().and_then(|asked| asked.joins.take()) {
            self.talk.forget(from);
            joins.side = from;
            let left = std::mem::replace(self.leg(from), *joins);
            self.left.push(left);
        }
        if let Some(asked) = &exchange.asked
            && !asked.request.is(&Method::Prack)
        {
            let request = asked.request.clone();
            self.refresh_target(from, &request);
        }
        if let Offer::New(offer) = &exchange.offer {
            self.talk.describe(from, offer.clone());
        }
        self.talk.describe(to, described.clone());
        let answered = self.callee.is_up();
        cx.media.publish(cx.env, &self.talk, answered);
        if body.is_some() {
            self.leg(to).said = body;
        }
        if by_invite && !delayed {
            self.leg(to).ack(cx.env, cseq, None);
        }
        self.answer_on(cx, exchange, described, delayed, cseq);
        ON
    }

    /// The side that asked gets its answer.
    fn answer_on(
        &mut self,
        cx: &mut Context<'_>,
        exchange: Exchange,
        described: Sdp,
        delayed: bool,
        cseq: u32,
    ) {
        let from = exchange.to.other();
        let Some(asked) = &exchange.asked else { return };
        let body = self.stand(cx, from, &described);
        let leg = self.leg(from);
        let reply = leg.response(&asked.request, StatusCode::OK, &[], Some(body), asked.agreement);
        if asked.request.is(&Method::Invite) {
            leg.session.answered(cx.env.now, asked.agreement);
            leg.accept(cx.env, asked.server, reply);
            let step = Progress::Answered { offered: delayed.then_some(described), cseq };
            self.exchange = Some(Exchange { step, ..exchange });
        } else {
            if leg.is_up() && asked.request.is(&Method::Update) {
                leg.session.answered(cx.env.now, asked.agreement);
            }
            cx.env.layer.respond(cx.env.now, asked.server, reply);
            leg.release(cx.env);
        }
    }

    /// Takes the ACK of a 2xx on a side.
    pub(crate) fn ack(&mut self, cx: &mut Context<'_>, side: Side, ack: &Message) -> Step {
        if !self.leg(side).acked(ack) {
            return ON;
        }
        let mut unanswered = false;
        if let Some(exchange) = self.exchange.take_if(|exchange| {
            exchange.from() == Some(side) && matches!(exchange.step, Progress::Answered { .. })
        }) && let Progress::Answered { offered: Some(offer), cseq } = exchange.step
        {
            let to = side.other();
            match Body::of(ack).sdp() {
                Some(answer) => {
                    self.talk.describe(side, answer.clone());
                    cx.media.publish(cx.env, &self.talk, true);
                    let body = self.stand(cx, to, &answer);
                    self.leg(to).ack(cx.env, cseq, Some(body));
                }
                None => {
                    self.refuse_in_ack(cx, to, cseq, &offer);
                    unanswered = true;
                }
            }
        }
        self.leg(side).hang_up_if_waiting(cx.env);
        if unanswered {
            warn!(call = cx.id, ?side, "an ACK without the answer that was asked for");
            let reason = Reason::sip(488, "No answer in ACK");
            return ControlFlow::Break(
                Cause::ours("an ACK without an answer", reason)
                    .on(side, Fact::BadAnswer("its ACK held no SDP")),
            );
        }
        ON
    }
}

/// How long we wait after 491: who chose the Call-ID waits longer, in steps of 10 ms (RFC 3261 §14.1). We did so toward the called
/// side.
pub(super) fn pause(env: &mut Env, to: Side) -> Duration {
    let tens = match to {
        Side::Callee => 210 + env.ids.next_u64() % 191,
        Side::Caller => env.ids.next_u64() % 201,
    };
    Duration::from_millis(tens * 10)
}

/// How often we try again by ourselves after 491, before the one who asked is told.
const MAX_TRIES: u32 = 3;
