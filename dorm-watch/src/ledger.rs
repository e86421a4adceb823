//! Findings that last become alarms, and alarms whose finding is gone are cleared; each is written, and history is bounded.
//!
//! Nothing here looks at every alarm for one input: what is due, and what is to be written, is kept in order of time.

mod row;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use schema::{Alarm, AlarmId, AlarmKind, SiteId};

use crate::findings::{Family, Finding, Scope};
use crate::io::{Entry, Output, Saved};
use crate::picture::ClearedAlarm;
use row::Row;

/// A fault that one alarm stands for, whatever its kind is called so far.
type Matter = (Scope, Family, String);

/// Every alarm that is open, or not written yet.
#[derive(Debug)]
pub(crate) struct Ledger {
    matters: BTreeMap<Matter, Stage>,
    /// When the stages move on by themselves.
    due: BTreeSet<(Instant, Matter)>,
    rows: BTreeMap<Entry, Row>,
    /// The rows that have a number.
    numbered: HashMap<AlarmId, Entry>,
    /// When rows are to be written.
    writes: BTreeSet<(Instant, Entry)>,
    /// Alarms that we cleared and that an older picture may still show open.
    past: BTreeSet<AlarmId>,
    last_entry: u64,
    grace: Duration,
    outputs: Vec<Output>,
}

/// Where a matter stands. `times` is how often it was an alarm lately: the oftener, the longer it must be gone before it is cleared, so
/// that what comes and goes is one alarm and not a hundred.
#[derive(Debug)]
enum Stage {
    /// Found, and not long enough to be an alarm. `paused` is since when it cannot be told.
    Pending { finding: Finding, due: Instant, paused: Option<Instant>, times: u32 },
    /// An alarm. `clears_at` is set while it is not found.
    Open { entry: Entry, clears_at: Option<Instant>, times: u32 },
    /// Cleared lately.
    Resting { until: Instant, times: u32 },
}

impl Ledger {
    pub(crate) fn new(grace: Duration) -> Ledger {
        Ledger {
            matters: BTreeMap::new(),
            due: BTreeSet::new(),
            rows: BTreeMap::new(),
            numbered: HashMap::new(),
            writes: BTreeSet::new(),
            past: BTreeSet::new(),
            last_entry: 0,
            grace,
            outputs: Vec::new(),
        }
    }

    /// Takes everything that is found in a scope. What is not found any more is gone, unless its family cannot be told at the moment.
    pub(crate) fn report(&mut self, now: Instant, scope: Scope, findings: Vec<Finding>, frozen: &[Family]) {
        let mut found = BTreeSet::new();
        for finding in findings {
            let matter = (scope, Family::of(finding.kind), finding.subject.clone());
            found.insert(matter.clone());
            self.found(now, matter, finding);
        }
        let first = (scope, Family::Way, String::new());
        let of_scope = self.matters.range(first..).take_while(|(matter, _)| matter.0 == scope);
        let gone = of_scope.filter(|(matter, stage)| stage.is_told() && !found.contains(*matter));
        let gone: Vec<Matter> = gone.map(|(matter, _)| matter.clone()).collect();
        for matter in gone {
            let is_frozen = frozen.contains(&matter.1);
            self.not_found(now, matter, is_frozen);
        }
    }

    /// A site is gone: so is what was wrong with it.
    pub(crate) fn drop_sites(&mut self, now: Instant, now_ms: i64, there: impl Fn(SiteId) -> bool) {
        let gone = |matter: &&Matter| matches!(matter.0, Scope::Site(site) if !there(site));
        let gone: Vec<Matter> = self.matters.keys().filter(gone).cloned().collect();
        for matter in gone {
            if let Some(Stage::Open { entry, .. }) = self.take(&matter) {
                self.clear(now, entry, now_ms);
            }
        }
    }

    /// Takes the alarms that the store holds open: those of an earlier run, those that somebody else raised, and acknowledgements.
    /// Gives those that are new to us.
    pub(crate) fn adopt(&mut self, now: Instant, open: Vec<Alarm>) -> Vec<Alarm> {
        let mut new = Vec::new();
        let shown: BTreeSet<AlarmId> = open.iter().map(|alarm| alarm.id).collect();
        self.past.retain(|id| shown.contains(id));
        for alarm in open {
            if let Some(row) = self.numbered.get(&alarm.id).and_then(|entry| self.rows.get_mut(entry)) {
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
            let matter = (Scope::of_alarm(&alarm), Family::of(alarm.kind), alarm.subject.clone());
            let (found, times) = match self.matters.get(&matter) {
                // It may be the one that we are writing, or two watches write at once: the next picture tells.
                Some(Stage::Open { entry, .. }) if self.rows.get(entry).is_some_and(Row::is_new) => continue,
                // A second one for the same matter: one stays.
                Some(Stage::Open { .. }) => {
                    let entry = self.add(now, Row::stored(alarm));
                    self.clear(now, entry, 0);
                    continue;
                }
                Some(Stage::Pending { times, .. }) => (true, *times),
                Some(Stage::Resting { times, .. }) => (false, *times),
                None => (false, 0),
            };
            new.push(alarm.clone());
            let entry = self.add(now, Row::stored(alarm));
            let clears_at = (!found).then_some(now + self.grace);
            self.put(matter, Stage::Open { entry, clears_at, times });
        }
        new
    }

    /// The alarms of long ago that are too many or too old.
    pub(crate) fn forget(&mut self, mut cleared: Vec<ClearedAlarm>, oldest: i64, most: usize) {
        let too_many = cleared.len().saturating_sub(most);
        if too_many == 0 && cleared.iter().all(|alarm| alarm.cleared_at >= oldest) {
            return;
        }
        cleared.sort_unstable_by_key(|alarm| (alarm.cleared_at, alarm.id));
        let gone = cleared
            .iter()
            .enumerate()
            .filter(|(place, alarm)| *place < too_many || alarm.cleared_at < oldest);
        self.outputs.extend(gone.take(FORGOTTEN_AT_ONCE).map(|(_, alarm)| Output::Forget(alarm.id)));
    }

    /// An operator takes note.
    pub(crate) fn acknowledge(
        &mut self,
        now: Instant,
        now_ms: i64,
        alarm: AlarmId,
        by: String,
        comment: Option<String>,
    ) {
        let Some(entry) = self.numbered.get(&alarm).copied() else { return };
        if let Some(row) = self.rows.get_mut(&entry).filter(|row| row.alarm.is_active()) {
            row.alarm.acked_at = Some(now_ms);
            row.alarm.acked_by = Some(by);
            row.alarm.comment = comment;
            row.dirty = true;
            row.not_before = None;
            self.plan(now, entry);
        }
    }

    /// What became of a save.
    pub(crate) fn saved(&mut self, now: Instant, entry: Entry, outcome: Saved) {
        let Some(row) = self.rows.get_mut(&entry) else { return };
        row.in_flight = false;
        match outcome {
            Saved::Stored(id) => {
                row.alarm.id = id;
                let is_over = !row.alarm.is_active() && !row.dirty;
                self.numbered.insert(id, entry);
                if is_over {
                    self.past.insert(id);
                    return self.remove(entry);
                }
            }
            Saved::Failed => {
                row.dirty = true;
                row.not_before = Some(now + RETRY);
            }
            Saved::Taken => {
                self.remove(entry);
                // Whoever has it open keeps it; it comes with the next picture.
                let is_this =
                    |stage: &Stage| matches!(stage, Stage::Open { entry: own, .. } if *own == entry);
                let matter = self.matters.iter().find(|(_, stage)| is_this(stage));
                if let Some(matter) = matter.map(|(matter, _)| matter.clone()) {
                    self.take(&matter);
                }
                return;
            }
        }
        self.plan(now, entry);
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant, now_ms: i64) {
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, matter)) = self.due.pop_first() else { break };
            match self.matters.remove(&matter) {
                Some(Stage::Pending { finding, times, .. }) if self.rows.len() < MAX_OPEN => {
                    let entry = self.add(now, Row::raised(finding, now_ms));
                    self.put(matter, Stage::Open { entry, clears_at: None, times });
                }
                Some(Stage::Open { entry, times, .. }) => {
                    self.clear(now, entry, now_ms);
                    self.rest(now, matter, times + 1);
                }
                Some(Stage::Pending { .. } | Stage::Resting { .. }) | None => {}
            }
        }
        while self.writes.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, entry)) = self.writes.pop_first() else { break };
            let Some(row) = self.rows.get_mut(&entry) else { continue };
            row.planned = None;
            if let Some(latest) = row.latest.take() {
                row.tell(latest);
            }
            if row.dirty {
                (row.dirty, row.in_flight) = (false, true);
                row.not_before = Some(now + UPDATE);
                self.outputs.push(Output::Save { entry, alarm: Box::new(row.alarm.clone()) });
            }
        }
    }

    /// When something is due next.
    pub(crate) fn next(&self) -> Option<Instant> {
        let due = self.due.first().map(|(at, _)| *at);
        let write = self.writes.first().map(|(at, _)| *at);
        [due, write].into_iter().flatten().min()
    }

    pub(crate) fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// The alarms that are open.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Alarm> {
        self.rows.values().map(|row| &row.alarm).filter(|alarm| alarm.is_active())
    }

    /// Whether an alarm is open.
    pub(crate) fn has_open(&self, alarm: AlarmId) -> bool {
        let row = self.numbered.get(&alarm).and_then(|entry| self.rows.get(entry));
        row.is_some_and(|row| row.alarm.is_active())
    }

    fn found(&mut self, now: Instant, matter: Matter, finding: Finding) {
        match self.matters.get_mut(&matter) {
            None => self.begin(now, matter, finding, 0),
            Some(Stage::Resting { times, .. }) => {
                let times = *times;
                self.begin(now, matter, finding, times);
            }
            Some(Stage::Pending { finding: old, due, paused, times }) => {
                let times = *times;
                let anew = now + raise_after(finding.kind, self.grace);
                let at = match *paused {
                    // A better name may need less patience, never more.
                    None if old.kind != finding.kind => anew.min(*due),
                    None => *due,
                    // What could not be told does not count, and is forgotten before long.
                    Some(since) if now > since + self.grace => anew,
                    Some(since) => *due + now.saturating_duration_since(since),
                };
                if at == *due && paused.is_none() {
                    *old = finding;
                } else {
                    self.put(matter, Stage::Pending { finding, due: at, paused: None, times });
                }
            }
            Some(Stage::Open { entry, clears_at, .. }) => {
                let entry = *entry;
                if let Some(at) = clears_at.take() {
                    self.due.remove(&(at, matter));
                }
                let Some(row) = self.rows.get_mut(&entry) else { return };
                if row.alarm.kind != finding.kind {
                    row.latest = None;
                    row.tell(finding);
                    row.not_before = None;
                } else {
                    row.latest = (!row.says(&finding)).then_some(finding);
                }
                self.plan(now, entry);
            }
        }
    }

    fn begin(&mut self, now: Instant, matter: Matter, finding: Finding, times: u32) {
        let due = now + raise_after(finding.kind, self.grace);
        self.put(matter, Stage::Pending { finding, due, paused: None, times });
    }

    fn not_found(&mut self, now: Instant, matter: Matter, is_frozen: bool) {
        match self.matters.get_mut(&matter) {
            Some(Stage::Pending { due, paused, .. }) if is_frozen => {
                paused.get_or_insert(now);
                self.due.remove(&(*due, matter));
            }
            Some(Stage::Pending { times, .. }) => {
                let times = *times;
                self.take(&matter);
                self.rest(now, matter, times);
            }
            Some(Stage::Open { clears_at, .. }) if is_frozen => {
                if let Some(at) = clears_at.take() {
                    self.due.remove(&(at, matter));
                }
            }
            Some(Stage::Open { clears_at: clears_at @ None, times, .. }) => {
                let at = now + self.grace * 2_u32.pow((*times).min(MOST_DAMPED));
                *clears_at = Some(at);
                self.due.insert((at, matter));
            }
            _ => {}
        }
    }

    /// Remembers for a while that it was an alarm.
    fn rest(&mut self, now: Instant, matter: Matter, times: u32) {
        if times > 0 && self.matters.len() < MAX_OPEN {
            self.put(matter, Stage::Resting { until: now + self.grace * RESTS, times });
        }
    }

    fn put(&mut self, matter: Matter, stage: Stage) {
        self.take(&matter);
        if let Some(at) = stage.moves_on_at() {
            self.due.insert((at, matter.clone()));
        }
        self.matters.insert(matter, stage);
    }

    fn take(&mut self, matter: &Matter) -> Option<Stage> {
        let (matter, stage) = self.matters.remove_entry(matter)?;
        if let Some(at) = stage.moves_on_at() {
            self.due.remove(&(at, matter));
        }
        Some(stage)
    }

    fn add(&mut self, now: Instant, row: Row) -> Entry {
        self.last_entry += 1;
        let entry = Entry(self.last_entry);
        if !row.is_new() {
            self.numbered.insert(row.alarm.id, entry);
        }
        self.rows.insert(entry, row);
        self.plan(now, entry);
        entry
    }

    fn remove(&mut self, entry: Entry) {
        if let Some(row) = self.rows.remove(&entry) {
            self.numbered.remove(&row.alarm.id);
            if let Some(at) = row.planned {
                self.writes.remove(&(at, entry));
            }
        }
    }

    /// Plans the writing of a row, when there is something to write.
    fn plan(&mut self, now: Instant, entry: Entry) {
        let Some(row) = self.rows.get_mut(&entry) else { return };
        let planned = row.waits().then(|| row.not_before.map_or(now, |at| at.max(now)));
        if row.planned == planned {
            return;
        }
        if let Some(old) = std::mem::replace(&mut row.planned, planned) {
            self.writes.remove(&(old, entry));
        }
        self.writes.extend(planned.map(|at| (at, entry)));
    }

    fn clear(&mut self, now: Instant, entry: Entry, now_ms: i64) {
        let Some(row) = self.rows.get_mut(&entry) else { return };
        row.alarm.cleared_at = Some(now_ms.max(row.alarm.raised_at));
        row.latest = None;
        row.dirty = true;
        row.not_before = None;
        self.plan(now, entry);
    }
}

impl Stage {
    fn moves_on_at(&self) -> Option<Instant> {
        match self {
            Stage::Pending { due, paused, .. } => paused.is_none().then_some(*due),
            Stage::Open { clears_at, .. } => *clears_at,
            Stage::Resting { until, .. } => Some(*until),
        }
    }

    /// Whether it stands for something that was found and not yet gone.
    fn is_told(&self) -> bool {
        !matches!(self, Stage::Resting { .. })
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

/// How soon a save that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long the text of an alarm that changes stays at least.
const UPDATE: Duration = Duration::from_secs(60);
/// How long it is remembered that a matter was an alarm, in graces: an hour when the grace is 30 s.
const RESTS: u32 = 120;
/// A matter that comes and goes must be gone for two graces, four, eight and so on to this power of two before it is cleared.
const MOST_DAMPED: u32 = 5;
/// Alarms that may be open, or wait to be written, at a time.
const MAX_OPEN: usize = 10_000;
/// Alarms of the past that are removed at a time.
const FORGOTTEN_AT_ONCE: usize = 100;

#[cfg(test)]
mod tests;
