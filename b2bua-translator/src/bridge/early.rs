//! Before the answer: provisional responses, each leg with or without 100rel; PRACK; and the 2xx that ends it.

use std::ops::ControlFlow;

use sip_core::transaction::ServerId;
use sip_core::wire::header::{RAck, Reason};
use sip_core::wire::{Message, Name, StatusCode};
use tracing::{debug, warn};

use super::exchange::{Asked, Exchange, Offer, Progress};
use super::offer::out_of_place;
use super::pair::{Bridge, Context, ON, Step};
use crate::body::{ACCEPTED, Body, can_relay, trouble_with};
use crate::cause::Cause;
use crate::leg::{Reliability, rack_of};
use crate::question::Side;
use crate::required::unacceptable;
use crate::sdp::shares_codec;

impl Bridge {
    /// Passes a provisional response of the called side's early dialog on to the caller.
    ///
    /// Each leg has 100rel for itself: the called side's reliable response gets its PRACK from us, and the caller gets a reliable
    /// one when it asks for that, or when it can and there is something to lose. Only where both are reliable and a description is
    /// in it, our PRACK waits for the caller's, which may bring an answer or an offer (RFC 3262 §5).
    pub(crate) fn progress(&mut self, cx: &mut Context<'_>, response: &Message, status: StatusCode) {
        let rack = rack_of(response);
        if let Some(rack) = &rack
            && !self.callee.is_next(rack)
        {
            return debug!(call = cx.id, rseq = rack.rseq, "a reliable response out of order is dropped");
        }
        self.callee.peer.learn(response);
        self.refresh_target(Side::Callee, response);
        let Some(invite) = self.caller.invite().cloned() else { return };
        let reliability = invite.reliability;
        let mut body = None;
        if let Some(sdp) = Body::of(response).sdp().filter(|_| !self.first.callee && !self.first.asked) {
            if !self.first.delayed {
                // The answer, or a first sight of it.
                self.first.callee = rack.is_some();
                self.talk.describe(Side::Callee, sdp.clone());
                cx.media.publish(cx.env, &self.talk, false);
                body = Some(self.stand(cx, Side::Caller, &sdp));
            } else if rack.is_some() && reliability != Reliability::Unknown && can_relay(&sdp) {
                // An offer, which the caller can answer in its PRACK. Where it cannot, the offer comes again in the 2xx.
                self.first.asked = true;
                self.talk.describe(Side::Callee, sdp.clone());
                body = Some(self.stand(cx, Side::Caller, &sdp));
            }
        }
        let reliably = match reliability {
            Reliability::Required => true,
            Reliability::Supported => rack.is_some() || body.is_some(),
            Reliability::Unknown => false,
        };
        let waits = reliably && body.is_some();
        let forward = self.caller.response(&invite.request, status, &[], body, None);
        self.caller.progress(cx.env, forward, reliably);
        // It sends the next one before the PRACK of this one, although it should not.
        if let Some(before) = self.owed.take_if(|_| rack.is_some()) {
            self.send_prack(cx, before, None);
        }
        match rack {
            Some(rack) if waits => self.owed = Some(rack),
            Some(rack) => self.send_prack(cx, rack, None),
            None => {}
        }
    }

    /// Takes the caller's PRACK (RFC 3262 §3, §5).
    pub(super) fn prack(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: Message,
    ) -> Step {
        let rack = request.header::<RAck>().ok().flatten();
        let leg = self.leg(side);
        let Some(acknowledged) = rack.and_then(|rack| leg.acknowledged(cx.env, &rack)) else {
            return out_of_place(cx, server);
        };
        if let Some((status, headers)) = unacceptable(&request) {
            cx.env.refuse(server, status, &headers);
            return ON;
        }
        let answers = acknowledged.had_body && self.first.asked;
        if acknowledged.had_body {
            self.first.caller = true;
        }
        match Body::of(&request) {
            Body::None if answers => {
                cx.env.refuse(server, StatusCode::BAD_REQUEST, &[]);
                warn!(call = cx.id, "a PRACK without the answer that was asked for");
                let reason = Reason::sip(488, "No answer in PRACK");
                return ControlFlow::Break(Cause::ours("a PRACK without an answer", reason));
            }
            Body::None => {
                if let Some(owed) = self.owed.take_if(|_| acknowledged.had_body) {
                    self.send_prack(cx, owed, None);
                }
            }
            Body::Sdp(answer) if answers => {
                self.first.complete();
                self.talk.describe(Side::Caller, answer.clone());
                cx.media.publish(cx.env, &self.talk, false);
                if let Some(owed) = self.owed.take() {
                    let body = self.stand(cx, Side::Callee, &answer);
                    self.send_prack(cx, owed, Some(body));
                }
            }
            Body::Sdp(offer)
                if self.exchange.is_none() && trouble_with(&cx.media.allowed(&offer)).is_none() =>
            {
                cx.env.own_server(server, self.caller.call);
                let asked = Asked { server, request, agreement: None, joins: None };
                return self.start(cx, Side::Caller, asked, Some(offer));
            }
            Body::Sdp(offer) => {
                let status = trouble_with(&offer).unwrap_or(StatusCode::NOT_ACCEPTABLE_HERE);
                cx.env.refuse(server, status, &[]);
                self.caller.release(cx.env);
                return ON;
            }
            Body::Broken => {
                cx.env.refuse(server, StatusCode::NOT_ACCEPTABLE_HERE, &[]);
                self.caller.release(cx.env);
                return ON;
            }
            Body::Foreign => {
                let accept = [(Name::Accept, ACCEPTED.to_owned())];
                cx.env.refuse(server, StatusCode::UNSUPPORTED_MEDIA_TYPE, &accept);
                self.caller.release(cx.env);
                return ON;
            }
        }
        let reply = self.caller.response(&request, StatusCode::OK, &[], None, None);
        cx.env.layer.respond(cx.env.now, server, reply);
        self.caller.release(cx.env);
        ON
    }

    /// Takes the called side's 2xx: the caller gets it as soon as it may have it. `Err`: nothing can come of this call; the
    /// called side has its ACK, and is to be hung up.
    pub(crate) fn answered(
        &mut self,
        cx: &mut Context<'_>,
        response: &Message,
    ) -> Result<(), (StatusCode, &'static str)> {
        let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or(1);
        self.callee.peer.learn(response);
        self.callee.session.agreed(cx.env.now, response, &cx.env.settings.session);
        // A gateway that gave its answer early need not repeat it, and some do not. What it gave reliably stands (RFC 3261 §13.2.1).
        let known = self.talk.described(Side::Callee).cloned();
        let said = Body::of(response).sdp().filter(|_| !self.first.callee && !self.first.asked);
        let described =
            said.or(known.filter(|_| !self.first.delayed || self.first.callee || self.first.asked));
        let offer = self.talk.described(Side::Caller);
        let delayed = self.first.delayed && !self.first.callee && !self.first.asked;
        let trouble = match (offer, &described) {
            (_, None) => Some((StatusCode::BAD_GATEWAY, "an answer without SDP")),
            (Some(offer), Some(answer)) if !shares_codec(&cx.media.allowed(offer), answer) => {
                Some((StatusCode::NOT_ACCEPTABLE_HERE, "no common codec"))
            }
            (None, Some(offer)) if !can_relay(&cx.media.allowed(offer)) => {
                Some((StatusCode::NOT_ACCEPTABLE_HERE, "no media that can be relayed"))
            }
            _ => None,
        };
        let (Some(described), None) = (described.clone(), trouble) else {
            match described.filter(|_| delayed) {
                Some(offer) => self.refuse_in_ack(cx, Side::Callee, cseq, &offer),
                None => self.callee.ack(cx.env, cseq, None),
            }
            return Err(trouble.unwrap_or((StatusCode::BAD_GATEWAY, "an answer without SDP")));
        };
        let Some(invite) = self.caller.invite().cloned() else {
            self.callee.ack(cx.env, cseq, None);
            return Err((StatusCode::REQUEST_TERMINATED, "nobody waits for the answer"));
        };
        self.talk.describe(Side::Callee, described.clone());
        cx.media.publish(cx.env, &self.talk, !delayed);
        // What the caller has, or will have, reliably is not said again.
        let has_it = self.first.caller || self.caller.awaits_prack();
        let body = (!has_it).then(|| self.stand(cx, Side::Caller, &described));
        let forward = self.caller.response(&invite.request, StatusCode::OK, &[], body, invite.agreement);
        self.caller.session.answered(cx.env.now, invite.agreement);
        self.caller.accept(cx.env, invite.server, forward);
        if !delayed {
            self.callee.ack(cx.env, cseq, None);
        }
        if !self.first.asked {
            (self.first.caller, self.first.callee) = (true, true);
        }
        let step = Progress::Answered { offered: delayed.then_some(described), cseq };
        let asked = Asked {
            server: invite.server,
            request: invite.request,
            agreement: invite.agreement,
            joins: None,
        };
        // An offer in a PRACK may be on its way already.
        if self.exchange.is_none() {
            let offer = Offer::Delayed;
            self.exchange = Some(Exchange { to: Side::Callee, asked: Some(asked), offer, step, tries: 0 });
        }
        Ok(())
    }
}
