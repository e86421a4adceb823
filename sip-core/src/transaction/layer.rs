//! What goes in and out.

use std::time::Instant;

use bytes::Bytes;

use super::client::Clients;
use super::key::{ClientKey, MergeKey, ServerKey};
use super::outbox::{self, Outbox, Side};
use super::sanity::{self, Checked};
use super::server::Servers;
use super::via::{WayBack, note_source};
use super::{ClientId, Counters, Event, Output, Overflow, ServerId, Settings, answer};
use crate::core::{TimerId, TransmitId};
use crate::flow::{ConnectionId, Flow};
use crate::overload::Feedback;
use crate::wire::header::{Reason, Via};
use crate::wire::{Builder, Malformed, Message, Method, Name, ParseError, StatusCode, Uri};

/// All transactions of one core.
///
/// The core forwards what it is given (bytes, timers for which [`owns_timer`](Layer::owns_timer) holds, failures), issues commands,
/// and drains [`poll_output`](Layer::poll_output) after each. Nothing here panics on what comes from the network.
#[derive(Debug)]
pub struct Layer {
    settings: Settings,
    counters: Counters,
    clients: Clients,
    servers: Servers,
    out: Outbox,
    /// What the senders of requests are told who understand it.
    feedback: Option<Feedback>,
}

impl Layer {
    /// An empty layer.
    pub fn new(settings: Settings) -> Layer {
        Layer {
            settings,
            counters: Counters::default(),
            clients: Clients::default(),
            servers: Servers::default(),
            out: Outbox::default(),
            feedback: None,
        }
    }

    /// Whether a timer is the layer's: the top bit is set. A core's own timers have it clear.
    pub fn owns_timer(id: TimerId) -> bool {
        outbox::is_own(id.0)
    }

    /// Whether a transmission is the layer's: the top bit is set. A core's own have it clear.
    pub fn owns_transmit(id: TransmitId) -> bool {
        outbox::is_own(id.0)
    }

    /// From now on, whoever sends a new request and understands overload control (RFC 7339) is told this in its responses. `None` tells
    /// nothing: the default.
    pub fn set_feedback(&mut self, feedback: Option<Feedback>) {
        self.feedback = feedback;
    }

    /// Takes one datagram or one framed message.
    ///
    /// Notes `received` and `rport` (RFC 3261 §18.2.1, RFC 3581), finds the transaction or makes one, and tells the user what is
    /// new. What is malformed is refused statelessly where enough of it can be read (400, 505, 513), and dropped and
    /// counted where not. An ACK is never answered.
    pub fn receive(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        match Message::parse(bytes, &self.settings.limits) {
            Ok(message) if message.is_request() => self.receive_request(now, flow, message),
            Ok(message) => self.receive_response(now, flow, message),
            Err(malformed) => self.receive_malformed(flow, malformed),
        }
    }

    /// Takes the expiry of a timer that [`owns_timer`](Layer::owns_timer); others, and late ones, are ignored.
    pub fn timer(&mut self, now: Instant, id: TimerId) {
        if !Layer::owns_timer(id) {
            return;
        }
        match outbox::owner(id.0) {
            (Side::Client, id) => self.clients.timer(now, &self.settings, id, &mut self.out),
            (Side::Server, id) => self.servers.timer(now, &self.settings, id, &mut self.out),
        }
    }

    /// Takes the failure of a transmission that [`owns_transmit`](Layer::owns_transmit); others are ignored (RFC 3261 §17.1.4, RFC 6026 §8.8).
    pub fn transmit_failed(&mut self, now: Instant, id: TransmitId) {
        if !Layer::owns_transmit(id) {
            return;
        }
        match outbox::owner(id.0) {
            (Side::Client, id) => self.clients.transmit_failed(now, &self.settings, id, &mut self.out),
            (Side::Server, id) => self.servers.transmit_failed(&self.settings, id, &mut self.out),
        }
    }

    /// Takes the end of a stream. Requests that were sent over it and have no response fail; an INVITE that has a provisional
    /// response waits on, since the peer may answer over a new connection. Responses to requests that came over it go
    /// to the source's address and the Via's port from now on (RFC 3261 §18.2.2).
    pub fn connection_closed(&mut self, now: Instant, connection: ConnectionId) {
        self.clients.connection_closed(now, &self.settings, connection, &mut self.out);
        self.servers.connection_closed(connection);
    }

    /// Sends a request in a transaction of its own. The topmost Via is the caller's, with a fresh branch from
    /// [`IdSource::branch`](crate::ids::IdSource::branch). The ACK for a failure and retransmissions are the layer's.
    ///
    /// [`Overflow`] when the table is full. An ACK, or a branch that is in use, fails at once with
    /// [`Failure::Transport`](super::Failure::Transport).
    pub fn request(&mut self, now: Instant, request: Message, flow: Flow) -> Result<ClientId, Overflow> {
        self.clients.request(now, &self.settings, request, flow, &mut self.out)
    }

    /// Sends a response, provisional or final. After a 2xx to an INVITE, further 2xx pass for 64 × T1: retransmitting them until the
    /// ACK comes is the caller's (RFC 3261 §13.3.1.4). What comes after another final response is ignored, and so is a
    /// response to a transaction that has ended.
    pub fn respond(&mut self, now: Instant, server: ServerId, response: Message) {
        self.servers.respond(now, &self.settings, server.0, &response, &mut self.out);
    }

    /// From now on a final failure goes out once for each time that the request comes, never by timer G: for refusals to senders of
    /// whom nothing is known. An INVITE with a forged source would otherwise bring its victim eleven responses. A sender that
    /// missed the response sends its INVITE again, as it would to a stateless server (RFC 3261 §8.2.7).
    pub fn answer_once(&mut self, server: ServerId) {
        self.servers.answer_once(server.0);
    }

    /// Writes and sends a response with a To tag of the layer's own and these headers; for refusals and for what makes no dialog.
    pub fn respond_simple(
        &mut self,
        now: Instant,
        server: ServerId,
        status: StatusCode,
        headers: &[(Name, String)],
    ) {
        let Some(request) = self.servers.request_of(server) else { return };
        let tag = request.top_via().ok().map(|via| answer::tag(request, &via));
        let tag = tag.filter(|_| status != StatusCode::TRYING);
        let builder = Builder::response_to(request, status, None, tag.as_deref());
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, value));
        self.respond(now, server, builder.finish());
    }

    /// Cancels an INVITE: at once when it has a provisional response, as soon as one comes when not, and not at all once it has
    /// a final one (RFC 3261 §9.1). The INVITE's own final response still comes: 487, or a 2xx that was on its way, or
    /// [`Event::ClientFailed`] 64 × T1 after the CANCEL. The CANCEL's response stays in the layer.
    pub fn cancel(&mut self, now: Instant, client: ClientId, reason: Option<&Reason>) {
        self.clients.cancel(now, &self.settings, client.0, reason, &mut self.out);
    }

    /// Sends without a transaction: an ACK for a 2xx, a response to what has none.
    pub fn send(&mut self, message: &Message, flow: Flow) {
        self.out.transmit_stateless(flow, message.bytes().clone());
    }

    /// Gives the next thing to do, or `None` when there is nothing until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.next()
    }

    /// How many transactions are alive, the layer's own CANCELs among them.
    pub fn active(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The request that a server transaction has not yet finally answered, as given in its event.
    pub fn request_of(&self, server: ServerId) -> Option<&Message> {
        self.servers.request_of(server)
    }

    fn receive_request(&mut self, now: Instant, flow: Flow, request: Message) {
        let Checked { via, cseq } = match sanity::request(&request) {
            Ok(checked) => checked,
            Err(fault) => {
                let refused = self.refuse(flow, &request, StatusCode::BAD_REQUEST, Some(&fault.to_string()));
                return self.count_malformed(&request, refused);
            }
        };
        match &cseq.method {
            Method::Ack => {
                let key = ServerKey::new(&request, &via, &cseq, Method::Invite);
                self.receive_ack(now, flow, request, &via, &key);
            }
            Method::Cancel => {
                let key = ServerKey::new(&request, &via, &cseq, Method::Invite);
                self.receive_cancel(flow, request, &via, &key);
            }
            method => {
                let key = ServerKey::new(&request, &via, &cseq, method.clone());
                if let Some(id) = self.servers.find(&key, &request) {
                    self.counters.retransmissions += 1;
                    return self.servers.repeated(&self.settings, id, &mut self.out);
                }
                let detect = (self.settings.detect_merged)(method);
                let merge = detect.then(|| MergeKey::new(&request, &cseq)).flatten();
                self.receive_new(now, flow, request, &via, (key, merge));
            }
        }
    }

    fn receive_new(
        &mut self,
        now: Instant,
        flow: Flow,
        request: Message,
        via: &Via,
        keys: (ServerKey, Option<MergeKey>),
    ) {
        if keys.1.as_ref().is_some_and(|merge| self.servers.is_merged(merge)) {
            self.counters.refused_merged += 1;
            self.refuse(flow, &request, StatusCode::LOOP_DETECTED, None);
            return;
        }
        let reserve = if self.is_precious(&request) { self.settings.reserve } else { 0 };
        if self.servers.len() >= self.settings.max_transactions.saturating_add(reserve) {
            self.counters.refused_overload += 1;
            self.refuse(flow, &request, StatusCode::SERVICE_UNAVAILABLE, None);
            return;
        }
        self.counters.requests += 1;
        let mut request = noted(request, via, &flow);
        if let Some(feedback) = self.feedback
            && via.params.has("oc")
            && let Ok(mut via) = request.top_via()
            && feedback.write(&mut via)
        {
            request = request.edit().replace_first(Name::Via, via).finish();
        }
        let way = WayBack::new(via, flow);
        self.servers.start(now, &self.settings, keys, request, (way, flow), &mut self.out);
    }

    /// Whether it belongs to a dialog, or calls for help.
    fn is_precious(&self, request: &Message) -> bool {
        let urgent = &self.settings.urgent;
        let calls_for_help = || {
            let uri = request.request_uri().ok();
            let user = uri.as_ref().and_then(Uri::user);
            user.is_some_and(|user| urgent.iter().any(|number| *number == user))
        };
        request.to_tag().is_some() || !urgent.is_empty() && calls_for_help()
    }

    fn receive_ack(&mut self, now: Instant, flow: Flow, ack: Message, via: &Via, key: &ServerKey) {
        let passed = match self.servers.find_for_ack(key, &ack) {
            Some(id) => {
                let cause = (noted(ack, via, &flow), flow);
                self.servers.ack(now, &self.settings, id, cause, &mut self.out)
            }
            None if answer::is_for_stateless(&ack, via) => false,
            None => {
                self.out.event(Event::Ack { request: noted(ack, via, &flow), flow });
                true
            }
        };
        match passed {
            true => self.counters.requests += 1,
            false => self.counters.retransmissions += 1,
        }
    }

    /// RFC 3261 §9.2. A CANCEL has no transaction of its own here: when it comes again it is answered in the same words, for
    /// as long as the INVITE's transaction is known. One that would cancel anything but an INVITE counts as unmatched.
    fn receive_cancel(&mut self, flow: Flow, cancel: Message, via: &Via, key: &ServerKey) {
        let Some(id) = self.servers.find(key, &cancel) else {
            self.counters.refused_unmatched += 1;
            self.refuse(flow, &cancel, StatusCode::CALL_DOES_NOT_EXIST, None);
            return;
        };
        self.counters.requests += 1;
        let cancel = noted(cancel, via, &flow);
        let tag = self.servers.cancel(id, cancel.clone(), &mut self.out);
        let tag = tag.unwrap_or_else(|| answer::tag(&cancel, via));
        let response = Builder::response_to(&cancel, StatusCode::OK, None, Some(&tag)).finish();
        self.out.transmit_stateless(WayBack::new(via, flow).flow, response.bytes().clone());
    }

    fn receive_response(&mut self, now: Instant, flow: Flow, response: Message) {
        let Ok(Checked { via, cseq }) = sanity::common(&response) else {
            self.counters.dropped_response += 1;
            return;
        };
        match ClientKey::new(&via, &cseq.method).and_then(|key| self.clients.find(&key)) {
            Some(id) => {
                self.counters.responses += 1;
                self.clients.response(now, &self.settings, id, (response, flow), &mut self.out);
            }
            None => {
                self.counters.strays += 1;
                self.out.event(Event::Stray { response, flow });
            }
        }
    }

    fn receive_malformed(&mut self, flow: Flow, malformed: Malformed) {
        let Malformed { error, partial } = malformed;
        match partial {
            Some(partial) if partial.is_request() => {
                let refused = self.refuse(flow, &partial, error.status(), Some(&error.to_string()));
                self.count_malformed(&partial, refused);
            }
            Some(_) => self.counters.dropped_response += 1,
            None if error == ParseError::Empty => self.counters.keep_alives += 1,
            None => self.counters.dropped_unreadable += 1,
        }
    }

    /// Answers without a transaction. `false` for an ACK, and for what the sender could not match: the Via tells where to answer, and
    /// Via and CSeq tell what the answer is for.
    fn refuse(&mut self, flow: Flow, request: &Message, status: StatusCode, reason: Option<&str>) -> bool {
        if request.is(&Method::Ack) || !request.has(Name::CSeq) {
            return false;
        }
        let (via, noted) = match (request.top_via(), status) {
            (Ok(via), _) => {
                let noted = noted(request.clone(), &via, &flow);
                (via, noted)
            }
            // Its Via is of that version, too, and goes back as it stands.
            (Err(_), StatusCode::VERSION_NOT_SUPPORTED) => {
                let first = request.text(Name::Via).and_then(|value| value.split(',').next());
                let Some(Ok(via)) = first.map(Via::parse_any_version) else { return false };
                (via, request.clone())
            }
            (Err(_), _) => return false,
        };
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(self.settings.retry_after);
        let response =
            answer::stateless(&noted, &via, status, reason).header_if(Name::RetryAfter, retry_after).finish();
        self.out.transmit_stateless(WayBack::new(&via, flow).flow, response.bytes().clone());
        true
    }

    fn count_malformed(&mut self, request: &Message, refused: bool) {
        match refused {
            true => self.counters.refused_malformed += 1,
            false if request.is(&Method::Ack) => self.counters.dropped_ack += 1,
            false => self.counters.dropped_unreadable += 1,
        }
    }
}

/// The request with its source noted in the topmost Via.
fn noted(request: Message, via: &Via, flow: &Flow) -> Message {
    match note_source(via, flow) {
        Some(via) => request.edit().replace_first(Name::Via, via).finish(),
        None => request,
    }
}
