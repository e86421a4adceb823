//! Rounds through a site's phones while several are mute and it is not known why.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddrV6;
use std::time::{Duration, Instant};

use super::neighbours::{MIN_MUTE, Round, Verdict};

/// Rounds past and present.
#[derive(Debug)]
pub(crate) struct Survey {
    /// How long a round takes.
    pub(crate) every: Duration,
    /// How long the first took.
    shortest: Duration,
    pub(crate) started: Instant,
    members: BTreeSet<SocketAddrV6>,
    waiting: BTreeSet<SocketAddrV6>,
    round: Round,
    pub(crate) rounds: VecDeque<Round>,
    /// Rounds in a row that ruled a full table out.
    pub(crate) ruled_out: u32,
}

impl Survey {
    pub(crate) fn new(every: Duration, now: Instant) -> Survey {
        Survey {
            every,
            shortest: every,
            started: now,
            members: BTreeSet::new(),
            waiting: BTreeSet::new(),
            round: Round::default(),
            rounds: VecDeque::new(),
            ruled_out: 0,
        }
    }

    /// Begins a round through `members` at `at`; gives when to ask each.
    pub(crate) fn begin(
        &mut self,
        members: BTreeSet<SocketAddrV6>,
        at: Instant,
    ) -> Vec<(SocketAddrV6, Instant)> {
        self.started = at;
        self.round = Round { asked: members.len(), ..Round::default() };
        self.waiting = members.clone();
        self.members = members;
        let step = self.every / u32::try_from(self.members.len().max(1)).unwrap_or(u32::MAX);
        let times = (0_u32..).map(|turn| at + step * turn);
        self.members.iter().copied().zip(times).collect()
    }

    /// Whether the round asks for this one, so that nobody else plans its next time.
    pub(crate) fn has(&self, address: SocketAddrV6) -> bool {
        self.members.contains(&address)
    }

    /// Takes a verdict; says whether the round is complete with it.
    pub(crate) fn note(&mut self, address: SocketAddrV6, answered: bool) -> bool {
        if !self.waiting.remove(&address) {
            return false;
        }
        if answered {
            self.round.answering.insert(address);
        }
        self.waiting.is_empty()
    }

    /// One that is not there any more. Says whether the round is complete without it.
    pub(crate) fn forget(&mut self, address: SocketAddrV6) -> bool {
        if !self.members.remove(&address) {
            return false;
        }
        self.round.asked = self.members.len();
        self.round.answering.remove(&address);
        self.waiting.remove(&address) && self.waiting.is_empty()
    }

    pub(crate) fn note_iad(&mut self, answered: bool) {
        self.round.iad_asked += 1;
        self.round.iad_silent += u32::from(!answered);
    }

    /// Closes the round; gives how many were mute.
    pub(crate) fn close(&mut self) -> usize {
        let round = std::mem::take(&mut self.round);
        let mute = round.mute();
        self.rounds.push_back(round);
        if self.rounds.len() > KEPT {
            self.rounds.pop_front();
        }
        mute
    }

    /// Whether nearly everybody answered in the round before the last too.
    pub(crate) fn was_quiet(&self) -> bool {
        self.rounds.iter().rev().nth(1).is_some_and(|round| round.mute() < MIN_MUTE)
    }

    /// What is known does not need to be asked so often: after a verdict, or when none comes. Where a table may be full rounds stay short: who
    /// comes in while others go is counted once more in a long one, and the ceiling is not seen any more.
    pub(crate) fn slacken(&mut self, verdict: Verdict, at_most: Duration) {
        let at_most = match verdict {
            Verdict::Off => at_most.max(self.shortest),
            Verdict::Open if self.rounds.len() < KEPT => self.every,
            Verdict::Full(_) | Verdict::Open => self.shortest * 2,
        };
        self.every = (self.every * 2).min(at_most);
        self.ruled_out = if verdict == Verdict::Off { self.ruled_out + 1 } else { 0 };
    }
}

/// Rounds that are kept.
const KEPT: usize = 6;
