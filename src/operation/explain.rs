//! Why a call ended: what its messages tell of one whose record says nothing more, and of one that left no record.

use std::net::SocketAddr;

use node::explain::{Fact, Hop, Leg, Said, Why};
use node::trace::{Traced, Way};
use schema::{CallRecord, CallResult, EndedBy};
use sip_core::wire::{Limits, Message, Method, Name, StatusCode};

/// The sentence for a call by its messages, which are in the order of time; `None` when they hold no INVITE from outside. `name` says what
/// people call the one at an address.
pub(super) fn of_messages(traced: &[Traced], name: impl Fn(SocketAddr) -> Option<String>) -> Option<String> {
    Story::of(traced, &name).map(|story| story.tell())
}

/// The sentence for a call by its record alone: its messages are forgotten.
pub(super) fn of_record(record: &CallRecord) -> String {
    let why = match (record.result, record.ended_by) {
        (CallResult::Answered, Some(EndedBy::Caller)) => {
            Why::on(Leg::Caller, Hop::named(&record.caller), Fact::HungUp(None))
        }
        (CallResult::Answered, Some(EndedBy::Callee)) => {
            Why::on(Leg::Callee, Hop::named(&record.callee), Fact::HungUp(None))
        }
        (CallResult::Cancelled, _) => {
            Why::on(Leg::Caller, Hop::named(&record.caller), Fact::Cancelled { rang: false })
        }
        (_, Some(EndedBy::Callee)) => {
            let said = Said::new(record.status.unwrap_or_default(), &record.reason, None, None);
            Why::on(Leg::Callee, Hop::named(&record.callee), Fact::Said(said))
        }
        (CallResult::Answered, _) => Why::between(Fact::Ended { status: None, words: record.reason.clone() }),
        _ => Why::between(Fact::Ended { status: record.status, words: record.reason.clone() }),
    };
    why.to_string()
}

/// What the messages of a call hold.
struct Story<'a, N> {
    seen: Vec<Seen<'a>>,
    /// The last INVITE that came from outside this node: those before it were challenged.
    invite: Seen<'a>,
    name: &'a N,
}

/// A message with the way that it went.
#[derive(Clone)]
struct Seen<'a> {
    traced: &'a Traced,
    message: Message,
}

impl<'a, N: Fn(SocketAddr) -> Option<String>> Story<'a, N> {
    fn of(traced: &'a [Traced], name: &'a N) -> Option<Story<'a, N>> {
        // What one role of this node sent to another is no call from outside.
        let is_ours = |one: &Traced| {
            let mut sent = traced.iter().filter(|other| other.way == Way::Sent && other.role != one.role);
            sent.any(|other| other.bytes == one.bytes)
        };
        let seen: Vec<Seen<'_>> = traced.iter().filter_map(Seen::of).collect();
        let invite = seen.iter().rfind(|seen| {
            let begins = seen.message.is(&Method::Invite) && seen.message.to_tag().is_none();
            begins && seen.traced.way == Way::Received && !is_ours(seen.traced)
        });
        let invite = invite?.clone();
        Some(Story { seen, invite, name })
    }

    fn tell(&self) -> String {
        let Some(answer) = self.answer() else {
            return format!("No final answer has gone to {} yet.", self.caller());
        };
        let status = answer.message.status().unwrap_or(StatusCode::SERVER_INTERNAL_ERROR);
        let why = match status {
            status if status.is_success() => return self.tell_end(),
            StatusCode::REQUEST_TERMINATED if self.was_cancelled() => {
                Why::on(Leg::Caller, self.caller(), Fact::Cancelled { rang: self.rang() })
            }
            status => match self.refusal(status) {
                Some(refusal) => Why::on(Leg::Callee, self.hop(refusal), Fact::Said(refusal.said())),
                None if self.branches().is_empty() => {
                    let (role, said) = (answer.traced.role.to_string(), answer.said());
                    Why::between(Fact::Refused { role, said, caller: self.caller() })
                }
                None => self.tell_silence(answer),
            },
        };
        why.to_string()
    }

    /// Who ended an answered call.
    fn tell_end(&self) -> String {
        let byes = self.seen.iter().filter(|seen| seen.message.is(&Method::Bye));
        let Some(bye) = byes.clone().find(|seen| seen.traced.way == Way::Received) else {
            return "The call was answered and has not ended yet, as far as this node has seen.".to_owned();
        };
        let by_caller = bye.message.from_tag() == self.invite.message.from_tag();
        let leg = if by_caller { Leg::Caller } else { Leg::Callee };
        let hop = if by_caller { self.caller() } else { self.hop(bye) };
        Why::on(leg, hop, Fact::HungUp(None)).to_string()
    }

    /// The called side was asked, and it is our own word that went to the caller.
    fn tell_silence(&self, answer: &Seen<'_>) -> Why {
        let hops: Vec<Hop> = self.branches().iter().map(|branch| self.hop(branch)).collect();
        Why::between(Fact::Unanswered { hops, rang: self.rang(), said: answer.said() })
    }

    fn caller(&self) -> Hop {
        self.hop(&self.invite)
    }

    /// The final response to the caller.
    fn answer(&self) -> Option<&Seen<'a>> {
        let number = self.invite.number();
        self.on_callers_side().rfind(|seen| {
            seen.traced.way == Way::Sent && seen.final_of_invite().is_some() && seen.number() == number
        })
    }

    /// The response of the called side that the caller got.
    fn refusal(&self, status: StatusCode) -> Option<&Seen<'a>> {
        let from_below = |seen: &&Seen<'a>| seen.traced.way == Way::Received && !self.is_callers(seen);
        self.seen.iter().filter(from_below).rfind(|seen| seen.final_of_invite() == Some(status))
    }

    /// The INVITEs that went to the called side.
    fn branches(&self) -> Vec<&Seen<'a>> {
        let role = &self.invite.traced.role;
        let mut found: Vec<&Seen<'a>> = Vec::new();
        for seen in &self.seen {
            let is_branch =
                seen.traced.way == Way::Sent && seen.traced.role == *role && seen.message.is(&Method::Invite);
            let is_known = |other: &&Seen<'_>| other.traced.flow.remote == seen.traced.flow.remote;
            if is_branch && !found.iter().any(is_known) && found.len() < MOST_BRANCHES {
                found.push(seen);
            }
        }
        found
    }

    fn was_cancelled(&self) -> bool {
        self.on_callers_side()
            .any(|seen| seen.traced.way == Way::Received && seen.message.is(&Method::Cancel))
    }

    fn rang(&self) -> bool {
        self.seen.iter().any(|seen| {
            let status = seen.message.status().map(StatusCode::code);
            seen.traced.way == Way::Received && status.is_some_and(|status| (101..=199).contains(&status))
        })
    }

    fn on_callers_side(&self) -> impl DoubleEndedIterator<Item = &Seen<'a>> {
        self.seen.iter().filter(|seen| self.is_callers(seen))
    }

    fn is_callers(&self, seen: &Seen<'_>) -> bool {
        let invite = self.invite.traced;
        seen.traced.role == invite.role && seen.traced.flow.remote == invite.flow.remote
    }

    /// Who is at the other end of a message: by address, else by what the message says.
    fn hop(&self, seen: &Seen<'_>) -> Hop {
        let flow = &seen.traced.flow;
        let from_caller = self.is_callers(seen);
        let uri = match from_caller {
            true => seen.message.from().ok().map(|from| from.uri.to_string()),
            false => self
                .branches()
                .iter()
                .find(|branch| branch.traced.flow.remote == flow.remote)
                .map(|branch| branch.message.request_uri_text().to_owned()),
        };
        let roles = self.seen.iter().map(|other| other.traced);
        let own =
            roles.into_iter().find(|other| other.role != seen.traced.role && other.flow.local == flow.remote);
        if let Some(own) = own {
            return Hop::new(format!("our {}", own.role), flow);
        }
        let user =
            uri.as_deref().and_then(|uri| uri.split_once(':')?.1.split_once('@')).map(|(user, _)| user);
        let named = || {
            let noun = if &*seen.traced.role == "proxy" { "phone" } else { "peer" };
            user.map_or_else(|| "somebody".to_owned(), |user| format!("{noun} {user}"))
        };
        Hop::new((self.name)(flow.remote).unwrap_or_else(named), flow)
    }
}

impl<'a> Seen<'a> {
    fn of(traced: &'a Traced) -> Option<Seen<'a>> {
        let message = Message::parse(traced.bytes.clone(), &Limits::default()).ok()?;
        Some(Seen { traced, message })
    }

    fn number(&self) -> Option<u32> {
        self.message.cseq().ok().map(|cseq| cseq.number)
    }

    /// Its status when it is a final response to an INVITE.
    fn final_of_invite(&self) -> Option<StatusCode> {
        let of_invite = self.message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        self.message.status().filter(|status| of_invite && status.is_final())
    }

    fn said(&self) -> Said {
        let status = self.message.status().map_or(0, StatusCode::code);
        // RFC 3261 §20.43: code, agent, and a quoted text for people.
        let warning = self.message.text(Name::Warning).and_then(|warning| warning.split('"').nth(1));
        let more = warning.or_else(|| self.message.text(Name::Unsupported));
        Said::new(status, self.message.reason(), None, more)
    }
}

/// Branches that are told of.
const MOST_BRANCHES: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use bytes::Bytes;
    use sip_core::flow::{Flow, Transport};

    use super::*;

    fn traced(at: u64, way: Way, remote: &str, text: &str) -> Traced {
        let (local, remote) = ("[2001:db8::1]:5060".parse().unwrap(), remote.parse().unwrap());
        let flow = Flow { transport: Transport::Udp, local, remote, connection: None };
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        Traced { at: UNIX_EPOCH + Duration::from_secs(at), role: "proxy".into(), way, flow, bytes }
    }

    fn message(start: &str, cseq: &str) -> String {
        let via = "Via: SIP/2.0/UDP [2001:db8::7];branch=z9hG4bKa";
        format!(
            "{start}\r\n{via}\r\nFrom: <sip:101@a>;tag=1\r\nTo: <sip:102@a>\r\nCall-ID: x\r\nCSeq: {cseq}\r\nMax-Forwards: 70\r\n\r\n"
        )
    }

    fn sentence(messages: &[Traced]) -> String {
        of_messages(messages, |_| None).unwrap()
    }

    const CALLER: &str = "[2001:db8::7]:5060";
    const PHONE: &str = "[2001:db8::8]:5060";

    #[test]
    fn what_the_proxy_refuses_by_itself() {
        let invite = traced(1, Way::Received, CALLER, &message("INVITE sip:102@a SIP/2.0", "1 INVITE"));
        let refusal = message("SIP/2.0 480 Not Registered", "1 INVITE");
        let told = sentence(&[invite.clone(), traced(2, Way::Sent, CALLER, &refusal)]);
        assert!(
            told.contains("phone 101 at udp:[2001:db8::7]:5060") && told.contains("no phone is registered"),
            "{told}"
        );
        assert!(sentence(&[invite]).starts_with("No final answer"));
        assert!(of_messages(&[], |_| None).is_none());
    }

    #[test]
    fn what_a_phone_says_and_what_none_says() {
        let invite = traced(1, Way::Received, CALLER, &message("INVITE sip:102@a SIP/2.0", "1 INVITE"));
        let branch =
            traced(2, Way::Sent, PHONE, &message("INVITE sip:102@[2001:db8::8] SIP/2.0", "1 INVITE"));
        let (busy, late) = (
            message("SIP/2.0 486 Busy Here", "1 INVITE"),
            message("SIP/2.0 408 Request Timeout", "1 INVITE"),
        );
        let told = sentence(&[
            invite.clone(),
            branch.clone(),
            traced(3, Way::Received, PHONE, &busy),
            traced(4, Way::Sent, CALLER, &busy),
        ]);
        assert!(told.contains("The called side (phone 102 at udp:[2001:db8::8]:5060) refused"), "{told}");
        let told = sentence(&[invite, branch, traced(4, Way::Sent, CALLER, &late)]);
        assert!(
            told.contains("phone 102") && told.contains("no response at all") && told.contains("408"),
            "{told}"
        );
    }
}
