//! INVITE as a client: challenges, early media, answer, CANCEL.

use std::net::SocketAddr;

use bytes::Bytes;
use tracing::debug;

use super::{
    Reply,
    core::{CallState, Calling, Cancel, Core, Stage},
};
use crate::{
    call::{Call, CallDirection, CallEvent, CallOptions, CallPhase, EndedBy},
    dialog::Dialog,
    error::UaError,
    incoming::lock,
    message::Message,
    sdp::{Sdp, SdpError},
    transaction::{AppTimer, Owner},
};

impl Core {
    pub(super) fn start_call(&mut self, target: &str, options: CallOptions) -> Result<Call, UaError> {
        if self.calls.len() >= self.config.max_calls {
            return Err(UaError::TooManyCalls { limit: self.config.max_calls });
        }
        let uri = self.target_uri(target)?;
        let user = options.caller.as_deref().unwrap_or(&self.config.user);
        let host =
            if self.config.domain.is_empty() { self.local.to_string() } else { self.config.domain.clone() };
        let display = options.display_name.as_ref().or(self.config.display_name.as_ref());
        let display = display.map(|name| format!("\"{}\" ", name.replace(['"', '\\'], "")));
        let dialog = Dialog {
            call_id: format!("{}@{}", self.ids.token(), self.local.ip()),
            local: format!("{}<sip:{user}@{host}>", display.unwrap_or_default()),
            local_tag: self.ids.token(),
            remote: format!("<{uri}>"),
            remote_tag: None,
            target: uri.clone(),
            route_set: Vec::new(),
            local_cseq: 0,
            remote_cseq: None,
        };
        let calling = Calling {
            invite: Message::request("INVITE", &uri),
            to: self.config.next_hop,
            tries: 0,
            delayed_offer: options.delayed_offer,
            cancel: Cancel::No,
        };
        let stage = Stage::Calling(Box::new(calling));
        let (id, handle) = self.open_call(dialog, CallDirection::Outgoing, uri, &options, stage);
        if let Err(error) = self.open_media(id) {
            self.fail(id, 500, "no media ports");
            return Err(error);
        }
        let contact = self.contact();
        let local = self.local;
        let Some(call) = self.calls.get_mut(&id) else { return Err(UaError::Ended) };
        let mut invite = call.dialog.request("INVITE", None);
        invite.push("Contact", contact);
        invite.push("Allow", super::incoming::ALLOW);
        for (name, value) in &options.headers {
            invite.push(name, value.clone());
        }
        if !options.delayed_offer {
            invite.set_sdp(call.local_media(local, None).offer());
        }
        self.complete(&mut invite);
        if let Some(after) = options.ring_timeout {
            self.transactions.set(after, AppTimer::RingTimeout(id));
        }
        self.send_invite(id, invite);
        Ok(handle)
    }

    fn send_invite(&mut self, id: u64, invite: Message) {
        let to = self.config.next_hop;
        if let Some(call) = self.calls.get_mut(&id)
            && let Stage::Calling(calling) = &mut call.stage
        {
            (calling.invite, calling.to) = (invite.clone(), to);
            call.dialog.local_cseq = invite.cseq().map_or(call.dialog.local_cseq, |(number, _)| number);
            self.transactions.request(invite, to, Owner::Invite(id));
        }
    }

    pub(super) fn invite_response(&mut self, id: u64, request: &Message, response: &Message) {
        let Some((status, reason)) = response.status() else { return };
        if let Some(call) = self.calls.get(&id) {
            *lock(&call.shared.response) = Some(response.clone());
        }
        match status {
            100..=199 => self.provisional(id, response, status),
            200..=299 => self.invite_answered(id, request, response),
            401 | 407 => {
                let Some(call) = self.calls.get_mut(&id) else { return };
                let Stage::Calling(calling) = &call.stage else { return };
                let (mut held, mut tries) = (call.challenge.take(), calling.tries);
                let wanted = calling.cancel == Cancel::No;
                let again =
                    self.with_credentials(request, response, &mut held, &mut tries).filter(|_| wanted);
                if let Some(call) = self.calls.get_mut(&id) {
                    call.challenge = held;
                    if let Stage::Calling(calling) = &mut call.stage {
                        calling.tries = tries;
                    }
                }
                match again {
                    Some(again) => self.send_invite(id, again),
                    None if wanted => self.fail(id, status, reason),
                    None => self.fail(id, 487, ""),
                }
            }
            _ => self.fail(id, status, reason),
        }
    }

    fn provisional(&mut self, id: u64, response: &Message, status: u16) {
        let local = self.local;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let mut early_media = false;
        let Stage::Calling(calling) = &call.stage else { return };
        let (cancel, delayed_offer) = (calling.cancel, calling.delayed_offer);
        if status == 100 {
            call.tell(CallEvent::Trying);
        } else {
            if let Some(sdp) = response.sdp().filter(|_| !delayed_offer) {
                match call.take_answer(sdp, local) {
                    Ok(()) => early_media = true,
                    Err(error) => debug!(%error, "early media cannot be used"),
                }
            }
            if status >= 180 {
                let _ = call.shared.rang.set(call.shared.started.elapsed());
                let before = matches!(*call.shared.phase.borrow(), CallPhase::Ringing { early_media: true });
                call.set_phase(CallPhase::Ringing { early_media: early_media || before });
                call.tell(CallEvent::Ringing { status, early_media });
            }
        }
        if cancel == Cancel::Wanted {
            self.send_cancel(id);
        }
    }

    fn invite_answered(&mut self, id: u64, request: &Message, response: &Message) {
        let local = self.local;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Stage::Calling(calling) = &call.stage else { return };
        let (delayed_offer, cancelled) = (calling.delayed_offer, calling.cancel != Cancel::No);
        call.dialog.establish(response);
        let _ = call.shared.set_up.set(call.shared.started.elapsed());
        call.stage = Stage::Up;
        let described = match response.sdp() {
            Some(sdp) if delayed_offer => call.answer_offer(sdp, local).map(Some),
            Some(sdp) => call.take_answer(sdp, local).map(|()| None),
            // The answer may have come in a provisional response already (RFC 3261 §13.2.1).
            None if matches!(*call.shared.phase.borrow(), CallPhase::Ringing { early_media: true }) => {
                Ok(None)
            }
            None => Err(SdpError::NoAudio),
        };
        let body = described.as_ref().ok().cloned().flatten();
        self.send_ack(id, request, body);
        match described {
            Ok(_) => {
                if let Some(call) = self.calls.get(&id) {
                    call.set_phase(CallPhase::Up);
                    call.tell(CallEvent::Answered);
                }
                if cancelled {
                    // The answer crossed our CANCEL.
                    self.hangup(id, None);
                }
            }
            Err(error) => {
                debug!(%error, "answer cannot be used");
                self.send_bye(id, Owner::Nobody);
                self.fail(id, 488, "Unusable session description in the answer");
            }
        }
    }

    /// ACK of a 2xx: a transaction of its own, with the credentials of its INVITE (RFC 3261 §13.2.2.4).
    pub(super) fn send_ack(&mut self, id: u64, invite: &Message, body: Option<String>) {
        let number = invite.cseq().map_or(0, |(number, _)| number);
        let otherwise = self.config.next_hop;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let mut ack = call.dialog.request("ACK", Some(number));
        let to = call.dialog.next_hop(otherwise);
        for field in ["Authorization", "Proxy-Authorization"] {
            for value in invite.headers(field) {
                ack.push(field, value);
            }
        }
        self.complete(&mut ack);
        if let Some(body) = body {
            ack.set_sdp(body);
        }
        let bytes = Bytes::from(ack.to_bytes());
        if let Some(call) = self.calls.get_mut(&id) {
            call.ack = Some((number, to, bytes.clone()));
        }
        self.transactions.send(to, bytes);
    }

    /// A response without a transaction: a 2xx again, or a 2xx of another branch of a forked INVITE (§13.2.2.4).
    pub(super) fn stray_response(&mut self, response: &Message) {
        let Some((200..=299, _)) = response.status() else { return };
        let Some((number, "INVITE")) = response.cseq() else { return };
        let Some(id) = self.call_of_dialog(response.header("Call-ID"), response.tag("From")) else { return };
        let otherwise = self.config.next_hop;
        let Some(call) = self.calls.get(&id) else { return };
        if call.dialog.remote_tag.as_deref() == response.tag("To") {
            if let Some((acknowledged, to, bytes)) = &call.ack
                && *acknowledged == number
            {
                let (to, bytes) = (*to, bytes.clone());
                self.transactions.send(to, bytes);
            }
            return;
        }
        debug!("another branch answered too: acknowledged and ended");
        let mut other = call.dialog.clone();
        other.establish(response);
        let to = other.next_hop(otherwise);
        let mut ack = other.request("ACK", Some(number));
        self.complete(&mut ack);
        self.transactions.send(to, ack.to_bytes());
        let mut bye = other.request("BYE", None);
        self.complete(&mut bye);
        self.transactions.request(bye, to, Owner::Nobody);
    }

    pub(super) fn cancel(&mut self, id: u64, reply: Reply) {
        let calling = self.calls.get(&id).is_some_and(|call| matches!(call.stage, Stage::Calling(_)));
        if calling {
            self.give_up_ringing(id);
        }
        let result = if calling { Ok(()) } else { Err(UaError::WrongState { action: "cancel" }) };
        let _ = reply.send(result);
    }

    /// Cancels now, or as soon as something has come.
    pub(super) fn give_up_ringing(&mut self, id: u64) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Stage::Calling(calling) = &mut call.stage else { return };
        if calling.cancel != Cancel::No {
            return;
        }
        calling.cancel = Cancel::Wanted;
        if self.transactions.is_proceeding(&calling.invite) {
            self.send_cancel(id);
        }
    }

    fn send_cancel(&mut self, id: u64) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Stage::Calling(calling) = &mut call.stage else { return };
        calling.cancel = Cancel::Sent;
        let (cancel, to) = (cancel_of(&calling.invite), calling.to);
        self.transactions.request(cancel, to, Owner::Nobody);
        let guard = self.transactions.timeout();
        self.transactions.set(guard, AppTimer::CancelGuard(id));
    }

    /// No final response after CANCEL: the INVITE is considered cancelled (§9.1).
    pub(super) fn cancel_unanswered(&mut self, id: u64) {
        let Some(call) = self.calls.get(&id) else { return };
        if let Stage::Calling(calling) = &call.stage {
            self.transactions.abandon(&calling.invite);
            self.fail(id, 487, "");
        }
    }

    fn target_uri(&self, target: &str) -> Result<String, UaError> {
        let bad = || UaError::BadTarget { target: target.to_owned() };
        if target.is_empty()
            || target.contains(|letter: char| letter.is_control() || " <>\"".contains(letter))
        {
            return Err(bad());
        }
        let lower = target.to_ascii_lowercase();
        if ["sip:", "sips:", "tel:"].iter().any(|scheme| lower.starts_with(scheme)) {
            return Ok(target.to_owned());
        }
        if target.contains([':', '@', ';', '?']) {
            return Err(bad());
        }
        let host = match self.config.domain.as_str() {
            "" => host_of(self.config.next_hop),
            domain => domain.to_owned(),
        };
        Ok(format!("sip:{target}@{host}"))
    }
}

impl CallState {
    /// Answers an offer that came in a response.
    pub(super) fn answer_offer(&mut self, sdp: &[u8], local: SocketAddr) -> Result<String, SdpError> {
        let offer = Sdp::parse(sdp)?;
        let ours = self.local_media(local, self.hold);
        let codec = offer.choose(&ours)?;
        self.connect_media(&offer, codec);
        Ok(ours.answer(&offer, codec))
    }

    pub(super) fn over(by: EndedBy) -> CallPhase {
        CallPhase::Ended { by }
    }
}

/// CANCEL has the Request-URI, top Via, Route, From, To, Call-ID and CSeq number of its INVITE (§9.1).
fn cancel_of(invite: &Message) -> Message {
    let mut cancel = Message::request("CANCEL", invite.request_uri().unwrap_or_default());
    for (name, value) in &invite.headers {
        let kept = ["Via", "Route", "Max-Forwards", "From", "To", "Call-ID"];
        if kept.iter().any(|kept| name.eq_ignore_ascii_case(kept)) {
            cancel.push(name, value.clone());
        }
    }
    let number = invite.cseq().map_or(0, |(number, _)| number);
    cancel.push("CSeq", format!("{number} CANCEL"));
    cancel
}

/// Host and port for a URI.
fn host_of(addr: SocketAddr) -> String {
    SocketAddr::new(addr.ip(), addr.port()).to_string()
}
