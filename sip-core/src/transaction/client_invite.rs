//! The INVITE client machine (RFC 3261 §17.1.1, RFC 6026 §7.2).

use std::time::Instant;

use bytes::Bytes;

use super::step::{Backoff, Pace, Step, Tell, due, earliest};
use super::{Failure, answer};
use crate::wire::header::Reason;
use crate::wire::{Message, StatusCode};

#[derive(Debug)]
pub(super) enum InviteClient {
    /// The INVITE is out and nothing came back.
    Calling {
        request: Message,
        /// Timer A.
        again: Option<Backoff>,
        /// Timer B.
        give_up_at: Instant,
        /// A CANCEL may not be sent before a provisional response (RFC 3261 §9.1).
        cancel: Option<Message>,
    },
    /// A provisional response came.
    Proceeding {
        request: Message,
        /// Once cancelled, a final response must come in 64 × T1 (RFC 3261 §9.1). Else the user decides (timer C).
        give_up_at: Option<Instant>,
    },
    /// A final response other than 2xx came; its retransmissions are acknowledged.
    Completed {
        ack: Bytes,
        /// Timer D.
        until: Instant,
    },
    /// A 2xx came; more may come, from the same peer or from other branches of a fork.
    Accepted {
        /// Timer M.
        until: Instant,
    },
}

use InviteClient::{Accepted, Calling, Completed, Proceeding};

impl InviteClient {
    pub(super) fn start(now: Instant, pace: &Pace, request: Message) -> Step<InviteClient> {
        let bytes = request.bytes().clone();
        let again = Backoff::start(now, pace);
        Step::to(Calling { request, again, give_up_at: now + pace.long(), cancel: None }).send(bytes)
    }

    pub(super) fn response(self, now: Instant, pace: &Pace, response: &Message) -> Step<InviteClient> {
        let status = response.status().unwrap_or(StatusCode::TRYING);
        match self {
            Calling { request, cancel, .. } if status.is_provisional() => {
                let give_up_at = cancel.is_some().then(|| now + pace.long());
                Step::to(Proceeding { request, give_up_at }).cancel(cancel).tell(Tell::Message)
            }
            Proceeding { .. } if status.is_provisional() => Step::to(self).tell(Tell::Message),
            Calling { .. } | Proceeding { .. } if status.is_success() => {
                Step::to(Accepted { until: now + pace.long() }).tell(Tell::Message)
            }
            Calling { request, .. } | Proceeding { request, .. } => {
                let ack = answer::ack(&request, response).bytes().clone();
                let until = pace.absorb(TIMER_D.max(pace.long())).map(|span| now + span);
                let next = until.map(|until| Completed { ack: ack.clone(), until });
                Step::linger(next).send(ack).tell(Tell::Message)
            }
            Completed { ref ack, .. } if status.is_final() && !status.is_success() => {
                let ack = ack.clone();
                Step::to(self).send(ack)
            }
            // Another branch of a fork has answered after a failure was accepted for the whole.
            Completed { .. } if status.is_success() => Step::to(self).tell(Tell::Stray),
            Accepted { .. } if status.is_success() => Step::to(self).tell(Tell::Message),
            Completed { .. } | Accepted { .. } => Step::to(self),
        }
    }

    pub(super) fn cancel(self, now: Instant, pace: &Pace, reason: Option<&Reason>) -> Step<InviteClient> {
        match self {
            Calling { request, again, give_up_at, cancel } => {
                let cancel = cancel.or_else(|| Some(answer::cancel(&request, reason)));
                Step::to(Calling { request, again, give_up_at, cancel })
            }
            Proceeding { request, give_up_at: None } => {
                let cancel = answer::cancel(&request, reason);
                Step::to(Proceeding { request, give_up_at: Some(now + pace.long()) }).cancel(Some(cancel))
            }
            other => Step::to(other),
        }
    }

    pub(super) fn timer(self, now: Instant, _pace: &Pace) -> Step<InviteClient> {
        match self {
            Calling { give_up_at, .. } if give_up_at <= now => {
                Step::end().tell(Tell::Failed(Failure::TimedOut))
            }
            Calling { request, again, give_up_at, cancel } => match due(again, now) {
                Some(backoff) => {
                    let bytes = request.bytes().clone();
                    // Timer A doubles without a cap (RFC 3261 §17.1.1.2).
                    let again = Some(backoff.after(now, std::time::Duration::MAX));
                    Step::to(Calling { request, again, give_up_at, cancel }).send(bytes)
                }
                None => Step::to(Calling { request, again, give_up_at, cancel }),
            },
            Proceeding { give_up_at: Some(at), .. } if at <= now => {
                Step::end().tell(Tell::Failed(Failure::TimedOut))
            }
            Completed { until, .. } | Accepted { until } if until <= now => Step::end(),
            other => Step::to(other),
        }
    }

    /// What was to be sent could not be sent, or the connection is gone (RFC 3261 §17.1.4).
    pub(super) fn transport_failed(self) -> Step<InviteClient> {
        match self {
            Calling { .. } => Step::end().tell(Tell::Failed(Failure::Transport)),
            // The ACK is lost; the user already has the final response.
            Completed { .. } => Step::end(),
            // Nothing was being sent: the response may still come, over another connection (RFC 3261 §18.2.2).
            other => Step::to(other),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Calling { again, give_up_at, .. } => Some(earliest(*give_up_at, *again)),
            Proceeding { give_up_at, .. } => *give_up_at,
            Completed { until, .. } | Accepted { until } => Some(*until),
        }
    }
}

/// Timer D: at least 32 s (RFC 3261 §17.1.1.2).
const TIMER_D: std::time::Duration = std::time::Duration::from_secs(32);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::machine_tests::{Clock, Script, invite, response};

    fn start(clock: &Clock) -> Script<InviteClient> {
        Script::new(InviteClient::start(clock.now(), &clock.pace, invite()))
    }

    /// RFC 3261 §17.1.1.2: timer A at T1, 3 T1, 7 T1, …, timer B at 64 T1: seven INVITEs in all.
    #[test]
    fn unanswered_over_udp() {
        let mut clock = Clock::udp();
        let mut script = start(&clock);
        assert!(script.sent("INVITE"));
        let mut at = Vec::new();
        while let Some(deadline) = script.machine().and_then(InviteClient::deadline) {
            clock.move_to(deadline);
            script.step(|machine| machine.timer(clock.now(), &clock.pace));
            if script.sent("INVITE") {
                at.push(clock.elapsed_ms());
            }
        }
        assert_eq!(at, [500, 1_500, 3_500, 7_500, 15_500, 31_500]);
        assert_eq!((clock.elapsed_ms(), script.told), (32_000, Tell::Failed(Failure::TimedOut)));
    }

    #[test]
    fn unanswered_over_tcp_is_sent_once() {
        let mut clock = Clock::tcp();
        let mut script = start(&clock);
        clock.move_to(script.machine().unwrap().deadline().unwrap());
        script.step(|machine| machine.timer(clock.now(), &clock.pace));
        assert_eq!((clock.elapsed_ms(), script.told), (32_000, Tell::Failed(Failure::TimedOut)));
        assert!(script.machine().is_none());
    }

    #[test]
    fn a_provisional_response_ends_retransmission() {
        let clock = Clock::udp();
        let mut script = start(&clock);
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(180)));
        assert_eq!(script.told, Tell::Message);
        assert_eq!(script.machine().unwrap().deadline(), None);
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(183)));
        assert_eq!(script.told, Tell::Message);
    }

    #[test]
    fn a_failure_is_acknowledged_again_and_again_until_timer_d() {
        let mut clock = Clock::udp();
        let mut script = start(&clock);
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(486)));
        assert!(script.sent("ACK"));
        assert_eq!(script.told, Tell::Message);
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(486)));
        assert!(script.sent("ACK"));
        assert_eq!(script.told, Tell::Nothing);
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(180)));
        assert!(!script.sent("ACK"));
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(200)));
        assert_eq!(script.told, Tell::Stray);
        clock.advance_ms(32_000);
        script.step(|machine| machine.timer(clock.now(), &clock.pace));
        assert!(script.machine().is_none());
    }

    #[test]
    fn a_failure_over_tcp_ends_at_once() {
        let clock = Clock::tcp();
        let mut script = start(&clock);
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(603)));
        assert!(script.sent("ACK"));
        assert!(script.machine().is_none());
    }

    /// RFC 6026 §7.2: every 2xx goes to the user until timer M; the layer acknowledges none.
    #[test]
    fn accepted_passes_every_2xx() {
        let mut clock = Clock::udp();
        let mut script = start(&clock);
        for _ in 0..3 {
            script.step(|machine| machine.response(clock.now(), &clock.pace, &response(200)));
            assert_eq!(script.told, Tell::Message);
            assert!(!script.sent("ACK"));
        }
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(486)));
        assert_eq!(script.told, Tell::Nothing);
        clock.advance_ms(31_999);
        script.step(|machine| machine.timer(clock.now(), &clock.pace));
        assert!(script.machine().is_some());
        clock.advance_ms(1);
        script.step(|machine| machine.timer(clock.now(), &clock.pace));
        assert!(script.machine().is_none());
    }

    /// RFC 3261 §9.1: a CANCEL waits for a provisional response, and its INVITE is given up 64 T1 later.
    #[test]
    fn cancel_waits_for_a_provisional_response_and_then_64_t1() {
        let mut clock = Clock::udp();
        let mut script = start(&clock);
        script.step(|machine| machine.cancel(clock.now(), &clock.pace, None));
        assert!(script.cancel.is_none());
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(100)));
        assert!(script.cancel.is_some());
        script.step(|machine| machine.cancel(clock.now(), &clock.pace, None));
        assert!(script.cancel.is_none(), "one CANCEL is enough");
        clock.advance_ms(32_000);
        script.step(|machine| machine.timer(clock.now(), &clock.pace));
        assert_eq!(script.told, Tell::Failed(Failure::TimedOut));
    }

    #[test]
    fn cancel_after_the_answer_does_nothing() {
        let clock = Clock::udp();
        let mut script = start(&clock);
        script.step(|machine| machine.cancel(clock.now(), &clock.pace, None));
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(200)));
        assert!(script.cancel.is_none());
        script.step(|machine| machine.cancel(clock.now(), &clock.pace, None));
        assert!(script.cancel.is_none());
    }

    /// RFC 3261 §17.1.4: a transport error ends a transaction that waits for a final response.
    #[test]
    fn transport_failure_by_state() {
        let clock = Clock::udp();
        let mut script = start(&clock);
        script.step(InviteClient::transport_failed);
        assert_eq!(script.told, Tell::Failed(Failure::Transport));
        assert!(script.machine().is_none());

        let mut script = start(&clock);
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(180)));
        script.step(InviteClient::transport_failed);
        assert!(script.machine().is_some());
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(486)));
        script.step(InviteClient::transport_failed);
        assert_eq!(script.told, Tell::Nothing);
        assert!(script.machine().is_none());
    }
}
