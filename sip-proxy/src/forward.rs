//! Requests under way: sending them to their targets (RFC 3261 §16.6), bringing their responses back (§16.7).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use node::dns::{DnsError, Located};
use schema::{CallRecord, CallResult, Change, EndedBy, LineId};
use sip_core::core::{TimerId, Token};
use sip_core::flow::Flow;
use sip_core::locate::{Hop, Wanted};
use sip_core::overload;
use sip_core::transaction::{ClientId, Failure, ServerId};
use sip_core::wire::header::{Reason, Require, Supported, TokenList, Via};
use sip_core::wire::{Builder, Message, Method, Name, Params, StatusCode};

use crate::call_table::result_of;
use crate::core::{ProxyCore, Question};
use crate::fork::{Action, Fork, Outcome};
use crate::loop_detection::LoopHash;
use crate::path::Path;
use crate::refusal::Refusal;
use crate::session_timer::{self, SessionTimer};
use crate::target::Target;
use crate::telemetry;
use crate::validate::validate;

/// What waits for a name to be looked up.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// A branch of a request.
    Branch(u64, usize),
    /// An ACK for a 2xx.
    Ack(Box<WaitingAck>),
}

#[derive(Debug)]
pub(crate) struct WaitingAck {
    base: Message,
    target: Target,
    hash: LoopHash,
    incoming: Flow,
}

/// What is needed to forward a request.
pub(crate) struct Forwarding {
    pub(crate) server: ServerId,
    /// The request as every branch gets it, but for what differs between branches.
    pub(crate) base: Message,
    pub(crate) flow: Flow,
    pub(crate) fork: Fork,
    pub(crate) hash: LoopHash,
    pub(crate) record_route: bool,
    /// What the request's session timer is, where it has one.
    pub(crate) session: Option<SessionTimer>,
    /// The lines that were tried, the called one first; empty where no redirection is followed.
    pub(crate) tried: Vec<LineId>,
    /// The call that an INVITE tries to make.
    pub(crate) attempt: Option<Attempt>,
}

/// A call that is being made.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// What is known for its record; `None` when it comes from a trunk.
    pub(crate) record: Option<CallRecord>,
    pub(crate) keep: Keep,
}

/// Whether we write a call's record, or its translator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Always,
    /// Only when no translator ever heard of it.
    IfUnheard,
    Never,
}

/// A request that is under way, or whose transactions linger.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) forwarding: Forwarding,
    clients: Vec<Option<ClientId>>,
    live_clients: usize,
    server_lives: bool,
    /// The final response that went upstream.
    answered: Option<StatusCode>,
    armed: Option<Instant>,
}

impl ProxyCore {
    /// Starts forwarding. Refused when too much is under way.
    pub(crate) fn forward(&mut self, now: Instant, forwarding: Forwarding) -> Result<(), Refusal> {
        // Calls that are up and calls for help have places of their own.
        let is_precious = forwarding.base.to_tag().is_some()
            || forwarding.base.request_uri().is_ok_and(|uri| self.calls_for_help(&Method::Invite, &uri));
        let reserve = if is_precious { self.settings.limits.max_contexts / 4 } else { 0 };
        if self.contexts.len() >= self.settings.limits.max_contexts + reserve {
            return Err(Refusal::later("Too Many Requests Under Way", self.settings.limits.retry_after));
        }
        let server = forwarding.server;
        if forwarding.base.is(&Method::Invite) {
            let trying = Builder::response_to(&forwarding.base, StatusCode::TRYING, None, None).finish();
            self.respond(now, server, trying);
        }
        let number = self.next_context;
        self.next_context += 1;
        let branches = forwarding.fork.len();
        let mut context = Context {
            forwarding,
            clients: vec![None; branches],
            live_clients: 0,
            server_lives: true,
            answered: None,
            armed: None,
        };
        self.by_server.insert(server, number);
        self.unanswered += 1;
        let actions = context.forwarding.fork.start(now);
        self.contexts.insert(number, context);
        self.perform(now, number, actions);
        Ok(())
    }

    /// An ACK for a 2xx follows its dialog's Route and has no transaction (RFC 3261 §16.6 and §17.1.1.3). There is nobody to tell
    /// when it cannot.
    pub(crate) fn ack(&mut self, now: Instant, request: &Message, flow: Flow) {
        let forwarded = validate(request).ok().and_then(|valid| {
            let path = Path::of(request, &flow, &self.settings).ok().filter(|path| path.signed)?;
            let max_forwards = valid.max_forwards?;
            let (message, target) = self.next_in_dialog(now, &path, &flow)?;
            let base = match self.settings.is_translator(&flow) {
                true => message.edit().set(Name::MaxForwards, max_forwards).finish(),
                false => self.prepare_untrusted(&message, max_forwards),
            };
            Some((base, target, valid.hash))
        });
        match forwarded {
            Some((base, target, hash)) => match &target.wanted {
                Some(wanted) => {
                    let wanted = wanted.clone();
                    let ack = Box::new(WaitingAck { base, target, hash, incoming: flow });
                    self.ask_for(wanted, Waiting::Ack(ack));
                }
                None => self.send_ack(&base, &target, hash),
            },
            None => {
                telemetry::dropped("ack");
                let (call_id, from) =
                    (request.call_id().unwrap_or_default(), self.settings.mask.addr(flow.remote));
                tracing::debug!(call_id, %from, "an ACK leads nowhere");
            }
        }
    }

    fn send_ack(&mut self, base: &Message, target: &Target, hash: LoopHash) {
        let via = self.via(&target.flow, hash);
        let mut edit = base.edit();
        if let Some(uri) = &target.uri {
            edit.request_uri(uri);
        }
        for route in &target.routes {
            edit.prepend(Name::Route, route);
        }
        let ack = edit.prepend(Name::Via, via).finish();
        self.layer.send(&ack, target.flow);
    }

    /// The caller cancels.
    pub(crate) fn cancelled(&mut self, now: Instant, server: ServerId, cancel: &Message) {
        let Some(&number) = self.by_server.get(&server) else { return };
        let reason = cancel.header::<Reason>().ok().flatten();
        self.with_fork(now, number, |fork| fork.cancel(now, reason.as_ref()));
    }

    pub(crate) fn response(&mut self, now: Instant, client: ClientId, response: &Message) {
        let Some(&(number, branch)) = self.by_client.get(&client) else {
            telemetry::dropped("unknown_response");
            return;
        };
        let from = self.contexts.get(&number).and_then(|context| context.forwarding.fork.target(branch));
        if let Some(from) = from.filter(|target| target.trusted).map(|target| target.flow.remote) {
            self.learn_load(now, response, from);
        }
        let response = strip_own_via(response, self.is_trusted(number, branch));
        if !response.has(Name::Via) {
            // RFC 3261 §16.7, step 3: it would be for us, and we ask nobody anything.
            telemetry::dropped("response_without_via");
            return;
        }
        let timed = self.contexts.get(&number).and_then(|context| context.forwarding.session);
        let response = match timed {
            Some(timer) => timer.of_response(response),
            None => response,
        };
        let is_success = response.status().is_some_and(|status| status.is_success());
        if let Some(lifetime) = session_timer::lifetime(&response).filter(|_| is_success) {
            self.calls.refreshed(now, &response, lifetime);
        }
        match self.follow(now, number, branch, &response) {
            Some((groups, rest)) => {
                tracing::info!(call_id = response.call_id().unwrap_or_default(), "a redirection is followed");
                self.with_fork(now, number, |fork| fork.redirected(now, branch, groups, rest));
            }
            None => self.with_fork(now, number, |fork| fork.response(now, branch, response)),
        }
    }

    pub(crate) fn client_failed(&mut self, now: Instant, client: ClientId, failure: Failure) {
        if let Some(&(number, branch)) = self.by_client.get(&client) {
            self.with_fork(now, number, |fork| fork.failed(now, branch, failure));
        }
    }

    pub(crate) fn client_ended(&mut self, client: ClientId) {
        if let Some((number, _)) = self.by_client.remove(&client) {
            if let Some(context) = self.contexts.get_mut(&number) {
                context.live_clients = context.live_clients.saturating_sub(1);
            }
            self.drop_when_done(number);
        }
    }

    pub(crate) fn server_ended(&mut self, server: ServerId) {
        if let Some(number) = self.by_server.remove(&server) {
            if let Some(context) = self.contexts.get_mut(&number) {
                context.server_lives = false;
            }
            self.drop_when_done(number);
        }
    }

    /// A context's timer.
    pub(crate) fn tick(&mut self, now: Instant, timer: TimerId) {
        if let Some(context) = self.contexts.get_mut(&timer.0) {
            context.armed = None;
        }
        self.with_fork(now, timer.0, |fork| fork.tick(now));
    }

    /// The node stops: what has no answer yet gets 503, and its branches are cancelled.
    pub(crate) fn give_up(&mut self, now: Instant) {
        let unanswered = self.contexts.iter().filter(|(_, context)| context.answered.is_none());
        let numbers: Vec<u64> = unanswered.map(|(number, _)| *number).collect();
        for number in numbers {
            self.with_fork(now, number, |fork| {
                let mut actions = fork.cancel(now, None);
                actions
                    .push(Action::Finish(Outcome::Local(StatusCode::SERVICE_UNAVAILABLE, "The Node Stops")));
                actions
            });
        }
    }

    fn with_fork(&mut self, now: Instant, number: u64, verb: impl FnOnce(&mut Fork) -> Vec<Action>) {
        if let Some(context) = self.contexts.get_mut(&number) {
            let actions = verb(&mut context.forwarding.fork);
            self.perform(now, number, actions);
        }
    }

    /// Carries out what the fork wants, and what it wants because of that.
    fn perform(&mut self, now: Instant, number: u64, actions: Vec<Action>) {
        let Some(mut context) = self.contexts.remove(&number) else { return };
        let was_unanswered = context.answered.is_none();
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Send(branch) => {
                    if !self.look_up(number, &context, branch)
                        && !self.send(now, number, &mut context, branch)
                    {
                        actions.extend(context.forwarding.fork.failed(now, branch, Failure::Transport));
                    }
                }
                Action::Cancel(branch, reason) => {
                    if let Some(client) = context.clients.get(branch).copied().flatten() {
                        self.layer.cancel(now, client, reason.as_ref());
                    }
                }
                Action::Provisional(response) => self.respond(now, context.forwarding.server, response),
                Action::Success(branch, response) => self.succeed(now, &mut context, branch, response),
                Action::Finish(outcome) => self.finish(now, &mut context, outcome),
                Action::FlowGone(branch) => self.forget_flow(&context, branch),
                Action::EarlyEnded(tags, status) => self.end_early(now, &context, tags, status),
            }
        }
        if was_unanswered && context.answered.is_some() {
            self.unanswered -= 1;
        }
        let deadline = context.forwarding.fork.deadline();
        if deadline != context.armed {
            context.armed = deadline;
            self.set_timer(TimerId(number), deadline);
        }
        self.contexts.insert(number, context);
        self.drop_when_done(number);
    }

    /// Asks where a branch's target is, when it is known by name only; false when there is nothing to ask.
    fn look_up(&mut self, number: u64, context: &Context, branch: usize) -> bool {
        let wanted = context.forwarding.fork.target(branch).and_then(|target| target.wanted.clone());
        wanted.is_some_and(|wanted| self.ask_for(wanted, Waiting::Branch(number, branch)))
    }

    /// Asks where a name leads; false when too much waits for names already.
    fn ask_for(&mut self, wanted: Wanted, waiting: Waiting) -> bool {
        if self.lookups.len() >= MAX_LOOKUPS {
            return false;
        }
        self.next_lookup += 1;
        self.lookups.insert(self.next_lookup, waiting);
        self.ask(Token(LOOKUP | self.next_lookup), Question::Locate(wanted));
        true
    }

    /// Takes where a name leads that something waits for.
    pub(crate) fn located(&mut self, now: Instant, lookup: u64, answer: Result<Located, DnsError>) {
        let Some(waiting) = self.lookups.remove(&lookup) else { return };
        let incoming = match &waiting {
            Waiting::Branch(number, _) => self.contexts.get(number).map(|context| context.forwarding.flow),
            Waiting::Ack(ack) => Some(ack.incoming),
        };
        let Some(incoming) = incoming else { return };
        let hops = answer.unwrap_or_else(|error| {
            tracing::info!(%error, "a next hop was not found");
            Located { hops: Vec::new(), valid_for: Duration::ZERO }
        });
        let flow = |hop: &Hop| {
            // A translator takes whatever we send, and no name shall lead there.
            let settings = &self.settings;
            let flow = settings.outgoing(hop.transport, hop.addr, &incoming)?;
            (!settings.is_translator_address(hop.addr)).then_some(flow)
        };
        let flows: Vec<Flow> = hops.hops.iter().filter_map(flow).collect();
        match waiting {
            Waiting::Branch(number, branch) => {
                self.with_fork(now, number, |fork| fork.located(now, branch, flows));
            }
            // An ACK has no answer to wait for: the first one gets it.
            Waiting::Ack(ack) => {
                if let Some(flow) = flows.first() {
                    self.send_ack(&ack.base, &Target { flow: *flow, ..ack.target }, ack.hash);
                }
            }
        }
    }

    /// Sends the request to a branch's target; false when it cannot be sent.
    fn send(&mut self, now: Instant, number: u64, context: &mut Context, branch: usize) -> bool {
        let Some(target) = context.forwarding.fork.target(branch).cloned() else { return false };
        let request = self.branch_request(&context.forwarding, &target);
        match self.layer.request(now, request, target.flow) {
            Ok(client) => {
                telemetry::branch();
                self.by_client.insert(client, (number, branch));
                // A redirection adds branches.
                if context.clients.len() <= branch {
                    context.clients.resize(branch + 1, None);
                }
                if let Some(place) = context.clients.get_mut(branch) {
                    *place = Some(client);
                }
                context.live_clients += 1;
                true
            }
            Err(overflow) => {
                tracing::warn!(%overflow, "a branch could not be tried");
                false
            }
        }
    }

    /// RFC 3261 §16.6, steps 1 to 8.
    fn branch_request(&mut self, forwarding: &Forwarding, target: &Target) -> Message {
        let base = &forwarding.base;
        let mut via = self.via(&target.flow, forwarding.hash);
        if target.trusted {
            overload::offer(&mut via);
        }
        let mut edit = base.edit();
        if let Some(uri) = &target.uri {
            edit.request_uri(uri);
        }
        if forwarding.record_route {
            let call_id = base.call_id().unwrap_or_default();
            let incoming = (&forwarding.flow, &self.settings.name_on(&forwarding.flow));
            let outgoing = (&target.flow, &self.settings.name_on(&target.flow));
            for value in self.settings.signer.record(call_id, incoming, outgoing) {
                edit.prepend(Name::RecordRoute, value);
            }
        }
        if let Some(breadth) = target.breadth {
            edit.set(Name::MaxBreadth, breadth);
        }
        if !target.trusted && wants_privacy(base) {
            edit.remove(Name::PAssertedIdentity);
        }
        for route in &target.routes {
            edit.prepend(Name::Route, route);
        }
        edit.prepend(Name::Via, via).finish()
    }

    /// Our own Via on a flow.
    fn via(&mut self, flow: &Flow, hash: LoopHash) -> Via {
        let branch = hash.mark(&self.ids.branch());
        let params = Params::default().with("branch", Some(&branch)).with("rport", None);
        Via { transport: flow.transport.as_str().to_owned(), sent_by: self.settings.name_on(flow), params }
    }

    /// A 2xx goes upstream at once.
    fn succeed(&mut self, now: Instant, context: &mut Context, branch: usize, response: Message) {
        let status = response.status().unwrap_or(StatusCode::OK);
        if let Some(attempt) = context.forwarding.attempt.take() {
            let call_id = response.call_id().unwrap_or_default();
            let to = context.forwarding.fork.target(branch).map(|target| target.flow.remote);
            let to = to.map(|to| self.settings.mask.addr(to).to_string());
            tracing::info!(call_id, to, "call answered");
            let at = self.unix_ms(now);
            let record = attempt.record.filter(|_| attempt.keep == Keep::Always).map(|record| CallRecord {
                id: self.ids.call_id(),
                answered_at: Some(at),
                result: CallResult::Answered,
                status: Some(status.code()),
                ..record
            });
            if let Some(record) = self.calls.answered(now, &response, record) {
                self.write_record(record);
            }
        }
        match context.answered {
            // The caller was told otherwise, but the callee picked up: only it can end this call now (RFC 3261 §16.7, step 5).
            Some(earlier) if !earlier.is_success() => {
                telemetry::response(status);
                self.layer.send(&response, context.forwarding.flow);
            }
            _ => {
                context.answered = Some(status);
                self.respond(now, context.forwarding.server, response);
            }
        }
    }

    /// The best of the other final responses goes upstream.
    fn finish(&mut self, now: Instant, context: &mut Context, outcome: Outcome) {
        let forwarding = &mut context.forwarding;
        let is_invite = forwarding.base.is(&Method::Invite);
        let response = match outcome {
            Outcome::Response(response) => response,
            // RFC 4320 §4.2: no 408 for these. But the transaction must end.
            Outcome::Local(StatusCode::REQUEST_TIMEOUT, _) if !is_invite => self.own_response(
                &forwarding.base,
                Refusal::new(StatusCode::TEMPORARILY_UNAVAILABLE, "No Response"),
            ),
            Outcome::Local(StatusCode::SERVICE_UNAVAILABLE, reason) => {
                let refusal = Refusal::later(reason, self.settings.limits.retry_after);
                self.own_response(&forwarding.base, refusal)
            }
            Outcome::Local(status, reason) => {
                self.own_response(&forwarding.base, Refusal::new(status, reason))
            }
        };
        let status = response.status().unwrap_or(StatusCode::SERVER_INTERNAL_ERROR);
        context.answered = Some(status);
        if let Some(attempt) = forwarding.attempt.take() {
            let call_id = response.call_id().unwrap_or_default();
            tracing::info!(call_id, status = status.code(), reason = response.reason(), "call failed");
            let ours = match attempt.keep {
                Keep::Always => true,
                Keep::IfUnheard => !forwarding.fork.was_heard(),
                Keep::Never => false,
            };
            if let Some(record) = attempt.record.filter(|_| ours) {
                let result = result_of(status);
                let record = CallRecord {
                    id: self.ids.call_id(),
                    ended_at: Some(self.unix_ms(now)),
                    result,
                    status: Some(status.code()),
                    reason: response.reason().chars().filter(|c| !c.is_control()).take(128).collect(),
                    ended_by: Some(match result {
                        CallResult::Cancelled => EndedBy::Caller,
                        CallResult::Busy | CallResult::Rejected => EndedBy::Callee,
                        _ => EndedBy::Platform,
                    }),
                    ..record
                };
                self.write_record(record);
            }
        }
        let server = context.forwarding.server;
        self.respond(now, server, response);
    }

    /// A binding whose flow is gone leads nowhere: it goes, in memory at once.
    fn forget_flow(&mut self, context: &Context, branch: usize) {
        let binding = context.forwarding.fork.target(branch).and_then(|target| target.binding.clone());
        let Some((line, contact)) = binding else { return };
        tracing::info!(line = line.0, "a flow of a phone is gone");
        self.locations.remove(line, &contact);
        self.save_quietly(vec![Change::RemoveBinding { line, contact }]);
    }

    /// Tells the caller that early dialogs are over (RFC 6228 §6), when it understands that and does not want it reliably, which is
    /// not a proxy's to give.
    fn end_early(&mut self, now: Instant, context: &Context, tags: Vec<String>, status: StatusCode) {
        let base = &context.forwarding.base;
        let understands = base.all::<Supported>().flatten().any(|tag| tag.is("199"));
        let reliably = base.all::<Require>().flatten().any(|tag| tag.is("100rel"));
        if context.answered.is_some() || !understands || reliably {
            return;
        }
        let reason = Reason::sip(status.code(), status.reason());
        for tag in tags {
            let ended = Builder::response_to(base, StatusCode::EARLY_DIALOG_TERMINATED, None, Some(&tag));
            self.respond(now, context.forwarding.server, ended.header(Name::Reason, &reason).finish());
        }
    }

    fn is_trusted(&self, number: u64, branch: usize) -> bool {
        let context = self.contexts.get(&number);
        context
            .and_then(|context| context.forwarding.fork.target(branch))
            .is_some_and(|target| target.trusted)
    }

    fn drop_when_done(&mut self, number: u64) {
        let is_done = |context: &Context| !context.server_lives && context.live_clients == 0;
        if self.contexts.get(&number).is_some_and(is_done)
            && let Some(context) = self.contexts.remove(&number)
        {
            if context.answered.is_none() {
                self.unanswered -= 1;
            }
            if context.armed.is_some() {
                self.set_timer(TimerId(number), None);
            }
        }
    }
}

impl std::fmt::Debug for Forwarding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarding")
            .field("base", &self.base)
            .field("fork", &self.fork)
            .finish_non_exhaustive()
    }
}

/// The response without our Via, and without an identity that nobody of ours vouches for.
fn strip_own_via(response: &Message, trusted: bool) -> Message {
    let mut edit = response.edit();
    edit.remove_first(Name::Via, 1);
    if !trusted {
        edit.remove(Name::PAssertedIdentity);
    }
    edit.finish()
}

/// `Privacy: id` keeps the asserted identity inside the network (RFC 3325 §9.3); who asks for more (RFC 3323 §4.2) gets at least that.
fn wants_privacy(request: &Message) -> bool {
    let is_id = |word: &str| matches!(word.trim(), "id" | "user" | "header");
    request.text(Name::Privacy).is_some_and(|value| value.split(';').any(is_id))
}

/// Marks the tokens of look-ups.
pub(crate) const LOOKUP: u64 = 1 << 60;
/// Look-ups that one worker waits for at a time.
const MAX_LOOKUPS: usize = 4_096;
