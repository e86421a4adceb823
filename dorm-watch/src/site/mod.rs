//! One site: who of it is asked when, and what the answers and silences mean together.
//!
//! A phone's silence is believed only when the way to the site is proved at the same time: by the IAD's answer or another phone's. While
//! the way is in doubt only the IAD and a few witnesses are asked, and while it is cut only the IAD and one phone in turn.

pub(crate) mod census;
pub(crate) mod neighbours;
mod rounds;
mod survey;
mod way;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use schema::{Alarm, AlarmKind, LineId};

use crate::io::Method;
use crate::picture::{PhonePicture, Report, SitePicture};
use crate::schedule::{Schedule, Urgency};
use crate::settings::Settings;
use crate::target::{Health, Role, Target, Targets};

use census::Census;
pub use census::SiteState;
use neighbours::Evidence;
use survey::Survey;
pub(crate) use way::Way;

/// What a site works with when it is told something.
pub(crate) struct Desk<'a> {
    pub(crate) now: Instant,
    pub(crate) settings: &'a Settings,
    pub(crate) schedule: &'a mut Schedule,
    pub(crate) random: &'a mut StdRng,
    /// Over what time newcomers are asked for the first time.
    pub(crate) first_within: Duration,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Site {
    picture: SitePicture,
    places: BTreeSet<SocketAddrV6>,
    targets: Targets,
    /// The phones, those first whose line is registered, because they should live.
    turns: Vec<SocketAddrV6>,
    way: Way,
    /// When anything at the site answered last.
    last_answer: Option<Instant>,
    /// Phones asked and not yet silent.
    in_flight: usize,
    survey: Option<Survey>,
    /// What the rounds said of the neighbour table.
    table_fault: Option<Evidence>,
    /// Lines whose phones are known to be elsewhere.
    away: BTreeSet<LineId>,
    /// Phones, by name, that answered before the watch started.
    remembered: BTreeSet<String>,
    /// Whether the site was up before the watch started.
    was_up: bool,
    state: SiteState,
    /// The phones counted, and at which version of the targets.
    counted: RefCell<(Option<u64>, Arc<Census>)>,
}

impl Site {
    pub(crate) fn new(picture: &SitePicture) -> Site {
        Site {
            picture: SitePicture {
                phones: Vec::new(),
                lines: Vec::new(),
                iad: None,
                tunnel: None,
                ..picture.clone()
            },
            places: BTreeSet::new(),
            targets: Targets::default(),
            turns: Vec::new(),
            way: Way::Unknown,
            last_answer: None,
            in_flight: 0,
            survey: None,
            table_fault: None,
            away: BTreeSet::new(),
            remembered: BTreeSet::new(),
            was_up: false,
            state: SiteState::NotSeen,
            counted: RefCell::default(),
        }
    }

    pub(crate) fn picture(&self) -> &SitePicture {
        &self.picture
    }

    pub(crate) fn way(&self) -> &Way {
        &self.way
    }

    pub(crate) fn target(&self, address: SocketAddrV6) -> Option<&Target> {
        self.targets.get(address)
    }

    /// What is known of the IAD, when it can be asked.
    pub(crate) fn iad_target(&self) -> Option<&Target> {
        self.targets.get(self.iad()?)
    }

    pub(crate) fn table_fault(&self, now_ms: i64) -> Option<Evidence> {
        let reported = self.fresh_report(now_ms).and_then(|report| {
            neighbours::reported(self.picture.table, Some(report), self.census().mute.len())
        });
        reported.or(self.table_fault)
    }

    /// Whether the IAD has ever reported.
    pub(crate) fn has_report(&self) -> bool {
        let lease = self.picture.tunnel.as_ref().and_then(|tunnel| tunnel.lease.as_ref());
        lease.is_some_and(|lease| lease.report.is_some())
    }

    /// An IAD's report that is not too old to mean something.
    pub(crate) fn fresh_report(&self, now_ms: i64) -> Option<Report> {
        let report = self.picture.tunnel.as_ref()?.lease.as_ref().filter(|lease| lease.up)?.report?;
        (now_ms - report.at <= REPORT_HOLDS).then_some(report)
    }

    /// An alarm that was open before this process started: the site was up once, the phones that it names answered once, and a table that was
    /// found full is full until rounds say otherwise.
    pub(crate) fn remember(&mut self, alarm: &Alarm) {
        self.was_up = true;
        let names = alarm.details.get("mute").and_then(|names| names.as_array()).into_iter().flatten();
        self.remembered.extend(names.filter_map(|name| name.as_str()).map(str::to_owned));
        if alarm.kind == AlarmKind::NeighbourTableFull {
            self.table_fault = Evidence::of_details(&alarm.details);
        }
    }

    pub(crate) fn set_away(&mut self, lines: BTreeSet<LineId>) -> bool {
        let changed = self.away != lines;
        if changed {
            self.away = lines;
            self.targets.touch();
        }
        changed
    }

    /// Takes what there is now; `places` are addresses to ask besides. Says whether anything changed.
    pub(crate) fn update(
        &mut self,
        desk: &mut Desk<'_>,
        picture: SitePicture,
        places: &BTreeSet<SocketAddrV6>,
    ) -> bool {
        if picture == self.picture && *places == self.places {
            return false;
        }
        let old = std::mem::replace(&mut self.picture, picture);
        self.places.clone_from(places);
        let wanted = self.wanted(places, desk.settings);
        for address in self.targets.addresses() {
            if !wanted.contains_key(&address) {
                self.remove(desk, address);
            }
        }
        for (address, role) in wanted {
            if self.targets.assign(address, role) {
                self.welcome(desk, address);
            }
        }
        self.targets.touch();
        self.turns = self.in_turn();
        self.recall();
        self.tunnel_changed(desk, &old);
        self.look_at_registrations(desk, &old);
        true
    }

    /// Forgets the site's times.
    pub(crate) fn leave(&mut self, desk: &mut Desk<'_>) {
        for address in self.targets.addresses() {
            desk.schedule.cancel((self.picture.id, address));
        }
    }

    /// Somebody's time has come: says by which methods to ask, or nothing when there is a reason not to.
    pub(crate) fn question(&mut self, desk: &mut Desk<'_>, address: SocketAddrV6) -> Option<(bool, bool)> {
        let is_phone = self.targets.get(address).filter(|target| !target.in_flight)?.is_phone();
        if is_phone && !self.way.is_witness(address) {
            let wait = match self.way {
                Way::Cut { .. } | Way::Down { .. } => return None,
                Way::Doubt { .. } => Some(desk.settings.retry_every),
                // Each mute phone holds an entry of the IAD's neighbour table while the IAD looks for it: never many at a time.
                Way::Unknown | Way::Proved => {
                    (self.in_flight >= MAX_IN_FLIGHT).then_some(desk.settings.answer_within / 4)
                }
            };
            if let Some(wait) = wait {
                self.plan(desk, address, wait, Urgency::Routine);
                return None;
            }
        }
        let target = self.targets.get_mut(address)?;
        target.in_flight = true;
        let (methods, doubtful) = (target.methods(), target.failures > 0);
        if is_phone {
            self.in_flight += 1;
            if doubtful {
                // The way is to be proved at the same time.
                self.ask_iad(desk);
            }
        }
        Some(methods)
    }

    /// An answer came; says whether it tells anything new.
    pub(crate) fn answered(&mut self, desk: &mut Desk<'_>, address: SocketAddrV6, method: Method) -> bool {
        let Some(target) = self.targets.get_mut(address) else { return false };
        let was_in_flight = std::mem::take(&mut target.in_flight);
        let (first, role) = (target.answered_at.is_none(), target.role());
        let is_other = self.targets.answered(address, desk.now, method);
        let news = is_other || self.way != Way::Proved || self.survey.is_some();
        match role {
            Role::Place => {
                self.plan(desk, address, desk.settings.phone_every, Urgency::Routine);
                return news;
            }
            Role::Iad => self.survey.iter_mut().for_each(|survey| survey.note_iad(true)),
            Role::Phone { .. } => self.in_flight -= usize::from(was_in_flight),
        }
        if role != (Role::Phone { local: false }) {
            self.last_answer = Some(desk.now);
            self.way_proved(desk);
        }
        match role {
            Role::Iad => {
                let every = self.survey.as_ref().map_or(desk.settings.iad_every, |survey| survey.every / 4);
                let after = jitter(desk.random, every.min(desk.settings.iad_every));
                self.plan(desk, address, after, Urgency::Routine);
            }
            _ if self.survey.as_ref().is_some_and(|survey| survey.has(address)) => {
                self.verdict(desk, address, true)
            }
            _ => {
                let every = desk.settings.phone_every;
                // The first time puts each phone at a place of its own in the round.
                let after = if first { part_of(desk.random, every) } else { jitter(desk.random, every) };
                self.plan(desk, address, after, Urgency::Routine);
            }
        }
        news
    }

    /// No answer came to what was asked at `asked_at`.
    pub(crate) fn silent(&mut self, desk: &mut Desk<'_>, address: SocketAddrV6, asked_at: Instant) {
        let Some(target) = self.targets.get_mut(address) else { return };
        target.in_flight = false;
        target.failures = target.failures.saturating_add(1);
        let (failures, role) = (target.failures, target.role());
        match role {
            Role::Place => {
                let mute = failures >= desk.settings.tries;
                self.targets.set_health(address, if mute { Health::Mute } else { Health::Suspected });
                let after = if mute { desk.settings.phone_every } else { desk.settings.retry_every };
                self.plan(desk, address, after, Urgency::Routine);
            }
            Role::Iad => {
                self.survey.iter_mut().for_each(|survey| survey.note_iad(false));
                self.iad_silent(desk, address, asked_at);
            }
            Role::Phone { .. } => {
                self.in_flight = self.in_flight.saturating_sub(1);
                if !self.witness_silent(desk, address) {
                    self.phone_silent(desk, address, asked_at);
                }
            }
        }
    }

    /// Asks an address soon because something else was seen of it.
    pub(crate) fn ask_soon(&mut self, desk: &mut Desk<'_>, address: SocketAddrV6) {
        let Some(target) = self.targets.get_mut(address).filter(|target| !target.in_flight) else { return };
        target.failures = 0;
        desk.schedule.hasten((self.picture.id, address), desk.now, Urgency::Urgent);
    }

    fn phone_silent(&mut self, desk: &mut Desk<'_>, address: SocketAddrV6, asked_at: Instant) {
        let judged = match self.way {
            Way::Proved => true,
            Way::Unknown => self.iad().is_none(),
            // It was under way when the doubt began.
            Way::Doubt { .. } => {
                return self.plan(desk, address, desk.settings.retry_every, Urgency::Routine);
            }
            Way::Cut { .. } | Way::Down { .. } => return,
        };
        let Some(target) = self.targets.get_mut(address) else { return };
        if !judged {
            target.failures = 0;
            let after = jitter(desk.random, desk.settings.phone_every);
            return self.plan(desk, address, after, Urgency::Routine);
        }
        let (was_mute, failures) = (target.health() == Health::Mute, target.failures);
        if !was_mute {
            self.targets.set_health(address, Health::Suspected);
        }
        let last_try = failures >= desk.settings.tries || was_mute && self.survey.is_none();
        let proved = self.prove_way(desk, asked_at);
        if !last_try || !proved {
            return self.plan(desk, address, desk.settings.retry_every, Urgency::Urgent);
        }
        self.targets.set_health(address, Health::Mute);
        let Some(target) = self.targets.get_mut(address) else { return };
        target.failures = 0;
        target.mute_times = target.mute_times.saturating_add(1);
        let mute_times = target.mute_times;
        match self.survey.as_ref().is_some_and(|survey| survey.has(address)) {
            true => self.verdict(desk, address, false),
            false => {
                let every = again_after(mute_times, desk.settings.grace);
                let after = jitter(desk.random, every.min(desk.settings.phone_every));
                self.plan(desk, address, after, Urgency::Routine);
                self.begin_survey(desk);
            }
        }
    }

    /// The addresses that the picture names, with what they are.
    fn wanted(&self, places: &BTreeSet<SocketAddrV6>, settings: &Settings) -> BTreeMap<SocketAddrV6, Role> {
        let mut wanted: BTreeMap<SocketAddrV6, Role> =
            places.iter().map(|place| (*place, Role::Place)).collect();
        for address in self.picture.phones.iter().filter_map(|phone| phone.address) {
            let local = self.picture.prefix.is_none_or(|prefix| prefix.contains(address.ip()));
            wanted.insert(address, Role::Phone { local });
        }
        if let Some(iad) = self.picture.iad.filter(|_| settings.echo) {
            wanted.insert(iad_address(iad), Role::Iad);
        }
        wanted
    }

    /// Plans a newcomer's first time.
    fn welcome(&mut self, desk: &mut Desk<'_>, address: SocketAddrV6) {
        let urgent = self.targets.get(address).is_some_and(|target| !target.is_phone());
        let after = part_of(desk.random, desk.first_within);
        match urgent {
            true => self.plan(desk, address, after.min(desk.settings.retry_every), Urgency::Urgent),
            false => self.plan(desk, address, after, Urgency::Routine),
        }
    }

    fn remove(&mut self, desk: &mut Desk<'_>, address: SocketAddrV6) {
        desk.schedule.cancel((self.picture.id, address));
        if self.targets.remove(address).is_some_and(|target| target.is_phone() && target.in_flight) {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        self.way.forget_witness(address);
        if self.survey.as_mut().is_some_and(|survey| survey.forget(address)) {
            self.end_round(desk);
        }
    }

    /// Phones that were remembered by name count as seen.
    fn recall(&mut self) {
        if self.remembered.is_empty() {
            return;
        }
        for phone in &self.picture.phones {
            if let Some(address) = phone.address
                && self.remembered.remove(&phone.name)
            {
                self.targets.set_seen(address);
            }
        }
    }

    /// A registration that is new or refreshed is a sign of life that is worth a question.
    fn look_at_registrations(&mut self, desk: &mut Desk<'_>, old: &SitePicture) {
        let before: BTreeMap<_, _> =
            old.phones.iter().map(|phone| ((&phone.name, phone.address), phone.registered_until)).collect();
        let is_new = |phone: &PhonePicture| {
            before.get(&(&phone.name, phone.address)).is_some_and(|until| phone.registered_until > *until)
        };
        let refreshed: Vec<SocketAddrV6> = self
            .picture
            .phones
            .iter()
            .filter(|phone| is_new(phone))
            .filter_map(|phone| phone.address)
            .collect();
        for address in refreshed {
            let Some(target) = self.targets.get(address).filter(|target| !target.in_flight) else {
                continue;
            };
            let worth_it = matches!(target.health(), Health::Mute | Health::Unknown);
            match &mut self.way {
                Way::Cut { witness, .. } => *witness = Some(address),
                Way::Proved | Way::Unknown if worth_it => {}
                _ => continue,
            }
            desk.schedule.hasten((self.picture.id, address), desk.now, Urgency::Routine);
        }
    }

    /// Whether there is an IAD that can be asked.
    pub(crate) fn has_iad(&self) -> bool {
        self.iad().is_some()
    }

    /// Whether there is anything at all that can be asked.
    pub(crate) fn is_askable(&self) -> bool {
        !self.turns.is_empty() || self.has_iad()
    }

    fn iad(&self) -> Option<SocketAddrV6> {
        let address = iad_address(self.picture.iad?);
        self.targets.get(address).is_some_and(|target| target.role() == Role::Iad).then_some(address)
    }

    /// The phones' addresses, those first whose line is registered.
    fn in_turn(&self) -> Vec<SocketAddrV6> {
        let registered = self.picture.phones.iter().filter(|phone| phone.registered_until.is_some());
        let registered: BTreeSet<SocketAddrV6> = registered.filter_map(|phone| phone.address).collect();
        let phones = self.targets.iter().filter(|(_, target)| target.is_phone()).map(|(address, _)| address);
        let (first, then): (Vec<_>, Vec<_>) = phones.partition(|address| registered.contains(address));
        [first, then].concat()
    }

    fn plan(&self, desk: &mut Desk<'_>, address: SocketAddrV6, after: Duration, urgency: Urgency) {
        desk.schedule.set((self.picture.id, address), desk.now + after, urgency);
    }
}

/// When a phone is asked again that was found mute so many times. Often at first: one that restarts is back, and chance on a lossy line is
/// told from silence, before it counts as missing. Then ever more seldom.
fn again_after(mute_times: u32, grace: Duration) -> Duration {
    match mute_times.checked_sub(OFTEN) {
        None => grace / 2,
        Some(more) => grace * 2_u32.pow(more.min(16)),
    }
}

/// An IAD is asked by echo, which knows no port.
fn iad_address(address: Ipv6Addr) -> SocketAddrV6 {
    SocketAddrV6::new(address, 0, 0, 0)
}

/// A span with a twentieth more or less, so that what began together drifts apart.
fn jitter(random: &mut StdRng, span: Duration) -> Duration {
    span.mul_f64(random.random_range(0.95..1.05))
}

/// Somewhere within a span.
fn part_of(random: &mut StdRng, span: Duration) -> Duration {
    span.mul_f64(random.random_range(0.0..1.0))
}

/// A phone that is found mute is asked so often in short turns: as long as a missing phone waits to be an alarm.
const OFTEN: u32 = 6;
/// Phones of one site that are asked at a time.
const MAX_IN_FLIGHT: usize = 8;
/// How long a report of the neighbour table means something, in milliseconds.
const REPORT_HOLDS: i64 = 15 * 60 * 1000;
