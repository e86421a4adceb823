//! Findings that last become alarms, and alarms whose finding is gone are cleared; each is written, and history is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use schema::{Alarm, AlarmId, AlarmKind};

use crate::findings::{Family, Finding, Scope};
use crate::io::{Entry, Output, Saved};
use crate::picture::ClearedAlarm;

/// A fault that one alarm stands for, whatever its kind is called so far.
type Matter = (Scope, Family, String);

/// Every alarm that is open, or not written yet.
#[derive(Debug)]
pub(crate) struct Ledger {
    matters: BTreeMap<Matter, Stage>,
    rows: BTreeMap<Entry, Row>,
    /// Alarms that we cleared and that an older picture may still show open.
    past: BTreeSet<AlarmId>,
    last_entry: u64,
    grace: Duration,
    outputs: Vec<Output>,
}

#[derive(Debug)]
enum Stage {
    /// Found, and not long enough to be an alarm.
    Pending { finding: Finding, due: Instant },
    /// An alarm. `clears_at` is set while it is not found.
    Open { entry: Entry, clears_at: Option<Instant> },
}

#[derive(Debug)]
struct Row {
    alarm: Alarm,
    /// Whether what is written is older.
    dirty: bool,
    in_flight: bool,
    /// Not before this time: after a failure, and so that a text that changes often is not written often.
    not_before: Option<Instant>,
    /// What it should say when it may be written.
    latest: Option<Finding>,
}

impl Ledger {
    pub(crate) fn new(grace: Duration) -> Ledger {
        Ledger {
            matters: BTreeMap::new(),
            rows: BTreeMap::new(),
            past: BTreeSet::new(),
            last_entry: 0,
            grace,
            outputs: Vec::new(),
        }
    }

    /// Takes everything that is found in a scope. What is not found any more is gone, unless its family cannot be told at the moment.
    pub(crate) fn report(
        &mut self,
        now: Instant,
        now_ms: i64,
        scope: Scope,
        findings: Vec<Finding>,
        frozen: &[Family],
    ) {
        let mut found = BTreeSet::new();
        for finding in findings {
            let matter = (scope, Family::of(finding.kind), finding.subject.clone());
            found.insert(matter.clone());
            self.found(now, matter, finding);
        }
        let first = (scope, Family::Way, String::new());
        let of_scope = self.matters.range_mut(first..).take_while(|(matter, _)| matter.0 == scope);
        let mut dropped = Vec::new();
        for (matter, stage) in of_scope.filter(|(matter, _)| !found.contains(*matter)) {
            let frozen = frozen.contains(&matter.1);
            match stage {
                Stage::Pending { .. } if frozen => {}
                Stage::Pending { .. } => dropped.push(matter.clone()),
                Stage::Open { clears_at, .. } if frozen => *clears_at = None,
                Stage::Open { clears_at, .. } => {
                    clears_at.get_or_insert(now + self.grace);
                }
            }
        }
        dropped.iter().for_each(|matter| drop(self.matters.remove(matter)));
        self.tick(now, now_ms);
    }

    /// A site is gone: so is what was wrong with it.
    pub(crate) fn drop_sites(&mut self, now: Instant, now_ms: i64, there: impl Fn(schema::SiteId) -> bool) {
        let gone = |scope: &Scope| matches!(scope, Scope::Site(site) if !there(*site));
        self.matters.retain(|(scope, ..), stage| matches!(stage, Stage::Open { .. }) || !gone(scope));
        for ((scope, ..), stage) in &mut self.matters {
            if let Stage::Open { clears_at, .. } = stage
                && gone(scope)
            {
                *clears_at = Some(now);
            }
        }
        self.tick(now, now_ms);
    }

    /// Takes the alarms that the store holds open: those of an earlier run, those that somebody else raised, and acknowledgements.
    /// Gives those that are new to us.
    pub(crate) fn adopt(&mut self, now: Instant, open: Vec<Alarm>) -> Vec<Alarm> {
        let mut new = Vec::new();
        for alarm in open {
            let matter = (Scope::of_alarm(&alarm), Family::of(alarm.kind), alarm.subject.clone());
            if let Some(row) = self.rows.values_mut().find(|row| row.alarm.id == alarm.id) {
                if alarm.acked_at > row.alarm.acked_at && !row.in_flight {
                    row.alarm.acked_at = alarm.acked_at;
                    row.alarm.acked_by = alarm.acked_by;
                    row.alarm.comment = alarm.comment;
                }
                continue;
            }
            if self.past.contains(&alarm.id) {
                continue;
            }
            match self.matters.get(&matter) {
                // It may be the one that we are writing, or two watches write at once: the next picture tells.
                Some(Stage::Open { entry, .. })
                    if self.rows.get(entry).is_some_and(|row| row.alarm.id == AlarmId::NEW) => {}
                // A second one for the same matter: one stays.
                Some(Stage::Open { .. }) => {
                    let entry = self.add(Row::stored(alarm));
                    self.clear(entry, 0);
                }
                Some(Stage::Pending { .. }) | None => {
                    new.push(alarm.clone());
                    let entry = self.add(Row::stored(alarm));
                    self.matters.insert(matter, Stage::Open { entry, clears_at: Some(now + self.grace) });
                }
            }
        }
        new
    }

    /// The alarms of long ago that are too many or too old.
    pub(crate) fn forget(&mut self, mut cleared: Vec<ClearedAlarm>, oldest: i64, most: usize) {
        self.past.retain(|id| !cleared.iter().any(|alarm| alarm.id == *id));
        cleared.sort_unstable_by_key(|alarm| (alarm.cleared_at, alarm.id));
        let too_many = cleared.len().saturating_sub(most);
        let gone = cleared
            .iter()
            .enumerate()
            .filter(|(place, alarm)| *place < too_many || alarm.cleared_at < oldest);
        self.outputs.extend(gone.take(FORGOTTEN_AT_ONCE).map(|(_, alarm)| Output::Forget(alarm.id)));
    }

    /// An operator takes note.
    pub(crate) fn acknowledge(&mut self, now_ms: i64, alarm: AlarmId, by: String, comment: Option<String>) {
        if let Some(row) = self.rows.values_mut().find(|row| row.alarm.id == alarm && row.alarm.is_active()) {
            row.alarm.acked_at = Some(now_ms);
            row.alarm.acked_by = Some(by);
            row.alarm.comment = comment;
            row.dirty = true;
            row.not_before = None;
        }
    }

    /// What became of a save.
    pub(crate) fn saved(&mut self, now: Instant, entry: Entry, outcome: Saved) {
        let Some(row) = self.rows.get_mut(&entry) else { return };
        row.in_flight = false;
        match outcome {
            Saved::Stored(id) => {
                row.alarm.id = id;
                if !row.alarm.is_active() && !row.dirty {
                    self.past.insert(id);
                    self.rows.remove(&entry);
                }
            }
            Saved::Failed => {
                row.dirty = true;
                row.not_before = Some(now + RETRY);
            }
            Saved::Taken => {
                self.rows.remove(&entry);
                // Whoever has it open keeps it; it comes with the next picture.
                self.matters
                    .retain(|_, stage| !matches!(stage, Stage::Open { entry: own, .. } if *own == entry));
            }
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant, now_ms: i64) {
        let mut due = Vec::new();
        for (matter, stage) in &self.matters {
            match stage {
                Stage::Pending { due: at, .. } if *at <= now => due.push(matter.clone()),
                Stage::Open { clears_at: Some(at), .. } if *at <= now => due.push(matter.clone()),
                _ => {}
            }
        }
        for matter in due {
            match self.matters.remove(&matter) {
                Some(Stage::Pending { finding, .. }) if self.matters.len() < MAX_OPEN => {
                    let entry = self.add(Row::raised(finding, now_ms));
                    self.matters.insert(matter, Stage::Open { entry, clears_at: None });
                }
                Some(Stage::Open { entry, .. }) => self.clear(entry, now_ms),
                _ => {}
            }
        }
        for (entry, row) in &mut self.rows {
            let may = row.not_before.is_none_or(|at| at <= now);
            if may && let Some(latest) = row.latest.take() {
                row.tell(latest);
            }
            if row.dirty && !row.in_flight && may {
                (row.dirty, row.in_flight) = (false, true);
                row.not_before = Some(now + UPDATE);
                self.outputs.push(Output::Save { entry: *entry, alarm: Box::new(row.alarm.clone()) });
            }
        }
    }

    /// When something is due next.
    pub(crate) fn next(&self) -> Option<Instant> {
        let stages = self.matters.values().filter_map(|stage| match stage {
            Stage::Pending { due, .. } => Some(*due),
            Stage::Open { clears_at, .. } => *clears_at,
        });
        let waiting = self.rows.values().filter(|row| !row.in_flight && (row.dirty || row.latest.is_some()));
        stages.chain(waiting.filter_map(|row| row.not_before)).min()
    }

    pub(crate) fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// The alarms that are open.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Alarm> {
        self.rows.values().map(|row| &row.alarm).filter(|alarm| alarm.is_active())
    }

    fn found(&mut self, now: Instant, matter: Matter, finding: Finding) {
        match self.matters.get_mut(&matter) {
            None => {
                let due = now + raise_after(finding.kind, self.grace);
                self.matters.insert(matter, Stage::Pending { finding, due });
            }
            Some(Stage::Pending { finding: old, due }) => {
                if old.kind != finding.kind {
                    // The better name may need less patience, never more.
                    *due = (*due).min(now + raise_after(finding.kind, self.grace));
                }
                *old = finding;
            }
            Some(Stage::Open { entry, clears_at }) => {
                *clears_at = None;
                let Some(row) = self.rows.get_mut(entry) else { return };
                if row.alarm.kind != finding.kind {
                    row.tell(finding);
                    row.not_before = None;
                } else {
                    row.latest = (!row.says(&finding)).then_some(finding);
                }
            }
        }
    }

    fn add(&mut self, row: Row) -> Entry {
        self.last_entry += 1;
        let entry = Entry(self.last_entry);
        self.rows.insert(entry, row);
        entry
    }

    fn clear(&mut self, entry: Entry, now_ms: i64) {
        if let Some(row) = self.rows.get_mut(&entry) {
            row.alarm.cleared_at = Some(now_ms.max(row.alarm.raised_at));
            row.latest = None;
            row.dirty = true;
            row.not_before = None;
        }
    }
}

impl Row {
    fn raised(finding: Finding, now_ms: i64) -> Row {
        let Finding { kind, site, subject, cause, remedy, details } = finding;
        let alarm = Alarm {
            site: Some(site),
            details,
            ..Alarm::new(kind, &subject, &shortened(&cause), &shortened(&remedy), now_ms)
        };
        Row { alarm, dirty: true, in_flight: false, not_before: None, latest: None }
    }

    fn stored(alarm: Alarm) -> Row {
        Row { alarm, dirty: false, in_flight: false, not_before: None, latest: None }
    }

    fn says(&self, finding: &Finding) -> bool {
        self.alarm.kind == finding.kind
            && self.alarm.cause == shortened(&finding.cause)
            && self.alarm.details == finding.details
    }

    /// Says it as it looks now.
    fn tell(&mut self, finding: Finding) {
        if finding.kind == AlarmKind::NeighbourTableFull && self.alarm.kind != finding.kind {
            // Whoever took note of missing phones does not know yet why they are missing.
            (self.alarm.acked_at, self.alarm.acked_by, self.alarm.comment) = (None, None, None);
        }
        self.alarm.kind = finding.kind;
        self.alarm.cause = shortened(&finding.cause);
        self.alarm.remedy = shortened(&finding.remedy);
        self.alarm.details = finding.details;
        self.dirty = true;
    }
}

/// How long a fault of a kind must last before it is an alarm.
fn raise_after(kind: AlarmKind, grace: Duration) -> Duration {
    match kind {
        // It has been looked at several times already.
        AlarmKind::NeighbourTableFull | AlarmKind::DuplicateMac | AlarmKind::AccountFlapping => {
            Duration::ZERO
        }
        AlarmKind::IadUnreachable => grace / 2,
        // A phone that restarts takes a minute.
        AlarmKind::PhonesMissing => grace * 3,
        _ => grace,
    }
}

/// What an alarm's text may hold.
fn shortened(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let mut end = MAX_TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// How soon a save that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long the text of an alarm that changes stays at least.
const UPDATE: Duration = Duration::from_secs(60);
/// Alarms that may be open at a time.
const MAX_OPEN: usize = 10_000;
/// Alarms of the past that are removed at a time.
const FORGOTTEN_AT_ONCE: usize = 100;
/// Bytes of a text; the store takes 1,024.
const MAX_TEXT: usize = 1_000;

#[cfg(test)]
mod tests;
