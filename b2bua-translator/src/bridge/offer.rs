//! A new offer of one side: whether it may be made now, and how it goes on to the other side.

use std::ops::ControlFlow;

use bytes::Bytes;
use sip_core::transaction::ServerId;
use sip_core::wire::header::{MinSe, RAck, Reason};
use sip_core::wire::{Message, Method, Name, StatusCode};
use tracing::debug;

use super::exchange::{Asked, Exchange, Offer, Progress};
use super::pair::{Bridge, Context, First, ON, Step, refuse};
use crate::body::{ACCEPTED, Body, trouble_with};
use crate::env::Owner;
use crate::leg::{Agreement, with_sdp};
use crate::question::Side;
use crate::required::unacceptable;
use crate::sdp::Sdp;

impl Bridge {
    /// Takes an INVITE in an answered call.
    pub(super) fn reinvite(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: Message,
    ) -> Step {
        if let Some(refusal) = self.conflict(cx, side) {
            cx.env.refuse(server, refusal.0, &refusal.1);
            return ON;
        }
        if let Some((status, headers)) = unacceptable(&request) {
            cx.env.refuse(server, status, &headers);
            return ON;
        }
        let ControlFlow::Continue(offer) = self.read_offer(cx, server, &request) else { return ON };
        let Some(agreement) = self.agree(cx, server, &request) else { return ON };
        cx.env.own_server(server, self.leg(side).call);
        if let Some(said) = offer.as_ref().and_then(|offer| self.stands(side, offer)) {
            // A session refresh: it is between this side and us (RFC 4028 §7.4).
            self.refresh_target(side, &request);
            let leg = self.leg(side);
            let reply = leg.response(&request, StatusCode::OK, &[], Some(said), agreement);
            leg.session.answered(cx.env.now, agreement);
            leg.accept(cx.env, server, reply);
            let asked = Asked { server, request, agreement, joins: None };
            let step = Progress::Answered { offered: None, cseq: 0 };
            let offer = Offer::Delayed;
            self.exchange = Some(Exchange { to: side.other(), asked: Some(asked), offer, step, tries: 0 });
            return ON;
        }
        let asked = Asked { server, request, agreement, joins: None };
        self.start(cx, side, asked, offer)
    }

    /// Takes an UPDATE (RFC 3311 §5.2), also before the answer.
    pub(super) fn update(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: Message,
    ) -> Step {
        if let Some((status, headers)) = unacceptable(&request) {
            cx.env.refuse(server, status, &headers);
            return ON;
        }
        let ControlFlow::Continue(offer) = self.read_offer(cx, server, &request) else { return ON };
        if offer.is_some()
            && let Some(refusal) = self.conflict(cx, side)
        {
            cx.env.refuse(server, refusal.0, &refusal.1);
            return ON;
        }
        let Some(agreement) = self.agree(cx, server, &request) else { return ON };
        let agreement = agreement.filter(|_| self.leg(side).is_up());
        let said = offer.as_ref().and_then(|offer| self.stands(side, offer));
        match offer {
            Some(offer) if said.is_none() => {
                cx.env.own_server(server, self.leg(side).call);
                self.start(cx, side, Asked { server, request, agreement, joins: None }, Some(offer))
            }
            _ => {
                // Nothing changes but the target and the session timer, which are between this side and us.
                self.refresh_target(side, &request);
                let leg = self.leg(side);
                let reply = leg.response(&request, StatusCode::OK, &[], said, agreement);
                if leg.is_up() {
                    leg.session.answered(cx.env.now, agreement);
                }
                cx.env.layer.respond(cx.env.now, server, reply);
                ON
            }
        }
    }

    /// An offer of a side goes to the other one, as soon as there are ports for its streams.
    pub(super) fn start(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        asked: Asked,
        offer: Option<Sdp>,
    ) -> Step {
        let wanted = offer.as_ref().map_or(0, Sdp::media_count).min(cx.env.settings.max_streams);
        let missing = wanted.saturating_sub(cx.media.streams());
        let offer = offer.map_or(Offer::Delayed, Offer::New);
        let step = Progress::Opening;
        self.exchange = Some(Exchange { to: side.other(), asked: Some(asked), offer, step, tries: 0 });
        if missing > 0 {
            cx.media.grow(cx.env, missing);
            return ON;
        }
        self.forward(cx)
    }

    /// We make an offer by ourselves.
    pub(super) fn start_own(&mut self, cx: &mut Context<'_>, to: Side, offer: Offer) -> Step {
        self.exchange = Some(Exchange { to, asked: None, offer, step: Progress::Opening, tries: 0 });
        self.forward(cx)
    }

    /// Why no new offer can be taken from a side now (RFC 3261 §14.2, RFC 3311 §5.2).
    fn conflict(&mut self, cx: &mut Context<'_>, side: Side) -> Option<(StatusCode, Vec<(Name, String)>)> {
        if let Some(exchange) = self.exchange.take_if(|exchange| {
            // It met with 491 at this side, which now comes by itself, as RFC 3261 §14.1 has it: who asked first yields.
            exchange.to == side && matches!(exchange.step, Progress::Resting { .. })
        }) {
            self.finish(cx, exchange, StatusCode::REQUEST_PENDING, &[]);
        }
        if self.frozen {
            return Some((StatusCode::REQUEST_PENDING, Vec::new()));
        }
        let own = match &self.exchange {
            Some(exchange) => exchange.from() == Some(side),
            None if side == Side::Caller && self.first.caller
                || side == Side::Callee && self.first.callee =>
            {
                return None;
            }
            // The caller's first offer is still open.
            None => side == Side::Caller,
        };
        Some(match own {
            true => (StatusCode::SERVER_INTERNAL_ERROR, vec![cx.env.soon()]),
            false => (StatusCode::REQUEST_PENDING, Vec::new()),
        })
    }

    /// The offer of a request; it is refused when it has none that we can use.
    fn read_offer(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerId,
        request: &Message,
    ) -> ControlFlow<(), Option<Sdp>> {
        let status = match Body::of(request) {
            Body::None => return ControlFlow::Continue(None),
            Body::Sdp(offer) => match trouble_with(&cx.media.allowed(&offer)) {
                None => return ControlFlow::Continue(Some(offer)),
                Some(status) => status,
            },
            Body::Foreign => {
                let accept = [(Name::Accept, ACCEPTED.to_owned())];
                cx.env.refuse(server, StatusCode::UNSUPPORTED_MEDIA_TYPE, &accept);
                return ControlFlow::Break(());
            }
            Body::Broken => StatusCode::NOT_ACCEPTABLE_HERE,
        };
        cx.env.refuse(server, status, &[]);
        ControlFlow::Break(())
    }

    /// What a 2xx will say of the session timer; `None` when the request was refused for it (RFC 4028 §9).
    fn agree(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerId,
        request: &Message,
    ) -> Option<Option<Agreement>> {
        match Agreement::with(request, &cx.env.settings.session) {
            Ok(agreement) => Some(agreement),
            Err(_) => {
                let least = [(Name::MinSe, MinSe::new(cx.env.settings.session.min).to_string())];
                cx.env.refuse(server, StatusCode::SESSION_INTERVAL_TOO_SMALL, &least);
                None
            }
        }
    }

    /// What we answered before, when a side says again what it said before.
    fn stands(&mut self, side: Side, offer: &Sdp) -> Option<Bytes> {
        let same = self.talk.described(side).is_some_and(|old| old.as_bytes() == offer.as_bytes());
        self.leg(side).said.clone().filter(|_| same)
    }

    /// Sends the offer to the other side by whatever method can bring it now.
    pub(super) fn forward(&mut self, cx: &mut Context<'_>) -> Step {
        let Some(mut exchange) = self.exchange.take() else { return ON };
        let to = exchange.to;
        let Some(method) = self.method_for(&exchange) else { return self.absorb(cx, exchange) };
        let body = match &exchange.offer {
            Offer::Delayed => None,
            Offer::New(offer) => Some(self.body_for(cx, to, offer)),
            Offer::Same(body) => Some(body.clone()),
        };
        let rack = if method == Method::Prack { self.owed.take() } else { None };
        let leg = self.leg(to);
        let owner = Owner::Call(leg.call);
        let sent = leg.request(cx.env, &method).and_then(|(builder, flow)| {
            let builder = builder.header_if(Name::RAck, rack);
            cx.env.request(owner, with_sdp(builder, body.clone()).finish(), flow)
        });
        match sent {
            Some(client) => {
                exchange.step = Progress::Sent { client, method, body };
                self.exchange = Some(exchange);
            }
            None => self.finish(cx, exchange, StatusCode::SERVICE_UNAVAILABLE, &[]),
        }
        ON
    }

    /// How an offer can go to the other side now. In an early dialog only UPDATE can bring one (RFC 3311 §5.1), or the PRACK that we
    /// owe (RFC 3262 §5).
    fn method_for(&mut self, exchange: &Exchange) -> Option<Method> {
        let complete = match exchange.to {
            Side::Caller => self.first.caller,
            Side::Callee => self.first.callee,
        };
        let owed = self.owed.is_some() && exchange.to == Side::Callee;
        let leg = self.leg(exchange.to);
        if exchange.asked_by(&Method::Prack) && owed {
            return Some(Method::Prack);
        }
        let with_offer = !matches!(exchange.offer, Offer::Delayed);
        let update = leg.peer.takes_update() && with_offer;
        if leg.is_up() {
            let by_invite = exchange.asked.is_none() || exchange.asked_by(&Method::Invite);
            return Some(if update && !by_invite { Method::Update } else { Method::Invite });
        }
        (leg.is_alive() && update && complete).then_some(Method::Update)
    }

    /// An offer that cannot go on is answered by us, when it changes nothing for the other side but where packets go: the relay
    /// follows. Else it is refused for now.
    fn absorb(&mut self, cx: &mut Context<'_>, exchange: Exchange) -> Step {
        let (from, to) = (exchange.to.other(), exchange.to);
        let known = self.talk.described(to).cloned();
        match (&exchange.offer, known, &exchange.asked) {
            (Offer::New(offer), Some(known), Some(asked))
                if asked.joins.is_none() && self.talk.asks_nothing_new(from, offer) =>
            {
                debug!(call = cx.id, side = ?from, "an early offer is answered by us");
                self.refresh_target(from, &asked.request);
                self.talk.describe(from, offer.clone());
                cx.media.publish(cx.env, &self.talk, false);
                let body = self.stand(cx, from, &known);
                let leg = self.leg(from);
                let reply = leg.response(&asked.request, StatusCode::OK, &[], Some(body), asked.agreement);
                cx.env.layer.respond(cx.env.now, asked.server, reply);
                leg.release(cx.env);
            }
            _ => {
                // A PRACK must not be sent again with another offer, an UPDATE may (RFC 3311 §5.2).
                let status = match exchange.asked_by(&Method::Update) {
                    true => StatusCode::SERVER_INTERNAL_ERROR,
                    false => StatusCode::NOT_ACCEPTABLE_HERE,
                };
                self.finish(cx, exchange, status, &[]);
            }
        }
        ON
    }

    /// Answers the exchange's request with a failure.
    pub(super) fn finish(
        &mut self,
        cx: &mut Context<'_>,
        exchange: Exchange,
        status: StatusCode,
        reasons: &[Reason],
    ) {
        let from = exchange.to.other();
        let Some(asked) = exchange.asked else {
            return self.refresh_refused(cx, exchange.to);
        };
        let leg = match &asked.joins {
            Some(joins) => joins,
            None => &*self.leg(from),
        };
        let mut response = leg.response(&asked.request, status, reasons, None, None);
        if status == StatusCode::SERVER_INTERNAL_ERROR || status == StatusCode::SERVICE_UNAVAILABLE {
            let (name, value) = cx.env.soon();
            response = response.edit().append(name, value).finish();
        }
        cx.env.layer.respond(cx.env.now, asked.server, response);
        if asked.request.is(&Method::Prack) {
            self.leg(from).release(cx.env);
        }
    }

    /// Sends the PRACK that the called side waits for.
    pub(super) fn send_prack(&mut self, cx: &mut Context<'_>, rack: RAck, body: Option<Bytes>) {
        let leg = &mut self.callee;
        let Some((builder, flow)) = leg.request(cx.env, &Method::Prack) else { return };
        let prack = with_sdp(builder.header(Name::RAck, rack), body).finish();
        // Nobody waits for its response: without one the other side refuses the call.
        cx.env.request(Owner::Call(leg.call), prack, flow);
    }
}

impl First {
    /// Everything was said.
    pub(super) fn complete(&mut self) {
        (self.caller, self.callee, self.asked) = (true, true, false);
    }
}

/// Refuses a request that fits no state.
pub(super) fn out_of_place(cx: &mut Context<'_>, server: ServerId) -> Step {
    refuse(cx, server, StatusCode::CALL_DOES_NOT_EXIST)
}
