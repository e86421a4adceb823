//! Reliable provisional responses on one dialog (RFC 3262): those that we send, and the order of those that we get.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sip_core::wire::header::{RAck, RSeq, Require, TokenList};
use sip_core::wire::{Message, Method, Name};

use super::peer::RELIABLE;

/// The reliable provisional responses that we send as the server of an INVITE (RFC 3262 §3). One is under way at a time; the
/// others wait for its PRACK.
#[derive(Debug, Clone)]
pub(crate) struct Reliable {
    /// The number of the next response.
    next: u32,
    sent: Option<Sent>,
    queue: VecDeque<Message>,
    /// A final response is out: nothing is sent again, but a PRACK that comes late is still taken.
    stopped: bool,
}

#[derive(Debug, Clone)]
struct Sent {
    number: u32,
    response: Message,
    interval: Duration,
    next_at: Instant,
    gives_up_at: Instant,
}

/// What a PRACK did.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    /// Whether the response that it acknowledges held a session description.
    pub(crate) had_body: bool,
    /// What may be sent now.
    pub(crate) next: Option<Message>,
}

/// What the retransmission timer wants.
#[derive(Debug)]
pub(crate) enum Due {
    Nothing,
    Again(Message),
    /// No PRACK came in 64 × T1 (RFC 3262 §3).
    GaveUp,
}

impl Reliable {
    /// Nothing sent yet. `seed`: the first number is chosen by chance from 1 to 2³¹ − 1 (RFC 3262 §3).
    pub(crate) fn new(seed: u64) -> Reliable {
        let next = (seed % (u64::from(MAX_FIRST))) as u32 + 1;
        Reliable { next, sent: None, queue: VecDeque::new(), stopped: false }
    }

    /// Takes a provisional response without Require and RSeq; gives what to send now, with them.
    pub(crate) fn send(&mut self, now: Instant, t1: Duration, response: Message) -> Option<Message> {
        if self.stopped || self.queue.len() >= MAX_QUEUE {
            return None;
        }
        if self.sent.is_some() {
            self.queue.push_back(response);
            return None;
        }
        Some(self.begin(now, t1, response))
    }

    /// Takes a PRACK; `None` when it acknowledges nothing that is under way (481).
    pub(crate) fn acknowledge(&mut self, now: Instant, t1: Duration, rack: &RAck) -> Option<Acknowledged> {
        let sent = self.sent.take_if(|sent| is_for(rack, sent))?;
        let next = self.queue.pop_front().map(|response| self.begin(now, t1, response));
        Some(Acknowledged { had_body: !sent.response.body().is_empty(), next })
    }

    /// Whether a 2xx must wait: a description is under way or waits, and has not been acknowledged (RFC 3262 §3).
    pub(crate) fn holds_answer(&self) -> bool {
        let sent = self.sent.iter().map(|sent| &sent.response);
        !self.stopped && sent.chain(&self.queue).any(|response| !response.body().is_empty())
    }

    /// A final response goes out.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.queue.clear();
    }

    /// When the response is sent again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.sent.as_ref().filter(|_| !self.stopped).map(|sent| sent.next_at)
    }

    /// What there is to do now.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        let Some(sent) = self.sent.as_mut().filter(|sent| !self.stopped && sent.next_at <= now) else {
            return Due::Nothing;
        };
        if sent.gives_up_at <= now {
            self.sent = None;
            self.stop();
            return Due::GaveUp;
        }
        // RFC 3262 §3: the interval doubles for each retransmission, and has no cap.
        sent.interval *= 2;
        sent.next_at = (now + sent.interval).min(sent.gives_up_at);
        Due::Again(sent.response.clone())
    }

    fn begin(&mut self, now: Instant, t1: Duration, response: Message) -> Message {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        let response =
            response.edit().append(Name::Require, RELIABLE).append(Name::RSeq, RSeq(number)).finish();
        self.sent = Some(Sent {
            number,
            response: response.clone(),
            interval: t1,
            next_at: now + t1,
            gives_up_at: now + t1 * 64,
        });
        response
    }
}

fn is_for(rack: &RAck, sent: &Sent) -> bool {
    let cseq = sent.response.cseq();
    rack.rseq == sent.number
        && rack.method == Method::Invite
        && cseq.is_ok_and(|cseq| cseq.number == rack.cseq)
}

/// The order of the reliable provisional responses of one early dialog, at the client (RFC 3262 §4).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Heard(Option<u32>);

impl Heard {
    /// Whether a response is the next one. One that came before, or that left another out, is dropped.
    pub(crate) fn is_next(&mut self, number: u32) -> bool {
        let next = self.0.is_none_or(|last| last.checked_add(1) == Some(number));
        if next {
            self.0 = Some(number);
        }
        next
    }
}

/// What a PRACK of ours says to a provisional response; `None` when that is not sent reliably.
pub(crate) fn rack_of(response: &Message) -> Option<RAck> {
    let required = response.all::<Require>().flatten().any(|required| required.is(RELIABLE));
    let rseq = response.header::<RSeq>().ok().flatten().filter(|_| required)?;
    let cseq = response.cseq().ok()?;
    Some(RAck { rseq: rseq.0, cseq: cseq.number, method: cseq.method })
}

/// RFC 3262 §3: the first number is below 2³¹.
const MAX_FIRST: u32 = i32::MAX as u32;
/// Provisional responses that wait for the PRACK of the one before.
const MAX_QUEUE: usize = 16;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sip_core::wire::{Builder, StatusCode};

    use super::*;

    const T1: Duration = Duration::from_millis(500);

    fn response(body: bool) -> Message {
        let builder = Builder::response(StatusCode::SESSION_PROGRESS, None).header(Name::CSeq, "7 INVITE");
        if body { builder.body("application/sdp", Bytes::from_static(b"v=0\r\n")) } else { builder }.finish()
    }

    fn number(message: &Message) -> u32 {
        message.header::<RSeq>().unwrap().unwrap().0
    }

    fn rack(rseq: u32) -> RAck {
        RAck { rseq, cseq: 7, method: Method::Invite }
    }

    /// RFC 3262 §3: a provisional response is sent again after T1, 2 T1, 4 T1, … and given up after 64 T1.
    #[test]
    fn it_is_sent_again_until_it_is_acknowledged() {
        let start = Instant::now();
        let mut reliable = Reliable::new(41);
        let sent = reliable.send(start, T1, response(true)).unwrap();
        assert_eq!((number(&sent), sent.text(Name::Require)), (42, Some("100rel")));
        let mut at = Vec::new();
        let gave_up = loop {
            let now = reliable.deadline().unwrap();
            match reliable.due(now) {
                Due::Again(again) => {
                    assert_eq!(again.bytes(), sent.bytes());
                    at.push((now - start).as_millis() / 500);
                }
                Due::GaveUp => break now,
                Due::Nothing => panic!(),
            }
        };
        assert_eq!(at, [1, 3, 7, 15, 31, 63]);
        assert_eq!(gave_up - start, T1 * 64);
        assert!(reliable.deadline().is_none());
    }

    /// RFC 3262 §3: the next reliable provisional response waits for the PRACK of the one before, and is numbered one higher.
    /// RFC 3262 §3: a 2xx waits for the PRACK of a provisional response that held a description.
    #[test]
    fn the_next_one_waits() {
        let now = Instant::now();
        let mut reliable = Reliable::new(0);
        let first = reliable.send(now, T1, response(false)).unwrap();
        assert!(reliable.send(now, T1, response(true)).is_none());
        assert!(reliable.holds_answer(), "a description waits");
        assert!(reliable.acknowledge(now, T1, &rack(number(&first) + 1)).is_none());
        assert!(reliable.acknowledge(now, T1, &RAck { cseq: 8, ..rack(number(&first)) }).is_none());
        let acknowledged = reliable.acknowledge(now, T1, &rack(number(&first))).unwrap();
        assert!(!acknowledged.had_body);
        let second = acknowledged.next.unwrap();
        assert_eq!(number(&second), number(&first) + 1);
        assert!(reliable.holds_answer());
        assert!(reliable.acknowledge(now, T1, &rack(number(&first))).is_none(), "once only");
        assert!(reliable.acknowledge(now, T1, &rack(number(&second))).unwrap().had_body);
        assert!(!reliable.holds_answer() && reliable.deadline().is_none());
    }

    #[test]
    fn after_the_final_response_only_late_pracks_are_taken() {
        let now = Instant::now();
        let mut reliable = Reliable::new(0);
        let first = reliable.send(now, T1, response(false)).unwrap();
        reliable.send(now, T1, response(false));
        reliable.stop();
        assert!(reliable.deadline().is_none() && !reliable.holds_answer());
        assert!(reliable.acknowledge(now, T1, &rack(number(&first))).unwrap().next.is_none());
        assert!(reliable.send(now, T1, response(false)).is_none());
    }

    /// RFC 3262 §4: a response out of order is neither acknowledged nor taken.
    #[test]
    fn the_order_at_the_client() {
        let mut heard = Heard::default();
        assert!(heard.is_next(10));
        assert!(!heard.is_next(10) && !heard.is_next(12) && !heard.is_next(9));
        assert!(heard.is_next(11));
    }

    #[test]
    fn what_is_not_required_is_not_acknowledged() {
        let plain = response(false);
        assert!(rack_of(&plain).is_none());
        let numbered = plain.edit().append(Name::RSeq, "5").finish();
        assert!(rack_of(&numbered).is_none());
        let reliable = numbered.edit().append(Name::Require, "100rel").finish();
        assert_eq!(rack_of(&reliable), Some(RAck { rseq: 5, cseq: 7, method: Method::Invite }));
    }
}
