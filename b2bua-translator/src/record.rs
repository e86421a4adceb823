//! The call record: what stays of a call.

use schema::{CallRecord, CallResult, Direction, EndedBy, LineId, TrunkId};

/// A record that is being written.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) id: String,
    pub(crate) node: String,
    pub(crate) started_at: i64,
    pub(crate) answered_at: Option<i64>,
    pub(crate) caller: String,
    pub(crate) callee: String,
    pub(crate) direction: Direction,
    pub(crate) line: Option<LineId>,
    pub(crate) trunk: Option<TrunkId>,
    /// The final status that the caller got.
    pub(crate) status: Option<u16>,
    /// Statistics, one entry a media session that the call had.
    pub(crate) media: Vec<serde_json::Value>,
    /// The Call-IDs of its legs, the caller's first.
    pub(crate) call_ids: Vec<String>,
    /// How it ended, once it has.
    pub(crate) ending: Option<Ending>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) at: i64,
    pub(crate) result: CallResult,
    pub(crate) reason: String,
    pub(crate) by: EndedBy,
}

impl Draft {
    /// The finished record. Only the first ending counts, so a call that was answered stays answered.
    pub(crate) fn finish(mut self) -> CallRecord {
        let media = match self.media.len() {
            0 => serde_json::Value::Null,
            1 => self.media.pop().unwrap_or_default(),
            _ => serde_json::Value::Array(self.media),
        };
        let (ended_at, result, reason, ended_by) = match self.ending {
            Some(ending) => (Some(ending.at), ending.result, ending.reason, Some(ending.by)),
            None => (None, CallResult::Failed, String::new(), None),
        };
        CallRecord {
            id: self.id,
            node: self.node,
            started_at: self.started_at,
            answered_at: self.answered_at,
            ended_at,
            caller: clean(&self.caller),
            callee: clean(&self.callee),
            direction: self.direction,
            line: self.line,
            trunk: self.trunk,
            result,
            status: self.status,
            reason: clean(&reason),
            ended_by,
            media,
            call_ids: self.call_ids.iter().take(MOST_LEGS).map(|id| bounded(id, MOST_CALL_ID)).collect(),
            explanation: String::new(),
        }
    }
}

/// More legs than a call has on its way through every gateway of every trunk.
const MOST_LEGS: usize = 64;
/// Longer Call-IDs are cut: the store takes no more.
const MOST_CALL_ID: usize = 256;

/// The store refuses control characters and long texts; parties choose these texts.
fn clean(text: &str) -> String {
    bounded(text, 128)
}

fn bounded(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}
