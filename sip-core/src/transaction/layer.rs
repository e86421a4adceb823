//! The tables, and what goes in and out.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::{ClientId, Counters, Output, Overflow, ServerId, Settings};
use crate::core::{TimerId, Transmit, TransmitId};
use crate::flow::{ConnectionId, Flow};
use crate::wire::header::Reason;
use crate::wire::{Message, Name, StatusCode};

/// All transactions of one core.
#[derive(Debug)]
pub struct Layer {
    settings: Settings,
    counters: Counters,
    outputs: VecDeque<Output>,
}

impl Layer {
    /// An empty layer.
    pub fn new(settings: Settings) -> Layer {
        Layer { settings, counters: Counters::default(), outputs: VecDeque::new() }
    }

    /// Whether a timer is the layer's: the top bit is set. A core's own timers have it clear.
    pub fn owns_timer(id: TimerId) -> bool {
        id.0 & OWN != 0
    }

    /// Whether a transmission is the layer's: the top bit is set. A core's own have it clear.
    pub fn owns_transmit(id: TransmitId) -> bool {
        id.0 & OWN != 0
    }

    /// Takes one datagram or one framed message.
    pub fn receive(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        let _ = (now, flow, bytes, &self.settings);
    }

    /// Takes the expiry of a timer that [`owns_timer`](Layer::owns_timer).
    pub fn timer(&mut self, now: Instant, id: TimerId) {
        let _ = (now, id);
    }

    /// Takes the failure of a transmission that [`owns_transmit`](Layer::owns_transmit); others are ignored.
    pub fn transmit_failed(&mut self, now: Instant, id: TransmitId) {
        let _ = (now, id);
    }

    /// Takes the end of a stream.
    pub fn connection_closed(&mut self, now: Instant, connection: ConnectionId) {
        let _ = (now, connection);
    }

    /// Sends a request in a transaction of its own.
    pub fn request(&mut self, now: Instant, request: Message, flow: Flow) -> Result<ClientId, Overflow> {
        let _ = (now, request, flow);
        Ok(ClientId(0))
    }

    /// Sends a response to a request.
    pub fn respond(&mut self, now: Instant, server: ServerId, response: Message) {
        let _ = (now, server, response);
    }

    /// Writes and sends a response with a tag of the layer's own and these headers; for what makes no dialog.
    pub fn respond_simple(
        &mut self,
        now: Instant,
        server: ServerId,
        status: StatusCode,
        headers: &[(Name, String)],
    ) {
        let _ = (now, server, status, headers);
    }

    /// Cancels an INVITE.
    pub fn cancel(&mut self, now: Instant, client: ClientId, reason: Option<&Reason>) {
        let _ = (now, client, reason);
    }

    /// Sends without a transaction.
    pub fn send(&mut self, message: &Message, flow: Flow) {
        let bytes = message.bytes().clone();
        self.outputs.push_back(Output::Transmit(Transmit { id: TransmitId::NONE, flow, bytes }));
    }

    /// Gives the next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How many transactions are alive.
    pub fn active(&self) -> usize {
        0
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The request that a server transaction has not yet finally answered, as given in its event.
    pub fn request_of(&self, server: ServerId) -> Option<&Message> {
        let _ = server;
        None
    }
}

/// Marks the layer's own timers and transmissions.
const OWN: u64 = 1 << 63;
