//! REGISTER (RFC 3261 §10.2): digest, 423, refresh.

use std::time::Duration;

use tracing::debug;

use super::{Reply, core::Core};
use crate::{
    digest::Challenge,
    error::UaError,
    ids::Ids,
    message::Message,
    phone::Registered,
    transaction::{AppTimer, Owner},
    uri::{header_param, name_addr, socket_addr},
};

/// The registration of one agent; all its requests share a Call-ID (§10.2).
pub(super) struct Registration {
    call_id: String,
    tag: String,
    cseq: u32,
    challenge: Option<Challenge>,
    tries: u8,
    raised: bool,
    asked: u32,
    in_flight: bool,
    reply: Option<Reply<Registered>>,
    /// Only the latest refresh timer counts.
    generation: u64,
}

impl Registration {
    pub(super) fn new(ids: &mut Ids) -> Self {
        Self {
            call_id: ids.token(),
            tag: ids.token(),
            cseq: 0,
            challenge: None,
            tries: 0,
            raised: false,
            asked: 0,
            in_flight: false,
            reply: None,
            generation: 0,
        }
    }
}

impl Core {
    pub(super) fn register(&mut self, expires: u32, reply: Option<Reply<Registered>>) {
        if self.registration.in_flight {
            if let Some(reply) = reply {
                let _ = reply.send(Err(UaError::WrongState { action: "register" }));
            }
            return;
        }
        let registration = &mut self.registration;
        (registration.in_flight, registration.reply) = (true, reply);
        (registration.tries, registration.raised, registration.asked) = (0, false, expires);
        registration.generation += 1;
        self.send_register(expires);
    }

    fn send_register(&mut self, expires: u32) {
        self.registration.cseq = self.registration.cseq.wrapping_add(1);
        let aor = format!("<sip:{}@{}>", self.config.user, self.config.domain);
        let mut request = Message::request("REGISTER", &format!("sip:{}", self.config.domain));
        request.push("Max-Forwards", "70");
        let from = self.config.display_name.as_ref().map_or(aor.clone(), |name| format!("\"{name}\" {aor}"));
        request.push("From", format!("{from};tag={}", self.registration.tag));
        request.push("To", aor);
        request.push("Call-ID", format!("{}@{}", self.registration.call_id, self.config.user));
        request.push("CSeq", format!("{} REGISTER", self.registration.cseq));
        request.push("Contact", format!("{};expires={expires}", self.contact()));
        request.push("Expires", expires.to_string());
        request.push("Supported", "path");
        request.push("Allow", super::incoming::ALLOW);
        self.complete(&mut request);
        let mut held = self.registration.challenge.take();
        self.add_credentials(&mut request, &mut held);
        self.registration.challenge = held;
        self.transactions.request(request, self.config.next_hop, Owner::Register);
    }

    pub(super) fn register_response(&mut self, request: &Message, response: &Message) {
        let Some((status, reason)) = response.status() else { return };
        match status {
            100..=199 => {}
            200..=299 => {
                let expires = self.granted(response);
                self.end_register(Ok(Registered { expires, status }));
                if expires > 0 && self.config.auto_refresh {
                    // Well before the end, and not all phones at once.
                    let share = 0.6 + 0.3 * (self.ids.spread() - 0.5);
                    let after = Duration::from_secs_f64(f64::from(expires) * share);
                    self.transactions.set(after, AppTimer::Refresh(self.registration.generation));
                }
            }
            401 | 407 => {
                let mut held = self.registration.challenge.take();
                let mut tries = self.registration.tries;
                let again = self.with_credentials(request, response, &mut held, &mut tries);
                (self.registration.challenge, self.registration.tries) = (held, tries);
                match again {
                    Some(again) => {
                        self.registration.cseq =
                            again.cseq().map_or(self.registration.cseq, |(number, _)| number);
                        self.transactions.request(again, self.config.next_hop, Owner::Register);
                    }
                    None => {
                        self.registration.challenge = None;
                        self.register_failed(status, reason);
                    }
                }
            }
            423 if !self.registration.raised => {
                let least = response.header("Min-Expires").and_then(|least| least.parse().ok());
                match least {
                    Some(least) if least > self.registration.asked => {
                        (self.registration.raised, self.registration.tries) = (true, 0);
                        self.registration.asked = least;
                        self.send_register(least);
                    }
                    _ => self.register_failed(status, reason),
                }
            }
            _ => self.register_failed(status, reason),
        }
    }

    pub(super) fn register_timeout(&mut self) {
        self.end_register(Err(UaError::Timeout));
        self.retry_register();
    }

    pub(super) fn refresh(&mut self, generation: u64) {
        if generation == self.registration.generation && !self.registration.in_flight {
            self.register(self.registration.asked, None);
        }
    }

    fn register_failed(&mut self, status: u16, reason: &str) {
        debug!(status, "registration refused");
        self.end_register(Err(UaError::Rejected { status, reason: reason.to_owned() }));
        if status >= 500 {
            self.retry_register();
        }
    }

    /// A phone that keeps itself registered tries again after a failure that may pass.
    fn retry_register(&mut self) {
        if self.config.auto_refresh && self.registration.asked > 0 {
            let after = RETRY.mul_f64(self.ids.spread());
            self.transactions.set(after, AppTimer::Refresh(self.registration.generation));
        }
    }

    fn end_register(&mut self, result: Result<Registered, UaError>) {
        self.registration.in_flight = false;
        if let Some(reply) = self.registration.reply.take() {
            let _ = reply.send(result);
        }
    }

    /// What the registrar says of our own contact (§10.3 step 8).
    fn granted(&self, response: &Message) -> u32 {
        if self.registration.asked == 0 {
            return 0;
        }
        let contacts = response.values("Contact");
        let ours = contacts.iter().find(|contact| socket_addr(name_addr(contact).0) == Some(self.local));
        let said = ours.and_then(|contact| header_param(contact, "expires")).or(response.header("Expires"));
        said.and_then(|said| said.parse().ok()).unwrap_or(self.registration.asked)
    }
}

/// Before a failed registration is tried again, on average.
const RETRY: Duration = Duration::from_secs(20);
