//! One DTCP session from the client's side, without I/O.
//!
//! The law is that of every core: one input, then every output is drained, then the next input. [`Client::deadline`] says when
//! [`Input::Timer`] is due.

use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use schema::secret::Password;

use crate::dtcp::{Centre, Denial, Granted, Greeting, LineBuffer, Proof, Report, answered};

/// A session with a broker: greeting, login, then a ping a minute for as long as the connection lives.
///
/// Behind a NAT (the broker sees another address than ours) it pings several times a minute and has less patience: when the router in
/// front gets another address, nothing on this box changes, and an answer that does not come is the only sign of it.
#[derive(Debug)]
pub struct Client {
    local: Ipv4Addr,
    user: String,
    password: Password,
    lines: LineBuffer,
    state: State,
    outputs: VecDeque<Output>,
    random: StdRng,
}

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes came from the broker.
    Received(&'a [u8]),
    /// The deadline has come.
    Timer,
    /// The broker closed the connection, or it broke.
    Closed,
    /// Tell the broker how full the neighbour table is.
    Report(Report),
    /// End the session in order.
    Quit,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Something to know.
    Event(Event),
    /// Close the connection: the session is over, and this is the last output.
    Close,
}

/// What a session tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The broker speaks DTCP.
    Greeted,
    /// Logged in.
    Granted(Granted),
    /// Where the platform's services are. Brokers that do not know the question give nothing.
    Centre(Centre),
    /// The session is over.
    Ended(End),
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The broker said no.
    Denied(Denial),
    /// What answers there does not speak DTCP, or not as we know it.
    NotDtcp,
    /// Nothing was heard for too long.
    Silent,
    /// The connection was closed or broke.
    Closed,
    /// We ended it.
    Quit,
}

#[derive(Debug)]
enum State {
    Greeting {
        until: Instant,
    },
    Login {
        until: Instant,
    },
    Up {
        ping_at: Instant,
        /// What the broker still has to answer, oldest first, and until when the oldest.
        asked: VecDeque<Asked>,
        until: Option<Instant>,
        pace: Pace,
        /// Whether the broker knows `report`.
        reports: bool,
    },
    Over,
}

/// How the session finds out that its connection is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    /// The time between two pings is somewhere from the first to the second.
    ping: (Duration, Duration),
    /// How long the broker may take to answer.
    answer: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Ping,
    Centre,
    Report,
}

impl Client {
    /// A session on a connection that was made just now from `local`.
    pub fn new(now: Instant, local: Ipv4Addr, user: &str, password: Password, random: StdRng) -> Client {
        Client {
            local,
            user: user.to_owned(),
            password,
            lines: LineBuffer::default(),
            state: State::Greeting { until: now + GREETING },
            outputs: VecDeque::new(),
            random,
        }
    }

    /// When [`Input::Timer`] is due; never once the session is over.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Greeting { until } | State::Login { until } => Some(*until),
            State::Up { ping_at, until, .. } => Some(until.map_or(*ping_at, |until| until.min(*ping_at))),
            State::Over => None,
        }
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        if matches!(self.state, State::Over) {
            return;
        }
        match input {
            Input::Received(bytes) => self.receive(now, bytes),
            Input::Timer => self.timer(now),
            Input::Closed => self.end(End::Closed),
            Input::Report(report) => {
                if matches!(self.state, State::Up { reports: true, .. }) {
                    self.ask(now, Asked::Report, &report.to_string());
                }
            }
            Input::Quit => {
                self.outputs.push_back(Output::Send(b"quit\r\n".to_vec()));
                self.end(End::Quit);
            }
        }
    }

    /// Gives the next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE) {
            if self.lines.extend(piece).is_err() {
                return self.end(End::NotDtcp);
            }
            while let Some(line) = self.lines.next_line() {
                self.take_line(now, &line);
                if matches!(self.state, State::Over) {
                    return;
                }
            }
        }
    }

    fn take_line(&mut self, now: Instant, line: &[u8]) {
        match &mut self.state {
            State::Greeting { .. } => match Greeting::parse(line) {
                Ok(Greeting(challenge)) => {
                    let proof = Proof::answer(&self.user, &challenge, &self.password).to_hex();
                    let login = format!("tunnel {} {proof} network\r\n", self.user);
                    self.state = State::Login { until: now + LOGIN };
                    self.outputs.push_back(Output::Event(Event::Greeted));
                    self.outputs.push_back(Output::Send(login.into_bytes()));
                }
                Err(refusal) => self.end(refusal.map_or(End::NotDtcp, End::Denied)),
            },
            State::Login { .. } => match Granted::parse(line) {
                Ok(granted) => {
                    let pace = if granted.client == self.local { OWN_ADDRESS } else { BEHIND_NAT };
                    let ping_at = now + pace.next_ping(&mut self.random);
                    let asked = VecDeque::new();
                    self.state = State::Up { ping_at, asked, until: None, pace, reports: true };
                    self.outputs.push_back(Output::Event(Event::Granted(granted)));
                    self.ask(now, Asked::Centre, "centre");
                }
                Err(refusal) => self.end(refusal.map_or(End::NotDtcp, End::Denied)),
            },
            State::Up { asked, until, pace, reports, .. } => {
                let question = asked.pop_front();
                *until = (!asked.is_empty()).then_some(now + pace.answer);
                let answer = answered(line);
                match (question, answer) {
                    (_, Err(None)) => self.end(End::NotDtcp),
                    // An old broker: it does not know our extensions.
                    (Some(Asked::Centre), Err(Some(Denial::InvalidCommand))) => {}
                    (Some(Asked::Report), Err(Some(Denial::InvalidCommand))) => *reports = false,
                    (_, Err(Some(denial))) => self.end(End::Denied(denial)),
                    (Some(Asked::Centre), Ok(words)) => {
                        self.outputs.push_back(Output::Event(Event::Centre(Centre::parse(words))));
                    }
                    (_, Ok(_)) => {}
                }
            }
            State::Over => {}
        }
    }

    fn timer(&mut self, now: Instant) {
        match &mut self.state {
            State::Greeting { until } | State::Login { until } if *until <= now => self.end(End::Silent),
            State::Up { until: Some(until), .. } if *until <= now => self.end(End::Silent),
            State::Up { ping_at, pace, .. } if *ping_at <= now => {
                *ping_at = now + pace.next_ping(&mut self.random);
                self.ask(now, Asked::Ping, "ping");
            }
            _ => {}
        }
    }

    fn ask(&mut self, now: Instant, question: Asked, line: &str) {
        let State::Up { asked, until, pace, .. } = &mut self.state else { return };
        // A broker that owes more answers than this is silent, and its deadline is running.
        if asked.len() >= MAX_ASKED {
            return;
        }
        asked.push_back(question);
        until.get_or_insert(now + pace.answer);
        self.outputs.push_back(Output::Send(format!("{line}\r\n").into_bytes()));
    }

    fn end(&mut self, end: End) {
        self.state = State::Over;
        self.outputs.push_back(Output::Event(Event::Ended(end)));
        self.outputs.push_back(Output::Close);
    }
}

impl Pace {
    fn next_ping(self, random: &mut StdRng) -> Duration {
        random.random_range(self.ping.0..=self.ping.1)
    }
}

impl End {
    /// What to do about it, for an installer.
    pub fn remedy(&self) -> &'static str {
        match self {
            End::Denied(denial) => denial.remedy(),
            End::NotDtcp => {
                "check name and port of the broker: 20200 for plain DTCP, and 20201 with --tls for DTCP inside TLS"
            }
            End::Silent | End::Closed => {
                "the box tries again by itself; if this repeats, have the line measured and call the operator"
            }
            End::Quit => "nothing: the agent was stopped",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Denied(denial) => denial.fmt(f),
            End::NotDtcp => f.write_str("what answers there does not speak DTCP"),
            End::Silent => f.write_str("the broker does not answer any more"),
            End::Closed => f.write_str("the connection to the broker was closed"),
            End::Quit => f.write_str("logged out"),
        }
    }
}

/// How long a broker may take to greet.
const GREETING: Duration = Duration::from_secs(20);
/// How long a broker may take to answer a login. It delays the answer to a wrong password, and a tunnel server may be far from it.
const LOGIN: Duration = Duration::from_secs(30);
/// The old clients ping every 60 s, and brokers wait for 300 s. A change of our own address is seen at once by other means, so that there is
/// no hurry: 20 s bear with a broker that is restarted.
const OWN_ADDRESS: Pace =
    Pace { ping: (Duration::from_secs(60), Duration::from_secs(60)), answer: Duration::from_secs(20) };
/// A router's new address is noticed within 20 s. Ten thousand boxes behind NATs are 800 pings in a second to the broker, spread by the
/// jitter. Within 5 s, TCP sends what was lost three or four times (RFC 6298); a login too many only moves the tunnel to where it is.
const BEHIND_NAT: Pace =
    Pace { ping: (Duration::from_secs(10), Duration::from_secs(15)), answer: Duration::from_secs(5) };
/// How many questions may be open.
const MAX_ASKED: usize = 8;
/// So many bytes are looked at at once, which is less than a line buffer holds.
const PIECE: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;
    use crate::dtcp::{Refusal, Reply};
    use crate::lease::Outer;

    struct Bench {
        client: Client,
        now: Instant,
    }

    /// The address in the captured reply.
    const LOCAL: Ipv4Addr = Ipv4Addr::new(210, 143, 144, 163);

    impl Bench {
        fn new() -> Bench {
            Bench::at(LOCAL)
        }

        fn at(local: Ipv4Addr) -> Bench {
            let now = Instant::now();
            let random = StdRng::seed_from_u64(7);
            Bench { client: Client::new(now, local, "foo", Password::new("bar"), random), now }
        }

        fn logged_in() -> Bench {
            Bench::logged_in_at(LOCAL)
        }

        fn logged_in_at(local: Ipv4Addr) -> Bench {
            let mut bench = Bench::at(local);
            bench.line("+OK 0B1517C87D516A5FA65BED722D51A04F KAME tunnel server");
            let outputs = bench.line("+OK 210.143.144.163 43.244.255.37 2001:03e0:01fe::/48");
            assert_eq!(outputs.last(), Some(&send("centre")));
            bench
        }

        fn drain(&mut self) -> Vec<Output> {
            std::iter::from_fn(|| self.client.poll_output()).collect()
        }

        fn input(&mut self, input: Input<'_>) -> Vec<Output> {
            self.client.handle_input(self.now, input);
            self.drain()
        }

        fn line(&mut self, line: &str) -> Vec<Output> {
            self.input(Input::Received(format!("{line}\r\n").as_bytes()))
        }

        /// Moves the clock to the deadline, which must be that far away.
        fn wait(&mut self, seconds: u64) -> Vec<Output> {
            self.now += Duration::from_secs(seconds);
            assert_eq!(self.client.deadline(), Some(self.now));
            self.input(Input::Timer)
        }
    }

    fn send(line: &str) -> Output {
        Output::Send(format!("{line}\r\n").into_bytes())
    }

    fn over(end: End) -> Vec<Output> {
        vec![Output::Event(Event::Ended(end)), Output::Close]
    }

    #[test]
    fn the_login_is_the_test_vector_and_the_captured_reply_is_understood() {
        let mut bench = Bench::new();
        let outputs = bench.line("+OK 0B1517C87D516A5FA65BED722D51A04F KAME tunnel server");
        let login = "tunnel foo DAC487C8DFBBF9EE5C7F8CDCC37B62A3 network";
        assert_eq!(outputs, [Output::Event(Event::Greeted), send(login)]);
        let outputs = bench.line("+OK 210.143.144.163 43.244.255.37 2001:03e0:01fe::/48");
        let granted = Granted {
            client: [210, 143, 144, 163].into(),
            server: [43, 244, 255, 37].into(),
            prefix: "2001:3e0:1fe::/48".parse().unwrap(),
        };
        assert_eq!(outputs, [Output::Event(Event::Granted(granted)), send("centre")]);
    }

    #[test]
    fn the_challenge_is_hashed_in_the_case_in_which_it_came() {
        let mut bench = Bench::new();
        let outputs = bench.line("+OK 0b1517c87d516a5fa65bed722d51a04f KAME tunnel server");
        let upper = send("tunnel foo DAC487C8DFBBF9EE5C7F8CDCC37B62A3 network");
        assert!(matches!(outputs.last(), Some(Output::Send(_))) && outputs.last() != Some(&upper));
    }

    #[test]
    fn a_ping_goes_out_each_minute_and_its_answer_is_awaited() {
        let mut bench = Bench::logged_in();
        assert!(matches!(bench.line("+OK")[..], [Output::Event(Event::Centre(_))]));
        for _ in 0..3 {
            assert_eq!(bench.wait(60), [send("ping")]);
            assert_eq!(bench.line("+OK pong"), []);
        }
        assert_eq!(bench.wait(60), [send("ping")]);
        assert_eq!(bench.wait(20), over(End::Silent));
        assert_eq!(bench.client.deadline(), None);
    }

    #[test]
    fn behind_a_nat_pings_are_more_frequent_and_spread_and_patience_is_short() {
        let mut bench = Bench::logged_in_at(Ipv4Addr::new(192, 168, 1, 2));
        bench.line("+OK");
        let mut waits = Vec::new();
        for _ in 0..20 {
            let at = bench.client.deadline().unwrap();
            waits.push(at - bench.now);
            bench.now = at;
            assert_eq!(bench.input(Input::Timer), [send("ping")]);
            assert_eq!(bench.line("+OK pong"), []);
        }
        assert!(waits.iter().all(|wait| (10.0..=15.0).contains(&wait.as_secs_f64())), "{waits:?}");
        waits.sort();
        waits.dedup();
        assert!(waits.len() > 10, "{waits:?}");
        bench.now = bench.client.deadline().unwrap();
        assert_eq!(bench.input(Input::Timer), [send("ping")]);
        assert_eq!(bench.wait(5), over(End::Silent));
    }

    #[test]
    fn silence_ends_each_stage() {
        assert_eq!(Bench::new().wait(20), over(End::Silent));
        let mut bench = Bench::new();
        bench.line("+OK 0B1517C87D516A5FA65BED722D51A04F");
        assert_eq!(bench.wait(30), over(End::Silent));
    }

    #[test]
    fn an_old_broker_knows_neither_centre_nor_report() {
        let mut bench = Bench::logged_in();
        assert_eq!(bench.line("-ERR invalid command"), []);
        let report = Input::Report(Report { neighbours: 12, capacity: 1024 });
        assert_eq!(bench.input(report), [send("report neighbours=12 capacity=1024")]);
        assert_eq!(bench.line("-ERR invalid command"), []);
        assert_eq!(
            bench.input(Input::Report(Report { neighbours: 13, capacity: 1024 })),
            [],
            "it is not asked again"
        );
        assert_eq!(bench.wait(60), [send("ping")]);
    }

    #[test]
    fn our_broker_answers_both() {
        let mut bench = Bench::logged_in();
        let outputs = bench.line("+OK sip=[2001:db8:c::5]:5060 dns=2001:db8:c::53");
        let [Output::Event(Event::Centre(centre))] = &outputs[..] else { unreachable!("{outputs:?}") };
        assert_eq!(centre.sip.unwrap().port(), 5060);
        bench.input(Input::Report(Report { neighbours: 12, capacity: 0 }));
        assert_eq!(bench.line("+OK noted"), []);
    }

    #[test]
    fn refusals_end_the_session_with_their_reason() {
        for refusal in [Refusal::TooBusy, Refusal::SoldOut] {
            let line = Reply::from(refusal).to_string();
            let mut bench = Bench::new();
            assert!(matches!(
                bench.line(&line)[..],
                [Output::Event(Event::Ended(End::Denied(_))), Output::Close]
            ));
        }
        let mut bench = Bench::new();
        bench.line("+OK 0B1517C87D516A5FA65BED722D51A04F");
        assert_eq!(
            bench.line("-ERR authentication failed."),
            over(End::Denied(Denial::AuthenticationFailed))
        );
        // Unasked, and in place of an answer.
        let taken = Reply::from(Refusal::TakenOver).to_string();
        let mut bench = Bench::logged_in();
        assert_eq!(bench.line(&taken), over(End::Denied(Denial::TakenOver)));
        let mut bench = Bench::logged_in();
        bench.line("+OK");
        assert_eq!(bench.line(&taken), over(End::Denied(Denial::TakenOver)));
    }

    #[test]
    fn another_protocol_is_named() {
        assert_eq!(Bench::new().line("SSH-2.0-OpenSSH_9.6"), over(End::NotDtcp));
        assert_eq!(Bench::new().input(Input::Received(&[b'x'; 2000])), over(End::NotDtcp));
        assert_eq!(Bench::new().input(Input::Closed), over(End::Closed));
    }

    #[test]
    fn the_end_is_in_order_and_final() {
        let mut bench = Bench::logged_in();
        let outputs = bench.input(Input::Quit);
        assert_eq!(outputs, [vec![send("quit")], over(End::Quit)].concat());
        assert_eq!(bench.input(Input::Closed), []);
        assert_eq!(bench.line("+OK"), []);
    }

    #[test]
    fn what_our_broker_writes_is_read() {
        let outer = Outer { client: [192, 0, 2, 1].into(), server: [192, 0, 2, 2].into() };
        let mut bench = Bench::new();
        bench.line("+OK 0B1517C87D516A5FA65BED722D51A04F");
        let outputs = bench.line(&Reply::Network(outer, "2001:db8:1::/48".parse().unwrap()).to_string());
        let Some(Output::Event(Event::Granted(granted))) = outputs.first() else {
            unreachable!("{outputs:?}")
        };
        assert_eq!(granted.prefix, "2001:db8:1::/48".parse().unwrap());
    }

    proptest! {
        #[test]
        fn nothing_that_a_broker_sends_panics_or_is_answered_without_end(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..20),
            login in any::<bool>(),
        ) {
            let mut bench = if login { Bench::logged_in() } else { Bench::new() };
            let count: usize = pieces.iter().map(|piece| bench.input(Input::Received(piece)).len()).sum();
            prop_assert!(count <= 40);
        }
    }
}
