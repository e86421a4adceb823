//! The table of client transactions.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::client_invite::InviteClient;
use super::client_other::OtherClient;
use super::key::ClientKey;
use super::outbox::{Outbox, Side};
use super::step::{Pace, Step, Tell};
use super::{ClientId, Event, Failure, Overflow, Settings};
use crate::flow::{ConnectionId, Flow};
use crate::wire::header::Reason;
use crate::wire::{Message, Method};

#[derive(Debug, Default)]
pub(super) struct Clients {
    entries: HashMap<u64, Entry>,
    by_key: HashMap<ClientKey, u64>,
    by_connection: BTreeSet<(ConnectionId, u64)>,
    last: u64,
}

#[derive(Debug)]
struct Entry {
    key: ClientKey,
    /// Taken out only while it takes a step.
    machine: Option<Machine>,
    flow: Flow,
    /// The layer's own CANCELs have no user.
    has_user: bool,
    armed: Option<Instant>,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteClient),
    Other(OtherClient),
}

impl Clients {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn request(
        &mut self,
        now: Instant,
        settings: &Settings,
        request: Message,
        flow: Flow,
        out: &mut Outbox,
    ) -> Result<ClientId, Overflow> {
        let limit = settings.max_transactions;
        if self.entries.len() >= limit {
            return Err(Overflow { limit });
        }
        Ok(match self.start(now, settings, request, flow, true, out) {
            Some(client) => client,
            None => {
                // A request without a fresh branch, or an ACK, is the caller's mistake; it fails like any other.
                self.last += 1;
                let client = ClientId(self.last);
                out.event(Event::ClientFailed { client, failure: Failure::Transport });
                out.event(Event::ClientEnded { client });
                client
            }
        })
    }

    /// `None` when the request cannot have a transaction.
    fn start(
        &mut self,
        now: Instant,
        settings: &Settings,
        request: Message,
        flow: Flow,
        has_user: bool,
        out: &mut Outbox,
    ) -> Option<ClientId> {
        let method = request.method().filter(|method| **method != Method::Ack)?;
        let key = ClientKey::new(&request.top_via().ok()?, method)?;
        if self.by_key.contains_key(&key) {
            return None;
        }
        let pace = Pace::new(settings, flow.transport.is_reliable());
        let step = match method {
            Method::Invite => InviteClient::start(now, &pace, request).map(Machine::Invite),
            _ => OtherClient::start(now, &pace, request).map(Machine::Other),
        };
        self.last += 1;
        let id = self.last;
        self.by_key.insert(key.clone(), id);
        if let Some(connection) = flow.connection {
            self.by_connection.insert((connection.name(), id));
        }
        self.entries.insert(id, Entry { key, machine: None, flow, has_user, armed: None });
        self.finish(now, settings, id, step, None, out);
        Some(ClientId(id))
    }

    /// The transaction that a response belongs to (RFC 3261 §17.1.3).
    pub(super) fn find(&self, key: &ClientKey) -> Option<u64> {
        self.by_key.get(key).copied()
    }

    pub(super) fn response(
        &mut self,
        now: Instant,
        settings: &Settings,
        id: u64,
        (response, flow): (Message, Flow),
        out: &mut Outbox,
    ) {
        self.advance(now, settings, id, Some((response.clone(), flow)), out, |machine, pace| match machine {
            Machine::Invite(machine) => machine.response(now, pace, &response).map(Machine::Invite),
            Machine::Other(machine) => machine.response(now, pace, &response).map(Machine::Other),
        });
    }

    pub(super) fn cancel(
        &mut self,
        now: Instant,
        settings: &Settings,
        id: u64,
        reason: Option<&Reason>,
        out: &mut Outbox,
    ) {
        self.advance(now, settings, id, None, out, |machine, pace| match machine {
            Machine::Invite(machine) => machine.cancel(now, pace, reason).map(Machine::Invite),
            other => Step::to(other),
        });
    }

    pub(super) fn timer(&mut self, now: Instant, settings: &Settings, id: u64, out: &mut Outbox) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.armed = None;
        }
        self.advance(now, settings, id, None, out, |machine, pace| match machine {
            Machine::Invite(machine) => machine.timer(now, pace).map(Machine::Invite),
            Machine::Other(machine) => machine.timer(now, pace).map(Machine::Other),
        });
    }

    pub(super) fn transmit_failed(&mut self, now: Instant, settings: &Settings, id: u64, out: &mut Outbox) {
        self.advance(now, settings, id, None, out, |machine, _| match machine {
            Machine::Invite(machine) => machine.transport_failed().map(Machine::Invite),
            Machine::Other(machine) => machine.transport_failed().map(Machine::Other),
        });
    }

    /// What waits for an answer over this connection fails; an INVITE that has a provisional response waits on.
    pub(super) fn connection_closed(
        &mut self,
        now: Instant,
        settings: &Settings,
        connection: ConnectionId,
        out: &mut Outbox,
    ) {
        let range = (connection, 0)..=(connection, u64::MAX);
        let affected: Vec<u64> = self.by_connection.range(range).map(|(_, id)| *id).collect();
        for id in affected {
            self.by_connection.remove(&(connection, id));
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.flow.connection = None;
            }
            self.transmit_failed(now, settings, id, out);
        }
    }

    fn advance(
        &mut self,
        now: Instant,
        settings: &Settings,
        id: u64,
        cause: Option<(Message, Flow)>,
        out: &mut Outbox,
        step: impl FnOnce(Machine, &Pace) -> Step<Machine>,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let pace = Pace::new(settings, entry.flow.transport.is_reliable());
        let Some(machine) = entry.machine.take() else { return };
        self.finish(now, settings, id, step(machine, &pace), cause, out);
    }

    /// Carries out what a step asks for.
    fn finish(
        &mut self,
        now: Instant,
        settings: &Settings,
        id: u64,
        step: Step<Machine>,
        cause: Option<(Message, Flow)>,
        out: &mut Outbox,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let (flow, client) = (entry.flow, ClientId(id));
        if let Some(bytes) = step.send {
            out.transmit(Side::Client, id, flow, bytes);
        }
        match (step.tell, cause) {
            (Tell::Message, Some((response, flow))) if entry.has_user => {
                out.event(Event::Response { client, response, flow });
            }
            (Tell::Stray, Some((response, flow))) if entry.has_user => {
                out.event(Event::Stray { response, flow });
            }
            (Tell::Failed(failure), _) if entry.has_user => {
                out.event(Event::ClientFailed { client, failure });
            }
            _ => {}
        }
        match step.next {
            Some(machine) => {
                out.arm(Side::Client, id, &mut entry.armed, machine.deadline());
                entry.machine = Some(machine);
            }
            None => self.remove(id, out),
        }
        match step.cancel {
            // CANCELs do not count against the user's bound, so that a full table can be emptied; but they have one too.
            Some(cancel) if self.entries.len() >= settings.max_transactions.saturating_mul(2) => {
                out.transmit_stateless(flow, cancel.bytes().clone());
            }
            Some(cancel) => drop(self.start(now, settings, cancel, flow, false, out)),
            None => {}
        }
    }

    fn remove(&mut self, id: u64, out: &mut Outbox) {
        let Some(mut entry) = self.entries.remove(&id) else { return };
        self.by_key.remove(&entry.key);
        if let Some(connection) = entry.flow.connection {
            self.by_connection.remove(&(connection.name(), id));
        }
        out.arm(Side::Client, id, &mut entry.armed, None);
        if entry.has_user {
            out.event(Event::ClientEnded { client: ClientId(id) });
        }
    }
}

impl Machine {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Machine::Invite(machine) => machine.deadline(),
            Machine::Other(machine) => machine.deadline(),
        }
    }
}
