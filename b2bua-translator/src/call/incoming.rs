//! A new call: who calls whom, and who may take it.

use std::collections::VecDeque;
use std::sync::Arc;

use schema::{Direction, Trunk};
use sip_core::flow::Flow;
use sip_core::transaction::ServerId;
use sip_core::wire::Message;

use super::state::{Call, Setup, State};
use super::story::Story;
use crate::env::{CallKey, Env};
use crate::identity::{InsideCaller, OutsideCaller, Party, digits_of};
use crate::leg::{Leg, Peering};
use crate::media::Media;
use crate::question::Side;
use crate::record::Draft;
use crate::sdp::Sdp;
use crate::settings::Face;
use crate::trunks::{self, Candidate, Permit};

/// An INVITE that is taken for processing.
pub(crate) struct Incoming {
    pub(crate) server: ServerId,
    pub(crate) request: Message,
    pub(crate) flow: Flow,
    pub(crate) offer: Option<Sdp>,
}

impl Call {
    /// A call from the inside to a trunk.
    pub(crate) fn outbound(env: &mut Env, key: CallKey, incoming: Incoming) -> Call {
        let uri = incoming.request.request_uri().ok();
        let number = uri.as_ref().and_then(digits_of).unwrap_or_default();
        let party = InsideCaller::of(&incoming.request, &env.directory);
        let candidates = trunks::candidates(&env.directory, &env.settings, &env.trunks, &number);
        let mut call =
            Call::new(env, key, incoming, Party::Inside(party), number, candidates, env.settings.inside);
        if let (Some(draft), Party::Inside(party)) = (&mut call.draft, &call.party) {
            draft.line = party.line;
            draft.caller = party.name.clone();
        }
        call.note_caller(env);
        call
    }

    /// A call from a trunk to the inside.
    pub(crate) fn inbound(
        env: &mut Env,
        key: CallKey,
        incoming: Incoming,
        trunk: Arc<Trunk>,
        face: Face,
        permit: Permit,
    ) -> Call {
        let uri = incoming.request.request_uri().ok();
        let dialled = uri.as_ref().and_then(digits_of).unwrap_or_default();
        let number = called_number(env, &dialled);
        let party = OutsideCaller::of(&incoming.request, &env.settings.country);
        let candidates = match number.is_empty() {
            true => VecDeque::new(),
            false => trunks::proxies(&env.settings),
        };
        let (name, line) = (party.name(), env.directory.line_of_number(&number).map(|line| line.id));
        let id = trunk.id;
        let mut call = Call::new(env, key, incoming, Party::Outside(party), number, candidates, face);
        call.permit = Some(permit);
        call.media.set_trunk(Side::Caller, &trunk);
        if let Some(draft) = &mut call.draft {
            draft.line = line;
            draft.trunk = Some(id);
            draft.caller = name;
            draft.callee = if call.number.is_empty() { dialled } else { call.number.clone() };
        }
        call.note_caller(env);
        call
    }

    fn new(
        env: &mut Env,
        key: CallKey,
        incoming: Incoming,
        party: Party,
        number: String,
        candidates: VecDeque<Candidate>,
        face: Face,
    ) -> Call {
        let id = format!("{}-{:016x}{:016x}", env.settings.node, env.ids.next_u64(), env.ids.next_u64());
        let call_id = incoming.request.call_id().unwrap_or_default().to_owned();
        let (direction, peering) = match party {
            Party::Inside(_) => (Direction::Outbound, Peering::Inside),
            Party::Outside(_) => (Direction::Inbound, Peering::Trunk),
        };
        let caller = Leg::new(env, key, Side::Caller, peering, face, incoming.flow, call_id);
        let draft = Draft {
            id: id.clone(),
            node: env.settings.node.clone(),
            started_at: env.clock.unix_ms(env.now),
            answered_at: None,
            caller: String::new(),
            callee: number.clone(),
            direction,
            line: None,
            trunk: None,
            status: None,
            media: Vec::new(),
            call_ids: incoming.request.call_id().map(str::to_owned).into_iter().collect(),
            ending: None,
        };
        env.own_server(incoming.server, key);
        let ends = vec![caller.end()];
        let setup = Setup::new(incoming.server, incoming.request, incoming.offer, caller, candidates);
        Call {
            key,
            id: id.into(),
            state: State::Setup(Box::new(setup)),
            media: Media::new(key),
            draft: Some(draft),
            story: Story::default(),
            party,
            number,
            permit: None,
            ending: Vec::new(),
            transfer: None,
            referred: false,
            ends,
            armed: None,
        }
    }
}

/// The number that a trunk means: E.164 by the country's rule, or with the plus sign that some leave out when that is ours.
fn called_number(env: &Env, dialled: &str) -> String {
    if let Some(number) = env.settings.country.e164(dialled) {
        return number;
    }
    let plus = format!("+{dialled}");
    match env.directory.number(&plus) {
        Some(_) => plus,
        None => dialled.to_owned(),
    }
}
