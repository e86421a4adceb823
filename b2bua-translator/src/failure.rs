//! How failures and causes pass from one leg to the other.

use schema::CallResult;
use sip_core::wire::header::Reason;
use sip_core::wire::{Message, StatusCode};

/// The reasons of a message that may pass to the other leg: SIP and Q.850 with a cause of their range, one of each.
///
/// Texts are cut and kept to printable ASCII: they are shown to people on the other side.
pub(crate) fn reasons(message: &Message) -> Vec<Reason> {
    let mut kept: Vec<Reason> = Vec::new();
    for reason in message.all::<Reason>().flatten() {
        let protocol = if reason.protocol.eq_ignore_ascii_case("SIP") {
            "SIP"
        } else if reason.protocol.eq_ignore_ascii_case("Q.850") {
            "Q.850"
        } else {
            continue;
        };
        let range = if protocol == "SIP" { 200..=699 } else { 1..=127 };
        let sane = reason.cause.filter(|cause| range.contains(cause));
        if sane.is_none() || kept.iter().any(|other| other.protocol == protocol) {
            continue;
        }
        let text = reason.text.map(|text| {
            text.chars().filter(|c| c.is_ascii() && !c.is_ascii_control()).take(MAX_TEXT).collect::<String>()
        });
        kept.push(Reason {
            protocol: protocol.into(),
            cause: sane,
            text: text.filter(|text| !text.is_empty()),
        });
    }
    kept
}

/// The Q.850 cause among some reasons.
pub(crate) fn q850(reasons: &[Reason]) -> Option<u16> {
    reasons.iter().find(|reason| reason.protocol == "Q.850").and_then(|reason| reason.cause)
}

/// The failure that some reasons name as a SIP status.
pub(crate) fn status_in(reasons: &[Reason]) -> Option<StatusCode> {
    let cause = reasons.iter().find(|reason| reason.protocol == "SIP").and_then(|reason| reason.cause)?;
    StatusCode::new(cause).filter(|status| status.class() >= 4)
}

/// What becomes of a final failure of the called side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The called party or its network has spoken: the caller gets this status.
    Final(StatusCode),
    /// Only this gateway failed: another may do better, and if none is left the caller gets this status.
    TryNext(StatusCode),
}

/// Judges a final failure response to the INVITE. `ringing`: whether the called party was reached before.
///
/// A gateway that has only one status for everything says in Q.850 what it means (RFC 3398 §8.2.6.1).
pub(crate) fn judge(status: StatusCode, cause: Option<u16>, ringing: bool) -> Verdict {
    let spoken = cause.and_then(status_of_cause);
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::SERVER_INTERNAL_ERROR => match spoken {
            Some(meant) => Verdict::Final(meant),
            None if status == StatusCode::SERVICE_UNAVAILABLE => Verdict::TryNext(status),
            None => Verdict::Final(status),
        },
        StatusCode::REQUEST_TIMEOUT if !ringing => Verdict::TryNext(StatusCode::SERVICE_UNAVAILABLE),
        // Credentials and redirections are between us and the gateway: the caller can do nothing with them.
        StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Verdict::Final(StatusCode::BAD_GATEWAY)
        }
        status if status.class() == 3 => Verdict::Final(StatusCode::BAD_GATEWAY),
        status => Verdict::Final(status),
    }
}

/// What a cause says of the called party (RFC 3398 §8.2.6.1); `None` for causes that speak of the network.
pub(crate) fn status_of_cause(cause: u16) -> Option<StatusCode> {
    Some(match cause {
        1 => StatusCode::NOT_FOUND,
        17 => StatusCode::BUSY_HERE,
        18 => StatusCode::REQUEST_TIMEOUT,
        19 | 20 => StatusCode::TEMPORARILY_UNAVAILABLE,
        21 => StatusCode::FORBIDDEN,
        22 => StatusCode::GONE,
        28 => StatusCode::ADDRESS_INCOMPLETE,
        _ => return None,
    })
}

/// The word for the call record. A caller who gives up is not told apart here: a 487 that nobody asked for is a failure.
pub(crate) fn result_of(status: StatusCode) -> CallResult {
    match status {
        status if status.is_success() => CallResult::Answered,
        StatusCode::BUSY_HERE | StatusCode::BUSY_EVERYWHERE => CallResult::Busy,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TEMPORARILY_UNAVAILABLE => CallResult::NoAnswer,
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

/// Characters of a reason's text that pass.
const MAX_TEXT: usize = 64;

#[cfg(test)]
mod tests {
    use sip_core::wire::{Builder, Method, Name};

    use super::*;

    #[test]
    fn only_sane_reasons_pass() {
        let bye = Builder::request(&Method::Bye, "sip:a@192.0.2.1")
            .header(Name::Reason, "Q.850;cause=16;text=\"Normal call clearing\", SIP;cause=200")
            .header(Name::Reason, "Q.850;cause=17, X;cause=1, SIP;cause=99999, garbage=;;")
            .finish();
        let passed: Vec<String> = reasons(&bye).iter().map(Reason::to_string).collect();
        assert_eq!(passed, ["Q.850;cause=16;text=\"Normal call clearing\"", "SIP;cause=200"]);
        assert_eq!(q850(&reasons(&bye)), Some(16));
        let bad = Builder::request(&Method::Bye, "sip:a@192.0.2.1")
            .header(Name::Reason, "Q.850;cause=500")
            .finish();
        assert!(reasons(&bad).is_empty());
    }

    #[test]
    fn failures_are_judged() {
        let status = |code| StatusCode::new(code).unwrap();
        for (code, cause, ringing, wanted) in [
            (486, None, false, Verdict::Final(status(486))),
            (603, Some(21), true, Verdict::Final(status(603))),
            (503, None, false, Verdict::TryNext(status(503))),
            (503, Some(34), false, Verdict::TryNext(status(503))),
            (503, Some(17), false, Verdict::Final(status(486))),
            (500, Some(1), false, Verdict::Final(status(404))),
            (500, None, false, Verdict::Final(status(500))),
            (408, None, false, Verdict::TryNext(status(503))),
            (408, None, true, Verdict::Final(status(408))),
            (407, None, false, Verdict::Final(status(502))),
            (302, None, false, Verdict::Final(status(502))),
        ] {
            assert_eq!(judge(status(code), cause, ringing), wanted, "{code} {cause:?} {ringing}");
        }
    }
}
