//! When rounds through a site's phones begin and end, and what follows from them.

use std::net::SocketAddrV6;
use std::time::Instant;

use super::neighbours::{self, Verdict};
use super::survey::Survey;
use super::{Desk, Site, again_after, jitter, part_of};
use crate::schedule::Urgency;
use crate::target::Health;

impl Site {
    /// Begins rounds when several phones are mute though the way is proved and the IAD answers.
    pub(super) fn begin_survey(&mut self, desk: &mut Desk<'_>) {
        let iad_answers = self.iad_target().is_some_and(|iad| iad.health() == Health::Answering);
        if self.survey.is_some() || !iad_answers || self.census().mute.len() < neighbours::MIN_MUTE {
            return;
        }
        self.survey = Some(Survey::new(desk.settings.survey_every, desk.now));
        self.begin_round(desk, desk.now);
    }

    pub(super) fn begin_round(&mut self, desk: &mut Desk<'_>, at: Instant) {
        let members = self.expected();
        let Some(survey) = &mut self.survey else { return };
        for (address, at) in survey.begin(members, at) {
            if let Some(target) = self.targets.get_mut(address) {
                target.failures = 0;
            }
            desk.schedule.set((self.picture.id, address), at, Urgency::Routine);
        }
        self.ask_iad(desk);
    }

    /// A phone's verdict in the present round.
    pub(super) fn verdict(&mut self, desk: &mut Desk<'_>, address: SocketAddrV6, answered: bool) {
        if self.survey.as_mut().is_some_and(|survey| survey.note(address, answered)) {
            self.end_round(desk);
        }
    }

    pub(super) fn end_round(&mut self, desk: &mut Desk<'_>) {
        let Some(survey) = &mut self.survey else { return };
        let mute = survey.close();
        let report = self.picture.tunnel.as_ref().and_then(|tunnel| tunnel.lease.as_ref()?.report);
        let verdict = neighbours::judge(&survey.rounds, self.picture.table, report);
        survey.slacken(verdict, desk.settings.phone_every);
        match verdict {
            Verdict::Full(evidence) => self.table_fault = Some(evidence),
            Verdict::Off if survey.ruled_out >= RULED_OUT => self.table_fault = None,
            Verdict::Off | Verdict::Open => {}
        }
        let is_quiet = mute < neighbours::MIN_MUTE;
        // A table that was full may have room for everybody once by chance.
        if is_quiet && (survey.was_quiet() || self.table_fault.is_none()) {
            self.end_survey(desk);
        } else {
            if is_quiet {
                survey.every = desk.settings.survey_every;
            }
            let next = (survey.started + survey.every).max(desk.now);
            self.begin_round(desk, next);
        }
    }

    fn end_survey(&mut self, desk: &mut Desk<'_>) {
        self.survey = None;
        self.table_fault = None;
        for address in &self.turns {
            let Some(target) = self.targets.get(*address) else { continue };
            let after = match target.health() {
                Health::Mute => jitter(desk.random, again_after(target.mute_times, desk.settings.grace)),
                _ => part_of(desk.random, desk.settings.phone_every),
            };
            self.plan(desk, *address, after.min(desk.settings.phone_every), Urgency::Routine);
        }
    }
}

/// After so many rounds that rule a full table out, it is not full any more.
const RULED_OUT: u32 = 3;
