//! Why a call ended: what its record says, or what the messages of one without a record tell.

use std::net::SocketAddr;

use node::explain::{Fact, Hop, Leg, Said, Why};
use node::trace::{Traced, Way};
use sip_core::wire::{Limits, Message, Method, Name, StatusCode};

/// The sentence for a call by its messages, which are in the order of time; `None` when they hold no INVITE.
pub(super) fn of_messages(traced: &[Traced], name: impl Fn(SocketAddr) -> Option<String>) -> Option<String> {
    let seen: Vec<Seen> = traced.iter().filter_map(Seen::of).collect();
    // The last INVITE that came from outside this node: those before it were challenged.
    let invite = seen.iter().rev().find(|seen| {
        seen.traced.way == Way::Received
            && seen.is_request(&Method::Invite)
            && seen.message.to_tag().is_none()
    })?;
    let caller = Hop::new(
        name(invite.traced.flow.remote).unwrap_or_else(|| "the caller".to_owned()),
        &invite.traced.flow,
    );
    let same_side = |seen: &&Seen| {
        seen.traced.role == invite.traced.role && seen.traced.flow.remote == invite.traced.flow.remote
    };
    let answer = seen
        .iter()
        .filter(same_side)
        .filter(|seen| seen.traced.way == Way::Sent && seen.answers(invite))
        .next_back();
    let Some((answer, status)) = answer.and_then(|answer| Some((answer, answer.message.status()?))) else {
        return Some(format!("The call has no final answer yet: the INVITE came from {caller}."));
    };
    let downstream: Vec<&Seen> = seen
        .iter()
        .filter(|seen| {
            !same_side(seen) && seen.traced.way == Way::Received && seen.final_of_invite().is_some()
        })
        .collect();
    if status.is_success() {
        return Some(ended(&seen, &caller, &name));
    }
    if status == StatusCode::REQUEST_TERMINATED
        && seen.iter().filter(same_side).any(|seen| seen.is_request(&Method::Cancel))
    {
        let rang =
            seen.iter().any(|seen| matches!(seen.message.status().map(StatusCode::code), Some(180..=189)));
        return Some(Why::on(Leg::Caller, caller, Fact::Cancelled { rang }).to_string());
    }
    if let Some(last) = downstream.iter().rev().find(|seen| seen.message.status() == Some(status)) {
        let hop = Hop::new(
            name(last.traced.flow.remote).unwrap_or_else(|| "the phone".to_owned()),
            &last.traced.flow,
        );
        return Some(Why::on(Leg::Callee, hop, Fact::Said(last.said(status))).to_string());
    }
    let called = seen.iter().any(|seen| !same_side(&seen) && seen.is_request(&Method::Invite));
    let why = if called {
        Fact::NoneAnswered(answer.said(status))
    } else {
        Fact::Refused(answer.said(status), caller)
    };
    Some(Why::between(why).to_string())
}

/// A message with the way that it went.
struct Seen<'a> {
    traced: &'a Traced,
    message: Message,
}

impl<'a> Seen<'a> {
    fn of(traced: &'a Traced) -> Option<Seen<'a>> {
        let message = Message::parse(traced.bytes.clone(), &Limits::default()).ok()?;
        Some(Seen { traced, message })
    }

    fn is_request(&self, method: &Method) -> bool {
        self.message.is(method)
    }

    /// Its status when it is a final response to an INVITE.
    fn final_of_invite(&self) -> Option<StatusCode> {
        let of_invite = self.message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        self.message.status().filter(|status| of_invite && status.is_final())
    }

    /// Whether it is the final response to a request.
    fn answers(&self, request: &Seen<'_>) -> bool {
        let number = |seen: &Seen<'_>| seen.message.cseq().ok().map(|cseq| cseq.number);
        self.final_of_invite().is_some() && number(self) == number(request)
    }

    fn said(&self, status: StatusCode) -> Said {
        let warning = self.message.text(Name::Warning).and_then(|warning| warning.split('"').nth(1));
        Said::new(status.code(), self.message.reason(), None, warning)
    }
}

/// Who ended an answered call.
fn ended(seen: &[Seen<'_>], caller: &Hop, name: &impl Fn(SocketAddr) -> Option<String>) -> String {
    let bye = seen.iter().find(|seen| seen.traced.way == Way::Received && seen.is_request(&Method::Bye));
    let Some(bye) = bye else {
        return "The call was answered and has not ended yet, as far as this node has seen.".to_owned();
    };
    let hop = Hop::new(name(bye.traced.flow.remote).unwrap_or_default(), &bye.traced.flow);
    let leg = if hop == *caller || hop.is_at_address_of(caller) { Leg::Caller } else { Leg::Callee };
    Why::on(leg, hop, Fact::HungUp(None)).to_string()
}
