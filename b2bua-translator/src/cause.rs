//! Why a call ends.

use node::explain::Fact;
use schema::{CallResult, EndedBy};
use sip_core::wire::StatusCode;
use sip_core::wire::header::Reason;

use crate::failure;
use crate::question::Side;

/// Why a call ends.
#[derive(Debug)]
pub(crate) struct Cause {
    pub(crate) result: CallResult,
    pub(crate) by: EndedBy,
    /// In words, for the record.
    pub(crate) words: String,
    /// For the other side's BYE or CANCEL.
    pub(crate) reasons: Vec<Reason>,
    /// What happened, and on which side, where that is more than the rest says.
    pub(crate) fact: Option<(Option<Side>, Fact)>,
}

impl Cause {
    /// A party hung up.
    pub(crate) fn hung_up(side: Side, reasons: Vec<Reason>) -> Cause {
        let by = match side {
            Side::Caller => EndedBy::Caller,
            Side::Callee => EndedBy::Callee,
        };
        let words = reasons.first().map_or_else(|| "hung up".to_owned(), Reason::to_string);
        Cause { result: CallResult::Answered, by, words, reasons, fact: None }
    }

    /// The call was never answered, and the caller got this status.
    pub(crate) fn failed(status: StatusCode, by: EndedBy, words: impl Into<String>) -> Cause {
        Cause { result: failure::result_of(status), by, words: words.into(), reasons: Vec::new(), fact: None }
    }

    /// We end an answered call that neither party asked to end.
    pub(crate) fn ours(words: &str, reason: Reason) -> Cause {
        Cause {
            result: CallResult::Answered,
            by: EndedBy::Platform,
            words: words.to_owned(),
            reasons: vec![reason],
            fact: None,
        }
    }

    /// A side does not know the call any more (RFC 3261 §12.2.1.2).
    pub(crate) fn lost(side: Side, status: StatusCode) -> Cause {
        let reason = Reason::sip(status.code(), status.reason());
        Cause::ours("the other side lost the call", reason).on(side, Fact::Lost(status.code()))
    }

    /// The same, with what happened on a side.
    pub(crate) fn on(self, side: Side, fact: Fact) -> Cause {
        Cause { fact: Some((Some(side), fact)), ..self }
    }
}
