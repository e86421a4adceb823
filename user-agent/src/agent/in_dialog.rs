//! What happens within an answered call from our side: BYE, and re-INVITE for hold and resume.

use std::time::Duration;

use tracing::debug;

use super::{
    Reply,
    core::{CallState, Core, Reinvite, Stage},
};
use crate::{
    call::{CallDirection, EndedBy, HoldStyle},
    error::UaError,
    message::Message,
    transaction::{AppTimer, Owner},
};

impl Core {
    /// Ends a call in whatever way its state asks for.
    pub(super) fn hangup(&mut self, id: u64, reply: Option<Reply>) {
        let answer = |reply: Option<Reply>, result| {
            if let Some(reply) = reply {
                let _ = reply.send(result);
            }
        };
        let Some(call) = self.calls.get_mut(&id) else {
            return answer(reply, Err(UaError::WrongState { action: "hangup" }));
        };
        match &call.stage {
            Stage::Calling(_) => {
                self.give_up_ringing(id);
                answer(reply, Ok(()));
            }
            Stage::Ringing(_) => {
                let result = self.reject(id, 480);
                answer(reply, result);
            }
            Stage::Up if call.awaits_ack.is_some() => {
                if call.bye_after_ack.is_some() {
                    return answer(reply, Err(UaError::WrongState { action: "hangup" }));
                }
                call.bye_after_ack = Some(reply);
            }
            Stage::Up => {
                self.send_bye(id, Owner::Bye(id));
                if let Some(call) = self.calls.get_mut(&id) {
                    call.stage = Stage::Closing { reply, tries: 0 };
                }
            }
            Stage::Closing { .. } => answer(reply, Err(UaError::WrongState { action: "hangup" })),
        }
    }

    pub(super) fn send_bye(&mut self, id: u64, owner: Owner) {
        let otherwise = self.config.next_hop;
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(session) = &call.session {
            session.mute();
        }
        let mut bye = call.dialog.request("BYE", None);
        let to = call.dialog.next_hop(otherwise);
        let mut held = call.challenge.take();
        self.complete(&mut bye);
        self.add_credentials(&mut bye, &mut held);
        if let Some(call) = self.calls.get_mut(&id) {
            call.challenge = held;
        }
        self.transactions.request(bye, to, owner);
    }

    pub(super) fn bye_response(&mut self, id: u64, request: &Message, response: &Message) {
        let Some((status, reason)) = response.status() else { return };
        let otherwise = self.config.next_hop;
        match status {
            100..=199 => {}
            // 481: the other side hung up at the same moment.
            200..=299 | 481 => self.closed(id, Ok(())),
            401 | 407 => {
                let Some(call) = self.calls.get_mut(&id) else { return };
                let Stage::Closing { tries, .. } = &call.stage else { return };
                let (mut held, mut tries) = (call.challenge.take(), *tries);
                let again = self.with_credentials(request, response, &mut held, &mut tries);
                let Some(call) = self.calls.get_mut(&id) else { return };
                call.challenge = held;
                if let Stage::Closing { tries: counted, .. } = &mut call.stage {
                    *counted = tries;
                }
                match again {
                    Some(again) => {
                        call.count_cseq(&again);
                        let to = call.dialog.next_hop(otherwise);
                        self.transactions.request(again, to, Owner::Bye(id));
                    }
                    None => self.closed(id, Err(UaError::Rejected { status, reason: reason.to_owned() })),
                }
            }
            _ => self.closed(id, Err(UaError::Rejected { status, reason: reason.to_owned() })),
        }
    }

    /// Our BYE is answered, or nobody will answer it: the call is over in any case (RFC 3261 §15.1.1).
    pub(super) fn closed(&mut self, id: u64, result: Result<(), UaError>) {
        if let Some(call) = self.calls.get_mut(&id)
            && let Stage::Closing { reply, .. } = &mut call.stage
        {
            let reply = reply.take();
            self.finish(id, CallState::over(EndedBy::Local));
            if let Some(reply) = reply {
                let _ = reply.send(result);
            }
        }
    }

    /// The ACK of our 2xx never came: end the call (§13.3.1.4).
    pub(super) fn no_ack(&mut self, id: u64) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        debug!(call = %call.dialog.call_id, "no ACK");
        call.awaits_ack = None;
        if matches!(call.stage, Stage::Up) {
            let reply = call.bye_after_ack.take().flatten();
            self.send_bye(id, Owner::Nobody);
            self.finish(id, CallState::over(EndedBy::Network));
            if let Some(reply) = reply {
                let _ = reply.send(Err(UaError::Timeout));
            }
        }
    }

    pub(super) fn start_reinvite(&mut self, id: u64, hold: Option<HoldStyle>, reply: Reply) {
        let possible = self.calls.get_mut(&id).filter(|call| {
            matches!(call.stage, Stage::Up) && call.reinvite.is_none() && call.bye_after_ack.is_none()
        });
        match possible {
            Some(call) => {
                call.reinvite = Some(Reinvite { hold, reply: Some(reply), tries: 0, glares: 0 });
                self.send_reinvite(id);
            }
            None => {
                let _ = reply.send(Err(UaError::WrongState { action: "hold or resume" }));
            }
        }
    }

    pub(super) fn send_reinvite(&mut self, id: u64) {
        let (contact, local, otherwise) = (self.contact(), self.local, self.config.next_hop);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(Reinvite { hold, .. }) = &call.reinvite else { return };
        let hold = *hold;
        if call.awaits_ack.is_some() {
            // Their INVITE is still open on our side (§14.1); its ACK is on the way.
            self.transactions.set(ACK_WAIT, AppTimer::Reinvite(id));
            return;
        }
        let mut request = call.dialog.request("INVITE", None);
        request.push("Contact", contact);
        request.push("Allow", super::incoming::ALLOW);
        request.set_sdp(call.local_media(local, hold).offer());
        let to = call.dialog.next_hop(otherwise);
        let mut held = call.challenge.take();
        self.complete(&mut request);
        self.add_credentials(&mut request, &mut held);
        if let Some(call) = self.calls.get_mut(&id) {
            call.challenge = held;
        }
        self.transactions.request(request, to, Owner::Reinvite(id));
    }

    pub(super) fn reinvite_response(&mut self, id: u64, request: &Message, response: &Message) {
        let Some((status, reason)) = response.status() else { return };
        let (local, otherwise) = (self.local, self.config.next_hop);
        let Some(call) = self.calls.get_mut(&id) else { return };
        match status {
            100..=199 => {}
            200..=299 => {
                call.dialog.refresh_target(response);
                let reinvite = call.reinvite.take();
                let hold = reinvite.as_ref().and_then(|reinvite| reinvite.hold);
                call.hold = hold;
                let described = response.sdp().map(|sdp| call.take_answer(sdp, local));
                self.send_ack(id, request, None);
                let result = match described {
                    Some(Ok(())) => Ok(()),
                    other => {
                        debug!(?other, "answer to re-INVITE cannot be used");
                        let reason = "Unusable session description in the answer".to_owned();
                        Err(UaError::Rejected { status: 488, reason })
                    }
                };
                if let Some(reply) = reinvite.and_then(|reinvite| reinvite.reply) {
                    let _ = reply.send(result);
                }
            }
            401 | 407 => {
                let mut held = call.challenge.take();
                let mut tries = call.reinvite.as_ref().map_or(0, |reinvite| reinvite.tries);
                let again = self.with_credentials(request, response, &mut held, &mut tries);
                let Some(call) = self.calls.get_mut(&id) else { return };
                call.challenge = held;
                if let Some(reinvite) = &mut call.reinvite {
                    reinvite.tries = tries;
                }
                match again {
                    Some(again) => {
                        call.count_cseq(&again);
                        let to = call.dialog.next_hop(otherwise);
                        self.transactions.request(again, to, Owner::Reinvite(id));
                    }
                    None => self.reinvite_failed(id, rejected(status, reason), false),
                }
            }
            491 if call.reinvite.as_ref().is_some_and(|reinvite| reinvite.glares < MAX_GLARES) => {
                if let Some(reinvite) = &mut call.reinvite {
                    reinvite.glares += 1;
                }
                // Who owns the Call-ID waits 2.1–4 s, the other 0–2 s (§14.1).
                let outgoing = call.shared.direction == CallDirection::Outgoing;
                let fraction = self.ids.spread() - 0.5;
                let seconds = if outgoing { 2.1 + 1.9 * fraction } else { 2.0 * fraction };
                self.transactions.set(Duration::from_secs_f64(seconds), AppTimer::Reinvite(id));
            }
            408 | 481 => self.reinvite_failed(id, rejected(status, reason), true),
            _ => self.reinvite_failed(id, rejected(status, reason), false),
        }
    }

    /// The session goes on as it was, unless the dialog itself is gone (§14.1, §12.2.1.2).
    pub(super) fn reinvite_failed(&mut self, id: u64, error: UaError, dialog_gone: bool) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let reply = call.reinvite.take().and_then(|reinvite| reinvite.reply);
        if dialog_gone && matches!(call.stage, Stage::Up) {
            self.send_bye(id, Owner::Nobody);
            self.finish(id, CallState::over(EndedBy::Network));
        }
        if let Some(reply) = reply {
            let _ = reply.send(Err(error));
        }
    }
}

impl CallState {
    /// A request that was sent again with credentials used one more number.
    fn count_cseq(&mut self, request: &Message) {
        if let Some((number, _)) = request.cseq() {
            self.dialog.local_cseq = self.dialog.local_cseq.max(number);
        }
    }
}

fn rejected(status: u16, reason: &str) -> UaError {
    UaError::Rejected { status, reason: reason.to_owned() }
}

const MAX_GLARES: u8 = 4;
const ACK_WAIT: Duration = Duration::from_millis(100);
