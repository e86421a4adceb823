//! In an answered call: what one leg asks becomes a request on the other, and the answer goes back.

use std::time::Duration;

use bytes::Bytes;
use sip_core::transaction::{ClientId, Failure, ServerId};
use sip_core::wire::header::{Reason, Require, TokenList};
use sip_core::wire::{Builder, Message, Method, Name, StatusCode};
use tracing::{debug, warn};

use crate::call::{Call, Cause, State};
use crate::env::{Alarm, Env, Owner};
use crate::failure;
use crate::leg::{ALLOW, Leg, with_sdp};
use crate::media::{Body, SDP_TYPE, can_relay};
use crate::question::Side;
use crate::sdp::Sdp;

/// An INVITE in an answered call, from its arrival to its ACK.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Who sent it.
    pub(crate) from: Side,
    pub(crate) server: ServerId,
    pub(crate) request: Message,
    /// Its offer; `None` when it asks for one (delayed offer).
    pub(crate) offer: Option<Sdp>,
    pub(crate) step: Step,
    /// How often it met with 491.
    pub(crate) tries: u32,
}

/// How far an exchange is.
#[derive(Debug)]
pub(crate) enum Step {
    /// Ports for more streams are asked for.
    Opening,
    /// The other side has it.
    Sent { client: ClientId },
    /// The other side said 491: we try again after a while (RFC 3261 §14.1).
    Resting,
    /// Answered; the ACK is awaited. When the answer held an offer, the ACK brings its answer, and our INVITE with this CSeq
    /// is acknowledged with it.
    Answered { offered: Option<Sdp>, cseq: u32 },
}

/// Another request under way.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) from: Side,
    pub(crate) server: ServerId,
    pub(crate) request: Message,
    pub(crate) client: ClientId,
    /// An UPDATE's offer.
    pub(crate) offer: Option<Sdp>,
}

impl Exchange {
    /// Our transaction on the other side.
    pub(crate) fn client(&self) -> Option<ClientId> {
        match self.step {
            Step::Sent { client } => Some(client),
            Step::Opening | Step::Resting | Step::Answered { .. } => None,
        }
    }
}

impl Call {
    /// Takes a request in one of the call's dialogs.
    pub(crate) fn request(&mut self, env: &mut Env, side: Side, server: ServerId, request: Message) {
        let closing = matches!(self.state, State::Closing(_));
        let Some(dialog) = self.leg(side).and_then(|leg| leg.dialog.as_mut()) else {
            return env.refuse(server, StatusCode::CALL_DOES_NOT_EXIST, &[]);
        };
        if let Err(error) = dialog.receive(&request) {
            debug!(call = %self.id, ?side, %error, "a request is refused");
            let headers = match error.status() {
                StatusCode::SERVER_INTERNAL_ERROR => vec![env.soon()],
                _ => Vec::new(),
            };
            return env.refuse(server, error.status(), &headers);
        }
        match request.method() {
            Some(Method::Bye) => self.bye(env, side, server, &request),
            Some(Method::Options) => {
                let headers = [(Name::Allow, ALLOW.to_owned()), (Name::Accept, SDP_TYPE.to_owned())];
                env.refuse(server, StatusCode::OK, &headers);
            }
            _ if closing => env.refuse(server, StatusCode::CALL_DOES_NOT_EXIST, &[]),
            Some(Method::Invite) => self.reinvite(env, side, server, request),
            Some(Method::Update | Method::Info | Method::Message) => self.relay(env, side, server, request),
            Some(Method::Other(_)) => env.refuse(server, StatusCode::NOT_IMPLEMENTED, &[]),
            _ => env.refuse(server, StatusCode::METHOD_NOT_ALLOWED, &[(Name::Allow, ALLOW.to_owned())]),
        }
    }

    /// Takes a CANCEL of an INVITE.
    pub(crate) fn cancel(&mut self, env: &mut Env, server: ServerId, cancel: &Message) {
        let reasons = failure::reasons(cancel);
        if self.is_setup_of(server) {
            return self.cancelled(env, reasons);
        }
        let Some(exchange) = self.exchange.take_if(|exchange| exchange.server == server) else { return };
        match exchange.step {
            // The other side decides: it may have said yes already.
            Step::Sent { client } => {
                env.layer.cancel(env.now, client, reasons.first());
                self.exchange = Some(exchange);
            }
            Step::Opening | Step::Resting => {
                env.set_alarm(self.key, Alarm::Glare, None);
                self.finish(env, &exchange, StatusCode::REQUEST_TERMINATED, &[]);
            }
            Step::Answered { .. } => self.exchange = Some(exchange),
        }
    }

    /// Takes the ACK of a 2xx.
    pub(crate) fn ack(&mut self, env: &mut Env, side: Side, ack: &Message) {
        if !self.leg(side).is_some_and(|leg| leg.acked(env, ack)) {
            return;
        }
        let mut unanswered = false;
        if let Some(exchange) = self.exchange.take_if(|exchange| exchange.from == side)
            && let Step::Answered { offered: Some(offer), cseq } = exchange.step
        {
            let to = side.other();
            match Body::of(ack).sdp() {
                Some(answer) => {
                    self.media.describe(side, answer.clone());
                    self.media.publish(env, true);
                    let (media, leg) = self.split(to);
                    if let Some(leg) = leg {
                        let body = media.translate(&answer, to, &mut leg.origin);
                        leg.ack(env, cseq, Some(body));
                    }
                }
                None => {
                    self.refuse_in_ack(env, to, cseq, &offer);
                    unanswered = true;
                }
            }
        }
        if let Some(leg) = self.leg(side) {
            leg.hang_up_if_waiting(env);
        }
        if unanswered && matches!(self.state, State::Up) {
            warn!(call = %self.id, ?side, "an ACK without the answer that was asked for");
            self.end_by_us(env, "an ACK without an answer", Reason::sip(488, "No answer in ACK"));
        }
    }

    /// Takes a response to the INVITE of the exchange.
    pub(crate) fn exchange_response(&mut self, env: &mut Env, response: &Message, status: StatusCode) {
        if status.is_provisional() {
            return;
        }
        let Some(mut exchange) = self.exchange.take() else { return };
        if status.is_success() {
            return self.exchange_accepted(env, exchange, response);
        }
        match status {
            StatusCode::REQUEST_PENDING if exchange.tries < MAX_TRIES => {
                exchange.tries += 1;
                exchange.step = Step::Resting;
                // RFC 3261 §14.1: who chose the Call-ID waits longer. We did so toward the called side.
                let tens = match exchange.from.other() {
                    Side::Callee => 210 + env.ids.next_u64() % 191,
                    Side::Caller => env.ids.next_u64() % 201,
                };
                env.alarm_in(self.key, Alarm::Glare, Duration::from_millis(tens * 10));
                self.exchange = Some(exchange);
            }
            StatusCode::CALL_DOES_NOT_EXIST | StatusCode::REQUEST_TIMEOUT => {
                self.finish(env, &exchange, status, &[]);
                // RFC 3261 §12.2.1.2: the dialog is gone.
                self.end_by_us(
                    env,
                    "the other side lost the call",
                    Reason::sip(status.code(), status.reason()),
                );
            }
            status => self.finish(env, &exchange, status, &failure::reasons(response)),
        }
    }

    /// A request in the dialog got no response.
    pub(crate) fn exchange_failed(&mut self, env: &mut Env, client: ClientId, side: Side, failure: Failure) {
        if let Some(exchange) = self.exchange.take_if(|exchange| exchange.client() == Some(client)) {
            warn!(call = %self.id, ?side, ?failure, "no response to a re-INVITE");
            self.finish(env, &exchange, StatusCode::REQUEST_TIMEOUT, &[]);
            self.end_by_us(env, "no response in the dialog", Reason::sip(408, "Request Timeout"));
        } else if let Some(at) = self.relayed.iter().position(|relayed| relayed.client == client) {
            let relayed = self.relayed.swap_remove(at);
            env.refuse(relayed.server, StatusCode::REQUEST_TIMEOUT, &[]);
        }
    }

    /// A 2xx that came before, or one of another fork.
    pub(crate) fn answer_repeated(
        &mut self,
        env: &mut Env,
        client: ClientId,
        side: Side,
        response: &Message,
        flow: sip_core::flow::Flow,
    ) {
        let number = response.cseq().map(|cseq| cseq.number).ok();
        let answer_awaited = self.exchange.as_ref().is_some_and(|exchange| {
            let Step::Answered { offered: Some(_), cseq } = exchange.step else { return false };
            exchange.from == side.other() && Some(cseq) == number
        });
        let in_dialog = self.leg(side).and_then(|leg| leg.dialog.as_ref());
        let same_fork =
            in_dialog.is_some_and(|dialog| Some(&dialog.id().remote_tag) == response.to_tag().as_ref());
        if answer_awaited && same_fork {
            // Its ACK comes with the answer that the other side still owes.
            return;
        }
        let known = self.leg(side).is_some_and(|leg| leg.ack_again(env, response));
        if !known {
            env.reap(client, response, flow);
        }
    }

    /// Takes a response to another request.
    pub(crate) fn relayed_response(
        &mut self,
        env: &mut Env,
        client: ClientId,
        response: &Message,
        status: StatusCode,
    ) {
        if status.is_provisional() {
            return;
        }
        let Some(at) = self.relayed.iter().position(|relayed| relayed.client == client) else { return };
        let relayed = self.relayed.swap_remove(at);
        let from = relayed.from;
        let answer = Body::of(response).sdp().filter(|_| status.is_success() && relayed.offer.is_some());
        if status.is_success() && relayed.request.is(&Method::Update) {
            self.refresh_targets(from, &relayed.request, response);
        }
        if let (Some(offer), Some(answer)) = (relayed.offer, &answer) {
            self.media.describe(from, offer);
            self.media.describe(from.other(), answer.clone());
            self.media.publish(env, true);
        }
        let (media, leg) = self.split(from);
        let Some(leg) = leg else { return };
        let body = answer.map(|answer| media.translate(&answer, from, &mut leg.origin));
        let reply = match body {
            Some(body) => leg.response(&relayed.request, status, &[], Some(body)),
            None if relayed.request.is(&Method::Update) => {
                leg.response(&relayed.request, status, &failure::reasons(response), None)
            }
            None => {
                let builder = Builder::response_to(&relayed.request, status, None, Some(&leg.tag));
                pass_body(builder, response).finish()
            }
        };
        env.layer.respond(env.now, relayed.server, reply);
        if status == StatusCode::CALL_DOES_NOT_EXIST {
            self.end_by_us(env, "the other side lost the call", Reason::sip(status.code(), status.reason()));
        }
    }

    /// Ports for more streams are there, or refused: the offer goes on with what there is.
    pub(crate) fn more_ports(&mut self, env: &mut Env) {
        if self.exchange.as_ref().is_some_and(|exchange| matches!(exchange.step, Step::Opening)) {
            self.forward_invite(env);
        }
    }

    /// The time to try again after 491 has come.
    pub(crate) fn try_again(&mut self, env: &mut Env) {
        if self.exchange.as_ref().is_some_and(|exchange| matches!(exchange.step, Step::Resting)) {
            self.forward_invite(env);
        }
    }

    fn bye(&mut self, env: &mut Env, side: Side, server: ServerId, request: &Message) {
        let early = matches!(self.state, State::Setup(_));
        if early && side == Side::Callee {
            // A UAS may not end an early dialog by BYE (RFC 3261 §15).
            return env.refuse(server, StatusCode::CALL_DOES_NOT_EXIST, &[]);
        }
        let reasons = failure::reasons(request);
        if let Some(leg) = self.leg(side) {
            let response = Builder::response_to(request, StatusCode::OK, None, Some(&leg.tag)).finish();
            env.layer.respond(env.now, server, response);
        }
        if early {
            return self.cancelled(env, reasons);
        }
        if let Some(leg) = self.leg(side) {
            leg.over(env);
        }
        self.end(env, Cause::hung_up(side, reasons));
    }

    fn reinvite(&mut self, env: &mut Env, side: Side, server: ServerId, request: Message) {
        if let Some(refusal) = self.conflict(env, side) {
            return env.refuse(server, refusal.0, &refusal.1);
        }
        if let Some((status, headers)) = unacceptable(&request) {
            return env.refuse(server, status, &headers);
        }
        let offer = match Body::of(&request) {
            Body::None => None,
            Body::Sdp(offer) if can_relay(&offer) => Some(offer),
            Body::Foreign => {
                let accept = [(Name::Accept, SDP_TYPE.to_owned())];
                return env.refuse(server, StatusCode::UNSUPPORTED_MEDIA_TYPE, &accept);
            }
            Body::Sdp(_) | Body::Broken => return env.refuse(server, StatusCode::NOT_ACCEPTABLE_HERE, &[]),
        };
        env.own_server(server, self.key);
        let wanted = offer.as_ref().map_or(0, Sdp::media_count).min(env.settings.max_streams);
        let missing = wanted.saturating_sub(self.media.streams());
        self.exchange = Some(Exchange { from: side, server, request, offer, step: Step::Opening, tries: 0 });
        if missing > 0 {
            self.media.grow(env, missing);
        } else {
            self.forward_invite(env);
        }
    }

    /// Why no new offer can be taken from a side now (RFC 3261 §14.2, RFC 3311 §5.2).
    fn conflict(&mut self, env: &mut Env, side: Side) -> Option<(StatusCode, Vec<(Name, String)>)> {
        let pending = self.exchange.as_ref().map(|exchange| exchange.from).or_else(|| {
            self.relayed.iter().find(|relayed| relayed.offer.is_some()).map(|relayed| relayed.from)
        });
        match pending {
            Some(from) if from == side => Some((StatusCode::SERVER_INTERNAL_ERROR, vec![env.soon()])),
            Some(_) => Some((StatusCode::REQUEST_PENDING, Vec::new())),
            None if matches!(self.state, State::Up) => None,
            // Before the answer: the caller's first offer is still open.
            None if side == Side::Caller => Some((StatusCode::SERVER_INTERNAL_ERROR, vec![env.soon()])),
            None => Some((StatusCode::REQUEST_PENDING, Vec::new())),
        }
    }

    fn forward_invite(&mut self, env: &mut Env) {
        let Some(mut exchange) = self.exchange.take() else { return };
        let to = exchange.from.other();
        let key = self.key;
        let (media, leg) = self.split(to);
        let sent = leg.filter(|leg| leg.is_up()).and_then(|leg| {
            let (builder, flow) = leg.request(env, &Method::Invite)?;
            let body = exchange.offer.as_ref().map(|offer| media.translate(offer, to, &mut leg.origin));
            env.request(Owner::Call(key, to), with_sdp(builder, body).finish(), flow)
        });
        match sent {
            Some(client) => {
                exchange.step = Step::Sent { client };
                self.exchange = Some(exchange);
            }
            None => self.finish(env, &exchange, StatusCode::SERVICE_UNAVAILABLE, &[]),
        }
    }

    fn exchange_accepted(&mut self, env: &mut Env, exchange: Exchange, response: &Message) {
        let (from, to) = (exchange.from, exchange.from.other());
        let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        self.refresh_targets(from, &exchange.request, response);
        let delayed = exchange.offer.is_none();
        // An answer that is missing can only mean that nothing changed on that side.
        let described = Body::of(response).sdp().or_else(|| self.media.described(to).cloned());
        let Some(described) = described.filter(|sdp| !delayed || can_relay(sdp)) else {
            if let Some(leg) = self.leg(to) {
                leg.ack(env, cseq, None);
            }
            return self.finish(env, &exchange, StatusCode::NOT_ACCEPTABLE_HERE, &[]);
        };
        if let Some(offer) = &exchange.offer {
            self.media.describe(from, offer.clone());
        }
        self.media.describe(to, described.clone());
        self.media.publish(env, true);
        if !delayed && let Some(leg) = self.leg(to) {
            leg.ack(env, cseq, None);
        }
        let (media, leg) = self.split(from);
        if let Some(leg) = leg {
            let body = media.translate(&described, from, &mut leg.origin);
            let reply = leg.response(&exchange.request, StatusCode::OK, &[], Some(body));
            leg.answer(env, exchange.server, reply);
        }
        let step = Step::Answered { offered: delayed.then_some(described), cseq };
        self.exchange = Some(Exchange { step, ..exchange });
    }

    /// Answers the exchange's INVITE with a failure.
    fn finish(&mut self, env: &mut Env, exchange: &Exchange, status: StatusCode, reasons: &[Reason]) {
        if let Some(leg) = self.leg(exchange.from) {
            let response = leg.response(&exchange.request, status, reasons, None);
            env.layer.respond(env.now, exchange.server, response);
        }
    }

    fn relay(&mut self, env: &mut Env, side: Side, server: ServerId, request: Message) {
        let to = side.other();
        let ready = matches!(self.state, State::Up) && self.leg(to).is_some_and(|leg| leg.is_up());
        if !ready || self.relayed.len() >= MAX_RELAYED {
            let soon = env.soon();
            return env.refuse(server, StatusCode::SERVER_INTERNAL_ERROR, &[soon]);
        }
        if let Some((status, headers)) = unacceptable(&request) {
            return env.refuse(server, status, &headers);
        }
        let mut offer = None;
        if request.is(&Method::Update) {
            offer = match Body::of(&request) {
                Body::None => None,
                Body::Sdp(offer) if can_relay(&offer) => Some(offer),
                Body::Foreign => return env.refuse(server, StatusCode::UNSUPPORTED_MEDIA_TYPE, &[]),
                Body::Sdp(_) | Body::Broken => {
                    return env.refuse(server, StatusCode::NOT_ACCEPTABLE_HERE, &[]);
                }
            };
            if offer.is_some()
                && let Some(refusal) = self.conflict(env, side)
            {
                return env.refuse(server, refusal.0, &refusal.1);
            }
        }
        let key = self.key;
        let (media, leg) = self.split(to);
        let sent = leg.and_then(|leg| {
            let method = request.method().cloned()?;
            let (builder, flow) = leg.request(env, &method)?;
            let message = match &offer {
                Some(offer) => with_sdp(builder, Some(media.translate(offer, to, &mut leg.origin))).finish(),
                None if method == Method::Update => builder.finish(),
                None => pass_body(builder, &request).finish(),
            };
            env.request(Owner::Call(key, to), message, flow)
        });
        match sent {
            Some(client) => self.relayed.push(Relayed { from: side, server, request, client, offer }),
            None => env.refuse(server, StatusCode::SERVICE_UNAVAILABLE, &[]),
        }
    }

    /// Both ends of an accepted target refresh (RFC 3261 §12.2).
    fn refresh_targets(&mut self, from: Side, request: &Message, response: &Message) {
        for (side, message) in [(from, request), (from.other(), response)] {
            if let Some(dialog) = self.leg(side).and_then(|leg| leg.dialog.as_mut())
                && let Err(error) = dialog.refresh_target(message)
            {
                debug!(%error, "a Contact is not understood: the old one stays");
            }
        }
    }

    fn split(&mut self, side: Side) -> (&crate::media::Media, Option<&mut Leg>) {
        let leg = match side {
            Side::Caller => Some(&mut self.caller),
            Side::Callee => self.callee.as_mut(),
        };
        (&self.media, leg)
    }
}

/// The status and headers of a refusal when a request requires what we do not know (RFC 3261 §8.2.2.3).
pub(crate) fn unacceptable(request: &Message) -> Option<(StatusCode, Vec<(Name, String)>)> {
    let required: Vec<String> = request
        .all::<Require>()
        .map(|tag| tag.map_or_else(|_| "?".to_owned(), |tag| tag.token().to_owned()))
        .collect();
    let list = required.join(", ");
    (!required.is_empty()).then(|| (StatusCode::BAD_EXTENSION, vec![(Name::Unsupported, list)]))
}

/// Copies a body that we do not look into, and what describes it.
fn pass_body(mut builder: Builder, from: &Message) -> Builder {
    for name in DESCRIBE_BODY {
        builder = builder.copy(from, name);
    }
    let body: Bytes = from.body();
    match from.text(Name::ContentType).filter(|_| !body.is_empty()) {
        Some(content_type) => builder.body(content_type, body),
        None => builder,
    }
}

/// What says how a body or an INFO package is meant.
const DESCRIBE_BODY: [Name; 3] =
    [Name::Other("Info-Package"), Name::Other("Content-Disposition"), Name::ContentEncoding];
/// How often we try again by ourselves after 491, before the one who asked is told.
const MAX_TRIES: u32 = 3;
/// Requests other than INVITE that one call has under way at a time.
const MAX_RELAYED: usize = 16;
