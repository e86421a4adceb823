//! The non-INVITE server machine (RFC 3261 §17.2.2).

use std::time::Instant;

use bytes::Bytes;

use super::Failure;
use super::step::{Pace, Step, Tell};
use crate::wire::StatusCode;

#[derive(Debug)]
pub(super) enum OtherServer {
    /// The user has the request and has said nothing.
    Trying,
    /// A provisional response is out, and is sent again when the request comes again.
    Proceeding { last: Bytes },
    /// The final response is out, and is sent again when the request comes again.
    Completed {
        response: Bytes,
        /// Timer J.
        until: Instant,
    },
}

use OtherServer::{Completed, Proceeding, Trying};

impl OtherServer {
    pub(super) fn start() -> OtherServer {
        Trying
    }

    /// The request came again.
    pub(super) fn repeated(self) -> Step<OtherServer> {
        let send = match &self {
            Trying => None,
            Proceeding { last: response } | Completed { response, .. } => Some(response.clone()),
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
            Trying | Proceeding { .. } if status.is_provisional() => {
                Step::to(Proceeding { last: response.clone() }).send(response)
            }
            Trying | Proceeding { .. } => {
                let until = pace.absorb(pace.long()).map(|span| now + span);
                let next = until.map(|until| Completed { response: response.clone(), until });
                Step::linger(next).send(response)
            }
            Completed { .. } => Step::to(self),
        }
    }

    pub(super) fn timer(self, now: Instant) -> Step<OtherServer> {
        match self {
            Completed { until, .. } if until <= now => Step::end(),
            other => Step::to(other),
        }
    }

    /// A response could not be sent: the user is told, and the state stays (RFC 6026 §8.8).
    pub(super) fn transport_failed(self) -> Step<OtherServer> {
        Step::to(self).tell(Tell::Failed(Failure::Transport))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Trying | Proceeding { .. } => None,
            Completed { until, .. } => Some(*until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::machine_tests::{Clock, Script};

    fn start() -> Script<OtherServer> {
        Script::new(Step::to(OtherServer::start()))
    }

    fn respond(script: &mut Script<OtherServer>, clock: &Clock, code: u16) {
        let status = StatusCode::new(code).unwrap();
        script.step(|machine| {
            machine.respond(clock.now(), &clock.pace, status, Bytes::from(format!("SIP/2.0 {code}")))
        });
    }

    #[test]
    fn a_repeated_request_gets_the_latest_response() {
        let clock = Clock::udp();
        let mut script = start();
        script.step(OtherServer::repeated);
        assert!(!script.sent("SIP/2.0"));
        respond(&mut script, &clock, 100);
        script.step(OtherServer::repeated);
        assert!(script.sent("SIP/2.0 100"));
        respond(&mut script, &clock, 200);
        respond(&mut script, &clock, 500);
        assert!(!script.sent("SIP/2.0"), "the first final response stands");
        script.step(OtherServer::repeated);
        assert!(script.sent("SIP/2.0 200"));
    }

    #[test]
    fn ends_with_timer_j() {
        let mut clock = Clock::udp();
        let mut script = start();
        respond(&mut script, &clock, 200);
        clock.move_to(script.machine().unwrap().deadline().unwrap());
        assert_eq!(clock.elapsed_ms(), 32_000);
        script.step(|machine| machine.timer(clock.now()));
        assert!(script.machine().is_none());
    }

    #[test]
    fn over_tcp_the_answer_is_the_end() {
        let clock = Clock::tcp();
        let mut script = start();
        respond(&mut script, &clock, 200);
        assert!(script.sent("SIP/2.0 200"));
        assert!(script.machine().is_none());
    }

    #[test]
    fn a_transport_failure_is_told_and_changes_nothing() {
        let mut script = start();
        script.step(OtherServer::transport_failed);
        assert_eq!(script.told, Tell::Failed(Failure::Transport));
        assert!(script.machine().is_some());
    }
}
