//! Requests that are no offers: INFO and MESSAGE pass from leg to leg with their bodies.

use std::ops::ControlFlow;

use bytes::Bytes;
use sip_core::transaction::{ClientId, ServerId};
use sip_core::wire::{Builder, Message, Name, StatusCode};

use super::pair::{Bridge, Context, ON, Step};
use crate::cause::Cause;
use crate::env::Owner;
use crate::question::Side;
use crate::required::unacceptable;

/// A request under way.
#[derive(Debug)]
pub(super) struct Relayed {
    pub(super) from: Side,
    pub(super) server: ServerId,
    request: Message,
    pub(super) client: ClientId,
}

impl Bridge {
    /// Passes a request to the other side.
    pub(super) fn relay(&mut self, cx: &mut Context<'_>, side: Side, server: ServerId, request: Message) {
        let ready = self.leg(side.other()).is_alive();
        if !ready || self.relayed.len() >= MAX_RELAYED {
            let soon = cx.env.soon();
            return cx.env.refuse(server, StatusCode::SERVER_INTERNAL_ERROR, &[soon]);
        }
        if let Some((status, headers)) = unacceptable(&request) {
            return cx.env.refuse(server, status, &headers);
        }
        let leg = self.leg(side.other());
        let owner = Owner::Call(leg.call);
        let sent = request.method().cloned().and_then(|method| {
            let (builder, flow) = leg.request(cx.env, &method)?;
            cx.env.request(owner, pass_body(builder, &request).finish(), flow)
        });
        match sent {
            Some(client) => self.relayed.push(Relayed { from: side, server, request, client }),
            None => cx.env.refuse(server, StatusCode::SERVICE_UNAVAILABLE, &[]),
        }
    }

    /// Passes the final response back.
    pub(super) fn relayed_response(
        &mut self,
        cx: &mut Context<'_>,
        relayed: Relayed,
        response: &Message,
        status: StatusCode,
    ) -> Step {
        let to_is_up = self.leg(relayed.from.other()).is_up();
        let leg = self.leg(relayed.from);
        let builder = Builder::response_to(&relayed.request, status, None, Some(&leg.tag));
        let reply = pass_body(builder, response).finish();
        cx.env.layer.respond(cx.env.now, relayed.server, reply);
        if status == StatusCode::CALL_DOES_NOT_EXIST && to_is_up {
            return ControlFlow::Break(Cause::lost(relayed.from.other(), status));
        }
        ON
    }
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
/// Requests that one pair has under way at a time.
const MAX_RELAYED: usize = 16;
