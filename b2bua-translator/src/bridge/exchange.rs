//! One offer and its answer on their way through both legs.

use std::time::Instant;

use bytes::Bytes;
use sip_core::transaction::{ClientId, ServerId};
use sip_core::wire::{Message, Method};

use crate::leg::{Agreement, Leg};
use crate::question::Side;
use crate::sdp::Sdp;

/// An offer under way, from its arrival to its answer, or to the ACK of the INVITE that brought it.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Who is asked.
    pub(super) to: Side,
    /// Whose request it answers; `None` when we ask by ourselves.
    pub(super) asked: Option<Asked>,
    pub(super) offer: Offer,
    pub(super) step: Progress,
    /// How often it was refused for now and tried again.
    pub(super) tries: u32,
}

/// A request with an offer, or one that asks for an offer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) server: ServerId,
    pub(super) request: Message,
    /// What its 2xx says of the session timer.
    pub(super) agreement: Option<Agreement>,
    /// The leg that takes the asking side's place when the other side agrees (RFC 3891).
    pub(super) joins: Option<Box<Leg>>,
}

/// What is offered.
#[derive(Debug)]
pub(super) enum Offer {
    /// Nothing: the other side shall make an offer.
    Delayed,
    /// A description of the asking side.
    New(Sdp),
    /// What stands already: a session refresh.
    Same(Bytes),
}

/// How far an exchange is.
#[derive(Debug)]
pub(super) enum Progress {
    /// Ports for more streams are asked for.
    Opening,
    /// The other side has it.
    Sent { client: ClientId, method: Method, body: Option<Bytes> },
    /// The other side said 491: we try again after a while (RFC 3261 §14.1).
    Resting { until: Instant },
    /// Answered; the ACK of the asking side's INVITE is awaited. When the answer held an offer, the ACK brings its answer, and our
    /// INVITE with this CSeq is acknowledged with it.
    Answered { offered: Option<Sdp>, cseq: u32 },
}

impl Exchange {
    /// Our transaction on the other side.
    pub(super) fn client(&self) -> Option<ClientId> {
        match self.step {
            Progress::Sent { client, .. } => Some(client),
            Progress::Opening | Progress::Resting { .. } | Progress::Answered { .. } => None,
        }
    }

    /// The side that asks, when one does.
    pub(super) fn from(&self) -> Option<Side> {
        self.asked.as_ref().map(|_| self.to.other())
    }

    /// The method of the request that asks.
    pub(super) fn asked_by(&self, method: &Method) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.request.is(method))
    }
}
