//! The response context of one forwarded request (RFC 3261 §16.7 to §16.10): which branches are tried, and what goes upstream.
//!
//! It decides and does not act: each verb gives [`Action`]s, which the core carries out in order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sip_core::flow::{ConnectionId, Flow};
use sip_core::transaction::Failure;
use sip_core::wire::header::Reason;
use sip_core::wire::{Message, StatusCode};

use crate::best_response::best;
use crate::target::Target;

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Timers {
    /// Timer C: an INVITE branch without news for so long is given up; more than three minutes (RFC 3261 §16.6, step 11).
    pub branch: Duration,
    /// A call that nobody answers for so long is ended with 408.
    pub ring: Duration,
    /// While there are contacts of a lower preference: how long those of a higher one ring before it is their turn.
    pub next_group: Duration,
    /// A translator that says nothing for so long is passed over.
    pub gateway: Duration,
    /// How long a cancelled branch may take to end: 64 × T1 (RFC 3261 §9.1).
    pub cancelled: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            branch: Duration::from_secs(185),
            ring: Duration::from_secs(180),
            next_group: Duration::from_secs(30),
            gateway: Duration::from_secs(4),
            cancelled: Duration::from_secs(32),
        }
    }
}

/// What kind of targets a fork has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Phones: the next group is tried after every failure.
    Phones,
    /// One hop that is given: a dialog's next one, or a flow that another node has asked for.
    Hop,
    /// Our translators, each as good as the other: the next is tried only when one cannot serve (503, silence, no way to it).
    Gateways,
}

/// What the core must do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send the request to this branch's target.
    Send(usize),
    /// Cancel this branch's transaction.
    Cancel(usize, Option<Reason>),
    /// Forward a provisional response upstream.
    Provisional(Message),
    /// Forward a 2xx upstream. For an INVITE there may be several, also after [`Action::Finish`].
    Success(usize, Message),
    /// Forward the best of the other final responses upstream; said once.
    Finish(Outcome),
    /// This branch's flow is gone: its binding leads nowhere (RFC 5626 §7).
    FlowGone(usize),
    /// Tell the caller that these early dialogs, by their To tags, are over, though the call is not (RFC 6228 §6).
    EarlyEnded(Vec<String>, StatusCode),
}

/// How a branch or the whole fork ended without a 2xx.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// With a response from downstream.
    Response(Message),
    /// By our own verdict.
    Local(StatusCode, &'static str),
}

impl Outcome {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            // What is kept as a response always has a status.
            Outcome::Response(response) => response.status().unwrap_or(StatusCode::SERVER_INTERNAL_ERROR),
            Outcome::Local(status, _) => *status,
        }
    }
}

/// The fork. Branches are numbered in the order in which they are tried.
#[derive(Debug)]
pub(crate) struct Fork {
    invite: bool,
    kind: Kind,
    timers: Timers,
    branches: Vec<Branch>,
    groups: VecDeque<std::ops::Range<usize>>,
    phase: Phase,
    /// When the whole call has rung long enough.
    ring_until: Option<Instant>,
    /// When the current group has rung long enough, as long as there is a next one.
    group_until: Option<Instant>,
}

#[derive(Debug)]
struct Branch {
    target: Target,
    state: State,
    /// Whether any response came.
    heard: bool,
    /// The To tags of its early dialogs.
    early: Vec<String>,
}

impl Branch {
    fn new(target: Target) -> Branch {
        Branch { target, state: State::Waiting, heard: false, early: Vec::new() }
    }

    fn has_more_servers(&self) -> bool {
        self.target.is_located && !self.target.others.is_empty()
    }
}

/// A branch's state.
#[derive(Debug)]
enum State {
    /// Its turn has not come.
    Waiting,
    /// Sent, and nothing heard. Non-INVITE branches have no deadline here: Timer F is the layer's.
    Calling { until: Option<Instant> },
    /// A provisional response has come.
    Proceeding { until: Option<Instant> },
    /// Cancelled; counts as `outcome` unless a 2xx crosses the CANCEL.
    Cancelling { until: Instant, outcome: Outcome },
    /// It has ended with a failure.
    Failed(Outcome),
    /// It was answered with a 2xx.
    Succeeded,
    /// It pointed to others, which are tried in its place.
    Redirected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing final went upstream.
    Trying,
    /// The caller has given up; only a 2xx that crosses may still win.
    Cancelled,
    /// A final response went upstream.
    Ended,
}

impl Fork {
    pub(crate) fn new(invite: bool, kind: Kind, groups: Vec<Vec<Target>>, timers: Timers) -> Fork {
        let mut branches = Vec::new();
        let mut ranges = VecDeque::new();
        for group in groups.into_iter().filter(|group| !group.is_empty()) {
            let start = branches.len();
            branches.extend(group.into_iter().map(Branch::new));
            ranges.push_back(start..branches.len());
        }
        Fork {
            invite,
            kind,
            timers,
            branches,
            groups: ranges,
            phase: Phase::Trying,
            ring_until: None,
            group_until: None,
        }
    }

    /// Where a branch goes.
    pub(crate) fn target(&self, branch: usize) -> Option<&Target> {
        self.branches.get(branch).map(|branch| &branch.target)
    }

    /// How many branches there are, tried or not.
    pub(crate) fn len(&self) -> usize {
        self.branches.len()
    }

    /// Whether any branch gave a sign of life.
    pub(crate) fn was_heard(&self) -> bool {
        self.branches.iter().any(|branch| branch.heard)
    }

    /// Begins with the first group.
    pub(crate) fn start(&mut self, now: Instant) -> Vec<Action> {
        self.ring_until = self.invite.then(|| now + self.timers.ring);
        let mut actions = Vec::new();
        self.advance(now, &mut actions);
        actions
    }

    /// Takes a response to a branch.
    pub(crate) fn response(&mut self, now: Instant, branch: usize, response: Message) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(status) = response.status() else { return actions };
        if let Some(branch) = self.branches.get_mut(branch) {
            branch.heard = true;
        }
        match status.class() {
            1 => self.provisional(now, branch, status, response, &mut actions),
            2 => self.success(now, branch, response, &mut actions),
            class => {
                let early = self.take_early(branch);
                self.end(now, branch, Outcome::Response(response), &mut actions);
                if class == 6 {
                    // Nobody else shall be rung (RFC 3261 §16.7, step 5).
                    self.groups.clear();
                    let reason = Reason::sip(status.code(), status.reason());
                    let outcome = Outcome::Local(StatusCode::REQUEST_TERMINATED, "");
                    self.cancel_pending(now, Some(&reason), &outcome, &mut actions);
                }
                self.advance(now, &mut actions);
                // Once a final response has gone upstream, that one says it.
                if !early.is_empty() && self.phase == Phase::Trying {
                    actions.push(Action::EarlyEnded(early, status));
                }
            }
        }
        actions
    }

    /// Takes a 3xx of a branch whose contacts are targets of ours: these are tried in its place, the first group at once
    /// (RFC 3261 §16.7, step 4). `rest` is the response with the contacts that are not.
    pub(crate) fn redirected(
        &mut self,
        now: Instant,
        branch: usize,
        groups: Vec<Vec<Target>>,
        rest: Option<Message>,
    ) -> Vec<Action> {
        let early = self.take_early(branch);
        match (rest, self.branches.get_mut(branch)) {
            (Some(rest), _) => self.fail(branch, Outcome::Response(rest)),
            (None, Some(branch)) => branch.state = State::Redirected,
            (None, None) => {}
        }
        let mut actions = Vec::new();
        if !early.is_empty() {
            actions.push(Action::EarlyEnded(early, StatusCode::MOVED_TEMPORARILY));
        }
        let mut ranges = Vec::new();
        for group in groups {
            let start = self.branches.len();
            self.branches.extend(group.into_iter().map(Branch::new));
            ranges.push(start..self.branches.len());
        }
        let mut ranges = ranges.into_iter();
        if let Some(first) = ranges.next() {
            self.call(now, first, &mut actions);
        }
        for (place, group) in ranges.enumerate() {
            self.groups.insert(place, group);
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Whether a redirection of this branch may still be followed.
    pub(crate) fn may_redirect(&self, branch: usize) -> bool {
        let rings =
            |branch: &Branch| matches!(branch.state, State::Calling { .. } | State::Proceeding { .. });
        self.phase == Phase::Trying
            && self.kind == Kind::Phones
            && self.branches.get(branch).is_some_and(rings)
    }

    /// Takes the failure of a branch: nothing came, or nothing could be sent (RFC 3261 §16.9).
    pub(crate) fn failed(&mut self, now: Instant, branch: usize, failure: Failure) -> Vec<Action> {
        let outcome = match failure {
            // Silence of a translator is our own fault, not the called party's.
            Failure::TimedOut if self.kind == Kind::Gateways => SILENT_GATEWAY,
            Failure::TimedOut => Outcome::Local(StatusCode::REQUEST_TIMEOUT, ""),
            Failure::Transport if self.kind == Kind::Gateways => SILENT_GATEWAY,
            Failure::Transport if self.keeps_to_its_flow(branch) => {
                Outcome::Local(StatusCode::FLOW_FAILED, "")
            }
            Failure::Transport => Outcome::Local(StatusCode::SERVICE_UNAVAILABLE, "Next Hop Unreachable"),
        };
        let mut actions = Vec::new();
        self.end(now, branch, outcome, &mut actions);
        self.advance(now, &mut actions);
        actions
    }

    /// The caller cancels (RFC 3261 §16.10).
    pub(crate) fn cancel(&mut self, now: Instant, reason: Option<&Reason>) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.phase == Phase::Trying {
            self.phase = Phase::Cancelled;
            self.groups.clear();
            let outcome = Outcome::Local(StatusCode::REQUEST_TERMINATED, "");
            self.cancel_pending(now, reason, &outcome, &mut actions);
            self.advance(now, &mut actions);
        }
        actions
    }

    /// Takes the passing of time.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let no_answer = Outcome::Local(StatusCode::REQUEST_TIMEOUT, "No Answer");
        let due = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        if due(self.ring_until) {
            self.ring_until = None;
            self.groups.clear();
            self.cancel_pending(now, Some(&Reason::sip(408, "No answer")), &no_answer, &mut actions);
        }
        if due(self.group_until) {
            self.group_until = None;
            self.cancel_pending(now, Some(&Reason::sip(408, "No answer")), &no_answer, &mut actions);
        }
        for place in 0..self.branches.len() {
            let Some(branch) = self.branches.get_mut(place) else { break };
            match &branch.state {
                // A translator that did not even say 100 is dead or cut off; waiting for it would only keep the caller waiting.
                State::Calling { until } if due(*until) && self.kind == Kind::Gateways => {
                    branch.state = State::Failed(SILENT_GATEWAY);
                    actions.push(Action::Cancel(place, None));
                }
                // So is one of several servers behind a name.
                State::Calling { until } if due(*until) && branch.has_more_servers() => {
                    actions.push(Action::Cancel(place, None));
                    self.end(now, place, no_answer.clone(), &mut actions);
                }
                State::Calling { until } | State::Proceeding { until } if due(*until) => {
                    let until = now + self.timers.cancelled;
                    branch.state = State::Cancelling { until, outcome: no_answer.clone() };
                    actions.push(Action::Cancel(place, Some(Reason::sip(408, "No answer"))));
                }
                State::Cancelling { until, outcome } if *until <= now => {
                    branch.state = State::Failed(outcome.clone());
                }
                _ => {}
            }
        }
        self.advance(now, &mut actions);
        actions
    }

    /// When [`tick`](Fork::tick) wants to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let branches = self.branches.iter().filter_map(|branch| match &branch.state {
            State::Calling { until } | State::Proceeding { until } => *until,
            State::Cancelling { until, .. } => Some(*until),
            State::Waiting | State::Failed(_) | State::Succeeded | State::Redirected => None,
        });
        let ringing = (self.phase == Phase::Trying).then_some([self.ring_until, self.group_until]);
        branches.chain(ringing.into_iter().flatten().flatten()).min()
    }

    fn provisional(
        &mut self,
        now: Instant,
        branch: usize,
        status: StatusCode,
        response: Message,
        actions: &mut Vec<Action>,
    ) {
        let timer_c = self.invite.then(|| now + self.timers.branch);
        let Some(branch) = self.branches.get_mut(branch) else { return };
        match &mut branch.state {
            state @ State::Calling { .. } => *state = State::Proceeding { until: timer_c },
            // RFC 3261 §16.7, step 2: 101 to 199 reset Timer C.
            State::Proceeding { until } if status != StatusCode::TRYING => *until = timer_c,
            State::Proceeding { .. } => {}
            _ => return,
        }
        if let Some(tag) = response.to_tag().filter(|_| self.invite && status != StatusCode::TRYING) {
            let known = branch.early.iter().position(|early| *early == tag);
            match (known, status) {
                (Some(place), StatusCode::EARLY_DIALOG_TERMINATED) => drop(branch.early.remove(place)),
                (None, StatusCode::EARLY_DIALOG_TERMINATED) | (Some(_), _) => {}
                (None, _) if branch.early.len() < MAX_EARLY => branch.early.push(tag),
                (None, _) => {}
            }
        }
        if status != StatusCode::TRYING && self.phase == Phase::Trying {
            actions.push(Action::Provisional(response));
        }
    }

    fn take_early(&mut self, branch: usize) -> Vec<String> {
        self.branches.get_mut(branch).map(|branch| std::mem::take(&mut branch.early)).unwrap_or_default()
    }

    fn success(&mut self, now: Instant, place: usize, response: Message, actions: &mut Vec<Action>) {
        let Some(branch) = self.branches.get_mut(place) else { return };
        branch.state = State::Succeeded;
        // Every 2xx to an INVITE goes upstream, also a late one (RFC 3261 §16.7, step 5); only the first to another request does.
        if !self.invite && self.phase == Phase::Ended {
            return;
        }
        self.phase = Phase::Ended;
        self.groups.clear();
        actions.push(Action::Success(place, response));
        let reason = Reason::sip(200, "Call completed elsewhere");
        let outcome = Outcome::Local(StatusCode::REQUEST_TERMINATED, "");
        self.cancel_pending(now, Some(&reason), &outcome, actions);
    }

    /// A branch has ended without a 2xx. Where it was one flow of a phone and the flow is gone or silent, the phone's next flow is tried
    /// in its place (RFC 5626 §7).
    fn end(&mut self, now: Instant, place: usize, outcome: Outcome, actions: &mut Vec<Action>) {
        let gone = outcome.status() == StatusCode::FLOW_FAILED;
        let Some(branch) = self.branches.get_mut(place) else { return };
        let rings = matches!(branch.state, State::Calling { .. } | State::Proceeding { .. });
        let silent = matches!(outcome, Outcome::Local(StatusCode::REQUEST_TIMEOUT, _)) && !branch.heard;
        if gone && branch.target.binding.is_some() {
            actions.push(Action::FlowGone(place));
        }
        // RFC 3263 §4.3: the next server behind the name is tried when one cannot serve.
        let unfit = branch.target.is_located && outcome.status() == StatusCode::SERVICE_UNAVAILABLE;
        let others = &mut branch.target.others;
        if !(gone || silent || unfit) || !rings || others.is_empty() || self.phase != Phase::Trying {
            return self.fail(place, outcome);
        }
        let mut next = others.remove(0);
        next.others = std::mem::take(others);
        next.breadth = branch.target.breadth;
        branch.state = State::Redirected;
        self.branches.push(Branch::new(next));
        let added = self.branches.len() - 1..self.branches.len();
        self.call(now, added, actions);
    }

    /// A branch's name was looked up: these are the ways to its servers, the first to try first.
    pub(crate) fn located(&mut self, now: Instant, place: usize, flows: Vec<Flow>) -> Vec<Action> {
        let mut flows = flows.into_iter();
        let calls = |branch: &&mut Branch| matches!(branch.state, State::Calling { .. });
        let found = self.branches.get_mut(place).filter(calls);
        let (Some(branch), Some(first)) = (found, flows.next()) else {
            return self.failed(now, place, Failure::Transport);
        };
        let target = &mut branch.target;
        (target.flow, target.wanted, target.is_located) = (first, None, true);
        let alike = target.clone();
        target.others.splice(0..0, flows.map(|flow| Target { flow, others: Vec::new(), ..alike.clone() }));
        let mut actions = Vec::new();
        self.call(now, place..place + 1, &mut actions);
        actions
    }

    fn keeps_to_its_flow(&self, branch: usize) -> bool {
        let connection = self.target(branch).and_then(|target| target.flow.connection);
        connection.is_some_and(ConnectionId::is_only)
    }

    /// Notes a branch's failure. One that was cancelled keeps the outcome for which it was.
    fn fail(&mut self, place: usize, failure: Outcome) {
        let Some(branch) = self.branches.get_mut(place) else { return };
        branch.state = match std::mem::replace(&mut branch.state, State::Waiting) {
            State::Cancelling { outcome, .. } if is_echo(&failure) => State::Failed(outcome),
            state @ (State::Succeeded | State::Redirected) => state,
            _ => State::Failed(failure),
        };
    }

    /// Cancels what rings. Requests other than INVITE cannot be cancelled: their answers are awaited.
    fn cancel_pending(
        &mut self,
        now: Instant,
        reason: Option<&Reason>,
        outcome: &Outcome,
        actions: &mut Vec<Action>,
    ) {
        if !self.invite {
            return;
        }
        let until = now + self.timers.cancelled;
        for (place, branch) in self.branches.iter_mut().enumerate() {
            if matches!(branch.state, State::Calling { .. } | State::Proceeding { .. }) {
                branch.state = State::Cancelling { until, outcome: outcome.clone() };
                actions.push(Action::Cancel(place, reason.cloned()));
            }
        }
    }

    /// Goes on to the next group when nothing rings any more, and ends when there is none.
    fn advance(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let rings =
            |branch: &Branch| matches!(branch.state, State::Calling { .. } | State::Proceeding { .. });
        if self.phase == Phase::Ended || self.branches.iter().any(rings) {
            return;
        }
        if self.kind == Kind::Gateways && !self.may_fail_over() {
            self.groups.clear();
        }
        if let Some(group) = self.groups.pop_front() {
            let more = !self.groups.is_empty() && self.kind == Kind::Phones && self.invite;
            self.group_until = more.then(|| now + self.timers.next_group);
            return self.call(now, group, actions);
        }
        // A cancelled branch may still be answered with a 2xx.
        if self.branches.iter().any(|branch| matches!(branch.state, State::Cancelling { .. })) {
            return;
        }
        let outcome = self.outcome();
        self.phase = Phase::Ended;
        actions.push(Action::Finish(outcome));
    }

    fn call(&mut self, now: Instant, group: std::ops::Range<usize>, actions: &mut Vec<Action>) {
        let until = match self.kind {
            Kind::Gateways => Some(now + self.timers.gateway),
            Kind::Phones | Kind::Hop => self.invite.then(|| now + self.timers.branch),
        };
        for place in group {
            if let Some(branch) = self.branches.get_mut(place) {
                let until = match branch.has_more_servers() {
                    true => Some(now + self.timers.gateway),
                    false => until,
                };
                branch.state = State::Calling { until: until.filter(|_| self.invite) };
                actions.push(Action::Send(place));
            }
        }
    }

    /// Whether the last translator that was tried could not serve, so that another may. The first one is always tried.
    fn may_fail_over(&self) -> bool {
        let tried = self.branches.iter().filter_map(|branch| match &branch.state {
            State::Failed(outcome) | State::Cancelling { outcome, .. } => Some(outcome),
            _ => None,
        });
        tried.last().is_none_or(|outcome| outcome.status() == StatusCode::SERVICE_UNAVAILABLE)
    }

    /// RFC 3261 §16.7, step 6.
    fn outcome(&self) -> Outcome {
        let outcomes: Vec<&Outcome> = self
            .branches
            .iter()
            .filter_map(|branch| match &branch.state {
                State::Failed(outcome) => Some(outcome),
                _ => None,
            })
            .collect();
        if self.phase == Phase::Cancelled {
            return Outcome::Local(StatusCode::REQUEST_TERMINATED, "");
        }
        let chosen = best(outcomes.iter().map(|outcome| outcome.status()));
        let Some(chosen) = chosen.and_then(|place| outcomes.get(place)) else {
            return Outcome::Local(StatusCode::TEMPORARILY_UNAVAILABLE, "");
        };
        match (chosen, self.kind) {
            // What one phone says of itself would make the caller avoid all of us.
            (outcome, Kind::Phones | Kind::Hop) if outcome.status() == StatusCode::SERVICE_UNAVAILABLE => {
                Outcome::Local(StatusCode::SERVER_INTERNAL_ERROR, "Next Hop Unavailable")
            }
            // Flows are between a phone and us: to the caller the phone is not there.
            (outcome, Kind::Phones) if outcome.status() == StatusCode::FLOW_FAILED => {
                Outcome::Local(StatusCode::TEMPORARILY_UNAVAILABLE, "")
            }
            (Outcome::Response(response), _) => Outcome::Response(with_all_challenges(response, &outcomes)),
            (outcome, _) => (*outcome).clone(),
        }
    }
}

/// Early dialogs of one branch that are remembered: a phone has one, and a peer that invents tags must not fill our memory.
const MAX_EARLY: usize = 8;
/// A translator that does not answer, or cannot be reached.
const SILENT_GATEWAY: Outcome = Outcome::Local(StatusCode::SERVICE_UNAVAILABLE, "No Translator Available");

/// Whether a failure is only the echo of our CANCEL, or silence after it.
fn is_echo(failure: &Outcome) -> bool {
    matches!(failure, Outcome::Local(..)) || failure.status() == StatusCode::REQUEST_TERMINATED
}

/// A 401 or 407 goes upstream with the challenges of all the others (RFC 3261 §16.7, step 7).
fn with_all_challenges(chosen: &Message, outcomes: &[&Outcome]) -> Message {
    use sip_core::wire::Name::{ProxyAuthenticate, WwwAuthenticate};
    let asks = |message: &Message| {
        matches!(message.status(), Some(StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED))
    };
    if !asks(chosen) {
        return chosen.clone();
    }
    let mut edit = chosen.edit();
    for outcome in outcomes {
        match outcome {
            Outcome::Response(other) if asks(other) && other.bytes() != chosen.bytes() => {
                for name in [WwwAuthenticate, ProxyAuthenticate] {
                    for value in other.raws(name) {
                        edit.append(name, String::from_utf8_lossy(value));
                    }
                }
            }
            _ => {}
        }
    }
    edit.finish()
}

#[cfg(test)]
#[path = "fork_tests.rs"]
mod tests;
