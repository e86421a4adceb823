//! The way to a site: proved by answers, doubted by silences, cut when nobody is left to answer.

use std::collections::BTreeMap;
use std::net::SocketAddrV6;
use std::time::{Duration, Instant};

use super::{Desk, Site, part_of};
use crate::picture::SitePicture;
use crate::schedule::Urgency;
use crate::target::{Health, Role};

/// Whether packets reach the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing has answered yet.
    Unknown,
    /// Something answered, and nothing has been silent since without another answer.
    Proved,
    /// Somebody was silent, and nobody has answered since.
    Doubt {
        /// Since when nobody has answered.
        since: Instant,
        /// Phones that answered lately and are asked now, with their silences.
        witnesses: BTreeMap<SocketAddrV6, u32>,
    },
    /// Neither the IAD nor any witness answered.
    Cut {
        /// Since when nobody has answered.
        since: Instant,
        /// The phone that is asked now.
        witness: Option<SocketAddrV6>,
        /// Who is next.
        turn: usize,
    },
    /// The broker says that there is no tunnel.
    Down {
        /// Since when we know.
        since: Instant,
    },
}

impl Way {
    pub(super) fn is_witness(&self, address: SocketAddrV6) -> bool {
        match self {
            Way::Doubt { witnesses, .. } => witnesses.contains_key(&address),
            Way::Cut { witness, .. } => *witness == Some(address),
            Way::Unknown | Way::Proved | Way::Down { .. } => false,
        }
    }

    pub(super) fn forget_witness(&mut self, address: SocketAddrV6) {
        match self {
            Way::Doubt { witnesses, .. } => {
                witnesses.remove(&address);
            }
            Way::Cut { witness, .. } if *witness == Some(address) => *witness = None,
            _ => {}
        }
    }
}

impl Site {
    /// Something local answered.
    pub(super) fn way_proved(&mut self, desk: &mut Desk<'_>) {
        match self.way {
            Way::Proved => {}
            Way::Unknown => self.way = Way::Proved,
            Way::Doubt { .. } => {
                self.way = Way::Proved;
                if self.survey.is_some() {
                    self.begin_round(desk, desk.now);
                }
            }
            Way::Cut { .. } => self.way_is_back(desk),
            // What was under way when the broker spoke proves nothing.
            Way::Down { since } if desk.now > since + desk.settings.answer_within * 2 => {
                self.way_is_back(desk)
            }
            Way::Down { .. } => {}
        }
    }

    /// Whether the way is proved since `asked_at`. If not, it is looked after: by the IAD, or by witnesses when the IAD answers no echo.
    pub(super) fn prove_way(&mut self, desk: &mut Desk<'_>, asked_at: Instant) -> bool {
        if self.last_answer.is_some_and(|at| at >= asked_at) {
            return true;
        }
        if self.iad_target().is_some_and(|iad| iad.health() != Health::Mute) {
            self.ask_iad(desk);
            return false;
        }
        // With nobody else to ask, a phone's silence is all that can be known.
        let witnesses = self.witnesses();
        if witnesses.len() < MIN_WITNESSES {
            return true;
        }
        self.doubt(desk, asked_at);
        false
    }

    pub(super) fn iad_silent(&mut self, desk: &mut Desk<'_>, iad: SocketAddrV6, asked_at: Instant) {
        let settings = desk.settings;
        let others_answered = self.last_answer.is_some_and(|at| at >= asked_at);
        let Some(target) = self.targets.get(iad) else { return };
        // An IAD that answers no echo although phones answer is no reason for doubt.
        let was_mute = target.health() == Health::Mute;
        let mute = was_mute || target.failures >= settings.tries;
        self.targets.set_health(iad, if mute { Health::Mute } else { Health::Suspected });
        match self.way {
            Way::Unknown | Way::Proved if others_answered || was_mute => {
                let after = if mute { settings.iad_every } else { settings.retry_every };
                self.plan(desk, iad, after, Urgency::Routine);
            }
            Way::Unknown | Way::Proved => {
                self.doubt(desk, asked_at);
                self.plan(desk, iad, settings.retry_every, Urgency::Urgent);
                self.settle(desk);
            }
            Way::Doubt { .. } => {
                self.plan(desk, iad, settings.retry_every, Urgency::Urgent);
                self.settle(desk);
            }
            Way::Cut { .. } => self.ask_in_turn(desk),
            Way::Down { .. } => self.plan(desk, iad, settings.iad_every, Urgency::Routine),
        }
    }

    /// Takes a phone's silence when it was asked as a witness; says whether it was.
    pub(super) fn witness_silent(&mut self, desk: &mut Desk<'_>, address: SocketAddrV6) -> bool {
        match &mut self.way {
            Way::Doubt { witnesses, .. } => {
                let Some(silences) = witnesses.get_mut(&address) else { return false };
                *silences += 1;
                if *silences < WITNESS_TRIES {
                    self.plan(desk, address, desk.settings.retry_every, Urgency::Urgent);
                } else {
                    witnesses.remove(&address);
                    self.settle(desk);
                }
                true
            }
            Way::Cut { witness, .. } if *witness == Some(address) => {
                *witness = None;
                if self.iad().is_none() {
                    self.ask_in_turn(desk);
                }
                true
            }
            _ => false,
        }
    }

    /// Lets the IAD be asked now.
    pub(super) fn ask_iad(&mut self, desk: &mut Desk<'_>) {
        let Some(iad) = self.iad() else { return };
        if self.targets.get(iad).is_some_and(|target| !target.in_flight && target.health() != Health::Mute) {
            desk.schedule.hasten((self.picture.id, iad), desk.now, Urgency::Urgent);
        }
    }

    /// What the lease says now, after what it said before.
    pub(super) fn tunnel_changed(&mut self, desk: &mut Desk<'_>, old: &SitePicture) {
        match (is_down(old), is_down(&self.picture)) {
            (false, true) => {
                self.way = Way::Down { since: desk.now };
                self.stop_asking(desk);
                // The broker may be wrong: an answer says so before there is an alarm.
                if let Some(iad) = self.iad() {
                    self.plan(desk, iad, desk.settings.answer_within * 3, Urgency::Routine);
                }
            }
            (true, false) if matches!(self.way, Way::Down { .. }) => self.ask_anew(desk),
            // It comes up for the first time: what was silent before says nothing.
            (false, false) if matches!(self.way, Way::Cut { .. }) && comes_up(old, &self.picture) => {
                self.ask_anew(desk);
            }
            _ => {}
        }
        if self.iad().is_none() && matches!(self.way, Way::Doubt { .. }) {
            self.settle(desk);
        }
    }

    fn doubt(&mut self, desk: &mut Desk<'_>, since: Instant) {
        let witnesses = self.witnesses();
        for address in &witnesses {
            if self.targets.get(*address).is_some_and(|target| !target.in_flight) {
                self.plan(desk, *address, Duration::ZERO, Urgency::Urgent);
            }
        }
        self.way =
            Way::Doubt { since, witnesses: witnesses.into_iter().map(|address| (address, 0)).collect() };
        self.ask_iad(desk);
    }

    /// Whether the doubt is over: the IAD has had its tries, and no witness is left.
    fn settle(&mut self, desk: &mut Desk<'_>) {
        let Way::Doubt { since, witnesses } = &self.way else { return };
        let iad_had_its_tries = self.iad_target().is_none_or(|iad| iad.health() == Health::Mute);
        if !iad_had_its_tries || !witnesses.is_empty() {
            return;
        }
        self.way = Way::Cut { since: *since, witness: None, turn: 0 };
        self.stop_asking(desk);
        if let Some(survey) = &mut self.survey {
            survey.rounds.clear();
        }
        self.ask_in_turn(desk);
    }

    /// The way was cut and is not any more.
    fn way_is_back(&mut self, desk: &mut Desk<'_>) {
        self.way = Way::Proved;
        self.ask_everybody(desk);
        if self.survey.is_some() {
            self.begin_round(desk, desk.now);
        }
    }

    /// Nothing is known of the way any more.
    fn ask_anew(&mut self, desk: &mut Desk<'_>) {
        self.way = Way::Unknown;
        self.ask_everybody(desk);
    }

    fn ask_everybody(&mut self, desk: &mut Desk<'_>) {
        for address in self.targets.addresses() {
            let Some(target) = self.targets.get_mut(address) else { continue };
            target.failures = 0;
            let who = (self.picture.id, address);
            let (role, health, is_seen) = (target.role(), target.health(), target.is_seen());
            match role {
                Role::Phone { .. } => {
                    if health == Health::Suspected {
                        let before = if is_seen { Health::Answering } else { Health::Unknown };
                        self.targets.set_health(address, before);
                    }
                    let at = desk.now + part_of(desk.random, desk.settings.grace);
                    desk.schedule.set(who, at, Urgency::Routine);
                }
                Role::Iad => {
                    if health != Health::Answering {
                        self.targets.set_health(address, Health::Unknown);
                    }
                    desk.schedule.set(who, desk.now, Urgency::Urgent);
                }
                Role::Place => {}
            }
        }
    }

    fn stop_asking(&mut self, desk: &mut Desk<'_>) {
        for address in &self.turns {
            desk.schedule.cancel((self.picture.id, *address));
        }
    }

    /// While the way is cut: the IAD, and one phone in turn, because there are IADs that answer no echo.
    fn ask_in_turn(&mut self, desk: &mut Desk<'_>) {
        let iad = self.iad();
        let known = self.ever_seen();
        let Way::Cut { since, witness, turn } = &mut self.way else { return };
        let young = desk.now.saturating_duration_since(*since) < YOUNG;
        let after = match (known, young) {
            (true, true) => desk.settings.retry_every * 2,
            (true, false) => desk.settings.iad_every / 2,
            (false, _) => desk.settings.iad_every,
        };
        let next = self.turns.get(*turn % self.turns.len().max(1)).copied();
        *turn = turn.wrapping_add(1);
        if witness.is_none() {
            *witness = next;
        }
        let next = *witness;
        for address in [iad, next].into_iter().flatten() {
            if self.targets.get(address).is_some_and(|target| !target.in_flight) {
                self.plan(desk, address, after, Urgency::Routine);
            }
        }
    }

    /// Phones that answered lately, the latest first.
    fn witnesses(&self) -> Vec<SocketAddrV6> {
        let local = self.targets.iter().filter(|(_, target)| target.role() == Role::Phone { local: true });
        let mut seen: Vec<_> = local
            .filter(|(_, target)| matches!(target.health(), Health::Answering | Health::Suspected))
            .filter_map(|(address, target)| Some((target.answered_at?, address)))
            .collect();
        seen.sort_unstable_by(|one, other| other.cmp(one));
        seen.into_iter().take(MAX_WITNESSES).map(|(_, address)| address).collect()
    }
}

/// Whether there is a tunnel now, and was none before.
fn comes_up(old: &SitePicture, new: &SitePicture) -> bool {
    let is_up = |picture: &SitePicture| {
        let lease = picture.tunnel.as_ref().and_then(|tunnel| tunnel.lease.as_ref());
        lease.is_some_and(|lease| lease.up)
    };
    is_up(new) && !is_up(old)
}

/// Whether the broker says that an account which once had a tunnel has none.
fn is_down(picture: &SitePicture) -> bool {
    let lease = picture.tunnel.as_ref().and_then(|tunnel| tunnel.lease.as_ref());
    lease.is_some_and(|lease| !lease.up)
}

/// Phones that are asked when the way is in doubt, and how often each.
const MAX_WITNESSES: usize = 3;
const WITNESS_TRIES: u32 = 2;
/// With fewer, and without an IAD that answers, it cannot be told a mute phone from a cut line.
const MIN_WITNESSES: usize = 2;
/// A cut that is younger is looked after more often.
const YOUNG: Duration = Duration::from_secs(600);
