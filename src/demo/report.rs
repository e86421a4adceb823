//! What came of the demo, for people and for machines.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use schema::CallRecord;
use serde::Serialize;
use user_agent::DirectionReport;

use super::stage::Stage;

/// The demo's result.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether all was as it should be.
    pub(super) ok: bool,
    /// Lines with a binding, as the registrar says.
    pub(super) phones_registered: usize,
    /// Every call.
    pub(super) calls: Vec<Outcome>,
}

/// What became of one call.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    kind: &'static str,
    /// Whether it was as it should be.
    pub(super) ok: bool,
    result: &'static str,
    expected: &'static str,
    /// From the INVITE to the answer.
    set_up_ms: Option<f64>,
    /// Per direction: what was sent and what arrived.
    media: BTreeMap<&'static str, DirectionReport>,
    /// The id of the call record that agrees with it.
    call_record: Option<String>,
    /// What was not as it should be.
    pub(super) problems: Vec<String>,
    #[serde(skip)]
    record: RecordExpected,
}

/// The call record that must be there.
#[derive(Debug)]
pub(super) struct RecordExpected {
    pub(super) direction: &'static str,
    pub(super) called: String,
    pub(super) result: &'static str,
}

impl Report {
    /// Compares the calls with the platform's own records, and sums up.
    pub(super) async fn new(stage: &Stage, mut calls: Vec<Outcome>) -> anyhow::Result<Report> {
        let deadline = Instant::now() + RECORD_PATIENCE;
        let mut records = stage.call_records().await?;
        while records.len() < calls.len() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
            records = stage.call_records().await?;
        }
        let surplus = records.len().saturating_sub(calls.len());
        for call in &mut calls {
            call.take_record(&mut records);
            call.judge();
        }
        if let (1.., Some(last)) = (surplus, calls.last_mut()) {
            last.fail(format!("{surplus} call records too many: a call was recorded twice"));
            last.judge();
        }
        let phones_registered = stage.registered();
        let ok = calls.iter().all(|call| call.ok) && phones_registered == PHONES;
        Ok(Report { ok, phones_registered, calls })
    }

    /// For people.
    pub(super) fn summary(&self) -> String {
        let mut text = format!("\n{} phones registered\n", self.phones_registered);
        for call in &self.calls {
            // Writing to a String cannot fail.
            let _ =
                writeln!(text, "{} {:<14} {}", if call.ok { "ok  " } else { "FAIL" }, call.kind, call.line());
        }
        text.push_str(if self.ok { "all as it should be" } else { "NOT as it should be" });
        text
    }
}

impl Outcome {
    pub(super) fn new(kind: &'static str, expected: &'static str, record: RecordExpected) -> Outcome {
        Outcome {
            kind,
            ok: false,
            result: "failed",
            expected,
            set_up_ms: None,
            media: BTreeMap::new(),
            call_record: None,
            problems: Vec::new(),
            record,
        }
    }

    pub(super) fn result(&mut self, result: &'static str) {
        self.result = result;
    }

    pub(super) fn set_up(&mut self, time: Option<Duration>) {
        self.set_up_ms = time.map(|time| (time.as_secs_f64() * 100_000.0).round() / 100.0);
    }

    pub(super) fn fail(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Notes one direction of the media, and what is wrong with it.
    pub(super) fn direction(&mut self, name: &'static str, packets: u64, report: DirectionReport) {
        let plain = name.replace('_', " ");
        if report.sent != packets {
            self.fail(format!("{plain}: {} packets sent, {packets} expected", report.sent));
        }
        if report.corrupted > 0 {
            self.fail(format!("{plain}: {} payloads were changed on the way", report.corrupted));
        }
        if report.lost > 0 || report.duplicate > 0 {
            self.fail(format!("{plain}: {} packets lost, {} repeated", report.lost, report.duplicate));
        }
        if !report.from_sender {
            self.fail(format!("{plain}: packets of a stranger arrived, or none"));
        }
        self.media.insert(name, report);
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let mut text = self.result.to_owned();
        if let Some(ms) = self.set_up_ms {
            let _ = write!(text, ", set up in {ms} ms");
        }
        for (name, report) in &self.media {
            let mos = report.mos.map_or_else(|| "-".to_owned(), |mos| format!("{mos:.2}"));
            let name = name.replace('_', " ");
            let _ = write!(
                text,
                "; {name}: {} sent, {} received, {} lost, MOS {mos}",
                report.sent, report.received, report.lost
            );
        }
        for problem in &self.problems {
            let _ = write!(text, "\n     ! {problem}");
        }
        text
    }

    /// Takes the record that agrees with this call out of `records`.
    fn take_record(&mut self, records: &mut Vec<CallRecord>) {
        let RecordExpected { direction, called, result } = &self.record;
        let agrees = |record: &CallRecord| {
            record.direction.as_str() == *direction
                && record.callee == *called
                && record.result.as_str() == *result
        };
        match records.iter().position(agrees) {
            Some(at) => self.call_record = Some(records.swap_remove(at).id),
            None => self.fail(format!("no call record says {direction}, {called}, {result}")),
        }
    }

    fn judge(&mut self) {
        if self.result != self.expected && self.problems.is_empty() {
            let problem = format!("{} instead of {}", self.result, self.expected);
            self.fail(problem);
        }
        self.ok = self.problems.is_empty();
    }
}

/// The phones that must be registered.
const PHONES: usize = 12;
/// How long after the last call its record may take.
const RECORD_PATIENCE: Duration = Duration::from_secs(5);
