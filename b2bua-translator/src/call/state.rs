//! A call, and how far it is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use sip_core::transaction::{ClientId, ServerId};
use sip_core::wire::{Message, StatusCode};

use super::transfer::Transfer;
use crate::bridge::{Bridge, Context};
use crate::env::{CallKey, Env, LocalEnd};
use crate::identity::Party;
use crate::leg::Leg;
use crate::media::Media;
use crate::record::Draft;
use crate::sdp::Sdp;
use crate::trunks::{Candidate, Permit};

use super::story::Story;

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(super) key: CallKey,
    /// The call's id in logs and records.
    pub(super) id: Arc<str>,
    pub(super) state: State,
    pub(super) media: Media,
    /// `None` once it is with the world.
    pub(super) draft: Option<Draft>,
    /// For the record's explanation.
    pub(super) story: Story,
    pub(super) party: Party,
    /// Who is called, in E.164 form where it has one.
    pub(super) number: String,
    /// The trunk's share that the call takes.
    pub(super) permit: Option<Permit>,
    /// Legs that are being hung up.
    pub(super) ending: Vec<Leg>,
    /// A leg that shall take another's place.
    pub(super) transfer: Option<Transfer>,
    /// Whether there ever was a transfer.
    pub(super) referred: bool,
    /// Our ends of every dialog that the call ever had.
    pub(crate) ends: Vec<LocalEnd>,
    /// What the legs' timer is set to.
    pub(super) armed: Option<Instant>,
}

/// How far a call is.
#[derive(Debug)]
pub(super) enum State {
    /// The caller waits for an answer.
    Setup(Box<Setup>),
    /// Answered.
    Up(Box<Bridge>),
    /// Over for both sides; the loose ends are being tied.
    Closing(Closing),
}

/// An unanswered call.
#[derive(Debug)]
pub(super) struct Setup {
    /// The caller's INVITE.
    pub(super) server: ServerId,
    pub(super) request: Message,
    /// The caller's offer; `None` when it wants ours (delayed offer).
    pub(super) offer: Option<Sdp>,
    /// The caller's leg, before an early dialog takes it; further ones get twins of it.
    pub(super) caller: Leg,
    /// Whether an early dialog has taken it.
    pub(super) caller_taken: bool,
    /// The early dialogs of the gateway that is being called, each with one of its own toward the caller (RFC 3261 §12.1).
    pub(super) forks: Vec<Bridge>,
    pub(super) candidates: VecDeque<Candidate>,
    pub(super) phase: Phase,
    /// Numbers that redirections named and that were called.
    pub(super) followed: Vec<String>,
    /// What the caller gets when no candidate is left.
    pub(super) last: StatusCode,
}

/// How far the search for a gateway is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Between two candidates.
    Choosing,
    /// Ports are asked for, to call this one.
    Opening(Candidate),
    /// The INVITE is out.
    Calling(Box<Attempt>),
}

/// An INVITE to a gateway.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) candidate: Candidate,
    /// Our end, which each early dialog copies.
    pub(super) leg: Leg,
    pub(super) client: ClientId,
    pub(super) request: Message,
    /// Whether the called party was reached: a response beyond 100.
    pub(super) ringing: bool,
    /// INVITEs of this attempt so far.
    pub(super) sent: u32,
}

/// What the end of a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// The statistics of its media.
    Media,
    /// The store, which takes the record.
    Record,
    /// The last transactions.
    Legs,
}

/// Where a dialog of a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In an early pair.
    Fork(usize, crate::question::Side),
    /// The caller's, before there is a pair.
    Caller,
    /// In the answered call.
    Up(crate::question::Side),
    /// Being hung up.
    Ending(usize),
}

impl Call {
    /// Whether the call is over and nothing of it is left to do.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.state, State::Closing(Closing::Legs)) && self.ending.iter().all(Leg::is_over)
    }

    /// The dialog that a test finds.
    pub(super) fn find(&self, is_it: impl Fn(&Leg) -> bool) -> Option<Place> {
        use crate::question::Side::{Callee, Caller};
        let in_ending = || self.ending.iter().position(&is_it).map(Place::Ending);
        match &self.state {
            State::Setup(setup) => {
                let in_forks = setup.forks.iter().enumerate().find_map(|(at, fork)| {
                    let caller = is_it(&fork.caller).then_some(Place::Fork(at, Caller));
                    caller.or_else(|| is_it(&fork.callee).then_some(Place::Fork(at, Callee)))
                });
                in_forks.or_else(|| is_it(&setup.caller).then_some(Place::Caller)).or_else(in_ending)
            }
            State::Up(bridge) => {
                let caller = is_it(&bridge.caller).then_some(Place::Up(Caller));
                caller.or_else(|| is_it(&bridge.callee).then_some(Place::Up(Callee))).or_else(in_ending)
            }
            State::Closing(_) => in_ending(),
        }
    }

    /// The leg of a place.
    pub(super) fn leg_at(&mut self, place: Place) -> Option<&mut Leg> {
        match (&mut self.state, place) {
            (State::Setup(setup), Place::Fork(at, side)) => {
                setup.forks.get_mut(at).map(|fork| fork.leg(side))
            }
            (State::Setup(setup), Place::Caller) => Some(&mut setup.caller),
            (State::Up(bridge), Place::Up(side)) => Some(bridge.leg(side)),
            (_, Place::Ending(at)) => self.ending.get_mut(at),
            _ => None,
        }
    }

    /// The pair of a place, with what it works with.
    pub(super) fn bridge_at<'a>(
        &'a mut self,
        env: &'a mut Env,
        place: Place,
    ) -> Option<(&'a mut Bridge, Context<'a>)> {
        let bridge = match (&mut self.state, place) {
            (State::Setup(setup), Place::Fork(at, _)) => setup.forks.get_mut(at)?,
            (State::Up(bridge), Place::Up(_)) => bridge,
            _ => return None,
        };
        Some((bridge, Context { env, media: &mut self.media, id: &self.id }))
    }

    /// All pairs, with what they work with.
    pub(super) fn bridges<'a>(&'a mut self, env: &'a mut Env) -> (Vec<&'a mut Bridge>, Context<'a>) {
        let bridges = match &mut self.state {
            State::Setup(setup) => setup.forks.iter_mut().collect(),
            State::Up(bridge) => vec![&mut **bridge],
            State::Closing(_) => Vec::new(),
        };
        (bridges, Context { env, media: &mut self.media, id: &self.id })
    }
}
