//! The non-INVITE client machine (RFC 3261 §17.1.2).

use std::time::Instant;

use super::Failure;
use super::step::{Backoff, Pace, Step, Tell, due, earliest};
use crate::wire::{Message, StatusCode};

#[derive(Debug)]
pub(super) enum OtherClient {
    /// The request is out and nothing came back.
    Trying(Waiting),
    /// A provisional response came; the request goes on being sent, at T2.
    Proceeding(Waiting),
    /// The final response came; its retransmissions are absorbed.
    Completed {
        /// Timer K.
        until: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Waiting {
    request: Message,
    /// Timer E.
    again: Option<Backoff>,
    /// Timer F.
    give_up_at: Instant,
}

use OtherClient::{Completed, Proceeding, Trying};

impl OtherClient {
    pub(super) fn start(now: Instant, pace: &Pace, request: Message) -> Step<OtherClient> {
        let bytes = request.bytes().clone();
        let again = Backoff::start(now, pace);
        Step::to(Trying(Waiting { request, again, give_up_at: now + pace.long() })).send(bytes)
    }

    pub(super) fn response(self, now: Instant, pace: &Pace, response: &Message) -> Step<OtherClient> {
        let provisional = response.status().is_none_or(StatusCode::is_provisional);
        match self {
            Trying(mut waiting) if provisional => {
                // From now on every T2 (RFC 3261 §17.1.2.2).
                waiting.again = waiting.again.map(|_| Backoff::every(now, pace.t2));
                Step::to(Proceeding(waiting)).tell(Tell::Message)
            }
            Proceeding(_) if provisional => Step::to(self).tell(Tell::Message),
            Trying(_) | Proceeding(_) => {
                let until = pace.absorb(pace.t4).map(|span| now + span);
                Step::linger(until.map(|until| Completed { until })).tell(Tell::Message)
            }
            Completed { .. } => Step::to(self),
        }
    }

    pub(super) fn timer(self, now: Instant, pace: &Pace) -> Step<OtherClient> {
        match self {
            Trying(waiting) => waiting.timer(now, pace).map(Trying),
            Proceeding(waiting) => waiting.timer(now, pace).map(Proceeding),
            Completed { until } if until <= now => Step::end(),
            Completed { .. } => Step::to(self),
        }
    }

    /// What was to be sent could not be sent, or the connection is gone (RFC 3261 §17.1.4).
    pub(super) fn transport_failed(self) -> Step<OtherClient> {
        match self {
            Trying(_) | Proceeding(_) => Step::end().tell(Tell::Failed(Failure::Transport)),
            Completed { .. } => Step::to(self),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Trying(waiting) | Proceeding(waiting) => Some(earliest(waiting.give_up_at, waiting.again)),
            Completed { until } => Some(*until),
        }
    }
}

impl Waiting {
    fn timer(mut self, now: Instant, pace: &Pace) -> Step<Waiting> {
        if self.give_up_at <= now {
            return Step::end().tell(Tell::Failed(Failure::TimedOut));
        }
        match due(self.again, now) {
            Some(backoff) => {
                self.again = Some(backoff.after(now, pace.t2));
                let bytes = self.request.bytes().clone();
                Step::to(self).send(bytes)
            }
            None => Step::to(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::machine_tests::{Clock, Script, options, response};

    fn start(clock: &Clock) -> Script<OtherClient> {
        Script::new(OtherClient::start(clock.now(), &clock.pace, options()))
    }

    /// Runs to the end and gives when the request went out again, in ms.
    fn run(script: &mut Script<OtherClient>, clock: &mut Clock) -> Vec<u128> {
        let mut at = Vec::new();
        while let Some(deadline) = script.machine().and_then(OtherClient::deadline) {
            clock.move_to(deadline);
            script.step(|machine| machine.timer(clock.now(), &clock.pace));
            if script.sent("OPTIONS") {
                at.push(clock.elapsed_ms());
            }
        }
        at
    }

    /// RFC 3261 §17.1.2.2: timer E doubles up to T2, timer F at 64 T1: eleven requests in all.
    #[test]
    fn unanswered_over_udp() {
        let mut clock = Clock::udp();
        let mut script = start(&clock);
        let at = run(&mut script, &mut clock);
        assert_eq!(at, [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
        assert_eq!((clock.elapsed_ms(), script.told), (32_000, Tell::Failed(Failure::TimedOut)));
    }

    #[test]
    fn unanswered_over_tcp_is_sent_once() {
        let mut clock = Clock::tcp();
        let mut script = start(&clock);
        assert!(run(&mut script, &mut clock).is_empty());
        assert_eq!((clock.elapsed_ms(), script.told), (32_000, Tell::Failed(Failure::TimedOut)));
    }

    #[test]
    fn a_provisional_response_slows_retransmission_down() {
        let mut clock = Clock::udp();
        let mut script = start(&clock);
        clock.advance_ms(100);
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(100)));
        assert_eq!(script.told, Tell::Message);
        let at = run(&mut script, &mut clock);
        assert_eq!(at, [4_100, 8_100, 12_100, 16_100, 20_100, 24_100, 28_100]);
    }

    #[test]
    fn absorbs_further_responses_until_timer_k() {
        let mut clock = Clock::udp();
        let mut script = start(&clock);
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(200)));
        assert_eq!(script.told, Tell::Message);
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(200)));
        assert_eq!(script.told, Tell::Nothing);
        run(&mut script, &mut clock);
        assert_eq!(clock.elapsed_ms(), 5_000);
    }

    #[test]
    fn over_tcp_the_answer_is_the_end() {
        let clock = Clock::tcp();
        let mut script = start(&clock);
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(404)));
        assert!(script.machine().is_none());
    }

    #[test]
    fn transport_failure_by_state() {
        let clock = Clock::udp();
        let mut script = start(&clock);
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(100)));
        script.step(OtherClient::transport_failed);
        assert_eq!(script.told, Tell::Failed(Failure::Transport));

        let mut script = start(&clock);
        script.step(|machine| machine.response(clock.now(), &clock.pace, &response(200)));
        script.step(OtherClient::transport_failed);
        assert!(script.machine().is_some());
    }
}
