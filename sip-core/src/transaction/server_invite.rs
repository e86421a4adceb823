//! The INVITE server machine (RFC 3261 §17.2.1, RFC 6026 §7.1).

use std::time::Instant;

use bytes::Bytes;

use super::step::{Backoff, Pace, Step, Tell, due, earliest};
use super::{Failure, Settings};
use crate::wire::StatusCode;

#[derive(Debug)]
pub(super) enum InviteServer {
    /// No final response yet.
    Proceeding {
        /// The latest provisional response, sent again when the INVITE comes again.
        last: Option<Bytes>,
        /// When the layer sends a 100 by itself.
        trying_at: Option<Instant>,
    },
    /// A final response other than 2xx is out; an ACK is awaited.
    Completed {
        response: Bytes,
        /// Timer G.
        again: Option<Backoff>,
        /// Timer H.
        give_up_at: Instant,
    },
    /// The ACK came; more of them are absorbed.
    Confirmed {
        /// Timer I.
        until: Instant,
    },
    /// A 2xx is out. The user retransmits it; INVITEs are absorbed, ACKs are the user's.
    Accepted {
        /// Timer L.
        until: Instant,
    },
}

use InviteServer::{Accepted, Completed, Confirmed, Proceeding};

impl InviteServer {
    pub(super) fn start(now: Instant, settings: &Settings) -> InviteServer {
        Proceeding { last: None, trying_at: settings.trying_after.map(|span| now + span) }
    }

    /// The INVITE came again.
    pub(super) fn repeated(self) -> Step<InviteServer> {
        let send = match &self {
            Proceeding { last, .. } => last.clone(),
            Completed { response, .. } => Some(response.clone()),
            Confirmed { .. } | Accepted { .. } => None,
        };
        Step::to(self).send_if(send)
    }

    pub(super) fn respond(
        self,
        now: Instant,
        pace: &Pace,
        status: StatusCode,
        response: Bytes,
    ) -> Step<Self> {
        match self {
            Proceeding { .. } if status.is_provisional() => {
                Step::to(Proceeding { last: Some(response.clone()), trying_at: None }).send(response)
            }
            Proceeding { .. } if status.is_success() => {
                Step::to(Accepted { until: now + pace.long() }).send(response)
            }
            Proceeding { .. } => {
                let again = Backoff::start(now, pace);
                let give_up_at = now + pace.long();
                Step::to(Completed { response: response.clone(), again, give_up_at }).send(response)
            }
            Accepted { .. } if status.is_success() => Step::to(self).send(response),
            other => Step::to(other),
        }
    }

    pub(super) fn ack(self, now: Instant, pace: &Pace) -> Step<InviteServer> {
        match self {
            Completed { .. } => {
                Step::linger(pace.absorb(pace.t4).map(|span| Confirmed { until: now + span }))
            }
            Accepted { .. } => Step::to(self).tell(Tell::Message),
            other => Step::to(other),
        }
    }

    pub(super) fn timer(self, now: Instant, pace: &Pace) -> Step<InviteServer> {
        match self {
            Proceeding { last, trying_at: Some(at) } if at <= now => {
                Step::to(Proceeding { last, trying_at: None }).tell(Tell::TryingDue)
            }
            Completed { give_up_at, .. } if give_up_at <= now => {
                Step::end().tell(Tell::Failed(Failure::TimedOut))
            }
            Completed { response, again, give_up_at } => match due(again, now) {
                Some(backoff) => {
                    let again = Some(backoff.after(now, pace.t2));
                    Step::to(Completed { response: response.clone(), again, give_up_at }).send(response)
                }
                None => Step::to(Completed { response, again, give_up_at }),
            },
            Confirmed { until } | Accepted { until } if until <= now => Step::end(),
            other => Step::to(other),
        }
    }

    /// A response could not be sent: the user is told, and the state stays (RFC 6026 §8.8).
    pub(super) fn transport_failed(self) -> Step<InviteServer> {
        match self {
            Confirmed { .. } => Step::to(self),
            other => Step::to(other).tell(Tell::Failed(Failure::Transport)),
        }
    }

    /// Whether a CANCEL still has an effect (RFC 3261 §9.2).
    pub(super) fn is_proceeding(&self) -> bool {
        matches!(self, Proceeding { .. })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Proceeding { trying_at, .. } => *trying_at,
            Completed { again, give_up_at, .. } => Some(earliest(*give_up_at, *again)),
            Confirmed { until } | Accepted { until } => Some(*until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::machine_tests::{Clock, Script};

    fn start(clock: &Clock) -> Script<InviteServer> {
        Script::new(Step::to(InviteServer::start(clock.now(), &Settings::default())))
    }

    fn respond(script: &mut Script<InviteServer>, clock: &Clock, code: u16) {
        let status = StatusCode::new(code).unwrap();
        script.step(|machine| {
            machine.respond(clock.now(), &clock.pace, status, Bytes::from(format!("SIP/2.0 {code}")))
        });
    }

    #[test]
    fn a_100_is_due_after_200_ms() {
        let mut clock = Clock::udp();
        let mut script = start(&clock);
        clock.advance_ms(199);
        script.step(|machine| machine.timer(clock.now(), &clock.pace));
        assert_eq!(script.told, Tell::Nothing);
        clock.advance_ms(1);
        script.step(|machine| machine.timer(clock.now(), &clock.pace));
        assert_eq!(script.told, Tell::TryingDue);
        assert_eq!(script.machine().unwrap().deadline(), None);
    }

    #[test]
    fn a_response_in_time_spares_the_100() {
        let clock = Clock::udp();
        let mut script = start(&clock);
        respond(&mut script, &clock, 180);
        assert_eq!(script.machine().unwrap().deadline(), None);
    }

    #[test]
    fn a_repeated_invite_gets_the_latest_response() {
        let clock = Clock::udp();
        let mut script = start(&clock);
        script.step(InviteServer::repeated);
        assert!(!script.sent("SIP/2.0"));
        respond(&mut script, &clock, 180);
        respond(&mut script, &clock, 183);
        script.step(InviteServer::repeated);
        assert!(script.sent("SIP/2.0 183"));
        respond(&mut script, &clock, 486);
        script.step(InviteServer::repeated);
        assert!(script.sent("SIP/2.0 486"));
    }

    /// Timer G doubles up to T2, timer H at 64 T1.
    #[test]
    fn a_failure_without_ack() {
        let mut clock = Clock::udp();
        let mut script = start(&clock);
        respond(&mut script, &clock, 404);
        let mut at = Vec::new();
        while let Some(deadline) = script.machine().and_then(InviteServer::deadline) {
            clock.move_to(deadline);
            script.step(|machine| machine.timer(clock.now(), &clock.pace));
            if script.sent("SIP/2.0 404") {
                at.push(clock.elapsed_ms());
            }
        }
        assert_eq!(at, [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
        assert_eq!((clock.elapsed_ms(), script.told), (32_000, Tell::Failed(Failure::TimedOut)));
    }

    #[test]
    fn a_failure_over_tcp_is_not_repeated_but_waits_for_its_ack() {
        let mut clock = Clock::tcp();
        let mut script = start(&clock);
        respond(&mut script, &clock, 404);
        clock.move_to(script.machine().unwrap().deadline().unwrap());
        assert_eq!(clock.elapsed_ms(), 32_000);
        script.step(|machine| machine.ack(clock.now(), &clock.pace));
        assert!(script.machine().is_none(), "timer I is zero");
    }

    #[test]
    fn confirmed_absorbs_acks_until_timer_i() {
        let mut clock = Clock::udp();
        let mut script = start(&clock);
        respond(&mut script, &clock, 404);
        for _ in 0..2 {
            script.step(|machine| machine.ack(clock.now(), &clock.pace));
            assert_eq!(script.told, Tell::Nothing);
        }
        script.step(InviteServer::repeated);
        assert!(!script.sent("SIP/2.0"));
        clock.advance_ms(5_000);
        script.step(|machine| machine.timer(clock.now(), &clock.pace));
        assert!(script.machine().is_none());
    }

    /// RFC 6026 §7.1: once a call is answered, its INVITE is absorbed when it comes again, and ACKs and 2xx pass.
    #[test]
    fn accepted_absorbs_invites_and_passes_acks_and_2xx() {
        let mut clock = Clock::udp();
        let mut script = start(&clock);
        for _ in 0..2 {
            respond(&mut script, &clock, 200);
            assert!(script.sent("SIP/2.0 200"));
        }
        respond(&mut script, &clock, 500);
        assert!(!script.sent("SIP/2.0"));
        script.step(InviteServer::repeated);
        assert!(!script.sent("SIP/2.0"));
        script.step(|machine| machine.ack(clock.now(), &clock.pace));
        assert_eq!(script.told, Tell::Message);
        clock.advance_ms(32_000);
        script.step(|machine| machine.timer(clock.now(), &clock.pace));
        assert!(script.machine().is_none());
    }

    #[test]
    fn a_transport_failure_is_told_and_changes_nothing() {
        let clock = Clock::udp();
        let mut script = start(&clock);
        respond(&mut script, &clock, 180);
        script.step(InviteServer::transport_failed);
        assert_eq!(script.told, Tell::Failed(Failure::Transport));
        assert!(script.machine().unwrap().is_proceeding());
    }
}
