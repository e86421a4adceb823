//! Requests as a server: INVITE by policy, re-INVITE, ACK, CANCEL, BYE, OPTIONS.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use tracing::debug;

use super::core::{CallState, Core, Ringing, Stage, Then};
use crate::{
    call::{CallDirection, CallEvent, CallOptions, CallPhase, EndedBy, IncomingCall},
    dialog::Dialog,
    error::UaError,
    incoming::{Incoming, OptionsPolicy, ReceivedInvite, lock},
    message::Message,
    sdp::Sdp,
    transaction::AppTimer,
    uri::{name_addr, user},
    via::mark_source,
};

impl Core {
    pub(super) fn request(&mut self, mut request: Message, from: SocketAddr) {
        let method = request.method().unwrap_or_default().to_owned();
        if method == "ACK" {
            return self.ack(&request);
        }
        let Some(key) = self.transactions.receive(&request, from) else { return };
        mark_source(&mut request, from);
        let well_formed = request.cseq().is_some_and(|(_, said)| said == method)
            && ["From", "To", "Call-ID"].iter().all(|field| request.header(field).is_some());
        if !well_formed {
            return self.respond(&key, &request, 400);
        }
        let in_dialog = request.tag("To").is_some();
        let call = self.call_of_dialog(request.header("Call-ID"), request.tag("To"));
        match (method.as_str(), call) {
            ("CANCEL", _) => self.cancelled(&key, &request),
            ("INVITE", None) if !in_dialog => self.invited(key, request, from),
            ("INVITE", Some(call)) => self.reinvited(call, &key, &request),
            ("BYE", Some(call)) => self.bye(call, &key, &request),
            ("OPTIONS", None) if !in_dialog => self.options(&key, &request),
            ("OPTIONS", Some(_)) => self.respond(&key, &request, 200),
            (_, None) if in_dialog => self.respond(&key, &request, 481),
            ("BYE", None) => self.respond(&key, &request, 481),
            _ => self.respond(&key, &request, 405),
        }
    }

    /// A response without a body.
    fn respond(&mut self, key: &str, request: &Message, status: u16) {
        let tag = self.ids.token();
        let mut response = Message::response_to(request, status, &tag);
        if matches!(status, 200 | 405) {
            response.push("Allow", ALLOW);
            response.push("Accept", "application/sdp");
        }
        response.push("Server", self.config.product);
        self.transactions.respond(key, &response);
    }

    fn options(&mut self, key: &str, request: &Message) {
        self.shared.options_received.fetch_add(1, Ordering::Relaxed);
        let policy = *lock(&self.shared.options);
        match policy {
            OptionsPolicy::Ok => self.respond(key, request, 200),
            OptionsPolicy::Status(status) => self.respond(key, request, status.clamp(200, 699)),
            OptionsPolicy::Silent => {}
        }
    }

    fn invited(&mut self, key: String, invite: Message, from: SocketAddr) {
        let dialled = user(invite.request_uri().unwrap_or_default()).unwrap_or_default().to_owned();
        let incoming = lock(&self.shared.policies).choose(&dialled);
        let record = ReceivedInvite { source: from, dialled, message: invite.clone() };
        self.shared.received.push(record);
        let required: Vec<String> = invite.values("Require");
        if !required.is_empty() {
            let mut response = Message::response_to(&invite, 420, &self.ids.token());
            response.push("Unsupported", required.join(", "));
            return self.transactions.respond(&key, &response);
        }
        let at_once = match incoming {
            Incoming::Silent => return self.transactions.ignore(&key),
            Incoming::Busy => Some(486),
            Incoming::Decline => Some(603),
            Incoming::Status(status) => Some(status.clamp(300, 699)),
            _ if self.calls.len() >= self.config.max_calls => Some(self.config.full_status),
            _ => None,
        };
        if let Some(status) = at_once {
            return self.respond(&key, &invite, status);
        }
        let offer = match invite.sdp().map(Sdp::parse).transpose() {
            Ok(offer) => offer,
            Err(error) => {
                debug!(%error, "offer refused");
                return self.respond(&key, &invite, 488);
            }
        };
        let Some(dialog) = Dialog::from_invite(&invite, self.ids.token()) else {
            return self.respond(&key, &invite, 400);
        };
        let peer = name_addr(&dialog.remote).0.to_owned();
        let options = CallOptions { media: self.config.media.clone(), ..CallOptions::default() };
        let (then, after) = match incoming {
            Incoming::Answer { after } | Incoming::EarlyMedia { answer_after: after } => {
                (Then::Answer, after)
            }
            Incoming::RingThen { after, status } | Incoming::Announce { after, status } => {
                (Then::Reject(status), after)
            }
            _ => (Then::Reject(480), RINGING_LIMIT),
        };
        let ringing = Ringing { key: key.clone(), invite: invite.clone(), offer, answer: None, then };
        let stage = Stage::Ringing(Box::new(ringing));
        let (id, handle) = self.open_call(dialog, CallDirection::Incoming, peer, &options, stage);
        let _ = handle.shared.invite.set(invite.clone());
        self.transactions.assign(&key, id);
        if let Err(error) = self.check_offer(id) {
            debug!(%error, "offer refused");
            return;
        }
        match incoming {
            Incoming::Answer { after } if after.is_zero() => {}
            Incoming::EarlyMedia { .. } | Incoming::Announce { .. } => {
                // A refusal has already been sent in the case of an error.
                let _ = self.ring(id, true);
            }
            Incoming::Ask => self.respond(&key, &invite, 100),
            _ => {
                let _ = self.ring(id, false);
            }
        }
        if after.is_zero() {
            self.policy_step(id);
        } else {
            self.transactions.set(after, AppTimer::Policy(id));
        }
        if incoming == Incoming::Ask {
            self.shared.asked.push(IncomingCall { call: handle });
        } else {
            self.shared.calls.push(handle);
        }
    }

    /// Refuses a call whose offer has no codec or address that we can use.
    fn check_offer(&mut self, id: u64) -> Result<(), UaError> {
        let local = self.local;
        let Some(call) = self.calls.get_mut(&id) else { return Err(UaError::Ended) };
        let ours = call.local_media(local, None);
        let Stage::Ringing(ringing) = &call.stage else { return Err(UaError::Ended) };
        let usable = ringing.offer.as_ref().map_or(Ok(()), |offer| offer.choose(&ours).map(|_| ()));
        if let Err(error) = usable {
            debug!(%error, "offer cannot be used");
            return self.refuse(id, 488);
        }
        Ok(())
    }

    /// The next step of the policy: what was to happen after ringing.
    pub(super) fn policy_step(&mut self, id: u64) {
        let Some(call) = self.calls.get(&id) else { return };
        let Stage::Ringing(ringing) = &call.stage else { return };
        let result = match ringing.then {
            Then::Answer => self.answer(id),
            Then::Reject(status) => self.reject(id, status),
        };
        if let Err(error) = result {
            debug!(%error, "policy step");
        }
    }

    /// 180, or 183 with an answer and media.
    pub(super) fn ring(&mut self, id: u64, early_media: bool) -> Result<(), UaError> {
        let body = if early_media { self.describe(id)? } else { None };
        let early_media = body.is_some();
        let status = if early_media { 183 } else { 180 };
        let Some((key, mut response)) = self.dialog_response(id, status) else {
            return Err(UaError::WrongState { action: "ring" });
        };
        if let Some(body) = body {
            response.set_sdp(body);
        }
        self.transactions.respond(&key, &response);
        if let Some(call) = self.calls.get(&id) {
            call.set_phase(CallPhase::Ringing { early_media });
            call.tell(CallEvent::Ringing { status, early_media });
        }
        Ok(())
    }

    /// 200 with our answer, or with our offer if there was none.
    pub(super) fn answer(&mut self, id: u64) -> Result<(), UaError> {
        let body = self.describe(id)?;
        let local = self.local;
        let Some((key, mut response)) = self.dialog_response(id, 200) else {
            return Err(UaError::WrongState { action: "answer" });
        };
        let Some(call) = self.calls.get_mut(&id) else { return Err(UaError::Ended) };
        response.set_sdp(body.unwrap_or_else(|| call.local_media(local, None).offer()));
        let cseq = call.dialog.remote_cseq.unwrap_or_default();
        call.awaits_ack = Some((key.clone(), cseq));
        call.stage = Stage::Up;
        let _ = call.shared.set_up.set(call.shared.started.elapsed());
        call.set_phase(CallPhase::Up);
        call.tell(CallEvent::Answered);
        self.transactions.respond(&key, &response);
        Ok(())
    }

    pub(super) fn reject(&mut self, id: u64, status: u16) -> Result<(), UaError> {
        let status = status.clamp(300, 699);
        let Some((key, response)) = self.dialog_response(id, status) else {
            return Err(UaError::WrongState { action: "reject" });
        };
        self.transactions.respond(&key, &response);
        self.fail(id, status, "");
        Ok(())
    }

    /// Refuses and says so to whoever wanted to go on.
    fn refuse(&mut self, id: u64, status: u16) -> Result<(), UaError> {
        self.reject(id, status)?;
        Err(UaError::Rejected { status, reason: crate::message::reason_phrase(status).to_owned() })
    }

    /// Our answer to the offer of an INVITE, with the media started; `None` if there was no offer.
    fn describe(&mut self, id: u64) -> Result<Option<String>, UaError> {
        if let Err(error) = self.open_media(id) {
            debug!(%error, "no media");
            return self.refuse(id, 500).map(|()| None);
        }
        let local = self.local;
        let wrong = UaError::WrongState { action: "answer" };
        let Some(call) = self.calls.get_mut(&id) else { return Err(wrong) };
        let ours = call.local_media(local, None);
        let Stage::Ringing(ringing) = &mut call.stage else { return Err(wrong) };
        if ringing.answer.is_some() {
            return Ok(ringing.answer.clone());
        }
        let Some(offer) = ringing.offer.clone() else { return Ok(None) };
        match offer.choose(&ours) {
            Ok(codec) => {
                let answer = ours.answer(&offer, codec);
                ringing.answer = Some(answer.clone());
                call.connect_media(&offer, codec);
                Ok(Some(answer))
            }
            Err(error) => {
                debug!(%error, "offer cannot be used");
                self.refuse(id, 488).map(|()| None)
            }
        }
    }

    /// A response to the INVITE of a ringing call, with our tag, Contact and the route set (RFC 3261 §12.1.1).
    fn dialog_response(&mut self, id: u64, status: u16) -> Option<(String, Message)> {
        let call = self.calls.get(&id)?;
        let Stage::Ringing(ringing) = &call.stage else { return None };
        let mut response = Message::response_to(&ringing.invite, status, &call.dialog.local_tag);
        if status < 300 {
            self.dialog_fields(&ringing.invite, &mut response);
        }
        response.push("Server", self.config.product);
        Some((ringing.key.clone(), response))
    }

    fn dialog_fields(&self, invite: &Message, response: &mut Message) {
        for route in invite.headers("Record-Route") {
            response.push("Record-Route", route);
        }
        response.push("Contact", self.contact());
        response.push("Allow", ALLOW);
    }

    fn reinvited(&mut self, id: u64, key: &str, request: &Message) {
        let local = self.local;
        self.transactions.assign(key, id);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let number = request.cseq().map_or(0, |(number, _)| number);
        if call.dialog.remote_cseq.is_some_and(|last| number <= last) {
            // §12.2.2: out of order.
            return self.respond(key, request, 500);
        }
        call.dialog.remote_cseq = Some(number);
        if !matches!(call.stage, Stage::Up) {
            return self.respond(key, request, 481);
        }
        if call.reinvite.is_some() || call.awaits_ack.is_some() {
            return self.respond(key, request, 491);
        }
        let body = match request.sdp() {
            None => Ok(call.local_media(local, call.hold).offer()),
            Some(sdp) => call.answer_offer(sdp, local),
        };
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                debug!(%error, "re-INVITE refused");
                return self.respond(key, request, 488);
            }
        };
        call.dialog.refresh_target(request);
        call.awaits_ack = Some((key.to_owned(), number));
        let tag = call.dialog.local_tag.clone();
        let mut response = Message::response_to(request, 200, &tag);
        self.dialog_fields(request, &mut response);
        response.push("Server", self.config.product);
        response.set_sdp(body);
        self.transactions.respond(key, &response);
    }

    fn ack(&mut self, request: &Message) {
        if let Some(key) = self.transactions.invite_of(request) {
            // The same branch: it acknowledges a response other than 2xx.
            return self.transactions.acknowledged(&key);
        }
        let local = self.local;
        let Some(id) = self.call_of_dialog(request.header("Call-ID"), request.tag("To")) else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        let number = request.cseq().map(|(number, _)| number);
        let Some((key, _)) = call.awaits_ack.take_if(|(_, awaited)| Some(*awaited) == number) else { return };
        if let Some(sdp) = request.sdp()
            && let Err(error) = call.take_answer(sdp, local)
        {
            debug!(%error, "answer in ACK cannot be used");
            call.bye_after_ack.get_or_insert(None);
        }
        let bye = call.bye_after_ack.take();
        self.transactions.acknowledged(&key);
        if let Some(reply) = bye {
            self.hangup(id, reply);
        }
    }

    fn cancelled(&mut self, key: &str, request: &Message) {
        let Some(invite) = self.transactions.invite_of(request) else {
            return self.respond(key, request, 481);
        };
        self.respond(key, request, 200);
        if let Some(call) = self.transactions.call_of(&invite) {
            // An error means that the final response was quicker: then CANCEL has no effect (§9.2).
            let _ = self.reject(call, 487);
        }
    }

    fn bye(&mut self, id: u64, key: &str, request: &Message) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let number = request.cseq().map_or(0, |(number, _)| number);
        if call.dialog.remote_cseq.is_some_and(|last| number <= last) {
            return self.respond(key, request, 500);
        }
        call.dialog.remote_cseq = Some(number);
        self.respond(key, request, 200);
        let Some(call) = self.calls.get_mut(&id) else { return };
        match &mut call.stage {
            Stage::Ringing(_) => {
                let _ = self.reject(id, 487);
            }
            Stage::Calling(_) => {}
            Stage::Up => {
                if let Some((key, _)) = call.awaits_ack.take() {
                    self.transactions.acknowledged(&key);
                }
                self.finish(id, CallState::over(EndedBy::Remote));
            }
            Stage::Closing { reply, .. } => {
                // Both hung up at once; the answer to our own BYE no longer matters.
                let reply = reply.take();
                self.finish(id, CallState::over(EndedBy::Remote));
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(()));
                }
            }
        }
    }
}

/// The methods that the agent knows.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS";
/// Nobody rings for longer.
const RINGING_LIMIT: Duration = Duration::from_secs(300);
