//! What happened in a call, noted where it was decided: from it comes the record's explanation.

use node::explain::{Fact, Heard, Hop, Leg as End, Miss, Said, Trouble, Why, of_sound};
use schema::{CallResult, EndedBy, GatewayHost};
use sip_core::transaction::Failure;
use sip_core::wire::header::Reason;
use sip_core::wire::{Message, Name, StatusCode};

use super::state::{Call, State};
use crate::cause::Cause;
use crate::env::Env;
use crate::failure;
use crate::identity::Party;
use crate::question::Side;
use crate::relay::{DirectionStatistics, SessionStatistics};
use crate::trunks::Candidate;

/// What is noted of a call.
#[derive(Debug, Default)]
pub(super) struct Story {
    caller: Hop,
    /// The gateway or proxy that was called last.
    callee: Option<Hop>,
    /// Those that did not take the call.
    tried: Vec<(Hop, Miss)>,
    /// Whether the called side said that it rings, or more.
    rang: bool,
    /// What was noted last on the way to the end.
    noted: Option<(Option<Side>, Fact)>,
    /// What ended the call.
    why: Option<Why>,
    answered: bool,
}

impl Call {
    /// Notes why the call is about to end.
    pub(super) fn note(&mut self, side: Option<Side>, fact: Fact) {
        self.story.noted = Some((side, fact));
    }

    /// Notes who calls.
    pub(super) fn note_caller(&mut self, env: &Env) {
        let State::Setup(setup) = &self.state else { return };
        let (line, trunk) = self.draft.as_ref().map_or((None, None), |draft| (draft.line, draft.trunk));
        let name = match self.party {
            Party::Inside(_) => match line.and_then(|line| env.directory.line(line)) {
                Some(line) => format!("line {} by way of the proxy", line.auth_user),
                None => "the proxy".to_owned(),
            },
            Party::Outside(_) => match trunk.and_then(|trunk| env.directory.trunk(trunk)) {
                Some(trunk) => format!("trunk {}", trunk.name),
                None => "a trunk".to_owned(),
            },
        };
        self.story.caller = Hop::new(name, &setup.caller.flow);
    }

    /// Notes who is called now.
    pub(super) fn note_called(&mut self, env: &Env, candidate: &Candidate) {
        self.story.callee = Some(self.hop_of(env, candidate));
        self.story.rang = false;
    }

    /// Notes that the called side rings.
    pub(super) fn note_ringing(&mut self) {
        self.story.rang = true;
    }

    /// Notes a place that did not take the call.
    pub(super) fn note_miss(&mut self, hop: Option<Hop>, miss: Miss) {
        let hop = hop.or_else(|| self.story.callee.clone()).unwrap_or_default();
        self.story.tried.push((hop, miss));
    }

    /// Notes that an INVITE got no response.
    pub(super) fn note_failure(&mut self, env: &Env, failure: Failure) {
        let State::Setup(setup) = &self.state else { return };
        let Some(attempt) = setup.attempt() else { return };
        let (hop, flow) = (self.hop_of(env, &attempt.candidate), attempt.leg.flow);
        let miss = match failure {
            Failure::TimedOut => Miss::Silent(env.settings.transaction.t1.as_secs() * 64),
            Failure::Transport => Miss::Unreachable(env.troubles.of(flow.transport, flow.remote)),
        };
        self.note_miss(Some(hop), miss);
    }

    /// Notes that a trunk is full.
    pub(super) fn note_full(&mut self, env: &Env, candidate: &Candidate) {
        let limit = candidate.trunk.as_ref().and_then(|(trunk, _)| trunk.max_calls);
        let hop = self.hop_of(env, candidate);
        self.note_miss(Some(hop), Miss::Full(limit));
    }

    /// Notes that a trunk takes none of the offered codecs.
    pub(super) fn note_codecs(&mut self, env: &Env, candidate: &Candidate) {
        let hop = self.hop_of(env, candidate);
        self.note_miss(Some(hop), Miss::Codecs);
    }

    /// Notes that nobody can be called: no route leads anywhere, or to names behind which nobody was found.
    pub(super) fn note_no_route(&mut self, env: &Env) {
        if self.number.is_empty() {
            return self.note(Some(Side::Caller), Fact::NoNumber);
        }
        let routes = env.directory.routes_for(&self.number);
        let trunks = routes.iter().filter_map(|route| env.directory.trunk(route.trunk));
        let mut unknown = Vec::new();
        for trunk in trunks.filter(|trunk| trunk.enabled) {
            let hop = Hop::named(format!("trunk {}", trunk.name));
            let lost = |host: &GatewayHost| Miss::Unreachable(Some(Trouble::NameNotFound(host.host.clone())));
            unknown.extend(trunk.hosts.iter().map(|host| (hop.clone(), lost(host))));
        }
        unknown.dedup();
        self.note(None, if unknown.is_empty() { Fact::NoRoute } else { Fact::NotTaken(unknown) });
    }

    /// Notes what ended the call.
    pub(super) fn note_end(&mut self, cause: &Cause, status: Option<u16>) {
        if matches!(self.state, State::Closing(_)) {
            return;
        }
        self.story.answered = matches!(self.state, State::Up(_));
        let noted = cause.fact.clone().or(self.story.noted.take());
        let (side, fact) = noted.unwrap_or_else(|| self.plainly(cause, status));
        self.story.why = Some(match side {
            Some(Side::Caller) => Why::on(End::Caller, self.story.caller.clone(), fact),
            Some(Side::Callee) => Why::on(End::Callee, self.story.callee.clone().unwrap_or_default(), fact),
            None => Why::between(fact),
        });
    }

    /// The sentence for the record, when the media's figures are known.
    pub(super) fn explanation(&self, media: &[serde_json::Value]) -> String {
        let Some(why) = &self.story.why else { return String::new() };
        let sound = if self.story.answered { of_media(media) } else { None };
        let sentence = match sound {
            Some(sound) => format!("{sound} {why}"),
            None => why.to_string(),
        };
        sentence.chars().take(MOST_CHARACTERS).collect()
    }

    /// What is known when nobody noted anything more exact.
    fn plainly(&self, cause: &Cause, status: Option<u16>) -> (Option<Side>, Fact) {
        match (cause.result, cause.by) {
            (CallResult::Answered, EndedBy::Caller) => {
                (Some(Side::Caller), Fact::HungUp(failure::q850(&cause.reasons)))
            }
            (CallResult::Answered, EndedBy::Callee) => {
                (Some(Side::Callee), Fact::HungUp(failure::q850(&cause.reasons)))
            }
            (CallResult::Cancelled, _) => (Some(Side::Caller), Fact::Cancelled { rang: self.story.rang }),
            _ => (
                None,
                Fact::Ended { status: status.filter(|_| !self.story.answered), words: cause.words.clone() },
            ),
        }
    }

    fn hop_of(&self, env: &Env, candidate: &Candidate) -> Hop {
        let name = match &candidate.trunk {
            Some((trunk, _)) => format!("trunk {}", trunk.name),
            None => {
                let line = self.draft.as_ref().and_then(|draft| draft.line);
                match line.and_then(|line| env.directory.line(line)) {
                    Some(line) => format!("line {} by way of the proxy", line.auth_user),
                    None => "the proxy".to_owned(),
                }
            }
        };
        Hop::new(name, &candidate.flow())
    }

    /// Whom the story says nobody took: all that were tried.
    pub(super) fn tried(&mut self) -> Fact {
        Fact::NotTaken(std::mem::take(&mut self.story.tried))
    }
}

/// A final response, as the story tells it.
pub(super) fn said(response: &Message, status: StatusCode, reasons: &[Reason]) -> Said {
    // RFC 3261 §20.43: code, agent, and a quoted text for people.
    let warning = response.text(Name::Warning).and_then(|warning| warning.split('"').nth(1));
    let text = reasons.iter().find_map(|reason| reason.text.as_deref());
    let more = warning.or(text);
    Said::new(status.code(), response.reason(), failure::q850(reasons), more)
}

/// What was wrong with the sound, by the figures of the call's sessions.
fn of_media(media: &[serde_json::Value]) -> Option<node::explain::Sound> {
    let mut caller = Heard::default();
    let mut callee = Heard::default();
    for session in media {
        let session: SessionStatistics = serde_json::from_value(session.clone()).ok()?;
        for stream in session.streams {
            add(&mut caller, &stream.a_to_b);
            add(&mut callee, &stream.b_to_a);
        }
    }
    of_sound(caller, callee)
}

fn add(heard: &mut Heard, figures: &DirectionStatistics) {
    heard.packets += figures.packets;
    heard.strange += figures.dropped.stranger;
    heard.stranger = heard.stranger.or(figures.stranger);
    heard.unknown_payload = heard.unknown_payload.or(figures.unknown_payload);
    heard.expected |= figures.sends;
}

/// What the store takes of an explanation.
const MOST_CHARACTERS: usize = 1_024;
