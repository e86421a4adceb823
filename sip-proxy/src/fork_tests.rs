use sip_core::flow::{Flow, Transport};
use sip_core::wire::{Builder, Name};

use super::*;

/// A fork with a hand-moved clock that writes down what it wants.
struct Bench {
    fork: Fork,
    start: Instant,
    now: Instant,
}

impl Bench {
    /// Groups by their sizes.
    fn new(invite: bool, kind: Kind, groups: &[usize]) -> Bench {
        let (local, remote) = ("[::1]:5060".parse().unwrap(), "[::1]:6000".parse().unwrap());
        let flow = Flow { transport: Transport::Udp, local, remote, connection: None };
        let target = Target::new(None, flow, false);
        let groups = groups.iter().map(|size| vec![target.clone(); *size]).collect();
        let now = Instant::now();
        Bench { fork: Fork::new(invite, kind, groups, Timers::default()), start: now, now }
    }

    fn phones(groups: &[usize]) -> Bench {
        Bench::new(true, Kind::Phones, groups)
    }

    fn start(&mut self) -> String {
        words(self.fork.start(self.now))
    }

    fn response(&mut self, branch: usize, code: u16) -> String {
        let status = StatusCode::new(code).unwrap();
        words(self.fork.response(self.now, branch, Builder::response(status, None).finish()))
    }

    fn failed(&mut self, branch: usize, failure: Failure) -> String {
        words(self.fork.failed(self.now, branch, failure))
    }

    fn cancel(&mut self) -> String {
        words(self.fork.cancel(self.now, None))
    }

    /// Moves to the next deadline; tells the seconds since the start and what happens.
    fn wait(&mut self) -> String {
        let deadline = self.fork.deadline().unwrap();
        assert!(deadline >= self.now);
        self.now = deadline;
        let seconds = (self.now - self.start).as_secs();
        format!("{seconds}s {}", words(self.fork.tick(self.now)))
    }
}

fn words(actions: Vec<Action>) -> String {
    let words: Vec<String> = actions
        .iter()
        .map(|action| match action {
            Action::Send(branch) => format!("send {branch}"),
            Action::Cancel(branch, Some(reason)) => format!("cancel {branch} {}", reason.cause.unwrap_or(0)),
            Action::Cancel(branch, None) => format!("cancel {branch}"),
            Action::Provisional(response) => format!("pass {}", response.status().unwrap()),
            Action::Success(branch, response) => format!("pass {} of {branch}", response.status().unwrap()),
            Action::Finish(Outcome::Response(response)) => format!("end {}", response.status().unwrap()),
            Action::Finish(Outcome::Local(status, _)) => format!("end own {status}"),
            Action::FlowGone(branch) => format!("forget {branch}"),
            Action::EarlyEnded(tags, status) => format!("early {} over {status}", tags.join("+")),
        })
        .collect();
    words.join(", ")
}

/// RFC 3261 §16.7: a 100 is not forwarded; other provisional responses and every 2xx to an INVITE are, at once.
#[test]
fn one_phone_answers() {
    let mut bench = Bench::phones(&[1]);
    assert_eq!(bench.start(), "send 0");
    assert_eq!(bench.response(0, 100), "");
    assert_eq!(bench.response(0, 180), "pass 180");
    assert_eq!(bench.response(0, 200), "pass 200 of 0");
    assert_eq!(bench.response(0, 200), "pass 200 of 0");
    assert_eq!(bench.fork.deadline(), None);
}

/// RFC 3261 §16.7: a 2xx cancels the other branches, and one that crosses the CANCEL goes upstream as well.
#[test]
fn the_first_of_several_to_answer_wins() {
    let mut bench = Bench::phones(&[3, 1]);
    assert_eq!(bench.start(), "send 0, send 1, send 2");
    bench.response(1, 180);
    assert_eq!(bench.response(2, 486), "");
    assert_eq!(bench.response(0, 200), "pass 200 of 0, cancel 1 200");
    assert_eq!(bench.response(1, 487), "");
    // One that crossed the CANCEL goes upstream as well.
    assert_eq!(bench.response(1, 200), "pass 200 of 1");
}

/// RFC 3261 §16.6: targets of a lower q are tried after those of a higher one have failed, or have rung long enough.
#[test]
fn lower_preference_is_tried_after_failure_and_after_a_while() {
    let mut bench = Bench::phones(&[1, 1, 1]);
    assert_eq!(bench.start(), "send 0");
    assert_eq!(bench.response(0, 486), "send 1");
    bench.response(1, 180);
    assert_eq!(bench.wait(), "30s cancel 1 408, send 2");
    assert_eq!(bench.response(1, 487), "");
    bench.response(2, 180);
    assert_eq!(bench.response(2, 404), "end 486");
}

/// RFC 3261 §16.7: the final response is chosen when every branch has ended.
#[test]
fn the_best_response_is_awaited() {
    let mut bench = Bench::phones(&[2]);
    bench.start();
    assert_eq!(bench.response(0, 404), "");
    assert_eq!(bench.response(1, 302), "end 302");
}

/// RFC 3261 §16.7: a 6xx ends the fork: what rings is cancelled, and nobody else is tried.
#[test]
fn a_6xx_ends_it_for_all() {
    let mut bench = Bench::phones(&[2, 1]);
    bench.start();
    bench.response(1, 180);
    assert_eq!(bench.response(0, 603), "cancel 1 603");
    assert_eq!(bench.response(1, 487), "end 603");
}

/// RFC 3261 §16.7: a 503 is not forwarded as such.
/// RFC 3261 §16.9: a transport failure counts as a 503, a time-out as a 408.
#[test]
fn a_503_of_a_phone_is_not_ours() {
    let mut bench = Bench::phones(&[1]);
    bench.start();
    assert_eq!(bench.response(0, 503), "end own 500");
    let mut bench = Bench::phones(&[1]);
    bench.start();
    assert_eq!(bench.failed(0, Failure::Transport), "end own 500");
    let mut bench = Bench::phones(&[2]);
    bench.start();
    bench.response(0, 503);
    assert_eq!(bench.failed(1, Failure::TimedOut), "end own 408");
}

/// RFC 3261 §16.10: a CANCEL cancels every branch, and the caller gets a 487.
#[test]
fn the_caller_cancels() {
    let mut bench = Bench::phones(&[2, 1]);
    bench.start();
    bench.response(0, 180);
    assert_eq!(bench.cancel(), "cancel 0, cancel 1");
    assert_eq!(bench.cancel(), "");
    assert_eq!(bench.response(0, 180), "");
    assert_eq!(bench.response(0, 487), "");
    assert_eq!(bench.response(1, 486), "end own 487");
    // And one that never ends.
    let mut bench = Bench::phones(&[1]);
    bench.start();
    bench.response(0, 180);
    bench.cancel();
    assert_eq!(bench.wait(), "32s end own 487");
    assert_eq!(bench.response(0, 200), "pass 200 of 0");
}

/// RFC 3261 §16.10: a 2xx that crosses the CANCEL reaches the caller.
#[test]
fn an_answer_that_crosses_the_cancel_wins() {
    let mut bench = Bench::phones(&[2]);
    bench.start();
    bench.response(0, 180);
    bench.response(1, 180);
    assert_eq!(bench.cancel(), "cancel 0, cancel 1");
    assert_eq!(bench.response(0, 200), "pass 200 of 0");
    assert_eq!(bench.response(1, 487), "");
    assert_eq!(bench.fork.deadline(), None);
}

#[test]
fn nobody_answers() {
    let mut bench = Bench::phones(&[1]);
    bench.start();
    bench.response(0, 180);
    assert_eq!(bench.wait(), "180s cancel 0 408");
    assert_eq!(bench.response(0, 487), "end own 408");
}

/// RFC 3261 §16.8: Timer C cancels a branch without news; 101 to 199 reset it, a 100 does not.
#[test]
fn timer_c_is_reset_by_news() {
    let mut bench = Bench::phones(&[1]);
    bench.fork.timers.ring = Duration::from_secs(3600);
    bench.start();
    bench.now += Duration::from_secs(100);
    bench.response(0, 180);
    bench.now += Duration::from_secs(100);
    bench.response(0, 100);
    assert_eq!(bench.wait(), "285s cancel 0 408");
    assert_eq!(bench.wait(), "317s end own 408");
}

/// RFC 3261 §16.7: only the first 2xx to a request other than INVITE goes upstream, and nothing is cancelled.
#[test]
fn other_requests_are_not_cancelled() {
    let mut bench = Bench::new(false, Kind::Phones, &[2, 1]);
    assert_eq!(bench.start(), "send 0, send 1");
    assert_eq!(bench.fork.deadline(), None);
    assert_eq!(bench.response(0, 200), "pass 200 of 0");
    assert_eq!(bench.response(1, 200), "");
    let mut bench = Bench::new(false, Kind::Phones, &[1, 1]);
    bench.start();
    assert_eq!(bench.failed(0, Failure::TimedOut), "send 1");
    assert_eq!(bench.failed(1, Failure::TimedOut), "end own 408");
}

#[test]
fn translators_stand_in_for_each_other() {
    let gateways = || Bench::new(true, Kind::Gateways, &[1, 1, 1]);
    let mut bench = gateways();
    assert_eq!(bench.start(), "send 0");
    assert_eq!(bench.response(0, 503), "send 1");
    assert_eq!(bench.wait(), "4s cancel 1, send 2");
    assert_eq!(bench.response(2, 100), "");
    assert_eq!(bench.response(2, 486), "end 486");
    assert!(bench.fork.was_heard());
    // A clear answer is an answer.
    let mut bench = gateways();
    bench.start();
    assert_eq!(bench.response(0, 404), "end 404");
    // They are of one house, so their 503 is ours.
    let mut bench = gateways();
    bench.start();
    bench.response(0, 503);
    bench.response(1, 503);
    assert_eq!(bench.response(2, 503), "end 503");
    let mut bench = gateways();
    bench.start();
    bench.failed(0, Failure::Transport);
    assert_eq!(bench.wait(), "4s cancel 1, send 2");
    assert_eq!(bench.wait(), "8s cancel 2, end own 503");
    assert!(!bench.fork.was_heard());
    // One that woke up too late is still answered for.
    assert_eq!(bench.response(2, 200), "pass 200 of 2");
}

#[test]
fn a_translator_that_works_is_given_time() {
    let mut bench = Bench::new(true, Kind::Gateways, &[1, 1]);
    bench.start();
    bench.response(0, 100);
    assert_eq!(bench.wait(), "180s cancel 0 408");
    assert_eq!(bench.response(0, 487), "end own 408");
}

#[test]
fn nothing_to_try_is_an_end() {
    assert_eq!(Bench::phones(&[]).start(), "end own 480");
}

/// RFC 3261 §16.7: a 401 or 407 carries the challenges of every branch.
#[test]
fn challenges_are_put_together() {
    let challenge = |status, name, value: &str| Builder::response(status, None).header(name, value).finish();
    let mut bench = Bench::phones(&[3]);
    bench.start();
    let first = challenge(StatusCode::UNAUTHORIZED, Name::WwwAuthenticate, "Digest realm=\"a\"");
    let second =
        challenge(StatusCode::PROXY_AUTHENTICATION_REQUIRED, Name::ProxyAuthenticate, "Digest realm=\"b\"");
    assert!(bench.fork.response(bench.now, 0, first).is_empty());
    assert!(bench.fork.response(bench.now, 1, second).is_empty());
    bench.response(2, 180);
    let actions = bench.fork.response(bench.now, 2, Builder::response(StatusCode::BUSY_HERE, None).finish());
    let [Action::Finish(Outcome::Response(response))] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(response.status(), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(response.text(Name::WwwAuthenticate), Some("Digest realm=\"a\""));
    assert_eq!(response.text(Name::ProxyAuthenticate), Some("Digest realm=\"b\""));
}

impl Bench {
    /// A provisional response of an early dialog.
    fn early(&mut self, branch: usize, code: u16, tag: &str) -> String {
        let builder = Builder::response(StatusCode::new(code).unwrap(), None);
        let response = builder.header(Name::To, format_args!("<sip:a@b>;tag={tag}")).finish();
        words(self.fork.response(self.now, branch, response))
    }

    fn redirected(&mut self, branch: usize, groups: &[usize], rest: bool) -> String {
        let target = self.fork.target(0).unwrap().clone();
        let groups = groups.iter().map(|size| vec![target.clone(); *size]).collect();
        let rest = rest.then(|| Builder::response(StatusCode::MOVED_TEMPORARILY, None).finish());
        words(self.fork.redirected(self.now, branch, groups, rest))
    }
}

/// RFC 6228 §6: when a branch fails and others go on, its early dialogs are told to be over.
/// RFC 6228 §6: an early dialog of which the callee has said so is not told again.
#[test]
fn early_dialogs_end_one_by_one() {
    let mut bench = Bench::phones(&[3]);
    bench.start();
    assert_eq!(bench.early(0, 180, "a"), "pass 180");
    assert_eq!(bench.early(0, 183, "a2"), "pass 183");
    assert_eq!(bench.early(0, 180, "a"), "pass 180");
    bench.early(1, 183, "b");
    assert_eq!(bench.response(0, 486), "early a+a2 over 486");
    assert_eq!(bench.early(1, 199, "b"), "pass 199");
    assert_eq!(bench.response(1, 404), "");
    // The final response says it.
    bench.early(2, 180, "c");
    assert_eq!(bench.response(2, 480), "end 486");
    // The caller has given up, and waits for nothing else.
    let mut bench = Bench::phones(&[2]);
    bench.start();
    bench.early(0, 180, "a");
    bench.cancel();
    assert_eq!(bench.response(0, 487), "");
}

#[test]
fn a_peer_that_invents_tags_is_bounded() {
    let mut bench = Bench::phones(&[2]);
    bench.start();
    (0..100).for_each(|tag| drop(bench.early(0, 180, &tag.to_string())));
    assert_eq!(bench.response(0, 486), "early 0+1+2+3+4+5+6+7 over 486");
}

/// RFC 3261 §16.7: the contacts of a 3xx that the proxy follows are tried in the branch's place, and the 3xx is forgotten.
#[test]
fn a_redirection_is_followed() {
    let mut bench = Bench::phones(&[1, 1]);
    bench.start();
    assert!(bench.fork.may_redirect(0));
    assert_eq!(bench.redirected(0, &[2, 1], false), "send 2, send 3");
    assert!(!bench.fork.may_redirect(0));
    assert_eq!(bench.response(2, 486), "");
    // Then the other contacts of the 3xx, then what was of a lower preference before.
    assert_eq!(bench.response(3, 404), "send 4");
    assert_eq!(bench.response(4, 404), "send 1");
    assert_eq!(bench.response(1, 404), "end 486");
}

/// RFC 3261 §16.7: contacts that are not followed stay in the 3xx, which takes part in the choice.
#[test]
fn a_redirection_is_followed_in_part() {
    let mut bench = Bench::phones(&[1]);
    bench.start();
    assert_eq!(bench.redirected(0, &[1], true), "send 1");
    assert_eq!(bench.response(1, 486), "end 302");
    let mut bench = Bench::phones(&[1]);
    bench.start();
    bench.early(0, 180, "a");
    assert_eq!(bench.redirected(0, &[1], false), "early a over 302, send 1");
    assert_eq!(bench.response(1, 200), "pass 200 of 1");
    // Too late.
    let mut bench = Bench::phones(&[2]);
    bench.start();
    bench.cancel();
    assert!(!bench.fork.may_redirect(0));
}

/// A phone with so many flows.
fn flows(kind: Kind, count: u64) -> Bench {
    let (local, remote) = ("[::1]:5060".parse().unwrap(), "[::1]:6000".parse().unwrap());
    let target = |number: u64| {
        let connection = Some(ConnectionId(number).only());
        let flow = Flow { transport: Transport::Tcp, local, remote, connection };
        let binding = Some((schema::LineId(1), number.to_string()));
        Target { binding, ..Target::new(None, flow, false) }
    };
    let others = (1..count).map(target).collect();
    let group = vec![Target { others, ..target(0) }];
    let now = Instant::now();
    Bench { fork: Fork::new(true, kind, vec![group], Timers::default()), start: now, now }
}

/// RFC 5626 §7: when a flow is gone its binding is forgotten, and the phone's next flow is tried.
/// RFC 5626 §7: when all are gone the caller hears that the phone is not there.
#[test]
fn the_next_flow_is_tried() {
    let mut bench = flows(Kind::Phones, 3);
    assert_eq!(bench.start(), "send 0");
    assert_eq!(bench.failed(0, Failure::Transport), "forget 0, send 1");
    assert_eq!(bench.response(1, 430), "forget 1, send 2");
    assert_eq!(bench.response(2, 180), "pass 180");
    assert_eq!(bench.response(2, 200), "pass 200 of 2");
    let mut bench = flows(Kind::Phones, 1);
    bench.start();
    assert_eq!(bench.failed(0, Failure::Transport), "forget 0, end own 480");
    // Silence is no proof.
    let mut bench = flows(Kind::Phones, 2);
    bench.start();
    assert_eq!(bench.failed(0, Failure::TimedOut), "send 1");
    assert_eq!(bench.response(1, 486), "end 486");
    // What the phone says over one flow it would say over the other.
    let mut bench = flows(Kind::Phones, 2);
    bench.start();
    assert_eq!(bench.response(0, 486), "end 486");
}

/// RFC 5626 §5.3.1: a request that asks for a flow which is gone gets 430.
#[test]
fn a_hop_over_a_flow_that_is_gone() {
    let mut bench = flows(Kind::Hop, 1);
    bench.start();
    assert_eq!(bench.failed(0, Failure::Transport), "forget 0, end own 430");
}
