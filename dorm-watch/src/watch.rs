//! The watch: sites, their schedule and the ledger behind two verbs.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schema::{Alarm, AlarmId, AlarmKind, SiteId};
use sip_core::clock::WallClock;

use crate::findings::accounts::{self, Accounts};
use crate::findings::places::Places;
use crate::findings::{Family, Scope, health};
use crate::io::{Counts, Input, Method, Output, Probe, Ticket};
use crate::ledger::Ledger;
use crate::picture::{Picture, SitePicture};
use crate::schedule::{Bucket, Schedule, Who};
use crate::settings::Settings;
use crate::site::{Desk, Site, SiteState};
use crate::status::SiteStatus;

/// Watches every site from the centre, without I/O.
///
/// The law: give one input, drain [`poll_output`](Watch::poll_output) until it returns `None`, then give the next input.
#[derive(Debug)]
pub struct Watch {
    settings: Settings,
    clock: WallClock,
    random: StdRng,
    sites: BTreeMap<SiteId, Site>,
    /// Since when each site is in its state, in milliseconds since 1970.
    since: BTreeMap<SiteId, i64>,
    schedule: Schedule,
    bucket: Bucket,
    flights: HashMap<Ticket, Flight>,
    /// When questions count as unanswered, in order.
    deadlines: VecDeque<(Instant, Ticket)>,
    places: Places,
    accounts: Accounts,
    ledger: Ledger,
    /// Sites to judge again.
    changed: BTreeSet<SiteId>,
    /// When the places are judged again: soon after something changed, and not for each answer.
    places_at: Option<Instant>,
    places_rest_until: Option<Instant>,
    started: Option<Instant>,
    counts: Counts,
    wake: Option<Instant>,
    out: VecDeque<Output>,
}

#[derive(Debug)]
struct Flight {
    who: Who,
    asked_at: Instant,
    options: bool,
    /// Until it is answered.
    echo: bool,
    /// Whether echo was answered, and OPTIONS not yet.
    lives: bool,
}

impl Watch {
    /// A watch that knows nothing yet. The seed makes tickets unpredictable: it comes from the operating system, and is fixed in tests.
    pub fn new(settings: Settings, clock: WallClock, seed: [u8; 32]) -> Watch {
        Watch {
            bucket: Bucket::new(settings.max_packets_per_second),
            ledger: Ledger::new(settings.grace),
            settings,
            clock,
            random: StdRng::from_seed(seed),
            sites: BTreeMap::new(),
            since: BTreeMap::new(),
            schedule: Schedule::default(),
            flights: HashMap::new(),
            deadlines: VecDeque::new(),
            places: Places::default(),
            accounts: Accounts::default(),
            changed: BTreeSet::new(),
            places_at: None,
            places_rest_until: None,
            started: None,
            counts: Counts::default(),
            wake: None,
            out: VecDeque::new(),
        }
    }

    /// Takes one input. `now` never runs backwards.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        let now_ms = self.clock.unix_ms(now);
        match input {
            Input::Time => {}
            Input::Picture(picture) => self.take_picture(now, now_ms, picture),
            Input::Answer { ticket, method, source } => self.take_answer(now, ticket, method, source),
            Input::Saved { entry, outcome } => self.ledger.saved(now, entry, outcome),
            Input::Acknowledge { alarm, by, comment } => {
                self.ledger.acknowledge(now, now_ms, alarm, by, comment)
            }
        }
        self.expire(now);
        self.ask(now);
        self.judge(now, now_ms);
        self.ledger.tick(now, now_ms);
        self.out.extend(self.ledger.take_outputs());
        self.set_wake(now);
    }

    /// Gives the next thing to do, or `None` when there is nothing until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// How each site is, by code.
    pub fn status(&self, now: Instant) -> Vec<SiteStatus> {
        let now_ms = self.clock.unix_ms(now);
        let mut open: BTreeMap<SiteId, Vec<&Alarm>> = BTreeMap::new();
        for alarm in self.open_alarms() {
            open.entry(alarm.site.unwrap_or(SiteId::NEW)).or_default().push(alarm);
        }
        let status = |(id, site): (&SiteId, &Site)| {
            let open = open.get(id).into_iter().flatten().copied();
            SiteStatus::of(site, self.since.get(id).copied().unwrap_or(now_ms), now, now_ms, open)
        };
        let mut all: Vec<SiteStatus> = self.sites.iter().map(status).collect();
        all.sort_by(|one, other| one.code.cmp(&other.code));
        all
    }

    /// How many sites are in each state.
    pub fn states(&self) -> [(SiteState, usize); 5] {
        SiteState::ALL.map(|state| (state, self.sites.values().filter(|site| site.state() == state).count()))
    }

    /// The alarms that are open; one that is not written yet has no number.
    pub fn open_alarms(&self) -> impl Iterator<Item = &Alarm> {
        self.ledger.open()
    }

    /// Whether an alarm is open and ours to change.
    pub fn has_open(&self, alarm: AlarmId) -> bool {
        self.ledger.has_open(alarm)
    }

    /// What was asked and what came of it.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn take_picture(&mut self, now: Instant, now_ms: i64, picture: Picture) {
        let Picture { sites, open, cleared } = picture;
        let by_id: HashMap<SiteId, &SitePicture> = sites.iter().map(|site| (site.id, site)).collect();
        for alarm in self.ledger.adopt(now, open) {
            self.remember(&alarm, &by_id);
        }
        let oldest = now_ms - i64::try_from(self.settings.history.as_millis()).unwrap_or(i64::MAX);
        self.ledger.forget(cleared, oldest, self.settings.max_history);
        let suspicious = self.places.update(now_ms, &sites);
        let first_within = self.first_within(&sites);
        self.leave_sites(now, now_ms, &sites);
        for picture in sites {
            let id = picture.id;
            let places = self.places.of_site(id);
            let site = self.sites.entry(id).or_insert_with(|| Site::new(&picture));
            let desk = &mut Desk {
                now,
                settings: &self.settings,
                schedule: &mut self.schedule,
                random: &mut self.random,
                first_within,
            };
            // A report becomes old without a change.
            if site.update(desk, picture, places) || site.has_report() {
                self.changed.insert(id);
            }
        }
        for (id, address) in suspicious {
            self.with_site(now, id, |site, desk| site.ask_soon(desk, address));
        }
        self.places_at = Some(now);
        let found = self.accounts.update(now_ms, self.sites.values().map(Site::picture));
        // Who took over from whom is known only since we started.
        let frozen = [Family::of(AlarmKind::AccountFlapping)];
        let is_young = now < self.started(now) + accounts::KNOWS_AFTER;
        self.ledger.report(now, Scope::Accounts, found, if is_young { &frozen } else { &[] });
    }

    /// Alarms that were open before we started tell what lived then.
    fn remember(&mut self, alarm: &Alarm, sites: &HashMap<SiteId, &SitePicture>) {
        if let Scope::Site(id) = Scope::of_alarm(alarm)
            && let Some(picture) = sites.get(&id)
        {
            self.sites.entry(id).or_insert_with(|| Site::new(picture)).remember(alarm);
        }
    }

    fn started(&mut self, now: Instant) -> Instant {
        *self.started.get_or_insert(now)
    }

    /// Over what time so many newcomers are asked for the first time: with a quarter of the packets that there are.
    fn first_within(&self, sites: &[SitePicture]) -> Duration {
        let addresses: usize = sites.iter().map(|site| site.phones.len() + 1).sum();
        let known: usize = self.sites.values().map(|site| site.picture().phones.len() + 1).sum();
        let packets = addresses.saturating_sub(known).max(1) * 2;
        let seconds = packets as f64 * 4.0 / f64::from(self.settings.max_packets_per_second.max(1));
        Duration::from_secs_f64(seconds).min(self.settings.phone_every)
    }

    fn leave_sites(&mut self, now: Instant, now_ms: i64, sites: &[SitePicture]) {
        let there: BTreeSet<SiteId> = sites.iter().map(|site| site.id).collect();
        let gone: Vec<SiteId> = self.sites.keys().filter(|id| !there.contains(id)).copied().collect();
        for id in gone {
            self.with_site(now, id, |site, desk| site.leave(desk));
            self.sites.remove(&id);
            self.since.remove(&id);
            self.changed.remove(&id);
        }
        self.ledger.drop_sites(now, now_ms, |id| there.contains(&id));
    }

    fn take_answer(&mut self, now: Instant, ticket: Ticket, method: Method, source: IpAddr) {
        let Some(flight) = self.flights.get_mut(&ticket) else { return };
        let (id, address) = flight.who;
        if source.to_canonical() != IpAddr::V6(*address.ip()).to_canonical() {
            return;
        }
        match method {
            Method::Options => {
                self.counts.options_answered += 1;
                self.flights.remove(&ticket);
            }
            Method::Echo => {
                if !std::mem::take(&mut flight.echo) {
                    return;
                }
                self.counts.echo_answered += 1;
                flight.lives = true;
                // Whether it speaks SIP, too, is told by an answer that takes longer.
                if !flight.options {
                    self.flights.remove(&ticket);
                }
            }
        }
        let news = self.with_site(now, id, |site, desk| site.answered(desk, address, method));
        if news == Some(true) {
            self.changed.insert(id);
        }
        if self.places.cares_for(address) {
            self.places_at.get_or_insert(now);
        }
    }

    /// Questions whose time is over.
    fn expire(&mut self, now: Instant) {
        while let Some((_, ticket)) = self.deadlines.front().filter(|(at, _)| *at <= now).copied() {
            self.deadlines.pop_front();
            let Some(flight) = self.flights.remove(&ticket) else { continue };
            let Flight { who: (id, address), asked_at, options, echo, lives } = flight;
            self.counts.options_silent += u64::from(options);
            self.counts.echo_silent += u64::from(echo);
            if lives {
                continue;
            }
            self.with_site(now, id, |site, desk| site.silent(desk, address, asked_at));
            self.changed.insert(id);
        }
    }

    /// Asks whoever is due, as far as the packets go.
    fn ask(&mut self, now: Instant) {
        while self.bucket.has_room(now) {
            let Some((id, address)) = self.schedule.take(now) else { break };
            let methods = self.with_site(now, id, |site, desk| site.question(desk, address)).flatten();
            let Some((options, echo)) = methods else { continue };
            let echo = echo && self.settings.echo;
            // Somebody who answers echo alone is asked by OPTIONS when echo is not to be had.
            let options = options || !echo;
            let ticket = Ticket(self.random.next_u64());
            self.bucket.take(u32::from(options) + u32::from(echo));
            self.flights
                .insert(ticket, Flight { who: (id, address), asked_at: now, options, echo, lives: false });
            self.deadlines.push_back((now + self.settings.answer_within, ticket));
            self.out.push_back(Output::Probe(Probe { ticket, target: address, options, echo }));
        }
    }

    fn judge(&mut self, now: Instant, now_ms: i64) {
        let rested = self.places_rest_until.is_none_or(|at| at <= now);
        if rested && self.places_at.take().is_some() {
            self.places_rest_until = Some(now + PLACES_REST);
            self.judge_places(now, now_ms);
        }
        for id in std::mem::take(&mut self.changed) {
            let Some(site) = self.sites.get_mut(&id) else { continue };
            if site.settle_state() {
                self.since.insert(id, now_ms);
            }
            let (findings, frozen) = health::findings(site, now_ms);
            self.ledger.report(now, Scope::Site(id), findings, &frozen);
        }
    }

    fn judge_places(&mut self, now: Instant, now_ms: i64) {
        let pictures: Vec<&SitePicture> = self.sites.values().map(Site::picture).collect();
        let answered = |id: SiteId, address: SocketAddrV6| {
            let at = self.sites.get(&id)?.target(address)?.answered_at?;
            Some(self.clock.unix_ms(at))
        };
        let stale = i64::try_from((self.settings.phone_every * 3).as_millis()).unwrap_or(i64::MAX);
        let mut found = self.places.findings(now_ms, stale, &pictures, answered);
        for (id, site) in &mut self.sites {
            if site.set_away(found.away.remove(id).unwrap_or_default()) {
                self.changed.insert(*id);
            }
        }
        // Whether a MAC lives at several places is known when all of them were asked.
        let frozen = [Family::of(AlarmKind::DuplicateMac)];
        let is_young = now < self.started(now) + self.settings.grace * 2;
        self.ledger.report(now, Scope::Places, found.findings, if is_young { &frozen } else { &[] });
    }

    fn set_wake(&mut self, now: Instant) {
        // What is due and was not asked waits for packets.
        let asking = self.schedule.next().map(|at| at.max(now + self.bucket.wait()));
        let expiring = self.deadlines.front().map(|(at, _)| *at);
        let judging = self.places_at.and(self.places_rest_until);
        let wake = [asking, expiring, judging, self.ledger.next()].into_iter().flatten().min();
        let wake = wake.map(|at| at.max(now + SHORTEST));
        if wake != self.wake
            && let Some(at) = wake
        {
            self.out.push_back(Output::Wake(at));
        }
        self.wake = wake;
    }

    fn with_site<T>(
        &mut self,
        now: Instant,
        id: SiteId,
        act: impl FnOnce(&mut Site, &mut Desk<'_>) -> T,
    ) -> Option<T> {
        let site = self.sites.get_mut(&id)?;
        let desk = &mut Desk {
            now,
            settings: &self.settings,
            schedule: &mut self.schedule,
            random: &mut self.random,
            first_within: Duration::ZERO,
        };
        Some(act(site, desk))
    }
}

/// Wakes are no denser than this.
const SHORTEST: Duration = Duration::from_millis(1);
/// All lines are looked at when their places are judged, so that this is not done for every answer.
const PLACES_REST: Duration = Duration::from_secs(1);
