//! The INVITE to one gateway, and what early dialogs come of it.

use sip_core::dialog::Dialog;
use sip_core::flow::{Flow, Transport};
use sip_core::wire::{Message, StatusCode};
use tracing::debug;

use super::state::{Attempt, Call, Phase, Setup, State};
use crate::bridge::Bridge;
use crate::env::{Alarm, Env, Owner};
use crate::invite::{compose, toward};
use crate::leg::{Leg, Peering, Reliability};
use crate::question::Side;
use crate::talk::Talk;
use crate::trunks::Candidate;

impl Call {
    /// Calls a candidate; the ports are there.
    pub(super) fn call_out(&mut self, env: &mut Env, candidate: Candidate) {
        self.note_called(env, &candidate);
        let State::Setup(setup) = &mut self.state else { return };
        let peering = if candidate.trunk.is_some() { Peering::Trunk } else { Peering::Inside };
        let call_id = env.ids.call_id();
        let mut leg =
            Leg::new(env, self.key, Side::Callee, peering, candidate.face, candidate.flow(), call_id);
        self.ends.push(leg.end());
        if let Some(draft) = &mut self.draft {
            draft.call_ids.push(leg.call_id.clone());
        }
        if let Some(offer) = &setup.offer {
            let mut talk = Talk::default();
            talk.describe(Side::Caller, offer.clone());
            self.media.publish(env, &talk, false);
            leg.said = Some(self.media.translate(offer, Side::Callee, &mut leg.origin));
        }
        self.invite(env, candidate, leg, 1);
    }

    /// Sends the INVITE for the first time, or again with another number and what a refusal asked for.
    pub(super) fn invite(&mut self, env: &mut Env, candidate: Candidate, mut leg: Leg, number: u32) {
        let State::Setup(setup) = &mut self.state else { return };
        let (uri, identity) = toward(&self.party, &self.number, &candidate);
        let reliable = setup.offer.is_some() || setup.reliability() != Reliability::Unknown;
        let mut request = compose(env, &leg, &setup.request, (&uri, number), &identity, reliable);
        let limit = candidate.trunk.as_ref().and_then(|(trunk, _)| trunk.max_udp_bytes);
        let too_long = limit.is_some_and(|limit| request.bytes().len() > limit as usize);
        if too_long && leg.flow.transport == Transport::Udp {
            // RFC 3261 §18.1.1.
            leg.flow.transport = Transport::Tcp;
            request = compose(env, &leg, &setup.request, (&uri, number), &identity, reliable);
        }
        debug!(call = %self.id, gateway = %candidate.gateway, sip_call_id = %leg.call_id, number, "calling");
        let Some(client) = env.request(Owner::Call(self.key), request.clone(), leg.flow) else {
            return self.refuse(env, StatusCode::SERVICE_UNAVAILABLE, "too many transactions");
        };
        setup.phase = Phase::Calling(Box::new(Attempt {
            candidate,
            leg,
            client,
            request,
            ringing: false,
            sent: number,
        }));
        env.alarm_in(self.key, Alarm::Connect, env.settings.connect_limit);
    }
}

impl Setup {
    /// What the caller takes of provisional responses.
    pub(super) fn reliability(&self) -> Reliability {
        self.caller.invite().map_or(Reliability::Unknown, |invite| invite.reliability)
    }

    /// The attempt under way.
    pub(super) fn attempt(&self) -> Option<&Attempt> {
        match &self.phase {
            Phase::Calling(attempt) => Some(attempt),
            Phase::Choosing | Phase::Opening(_) => None,
        }
    }

    /// The early dialog of a response, which it may make. `None` for a response that makes none, and for more of them than a called
    /// party can plausibly have; a 2xx always has its own.
    pub(super) fn fork_of(&mut self, env: &mut Env, response: &Message, flow: Flow) -> Option<usize> {
        let answers = response.status().is_some_and(StatusCode::is_success);
        if let Some(at) = self.forks.iter().position(|fork| fork.callee.is_of(response)) {
            if let Some(dialog) = self.forks.get_mut(at).and_then(|fork| fork.callee.dialog.as_mut())
                && answers
            {
                dialog.confirm(response).ok()?;
            }
            return Some(at);
        }
        let Phase::Calling(attempt) = &self.phase else { return None };
        let dialog = Dialog::uac(&attempt.request, response, flow).ok()?;
        if self.forks.len() >= MAX_FORKS && !answers {
            return None;
        }
        let mut callee = attempt.leg.clone();
        callee.dialog = Some(dialog);
        let caller = match std::mem::replace(&mut self.caller_taken, true) {
            false => self.caller.clone(),
            true => self.caller.twin(env),
        };
        self.forks.push(Bridge::early(caller, callee, self.offer.clone()));
        Some(self.forks.len() - 1)
    }
}

/// Early dialogs of one attempt that are followed.
const MAX_FORKS: usize = 8;
