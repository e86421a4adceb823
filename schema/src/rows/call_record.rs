use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::words::{UnknownWord, words};
use super::{InvalidRow, LineId, TrunkId, check_text, ensure};

/// What stays of a call: written exactly once, for failed calls too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The call's id, unique over all nodes; a second record of the same id is ignored.
    pub id: String,
    /// The node that carried it.
    pub node: String,
    /// When it began, in milliseconds since 1970.
    pub started_at: i64,
    /// When it was answered, in milliseconds since 1970.
    pub answered_at: Option<i64>,
    /// When it ended, in milliseconds since 1970.
    pub ended_at: Option<i64>,
    /// Who called.
    pub caller: String,
    /// Who was called, as dialled.
    pub callee: String,
    /// Which way it went.
    pub direction: Direction,
    /// The line that called, or was called from a trunk.
    pub line: Option<LineId>,
    /// The trunk that it went over or came from.
    pub trunk: Option<TrunkId>,
    /// What became of it.
    pub result: CallResult,
    /// The final SIP status that the caller got, when there was one.
    pub status: Option<u16>,
    /// Why it ended so, in words.
    pub reason: String,
    /// Who ended it.
    pub ended_by: Option<EndedBy>,
    /// The media statistics of each leg, as the translator writes them.
    pub media: serde_json::Value,
    /// The Call-IDs of its legs, the caller's first: its messages are found by them.
    pub call_ids: Vec<String>,
    /// One sentence on why it ended so: which leg, which hop, which rule or peer said so. Empty when there is no more to say than `reason`.
    pub explanation: String,
}

impl CallRecord {
    /// Whether the record may be stored.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub fn check(&self) -> Result<(), InvalidRow> {
        ensure(!self.id.is_empty(), "call record id", "", "use the call's id")?;
        check_text("call record id", &self.id, 256)?;
        check_text("call record node", &self.node, 128)?;
        check_text("call record caller", &self.caller, 1024)?;
        check_text("call record callee", &self.callee, 1024)?;
        check_text("call record reason", &self.reason, 512)?;
        check_text("call record explanation", &self.explanation, 1024)?;
        ensure(self.call_ids.len() <= 64, "call record Call-IDs", "", "use at most 64")?;
        self.call_ids.iter().try_for_each(|id| check_text("call record Call-ID", id, 256))?;
        let media = self.media.to_string();
        ensure(media.len() <= 64 * 1024, "call record media", "", "use at most 64 KiB of JSON")?;
        ensure(!media.contains("\\u0000"), "call record media", "", "leave NUL characters out")
    }

    /// How long the call was up, in milliseconds; nothing when it was never answered or has not ended.
    pub fn talked_ms(&self) -> Option<i64> {
        Some((self.ended_at? - self.answered_at?).max(0))
    }
}

words!(
    /// Which way a call went.
    Direction {
        /// From a line to a line.
        Internal = "internal",
        /// From a line to a trunk.
        Outbound = "outbound",
        /// From a trunk to a line.
        Inbound = "inbound",
    }
);

words!(
    /// What became of a call.
    CallResult {
        /// It was answered.
        Answered = "answered",
        /// The called party was busy.
        Busy = "busy",
        /// Nobody answered in time.
        NoAnswer = "no_answer",
        /// The caller gave up.
        Cancelled = "cancelled",
        /// The platform, the network or the other side failed.
        Failed = "failed",
        /// The called party or a rule said no.
        Rejected = "rejected",
    }
);

words!(
    /// Who ended a call.
    EndedBy {
        /// The caller.
        Caller = "caller",
        /// The called party.
        Callee = "callee",
        /// The platform: a time-out, a drain, a limit.
        Platform = "platform",
    }
);
