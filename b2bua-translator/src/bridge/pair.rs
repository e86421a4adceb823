//! The two legs, and who gets which request.

use std::ops::ControlFlow;
use std::time::Instant;

use bytes::Bytes;
use node::explain::Fact;
use sip_core::transaction::{ClientId, Failure, ServerId};
use sip_core::wire::header::{RAck, Reason};
use sip_core::wire::{Message, Method, Name, StatusCode};
use tracing::{debug, warn};

use super::exchange::{Exchange, Offer, Progress};
use super::refresh::Refreshing;
use super::relayed::Relayed;
use crate::cause::Cause;
use crate::env::Env;
use crate::leg::{self, Leg, Reliability};
use crate::media::Media;
use crate::question::Side;
use crate::sdp::Sdp;
use crate::talk::Talk;

/// Two legs, early or answered, and what is under way between them.
#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) caller: Leg,
    pub(crate) callee: Leg,
    pub(crate) talk: Talk,
    pub(super) first: First,
    /// The offer of either side that is under way.
    pub(super) exchange: Option<Exchange>,
    /// Other requests under way.
    pub(super) relayed: Vec<Relayed>,
    pub(super) refreshing: Vec<Refreshing>,
    /// The called side's reliable response whose PRACK waits for the caller's.
    pub(super) owed: Option<RAck>,
    /// Legs whose place others took: they are to be hung up.
    pub(crate) left: Vec<Leg>,
    /// A leg is about to be replaced: nothing new is offered meanwhile.
    pub(super) frozen: bool,
}

/// The call's first offer and answer, leg by leg.
#[derive(Debug, Default)]
pub(super) struct First {
    /// The caller's INVITE held no offer.
    pub(super) delayed: bool,
    /// The caller has the called side's reliable offer, and its PRACK shall answer it.
    pub(super) asked: bool,
    /// It is complete between the caller and us.
    pub(super) caller: bool,
    /// It is complete between the called side and us.
    pub(super) callee: bool,
}

/// What a bridge works with.
pub(crate) struct Context<'a> {
    pub(crate) env: &'a mut Env,
    pub(crate) media: &'a mut Media,
    /// The call's id, for logs.
    pub(crate) id: &'a str,
}

/// Whether the call goes on.
pub(crate) type Step = ControlFlow<Cause>;

/// It does.
pub(super) const ON: Step = ControlFlow::Continue(());

impl Bridge {
    /// An early pair: the caller's INVITE is sent on, and the called side has answered something.
    pub(crate) fn early(caller: Leg, callee: Leg, offer: Option<Sdp>) -> Bridge {
        let mut talk = Talk::default();
        let first = First { delayed: offer.is_none(), ..First::default() };
        if let Some(offer) = offer {
            talk.describe(Side::Caller, offer);
        }
        Bridge {
            caller,
            callee,
            talk,
            first,
            exchange: None,
            relayed: Vec::new(),
            refreshing: Vec::new(),
            owed: None,
            left: Vec::new(),
            frozen: false,
        }
    }

    pub(crate) fn leg(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }

    /// Whether no offer is under way, so that a leg may be replaced.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.exchange.is_none()
    }

    /// Says whether a leg is about to be replaced.
    pub(crate) fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// Another leg takes the place of a side's, with what it answered to an offer of ours; the other side is offered that.
    pub(crate) fn replace(&mut self, cx: &mut Context<'_>, side: Side, leg: Leg, answer: Sdp) -> Step {
        self.frozen = false;
        // Whom they came from is about to go.
        let relayed = std::mem::take(&mut self.relayed);
        let (gone, kept): (Vec<_>, Vec<_>) = relayed.into_iter().partition(|relayed| relayed.from == side);
        self.relayed = kept;
        for relayed in gone {
            cx.env.refuse(relayed.server, StatusCode::CALL_DOES_NOT_EXIST, &[]);
        }
        self.refreshing.retain(|refreshing| refreshing.side != side);
        let left = std::mem::replace(self.leg(side), leg);
        self.left.push(left);
        self.talk.forget(side);
        self.talk.describe(side, answer.clone());
        cx.media.publish(cx.env, &self.talk, true);
        self.start_own(cx, side.other(), Offer::New(answer))
    }

    /// Takes a request in the dialog of a side that is neither BYE nor OPTIONS; its CSeq is in order.
    pub(crate) fn request(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: Message,
    ) -> Step {
        self.leg(side).peer.learn(&request);
        match request.method() {
            Some(Method::Invite) => self.reinvite(cx, side, server, request),
            Some(Method::Update) => self.update(cx, side, server, request),
            Some(Method::Prack) => self.prack(cx, side, server, request),
            Some(Method::Info | Method::Message) => {
                self.relay(cx, side, server, request);
                ON
            }
            Some(Method::Other(_)) => refuse(cx, server, StatusCode::NOT_IMPLEMENTED),
            _ => {
                let allow = [(Name::Allow, self.leg(side).allow().to_owned())];
                cx.env.refuse(server, StatusCode::METHOD_NOT_ALLOWED, &allow);
                ON
            }
        }
    }

    /// Takes a CANCEL of a re-INVITE; false when it is none of the bridge's.
    pub(crate) fn cancel(&mut self, cx: &mut Context<'_>, server: ServerId, reasons: &[Reason]) -> bool {
        let is_asked =
            |exchange: &mut Exchange| exchange.asked.as_ref().is_some_and(|asked| asked.server == server);
        let Some(exchange) = self.exchange.take_if(is_asked) else { return false };
        match &exchange.step {
            // The other side decides: it may have said yes already.
            Progress::Sent { client, method: Method::Invite, .. } => {
                cx.env.layer.cancel(cx.env.now, *client, reasons.first());
                self.exchange = Some(exchange);
            }
            Progress::Sent { .. } | Progress::Answered { .. } => self.exchange = Some(exchange),
            Progress::Opening | Progress::Resting { .. } => {
                self.finish(cx, exchange, StatusCode::REQUEST_TERMINATED, &[]);
            }
        }
        true
    }

    /// Takes a response to one of the bridge's requests other than BYE; `None` when it is to none of them.
    pub(crate) fn response(
        &mut self,
        cx: &mut Context<'_>,
        client: ClientId,
        response: &Message,
    ) -> Option<Step> {
        let status = response.status()?;
        if self.exchange.as_ref().is_some_and(|exchange| exchange.client() == Some(client)) {
            return Some(match status.is_provisional() {
                true => ON,
                false => self.exchange_response(cx, response, status),
            });
        }
        if let Some(at) = self.relayed.iter().position(|relayed| relayed.client == client) {
            return Some(match status.is_provisional() {
                true => ON,
                false => {
                    let relayed = self.relayed.swap_remove(at);
                    self.relayed_response(cx, relayed, response, status)
                }
            });
        }
        let at = self.refreshing.iter().position(|refreshing| refreshing.client == client)?;
        Some(match status.is_provisional() {
            true => ON,
            false => {
                let refreshing = self.refreshing.swap_remove(at);
                self.refresh_response(cx, refreshing.side, response, status)
            }
        })
    }

    /// One of the bridge's requests got no response; `None` when it is none of them.
    pub(crate) fn failed(
        &mut self,
        cx: &mut Context<'_>,
        client: ClientId,
        failure: Failure,
    ) -> Option<Step> {
        let gone = |side: Side, words: &str| {
            let cause = Cause::ours(words, Reason::sip(408, "Request Timeout"));
            ControlFlow::Break(cause.on(side, Fact::NoResponse))
        };
        if let Some(exchange) = self.exchange.take_if(|exchange| exchange.client() == Some(client)) {
            let to = exchange.to;
            let early = !self.leg(to).is_up();
            warn!(call = cx.id, side = ?exchange.to, ?failure, "no response to an offer");
            self.finish(cx, exchange, StatusCode::REQUEST_TIMEOUT, &[]);
            return Some(if early { ON } else { gone(to, "no response in the dialog") });
        }
        if let Some(at) = self.relayed.iter().position(|relayed| relayed.client == client) {
            let relayed = self.relayed.swap_remove(at);
            cx.env.refuse(relayed.server, StatusCode::REQUEST_TIMEOUT, &[]);
            return Some(ON);
        }
        let at = self.refreshing.iter().position(|refreshing| refreshing.client == client)?;
        let refreshing = self.refreshing.swap_remove(at);
        warn!(call = cx.id, side = ?refreshing.side, ?failure, "no response to a session refresh");
        Some(gone(refreshing.side, "no response to a session refresh"))
    }

    /// Whether a 2xx that comes again must wait: its ACK comes with an answer that the other side still owes.
    pub(crate) fn ack_waits(&self, side: Side, response: &Message) -> bool {
        let number = response.cseq().map(|cseq| cseq.number).ok();
        self.exchange.as_ref().is_some_and(|exchange| {
            let Progress::Answered { offered: Some(_), cseq } = exchange.step else { return false };
            exchange.to == side && Some(cseq) == number
        })
    }

    /// When the bridge, or a leg of it, has something to do next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let resting = self.exchange.as_ref().and_then(|exchange| match exchange.step {
            Progress::Resting { until } => Some(until),
            _ => None,
        });
        [resting, self.caller.deadline(), self.callee.deadline()].into_iter().flatten().min()
    }

    /// Does what is due now.
    pub(crate) fn due(&mut self, cx: &mut Context<'_>) -> Step {
        for side in [Side::Caller, Side::Callee] {
            while let Some(due) = self.leg(side).due(cx.env) {
                match due {
                    leg::Due::NoAck => {
                        warn!(call = cx.id, ?side, "no ACK came");
                        let cause = Cause::ours("no ACK", Reason::sip(408, "No ACK"));
                        return ControlFlow::Break(cause.on(side, Fact::NoAck));
                    }
                    leg::Due::NoPrack => {
                        warn!(call = cx.id, ?side, "no PRACK came");
                        let cause = Cause::ours("no PRACK", Reason::sip(504, "No PRACK"));
                        return ControlFlow::Break(cause.on(side, Fact::NoPrack));
                    }
                    leg::Due::Refresh => self.refresh(cx, side),
                    leg::Due::Expired => {
                        warn!(call = cx.id, ?side, "the session was not refreshed");
                        let reason = Reason::sip(408, "Session expired");
                        let cause = Cause::ours("session expired: nobody refreshed it", reason);
                        return ControlFlow::Break(cause.on(side, Fact::SessionExpired));
                    }
                }
            }
        }
        let now = cx.env.now;
        let rested =
            |exchange: &Exchange| matches!(exchange.step, Progress::Resting { until } if until <= now);
        if self.exchange.as_ref().is_some_and(rested) {
            return self.forward(cx);
        }
        ON
    }

    /// Ports for more streams are there, or refused: the offer goes on with what there is.
    pub(crate) fn more_ports(&mut self, cx: &mut Context<'_>) -> Step {
        match &self.exchange {
            Some(Exchange { step: Progress::Opening, .. }) => self.forward(cx),
            _ => ON,
        }
    }

    /// Answers what the sides still wait for, since the call ends; gives the legs, which are to be hung up.
    pub(crate) fn close(mut self, cx: &mut Context<'_>) -> Vec<Leg> {
        if let Some(mut exchange) = self.exchange.take() {
            match exchange.step {
                Progress::Answered { offered, cseq } => {
                    // The other side's answer was never acknowledged: it must be before BYE (RFC 3261 §13.2.2.4).
                    if let Some(offer) = offered {
                        self.refuse_in_ack(cx, exchange.to, cseq, &offer);
                    }
                }
                _ => {
                    self.left.extend(exchange.asked.as_mut().and_then(|asked| asked.joins.take()).map(
                        |leg| {
                            let mut leg = *leg;
                            leg.over();
                            leg
                        },
                    ));
                    self.finish(cx, exchange, StatusCode::REQUEST_TERMINATED, &[]);
                }
            }
        }
        for relayed in self.relayed {
            cx.env.refuse(relayed.server, StatusCode::CALL_DOES_NOT_EXIST, &[]);
        }
        let mut legs = self.left;
        legs.extend([self.caller, self.callee]);
        legs
    }

    /// The called side's early dialog is over while the call goes on: the caller is told when it cares (RFC 6228 §5).
    pub(crate) fn drop_early(mut self, cx: &mut Context<'_>) {
        let told = self.caller.invite().filter(|invite| invite.reliability != Reliability::Required).cloned();
        if let Some(invite) = told.filter(|_| self.caller.peer.early_ends) {
            let status = StatusCode::EARLY_DIALOG_TERMINATED;
            let response = self.caller.response(&invite.request, status, &[], None, None);
            self.caller.progress(cx.env, response, false);
        }
        self.close(cx);
    }

    /// Acknowledges an offer that nobody will answer.
    pub(super) fn refuse_in_ack(&mut self, cx: &mut Context<'_>, to: Side, cseq: u32, offer: &Sdp) {
        let leg = self.leg(to);
        let refusal = cx.media.refusal(offer, to, &mut leg.origin);
        leg.ack(cx.env, cseq, Some(refusal));
    }

    /// A description of the other side as this one shall see it.
    pub(super) fn body_for(&mut self, cx: &mut Context<'_>, to: Side, sdp: &Sdp) -> Bytes {
        cx.media.translate(sdp, to, &mut self.leg(to).origin)
    }

    /// The same, as what stands on the leg from now on.
    pub(super) fn stand(&mut self, cx: &mut Context<'_>, to: Side, sdp: &Sdp) -> Bytes {
        let body = self.body_for(cx, to, sdp);
        self.leg(to).said = Some(body.clone());
        body
    }

    /// Notes a side's new target (RFC 3261 §12.2).
    pub(super) fn refresh_target(&mut self, side: Side, message: &Message) {
        if let Some(dialog) = &mut self.leg(side).dialog
            && let Err(error) = dialog.refresh_target(message)
        {
            debug!(%error, "a Contact is not understood: the old one stays");
        }
    }
}

/// Refuses a request, and the call goes on.
pub(super) fn refuse(cx: &mut Context<'_>, server: ServerId, status: StatusCode) -> Step {
    cx.env.refuse(server, status, &[]);
    ON
}
