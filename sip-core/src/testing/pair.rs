//! Two cores, a clock moved by hand and a seeded bad network between them.
//!
//! No thread, no socket, no sleeping; the same seed gives the same run.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::core::{Core, Input, Output, TimerId, Token, Transmit};
use crate::flow::{ConnectionId, Flow, Transport};

/// What the network does to datagrams. Streams lose nothing, keep their order and take half of `max_delay`.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Datagrams lost, in thousandths.
    pub loss: u32,
    /// Datagrams delivered twice, in thousandths.
    pub duplication: u32,
    /// Each copy takes a time of its own between nothing and this, so that later ones overtake earlier ones.
    pub max_delay: Duration,
}

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The first core.
    Left,
    /// The second core.
    Right,
}

/// Two cores and the network between them.
#[derive(Debug)]
pub struct Pair<L: Core, R: Core> {
    /// The first core.
    pub left: L,
    /// The second core.
    pub right: R,
    /// Questions of the first core that the test has not answered yet.
    pub left_questions: VecDeque<(Token, L::Question)>,
    /// Questions of the second core that the test has not answered yet.
    pub right_questions: VecDeque<(Token, R::Question)>,
    /// Transmissions to an address that is neither end's.
    pub misdirected: usize,
    start: Instant,
    now: Instant,
    weather: Weather,
    random: Random,
    arrivals: BTreeMap<(Instant, u64), (End, Flow, Bytes)>,
    timers: BTreeMap<(End, TimerId), Instant>,
    sent: u64,
}

impl<L: Core, R: Core> Pair<L, R> {
    /// Two cores that have not done anything yet.
    pub fn new(left: L, right: R, weather: Weather, seed: u64) -> Pair<L, R> {
        let now = Instant::now();
        Pair {
            left,
            right,
            left_questions: VecDeque::new(),
            right_questions: VecDeque::new(),
            misdirected: 0,
            start: now,
            now,
            weather,
            random: Random(seed),
            arrivals: BTreeMap::new(),
            timers: BTreeMap::new(),
            sent: 0,
        }
    }

    /// The way from one end to the other.
    pub fn flow(from: End, transport: Transport) -> Flow {
        let connection = transport.is_reliable().then_some(ConnectionId(1));
        Flow { transport, local: address(from), remote: address(from.other()), connection }
    }

    /// Lets the test do something at the first core, and carries out what comes of it.
    pub fn at_left<T>(&mut self, action: impl FnOnce(&mut L, Instant) -> T) -> T {
        let result = action(&mut self.left, self.now);
        self.drain();
        result
    }

    /// Lets the test do something at the second core, and carries out what comes of it.
    pub fn at_right<T>(&mut self, action: impl FnOnce(&mut R, Instant) -> T) -> T {
        let result = action(&mut self.right, self.now);
        self.drain();
        result
    }

    /// Moves the clock to the next arrival or timer and lets it happen. `false` when nothing is left to happen.
    pub fn step(&mut self) -> bool {
        let arrival = self.arrivals.first_key_value().map(|(&key, _)| key);
        let timer = self.timers.iter().map(|(&key, &at)| (at, key)).min();
        match (arrival, timer) {
            (None, None) => return false,
            (Some(arrival), timer) if timer.is_none_or(|(at, _)| arrival.0 <= at) => {
                self.now = self.now.max(arrival.0);
                if let Some((end, flow, bytes)) = self.arrivals.remove(&arrival) {
                    match end {
                        End::Left => self.left.handle_input(self.now, Input::Received { flow, bytes }),
                        End::Right => self.right.handle_input(self.now, Input::Received { flow, bytes }),
                    }
                }
            }
            (_, Some((at, key @ (end, id)))) => {
                self.now = self.now.max(at);
                self.timers.remove(&key);
                match end {
                    End::Left => self.left.handle_input(self.now, Input::Timer(id)),
                    End::Right => self.right.handle_input(self.now, Input::Timer(id)),
                }
            }
            (Some(_), None) => {}
        }
        self.drain();
        true
    }

    /// Steps until nothing is left to happen, for at most `span` of simulated time. `false` when something still is.
    pub fn run(&mut self, span: Duration) -> bool {
        let end = self.now + span;
        while self.now <= end {
            if !self.step() {
                return true;
            }
        }
        false
    }

    /// Simulated time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Timers that are armed.
    pub fn armed(&self) -> usize {
        self.timers.len()
    }

    fn drain(&mut self) {
        while let Some(output) = self.left.poll_output() {
            match output {
                Output::Transmit(transmit) => self.transmit(End::Left, transmit),
                Output::SetTimer(id, at) => self.set_timer(End::Left, id, at),
                Output::Ask(token, question) => self.left_questions.push_back((token, question)),
            }
        }
        while let Some(output) = self.right.poll_output() {
            match output {
                Output::Transmit(transmit) => self.transmit(End::Right, transmit),
                Output::SetTimer(id, at) => self.set_timer(End::Right, id, at),
                Output::Ask(token, question) => self.right_questions.push_back((token, question)),
            }
        }
    }

    fn set_timer(&mut self, end: End, id: TimerId, at: Option<Instant>) {
        match at {
            Some(at) => drop(self.timers.insert((end, id), at)),
            None => drop(self.timers.remove(&(end, id))),
        }
    }

    fn transmit(&mut self, from: End, transmit: Transmit) {
        let to = from.other();
        if transmit.flow.remote != address(to) {
            self.misdirected += 1;
            return;
        }
        if transmit.flow.transport.is_reliable() {
            return self.arrive(to, self.weather.max_delay / 2, transmit);
        }
        let copies = if self.random.chance(self.weather.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let (lost, delay) =
                (self.random.chance(self.weather.loss), self.random.up_to(self.weather.max_delay));
            if !lost {
                self.arrive(to, delay, transmit.clone());
            }
        }
    }

    fn arrive(&mut self, to: End, delay: Duration, transmit: Transmit) {
        self.sent += 1;
        let flow = Self::flow(to, transmit.flow.transport);
        self.arrivals.insert((self.now + delay, self.sent), (to, flow, transmit.bytes));
    }
}

impl End {
    /// The other one.
    pub fn other(self) -> End {
        match self {
            End::Left => End::Right,
            End::Right => End::Left,
        }
    }
}

/// The address of an end: documentation addresses, port 5060.
pub fn address(end: End) -> SocketAddr {
    let last = match end {
        End::Left => 1,
        End::Right => 2,
    };
    SocketAddr::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into(), 5060)
}

/// SplitMix64: a generator of our own, so that committed tables outlive changes of other people's.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn chance(&mut self, thousandths: u32) -> bool {
        self.next() % 1000 < u64::from(thousandths)
    }

    fn up_to(&mut self, span: Duration) -> Duration {
        Duration::from_micros(self.next() % (span.as_micros() as u64 + 1))
    }
}
