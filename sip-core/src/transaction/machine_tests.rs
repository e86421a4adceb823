//! What the machines' unit tests share: a clock moved by hand, and a script that remembers one machine's last step.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Settings;
use super::step::{Pace, Step, Tell};
use crate::wire::{Limits, Message};

pub(super) struct Clock {
    start: Instant,
    now: Instant,
    pub(super) pace: Pace,
}

impl Clock {
    pub(super) fn udp() -> Clock {
        Clock::new(false)
    }

    pub(super) fn tcp() -> Clock {
        Clock::new(true)
    }

    fn new(reliable: bool) -> Clock {
        let now = Instant::now();
        Clock { start: now, now, pace: Pace::new(&Settings::default(), reliable) }
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn move_to(&mut self, now: Instant) {
        assert!(now > self.now, "a deadline that does not move would spin");
        self.now = now;
    }

    pub(super) fn advance_ms(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    pub(super) fn elapsed_ms(&self) -> u128 {
        (self.now - self.start).as_millis()
    }
}

pub(super) struct Script<M> {
    machine: Option<M>,
    sent: Option<Bytes>,
    pub(super) cancel: Option<Message>,
    pub(super) told: Tell,
}

impl<M> Script<M> {
    pub(super) fn new(step: Step<M>) -> Script<M> {
        Script { machine: step.next, sent: step.send, cancel: step.cancel, told: step.tell }
    }

    pub(super) fn step(&mut self, step: impl FnOnce(M) -> Step<M>) {
        *self = Script::new(step(self.machine.take().expect("the machine is still running")));
    }

    pub(super) fn machine(&self) -> Option<&M> {
        self.machine.as_ref()
    }

    /// Whether the last step sent something that begins so.
    pub(super) fn sent(&self, prefix: &str) -> bool {
        self.sent.as_ref().is_some_and(|bytes| bytes.starts_with(prefix.as_bytes()))
    }
}

pub(super) fn invite() -> Message {
    request("INVITE")
}

pub(super) fn options() -> Message {
    request("OPTIONS")
}

fn request(method: &str) -> Message {
    parse(format!(
        "{method} sip:101@s042.example.net SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKx;rport\r\n\
         Route: <sip:[2001:db8::2];lr>\r\nMax-Forwards: 70\r\nFrom: <sip:102@s042.example.net>;tag=f\r\n\
         To: <sip:101@s042.example.net>\r\nCall-ID: c\r\nCSeq: 7 {method}\r\nContent-Length: 0\r\n\r\n"
    ))
}

pub(super) fn response(code: u16) -> Message {
    parse(format!(
        "SIP/2.0 {code} X\r\nVia: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKx;rport\r\n\
         From: <sip:102@s042.example.net>;tag=f\r\nTo: <sip:101@s042.example.net>;tag=t\r\nCall-ID: c\r\n\
         CSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n"
    ))
}

pub(super) fn parse(text: String) -> Message {
    Message::parse(Bytes::from(text), &Limits::default()).expect("a test's message is well-formed")
}
