//! The table of server transactions.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::key::{MergeKey, ServerKey};
use super::outbox::{Outbox, Side};
use super::server_invite::InviteServer;
use super::server_other::OtherServer;
use super::step::{Pace, Step, Tell};
use super::via::WayBack;
use super::{Event, ServerId, Settings};
use crate::flow::{ConnectionId, Flow};
use crate::wire::{Builder, Message, Method, StatusCode};

#[derive(Debug, Default)]
pub(super) struct Servers {
    entries: HashMap<u64, Entry>,
    by_key: HashMap<ServerKey, u64>,
    by_merge: HashMap<MergeKey, u64>,
    by_connection: BTreeSet<(ConnectionId, u64)>,
    last: u64,
}

#[derive(Debug)]
struct Entry {
    key: ServerKey,
    merge: Option<MergeKey>,
    /// Taken out only while it takes a step.
    machine: Option<Machine>,
    way: WayBack,
    reliable: bool,
    /// Until there is a final response.
    request: Option<Message>,
    /// The request's own To tag; compared for clients of RFC 2543 only.
    request_tag: Option<String>,
    /// The To tag of the latest response to an INVITE.
    response_tag: Option<String>,
    cancelled: bool,
    /// Whether a final failure is sent again only when the request comes again.
    once: bool,
    armed: Option<Instant>,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteServer),
    Other(OtherServer),
}

impl Servers {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The transaction that a request other than ACK belongs to (RFC 3261 §17.2.3). For a CANCEL the key is that of the INVITE.
    pub(super) fn find(&self, key: &ServerKey, request: &Message) -> Option<u64> {
        let id = *self.by_key.get(key)?;
        let same = !key.is_legacy() || self.entries.get(&id)?.request_tag == request.to_tag();
        same.then_some(id)
    }

    /// The INVITE transaction that an ACK belongs to: the To tag of RFC 2543 is that of the response.
    pub(super) fn find_for_ack(&self, key: &ServerKey, ack: &Message) -> Option<u64> {
        let id = *self.by_key.get(key)?;
        let same = !key.is_legacy() || self.entries.get(&id)?.response_tag == ack.to_tag();
        same.then_some(id)
    }

    pub(super) fn is_merged(&self, key: &MergeKey) -> bool {
        self.by_merge.contains_key(key)
    }

    pub(super) fn start(
        &mut self,
        now: Instant,
        settings: &Settings,
        (key, merge): (ServerKey, Option<MergeKey>),
        request: Message,
        (way, flow): (WayBack, Flow),
        out: &mut Outbox,
    ) {
        let machine = match request.method() {
            Some(Method::Invite) => Machine::Invite(InviteServer::start(now, settings)),
            _ => Machine::Other(OtherServer::start()),
        };
        self.last += 1;
        let id = self.last;
        self.by_key.insert(key.clone(), id);
        if let Some(merge) = &merge {
            self.by_merge.insert(merge.clone(), id);
        }
        if let Some(connection) = way.flow.connection {
            self.by_connection.insert((connection, id));
        }
        let entry = Entry {
            request_tag: if key.is_legacy() { request.to_tag() } else { None },
            key,
            merge,
            machine: None,
            way,
            reliable: flow.transport.is_reliable(),
            request: Some(request.clone()),
            response_tag: None,
            cancelled: false,
            once: false,
            armed: None,
        };
        self.entries.insert(id, entry);
        out.event(Event::Request { server: ServerId(id), request, flow });
        self.finish(id, Step::to(machine), None, out);
    }

    /// The request came again.
    pub(super) fn repeated(&mut self, settings: &Settings, id: u64, out: &mut Outbox) {
        self.advance(settings, id, None, out, |machine, _| match machine {
            Machine::Invite(machine) => machine.repeated().map(Machine::Invite),
            Machine::Other(machine) => machine.repeated().map(Machine::Other),
        });
    }

    /// Whether the user gets the ACK.
    pub(super) fn ack(
        &mut self,
        now: Instant,
        settings: &Settings,
        id: u64,
        cause: (Message, Flow),
        out: &mut Outbox,
    ) -> bool {
        let mut passed = false;
        self.advance(settings, id, Some(cause), out, |machine, pace| match machine {
            Machine::Invite(machine) => {
                let step = machine.ack(now, pace);
                passed = step.tell == Tell::Message;
                step.map(Machine::Invite)
            }
            other => Step::to(other),
        });
        passed
    }

    /// Takes a CANCEL (RFC 3261 §9.2); the answer is the layer's. Gives the To tag that the INVITE's responses have.
    pub(super) fn cancel(&mut self, id: u64, cancel: Message, out: &mut Outbox) -> Option<String> {
        let entry = self.entries.get_mut(&id)?;
        let proceeding = matches!(&entry.machine, Some(Machine::Invite(machine)) if machine.is_proceeding());
        if proceeding && !entry.cancelled {
            entry.cancelled = true;
            out.event(Event::Cancelled { server: ServerId(id), cancel });
        }
        entry.response_tag.clone()
    }

    pub(super) fn respond(
        &mut self,
        now: Instant,
        settings: &Settings,
        id: u64,
        response: &Message,
        out: &mut Outbox,
    ) {
        let Some(status) = response.status() else { return };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        // After the first final response, others change nothing.
        if entry.request.is_some() && matches!(entry.machine, Some(Machine::Invite(_))) {
            entry.response_tag = response.to_tag().or(entry.response_tag.take());
        }
        if status.is_final() {
            entry.request = None;
        }
        let (bytes, once) = (response.bytes().clone(), entry.once);
        self.advance(settings, id, None, out, |machine, pace| match machine {
            // Timer G runs as over a transport that delivers by itself: not at all.
            Machine::Invite(machine) if once => {
                let pace = Pace { reliable: true, ..*pace };
                machine.respond(now, &pace, status, bytes).map(Machine::Invite)
            }
            Machine::Invite(machine) => machine.respond(now, pace, status, bytes).map(Machine::Invite),
            Machine::Other(machine) => machine.respond(now, pace, status, bytes).map(Machine::Other),
        });
    }

    pub(super) fn answer_once(&mut self, id: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.once = true;
        }
    }

    pub(super) fn timer(&mut self, now: Instant, settings: &Settings, id: u64, out: &mut Outbox) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.armed = None;
        let mut trying_due = false;
        self.advance(settings, id, None, out, |machine, pace| match machine {
            Machine::Invite(machine) => {
                let step = machine.timer(now, pace);
                trying_due = step.tell == Tell::TryingDue;
                step.map(Machine::Invite)
            }
            Machine::Other(machine) => machine.timer(now).map(Machine::Other),
        });
        if let (true, Some(request)) = (trying_due, self.request_of(ServerId(id))) {
            // RFC 3261 §17.2.1: without a tag.
            let trying = Builder::response_to(request, StatusCode::TRYING, None, None).finish();
            self.respond(now, settings, id, &trying, out);
        }
    }

    pub(super) fn transmit_failed(&mut self, settings: &Settings, id: u64, out: &mut Outbox) {
        self.advance(settings, id, None, out, |machine, _| match machine {
            Machine::Invite(machine) => machine.transport_failed().map(Machine::Invite),
            Machine::Other(machine) => machine.transport_failed().map(Machine::Other),
        });
    }

    /// Responses to what came over this connection will open another one (RFC 3261 §18.2.2).
    pub(super) fn connection_closed(&mut self, connection: ConnectionId) {
        let range = (connection, 0)..=(connection, u64::MAX);
        let affected: Vec<u64> = self.by_connection.range(range).map(|(_, id)| *id).collect();
        for id in affected {
            self.by_connection.remove(&(connection, id));
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.way = entry.way.without_connection();
            }
        }
    }

    pub(super) fn request_of(&self, server: ServerId) -> Option<&Message> {
        self.entries.get(&server.0)?.request.as_ref()
    }

    fn advance(
        &mut self,
        settings: &Settings,
        id: u64,
        cause: Option<(Message, Flow)>,
        out: &mut Outbox,
        step: impl FnOnce(Machine, &Pace) -> Step<Machine>,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let pace = Pace::new(settings, entry.reliable);
        let Some(machine) = entry.machine.take() else { return };
        self.finish(id, step(machine, &pace), cause, out);
    }

    /// Carries out what a step asks for.
    fn finish(&mut self, id: u64, step: Step<Machine>, cause: Option<(Message, Flow)>, out: &mut Outbox) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(bytes) = step.send {
            out.transmit(Side::Server, id, entry.way.flow, bytes);
        }
        match (step.tell, cause) {
            (Tell::Message, Some((request, flow))) => out.event(Event::Ack { request, flow }),
            (Tell::Failed(failure), _) => out.event(Event::ServerFailed { server: ServerId(id), failure }),
            _ => {}
        }
        match step.next {
            Some(machine) => {
                out.arm(Side::Server, id, &mut entry.armed, machine.deadline());
                entry.machine = Some(machine);
            }
            None => self.remove(id, out),
        }
    }

    fn remove(&mut self, id: u64, out: &mut Outbox) {
        let Some(mut entry) = self.entries.remove(&id) else { return };
        self.by_key.remove(&entry.key);
        if let Some(merge) = &entry.merge
            && self.by_merge.get(merge) == Some(&id)
        {
            self.by_merge.remove(merge);
        }
        if let Some(connection) = entry.way.flow.connection {
            self.by_connection.remove(&(connection, id));
        }
        out.arm(Side::Server, id, &mut entry.armed, None);
        out.event(Event::ServerEnded { server: ServerId(id) });
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
