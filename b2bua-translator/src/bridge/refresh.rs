//! Session refreshes of ours, each leg for itself (RFC 4028 §7.4, §10).

use std::ops::ControlFlow;
use std::time::Duration;

use sip_core::transaction::ClientId;
use sip_core::wire::{Message, Method, StatusCode};
use tracing::debug;

use super::answer::pause;
use super::exchange::Offer;
use super::pair::{Bridge, Context, ON, Step};
use crate::cause::Cause;
use crate::env::Owner;
use crate::question::Side;

/// An UPDATE that refreshes the session of a side.
#[derive(Debug)]
pub(super) struct Refreshing {
    pub(super) side: Side,
    pub(super) client: ClientId,
}

impl Bridge {
    /// Refreshes a side's session: by UPDATE where that is taken, else by an INVITE that repeats what stands.
    pub(super) fn refresh(&mut self, cx: &mut Context<'_>, side: Side) {
        let leg = self.leg(side);
        debug!(call = cx.id, ?side, update = leg.peer.takes_update(), "refreshing the session");
        if leg.peer.takes_update() {
            let owner = Owner::Call(leg.call);
            let sent = leg.request(cx.env, &Method::Update);
            match sent.and_then(|(builder, flow)| cx.env.request(owner, builder.finish(), flow)) {
                Some(client) => self.refreshing.push(Refreshing { side, client }),
                None => self.refresh_refused(cx, side),
            }
            return;
        }
        match leg.said.clone() {
            Some(said) if self.exchange.is_none() && !self.frozen => {
                // It goes on: whether it succeeded is said by its response.
                let _ = self.start_own(cx, side, Offer::Same(said));
            }
            _ => self.refresh_refused(cx, side),
        }
    }

    /// Takes the final response to an UPDATE that refreshes.
    pub(super) fn refresh_response(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        response: &Message,
        status: StatusCode,
    ) -> Step {
        let leg = self.leg(side);
        leg.peer.learn(response);
        if status.is_success() {
            leg.session.agreed(cx.env.now, response, &cx.env.settings.session);
            self.refresh_target(side, response);
            return ON;
        }
        match status {
            StatusCode::CALL_DOES_NOT_EXIST | StatusCode::REQUEST_TIMEOUT => {
                return ControlFlow::Break(Cause::lost(side, status));
            }
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                leg.peer.refused_update();
                self.refresh(cx, side);
            }
            StatusCode::SESSION_INTERVAL_TOO_SMALL if leg.session.refused(response) => self.refresh(cx, side),
            StatusCode::REQUEST_PENDING => {
                let after = pause(cx.env, side);
                self.leg(side).session.refresh_later(cx.env.now, after);
            }
            _ => self.refresh_refused(cx, side),
        }
        ON
    }

    /// It cannot be refreshed now.
    pub(super) fn refresh_refused(&mut self, cx: &mut Context<'_>, side: Side) {
        self.leg(side).session.refresh_later(cx.env.now, AGAIN);
    }
}

/// When a refresh that did not succeed is tried again. The session ends in its own time nevertheless.
const AGAIN: Duration = Duration::from_secs(10);
