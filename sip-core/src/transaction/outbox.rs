//! What waits to be drained, and the identifiers that tie timers and transmissions to transactions.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::{Event, Output};
use crate::core::{TimerId, Transmit, TransmitId};
use crate::flow::Flow;

/// Outputs in order.
#[derive(Debug, Default)]
pub(super) struct Outbox(VecDeque<Output>);

/// Which table a number belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Outbox {
    pub(super) fn next(&mut self) -> Option<Output> {
        self.0.pop_front()
    }

    pub(super) fn event(&mut self, event: Event) {
        self.0.push_back(Output::Event(event));
    }

    /// Sends for a transaction, which wants to know of a failure.
    pub(super) fn transmit(&mut self, side: Side, id: u64, flow: Flow, bytes: Bytes) {
        let id = TransmitId(mark(side, id));
        self.0.push_back(Output::Transmit(Transmit { id, flow, bytes }));
    }

    /// Sends for nobody.
    pub(super) fn transmit_stateless(&mut self, flow: Flow, bytes: Bytes) {
        self.0.push_back(Output::Transmit(Transmit { id: TransmitId::NONE, flow, bytes }));
    }

    /// Moves a transaction's only timer, when it has to move.
    pub(super) fn arm(
        &mut self,
        side: Side,
        id: u64,
        armed: &mut Option<Instant>,
        deadline: Option<Instant>,
    ) {
        if *armed != deadline {
            *armed = deadline;
            self.0.push_back(Output::SetTimer(TimerId(mark(side, id)), deadline));
        }
    }
}

/// Whether a number is one of the layer's: its top bit is set.
pub(super) fn is_own(number: u64) -> bool {
    number & OWN != 0
}

/// The transaction that a timer or a transmission belongs to.
pub(super) fn owner(number: u64) -> (Side, u64) {
    let side = if number & SERVER == 0 { Side::Client } else { Side::Server };
    (side, number & !(OWN | SERVER))
}

fn mark(side: Side, id: u64) -> u64 {
    OWN | id | if side == Side::Server { SERVER } else { 0 }
}

const OWN: u64 = 1 << 63;
const SERVER: u64 = 1 << 62;
