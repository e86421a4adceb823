//! One alarm as it is and as it should be written.

use std::time::Instant;

use schema::{Alarm, AlarmId, AlarmKind};

use crate::findings::Finding;

#[derive(Debug)]
pub(super) struct Row {
    pub(super) alarm: Alarm,
    /// Whether what is written is older.
    pub(super) dirty: bool,
    pub(super) in_flight: bool,
    /// Not before this time: after a failure, and so that a text that changes often is not written often.
    pub(super) not_before: Option<Instant>,
    /// What it should say when it may be written.
    pub(super) latest: Option<Finding>,
    /// When its writing is planned, while it is.
    pub(super) planned: Option<Instant>,
}

impl Row {
    pub(super) fn raised(finding: Finding, now_ms: i64) -> Row {
        let Finding { kind, site, subject, cause, remedy, details } = finding;
        let alarm = Alarm {
            site: Some(site),
            details,
            ..Alarm::new(kind, &subject, &shortened(&cause), &shortened(&remedy), now_ms)
        };
        Row { dirty: true, ..Row::stored(alarm) }
    }

    pub(super) fn stored(alarm: Alarm) -> Row {
        Row { alarm, dirty: false, in_flight: false, not_before: None, latest: None, planned: None }
    }

    /// Whether there is something to write and nothing under way.
    pub(super) fn waits(&self) -> bool {
        !self.in_flight && (self.dirty || self.latest.is_some())
    }

    /// Whether the store has never had it.
    pub(super) fn is_new(&self) -> bool {
        self.alarm.id == AlarmId::NEW
    }

    pub(super) fn says(&self, finding: &Finding) -> bool {
        self.alarm.kind == finding.kind
            && self.alarm.cause == shortened(&finding.cause)
            && self.alarm.details == finding.details
    }

    /// Says it as it looks now.
    pub(super) fn tell(&mut self, finding: Finding) {
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

/// Bytes of a text; the store takes 1,024.
const MAX_TEXT: usize = 1_000;
