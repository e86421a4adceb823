//! Calls that are up: what a draining worker waits for, and the call records of calls that no translator sees.
//!
//! A call is kept from its 2xx to its BYE. Where the BYE never comes, it is closed as lost after a bound.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use schema::{CallRecord, CallResult, EndedBy};
use sip_core::wire::{Message, StatusCode};

use crate::session_timer;

/// Names a dialog from whichever side a request comes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CallKey {
    call_id: String,
    tags: (String, String),
}

impl CallKey {
    /// The dialog of a message that has both tags.
    pub(crate) fn of(message: &Message) -> Option<CallKey> {
        let (from, to) = (message.from_tag()?, message.to_tag()?);
        let tags = if from <= to { (from, to) } else { (to, from) };
        Some(CallKey { call_id: message.call_id().ok()?.to_owned(), tags })
    }
}

/// The calls of one worker.
#[derive(Debug)]
pub(crate) struct CallTable {
    calls: HashMap<CallKey, Call>,
    /// When each is given up, the first one first.
    deadlines: BTreeMap<(Instant, u64), CallKey>,
    next: u64,
    limit: usize,
    lifetime: Duration,
}

#[derive(Debug)]
struct Call {
    deadline: (Instant, u64),
    /// How long it is kept without a sign of life.
    lifetime: Duration,
    caller_tag: String,
    /// What will be written; `None` for a call whose translator writes it.
    record: Option<Box<CallRecord>>,
}

impl CallTable {
    pub(crate) fn new(limit: usize, lifetime: Duration) -> CallTable {
        CallTable { calls: HashMap::new(), deadlines: BTreeMap::new(), next: 0, limit, lifetime }
    }

    /// How many calls are up.
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// A call was answered. Gives the record back at once when the table is full and nobody would see the call's end.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        response: &Message,
        record: Option<CallRecord>,
    ) -> Option<CallRecord> {
        let (Some(key), Some(caller_tag)) = (CallKey::of(response), response.from_tag()) else {
            return record;
        };
        if self.calls.len() >= self.limit || self.calls.contains_key(&key) {
            return record
                .map(|record| CallRecord { reason: "The end was not observed".to_owned(), ..record });
        }
        let lifetime = self.of_session(session_timer::lifetime(response));
        let deadline = self.deadline(now + lifetime);
        self.deadlines.insert(deadline, key.clone());
        self.calls.insert(key, Call { deadline, lifetime, caller_tag, record: record.map(Box::new) });
        None
    }

    /// A 2xx in the dialog gave its session another lifetime (RFC 4028 §8).
    pub(crate) fn refreshed(&mut self, now: Instant, response: &Message, session: Duration) {
        let lifetime = self.of_session(Some(session));
        if let Some(call) = CallKey::of(response).and_then(|key| self.calls.get_mut(&key)) {
            call.lifetime = lifetime;
            self.touch(now, response);
        }
    }

    /// The call gave a sign of life.
    pub(crate) fn touch(&mut self, now: Instant, request: &Message) {
        let Some(key) = CallKey::of(request) else { return };
        let Some(lifetime) = self.calls.get(&key).map(|call| call.lifetime) else { return };
        let fresh = self.deadline(now + lifetime);
        if let Some(call) = self.calls.get_mut(&key) {
            self.deadlines.remove(&call.deadline);
            call.deadline = fresh;
            self.deadlines.insert(fresh, key);
        }
    }

    /// A BYE passed: gives the record to write, if there is one.
    pub(crate) fn ended(&mut self, unix_ms: i64, bye: &Message) -> Option<CallRecord> {
        let key = CallKey::of(bye)?;
        let call = self.calls.remove(&key)?;
        self.deadlines.remove(&call.deadline);
        let by_caller = bye.from_tag().is_some_and(|tag| tag == call.caller_tag);
        let ended_by = Some(if by_caller { EndedBy::Caller } else { EndedBy::Callee });
        call.record.map(|record| CallRecord { ended_at: Some(unix_ms), ended_by, ..*record })
    }

    /// The records of calls that are lost by now.
    pub(crate) fn lost(&mut self, now: Instant, unix_ms: i64) -> Vec<CallRecord> {
        let mut lost = Vec::new();
        while let Some(entry) = self.deadlines.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let record = self.calls.remove(&entry.remove()).and_then(|call| call.record);
            lost.extend(record.map(|record| closed_by_us(*record, unix_ms, "Lost: no BYE was seen")));
        }
        lost
    }

    /// The records of all calls: the node stops and will not see their ends.
    pub(crate) fn cut(&mut self, unix_ms: i64) -> Vec<CallRecord> {
        self.deadlines.clear();
        let records = self.calls.drain().filter_map(|(_, call)| call.record);
        records
            .map(|record| closed_by_us(*record, unix_ms, "The node stopped before the call's end"))
            .collect()
    }

    /// When [`lost`](CallTable::lost) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first_key_value().map(|((at, _), _)| *at)
    }

    /// A session that nobody refreshed in time is over (RFC 4028 §10), a while after both ends should have said BYE.
    fn of_session(&self, session: Option<Duration>) -> Duration {
        session.map_or(self.lifetime, |session| self.lifetime.min(session + SESSION_MARGIN))
    }

    fn deadline(&mut self, at: Instant) -> (Instant, u64) {
        self.next += 1;
        (at, self.next)
    }
}

fn closed_by_us(record: CallRecord, unix_ms: i64, reason: &str) -> CallRecord {
    CallRecord {
        ended_at: Some(unix_ms),
        ended_by: Some(EndedBy::Platform),
        reason: reason.to_owned(),
        ..record
    }
}

/// What the caller's final status says about a call that was not answered.
pub(crate) fn result_of(status: StatusCode) -> CallResult {
    match status {
        status if status.is_success() => CallResult::Answered,
        StatusCode::BUSY_HERE | StatusCode::BUSY_EVERYWHERE => CallResult::Busy,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TEMPORARILY_UNAVAILABLE => CallResult::NoAnswer,
        StatusCode::REQUEST_TERMINATED => CallResult::Cancelled,
        // As the translator has it: the called party or a rule said no.
        StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::GONE
        | StatusCode::ADDRESS_INCOMPLETE
        | StatusCode::NOT_ACCEPTABLE_HERE
        | StatusCode::DECLINE
        | StatusCode::DOES_NOT_EXIST_ANYWHERE
        | StatusCode::NOT_ACCEPTABLE_ANYWHERE => CallResult::Rejected,
        _ => CallResult::Failed,
    }
}

/// More than a BYE and its retransmissions take.
const SESSION_MARGIN: Duration = Duration::from_secs(64);

#[cfg(test)]
mod tests {
    use schema::Direction;
    use sip_core::wire::{Builder, Method, Name};

    use super::*;

    fn record() -> CallRecord {
        CallRecord {
            id: "c1".to_owned(),
            node: "node1".to_owned(),
            started_at: 0,
            answered_at: Some(1),
            ended_at: None,
            caller: "101@s1.example.net".to_owned(),
            callee: "102".to_owned(),
            direction: Direction::Internal,
            line: None,
            trunk: None,
            result: CallResult::Answered,
            status: Some(200),
            reason: String::new(),
            ended_by: None,
            media: serde_json::Value::Null,
            call_ids: Vec::new(),
            explanation: String::new(),
        }
    }

    fn bye(call_id: &str, from: &str, to: &str) -> Message {
        Builder::request(&Method::Bye, "sip:a@b")
            .header(Name::From, format_args!("<sip:a@b>;tag={from}"))
            .header(Name::To, format_args!("<sip:b@b>;tag={to}"))
            .header(Name::CallId, call_id)
            .finish()
    }

    #[test]
    fn a_call_ends_once_and_from_either_side() {
        let now = Instant::now();
        let mut table = CallTable::new(10, Duration::from_secs(60));
        assert_eq!(table.answered(now, &bye("x", "a", "b"), Some(record())), None);
        assert_eq!(table.ended(5, &bye("x", "a", "c")), None);
        let ended = table.ended(5, &bye("x", "b", "a")).unwrap();
        assert_eq!((ended.ended_at, ended.ended_by), (Some(5), Some(EndedBy::Callee)));
        assert_eq!(table.ended(5, &bye("x", "b", "a")), None);
        assert_eq!((table.len(), table.next_deadline()), (0, None));
    }

    #[test]
    fn a_lost_call_is_closed_later_when_it_gave_signs_of_life() {
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let mut table = CallTable::new(10, minute);
        table.answered(now, &bye("x", "a", "b"), Some(record()));
        table.touch(now + minute / 2, &bye("x", "b", "a"));
        assert!(table.lost(now + minute, 7).is_empty());
        let lost = table.lost(now + minute * 3 / 2, 7);
        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].ended_by, Some(EndedBy::Platform));
        assert_eq!(table.len(), 0);
    }

    /// RFC 4028 §8: a session whose interval has passed without a refresh is forgotten.
    #[test]
    fn a_session_that_nobody_refreshes_is_lost_sooner() {
        let (now, seconds) = (Instant::now(), Duration::from_secs);
        let mut table = CallTable::new(10, seconds(12 * 3600));
        let with = |call_id, expires: u32| {
            bye(call_id, "a", "b").edit().append(Name::SessionExpires, expires).finish()
        };
        table.answered(now, &with("x", 600), Some(record()));
        assert!(table.lost(now + seconds(660), 7).is_empty());
        table.refreshed(now + seconds(300), &with("x", 900), seconds(900));
        table.touch(now + seconds(400), &bye("x", "b", "a"));
        assert!(table.lost(now + seconds(400 + 900), 7).is_empty());
        assert_eq!(table.lost(now + seconds(400 + 900 + 64), 7).len(), 1);
        // Never later than any other call.
        table.answered(now, &with("y", u32::MAX), Some(record()));
        assert_eq!(table.next_deadline(), Some(now + seconds(12 * 3600)));
    }

    #[test]
    fn a_stopping_node_closes_every_record() {
        let now = Instant::now();
        let mut table = CallTable::new(10, Duration::from_secs(60));
        table.answered(now, &bye("x", "a", "b"), Some(record()));
        table.answered(now, &bye("y", "a", "b"), None);
        let cut = table.cut(9);
        assert_eq!(
            cut.iter().map(|record| (record.ended_at, record.ended_by)).collect::<Vec<_>>(),
            [(Some(9), Some(EndedBy::Platform))]
        );
        assert_eq!((table.len(), table.next_deadline()), (0, None));
    }

    #[test]
    fn a_full_table_gives_the_record_back() {
        let now = Instant::now();
        let mut table = CallTable::new(1, Duration::from_secs(60));
        assert!(table.answered(now, &bye("x", "a", "b"), Some(record())).is_none());
        assert!(table.answered(now, &bye("y", "a", "b"), Some(record())).is_some());
        assert!(table.answered(now, &bye("z", "a", "b"), None).is_none());
    }
}
