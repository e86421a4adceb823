//! The watch against simulated sites, with a hand-moved clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schema::{Alarm, AlarmId, AlarmKind, SiteId};
use sip_core::clock::WallClock;

use crate::io::{Input, Method, Output, Probe, Saved};
use crate::picture::{ClearedAlarm, Picture, Place, SitePicture};
use crate::settings::Settings;
use crate::testing;
use crate::watch::Watch;

/// A watch and what it sees.
pub(crate) struct World {
    pub(crate) watch: Watch,
    pub(crate) now: Instant,
    start: Instant,
    pub(crate) sites: Vec<SitePicture>,
    /// Sites that no packet reaches.
    pub(crate) cut: BTreeSet<SiteId>,
    /// Addresses that have no power.
    pub(crate) off: BTreeSet<SocketAddrV6>,
    /// IADs that answer no echo.
    pub(crate) no_echo: BTreeSet<SiteId>,
    /// How many phones a site's router serves, and which, the longest unused first.
    pub(crate) tables: BTreeMap<SiteId, (usize, VecDeque<SocketAddrV6>)>,
    /// Of so many questions one is lost, by chance.
    pub(crate) loses_one_in: Option<u32>,
    chance: StdRng,
    /// What the store holds.
    pub(crate) stored: BTreeMap<AlarmId, Alarm>,
    numbered: i64,
    /// Whether the store refuses.
    pub(crate) away: bool,
    pub(crate) probes: Vec<(Instant, Probe)>,
    wake: Option<Instant>,
    pictured_at: Option<Instant>,
    picture_every: Duration,
}

impl World {
    pub(crate) fn new(sites: Vec<SitePicture>) -> World {
        World::with(Settings::default(), sites)
    }

    pub(crate) fn with(settings: Settings, sites: Vec<SitePicture>) -> World {
        let start = Instant::now();
        World {
            watch: Watch::new(settings, WallClock::new(start, EPOCH), [7; 32]),
            now: start,
            start,
            sites,
            cut: BTreeSet::new(),
            off: BTreeSet::new(),
            no_echo: BTreeSet::new(),
            tables: BTreeMap::new(),
            loses_one_in: None,
            chance: StdRng::from_seed([3; 32]),
            stored: BTreeMap::new(),
            numbered: 0,
            away: false,
            probes: Vec::new(),
            wake: None,
            pictured_at: None,
            picture_every: PICTURE_EVERY,
        }
    }

    /// Another process on the same store.
    pub(crate) fn restart(&mut self, settings: Settings) {
        self.watch = Watch::new(settings, WallClock::new(self.start, EPOCH), [8; 32]);
        (self.wake, self.pictured_at) = (None, None);
    }

    pub(crate) fn ms(&self) -> i64 {
        WallClock::new(self.start, EPOCH).unix_ms(self.now)
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let picture = self.pictured_at.map_or(self.now, |at| at + self.picture_every);
            let next = self.wake.unwrap_or(end).min(picture);
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            if picture <= self.now {
                self.pictured_at = Some(self.now);
                self.give_picture();
            } else {
                self.wake = None;
                self.give(Input::Time);
            }
        }
    }

    pub(crate) fn minutes(&mut self, minutes: u64) {
        self.run(Duration::from_secs(minutes * 60));
    }

    pub(crate) fn give_picture(&mut self) {
        let open = self.stored.values().filter(|alarm| alarm.is_active()).cloned().collect();
        let cleared = self
            .stored
            .values()
            .filter_map(|alarm| Some(ClearedAlarm { id: alarm.id, cleared_at: alarm.cleared_at? }));
        let picture = Picture { sites: self.sites.clone(), open, cleared: cleared.collect() };
        self.give(Input::Picture(picture));
    }

    /// Gives an input and does what comes out.
    pub(crate) fn give(&mut self, input: Input) {
        self.watch.handle_input(self.now, input);
        let mut then = Vec::new();
        while let Some(output) = self.watch.poll_output() {
            match output {
                Output::Wake(at) => self.wake = Some(at),
                Output::Probe(probe) => {
                    self.probes.push((self.now, probe));
                    then.extend(self.answer(probe));
                }
                Output::Save { entry, mut alarm } => {
                    let outcome = if self.away {
                        Saved::Failed
                    } else {
                        if alarm.id == AlarmId::NEW {
                            self.numbered += 1;
                            alarm.id = AlarmId(self.numbered);
                        }
                        assert!(alarm.check().is_ok(), "{alarm:?}");
                        self.stored.insert(alarm.id, Alarm::clone(&alarm));
                        Saved::Stored(alarm.id)
                    };
                    then.push(Input::Saved { entry, outcome });
                }
                Output::Forget(id) => {
                    self.stored.remove(&id);
                }
            }
        }
        for input in then {
            self.give(input);
        }
    }

    fn answer(&mut self, probe: Probe) -> Option<Input> {
        let address = probe.target;
        // As the test pictures number them.
        let id = SiteId(address.ip().segments()[2].into());
        let site = &self.sites[self.sites.binary_search_by_key(&id, |site| site.id).ok()?];
        let is_iad = site.iad == Some(*address.ip());
        if let Some(one_in) = self.loses_one_in
            && self.chance.random_ratio(1, one_in)
        {
            return None;
        }
        if self.cut.contains(&site.id)
            || self.off.contains(&address)
            || is_iad && self.no_echo.contains(&site.id)
        {
            return None;
        }
        if let Some((size, served)) = self.tables.get_mut(&site.id).filter(|_| !is_iad)
            && !served.contains(&address)
        {
            if served.len() >= *size {
                return None;
            }
            served.push_back(address);
        }
        let method = if probe.options { Method::Options } else { Method::Echo };
        Some(Input::Answer { ticket: probe.ticket, method, source: IpAddr::V6(*address.ip()) })
    }

    pub(crate) fn open(&self) -> Vec<&Alarm> {
        self.stored.values().filter(|alarm| alarm.is_active()).collect()
    }

    pub(crate) fn kinds(&self) -> Vec<AlarmKind> {
        self.open().iter().map(|alarm| alarm.kind).collect()
    }

    pub(crate) fn state(&self, code: &str) -> &'static str {
        let all = self.watch.status(self.now);
        all.iter().find(|site| site.code == code).map_or("none", |site| site.state.as_str())
    }

    /// The broker notices.
    pub(crate) fn lease_up(&mut self, site: usize, up: bool) {
        let now = self.ms();
        if let Some(lease) = self.sites[site].tunnel.as_mut().and_then(|tunnel| tunnel.lease.as_mut()) {
            (lease.up, lease.changed_at) = (up, now);
        }
    }

    pub(crate) fn switch_off(&mut self, site: usize, phones: std::ops::Range<usize>) {
        self.off.extend(self.sites[site].phones[phones].iter().filter_map(|phone| phone.address));
    }
}

fn sites(count: i64, phones: u16) -> Vec<SitePicture> {
    (1..=count).map(|id| testing::site(SiteId(id), &format!("{}", 800 + id), phones)).collect()
}

const EPOCH: Duration = Duration::from_secs(1_700_000_000);
/// As the service takes them when nothing changes.
const PICTURE_EVERY: Duration = Duration::from_secs(10);

#[test]
fn three_hundred_sites_cost_little_and_a_cut_line_is_one_alarm() {
    let mut world = World::new(sites(300, 90));
    // So many phones are a big picture, which costs a simulation more than the watch.
    world.picture_every = PICTURE_EVERY * 3;
    // The first round takes 5 minutes.
    world.minutes(6);
    assert_eq!(world.watch.states().map(|(_, count)| count), [0, 300, 0, 0, 0]);
    assert!(world.open().is_empty());
    let begin = world.now;
    world.minutes(2);
    let packets: usize =
        world.probes.iter().filter(|(at, _)| *at >= begin).map(|(_, probe)| packets(probe)).sum();
    let per_second = packets as f64 / 120.0;
    // 27,000 phones in 300 s, 300 IADs in 60 s.
    assert!((85.0..105.0).contains(&per_second), "{per_second} packets/s");
    busiest_second_is_bounded(&world, 500);
    evenly_spread(&world, begin);

    world.cut.insert(SiteId(42));
    let cut_at = world.now;
    world.minutes(3);
    assert_eq!(world.kinds(), [AlarmKind::IadUnreachable]);
    let alarm = world.open()[0].clone();
    assert!(alarm.cause.contains("site 842") && alarm.cause.contains("90 phones"), "{}", alarm.cause);
    let after =
        Duration::from_millis((alarm.raised_at - WallClock::new(world.start, EPOCH).unix_ms(cut_at)) as u64);
    assert!(after < Duration::from_secs(90), "raised after {after:?}");
    let to_site = world.probes.iter().filter(|(at, probe)| *at >= cut_at && in_site(probe, 42)).count();
    assert!(to_site < 150, "{to_site} probes into a cut line");
    // The broker gives up: the same fault by its better name.
    world.lease_up(41, false);
    world.minutes(1);
    assert_eq!(world.kinds(), [AlarmKind::TunnelDown]);
    assert_eq!((world.open()[0].id, world.stored.len()), (alarm.id, 1));
    assert_eq!(world.state("842"), "tunnel_down");
    // The line is mended.
    world.cut.clear();
    world.lease_up(41, true);
    world.minutes(2);
    assert!(world.open().is_empty() && world.stored.len() == 1, "{:?}", world.stored);
    assert_eq!(world.watch.states().map(|(_, count)| count), [0, 300, 0, 0, 0]);
}

#[test]
fn all_lines_cut_at_once_stay_within_the_bound() {
    let mut world = World::new(sites(300, 30));
    world.minutes(6);
    world.cut.extend((1..=300).map(SiteId));
    world.minutes(4);
    assert_eq!(world.open().len(), 300);
    assert!(world.kinds().iter().all(|kind| *kind == AlarmKind::IadUnreachable));
    world.cut.clear();
    world.minutes(4);
    assert!(world.open().is_empty());
    assert_eq!(world.stored.len(), 300);
    busiest_second_is_bounded(&world, 500);
}

#[test]
fn phones_that_are_switched_off_are_missing_and_nothing_else() {
    let mut world = World::new(sites(2, 40));
    world.minutes(6);
    world.switch_off(0, 3..6);
    world.minutes(40);
    assert_eq!(world.kinds(), [AlarmKind::PhonesMissing]);
    let alarm = world.open()[0];
    assert!(
        alarm.cause.contains("3 phones do not answer, of 40 that have lived: 104, 105, 106."),
        "{}",
        alarm.cause
    );
    assert_eq!((world.state("801"), world.state("802")), ("phones_missing", "up"));
    world.off.clear();
    world.minutes(10);
    assert!(world.open().is_empty());
    assert_eq!(world.stored.len(), 1);
}

#[test]
fn a_phone_that_restarts_is_no_alarm() {
    let mut world = World::new(sites(1, 40));
    world.minutes(6);
    for phone in 0..40 {
        world.off.clear();
        world.switch_off(0, phone..phone + 1);
        world.run(Duration::from_secs(45));
    }
    assert!(world.stored.is_empty(), "{:?}", world.stored);
}

#[test]
fn phones_that_never_lived_are_not_missed() {
    let mut all = sites(1, 40);
    all[0].phones[30..].iter_mut().for_each(|phone| phone.registered_until = None);
    let mut world = World::new(all);
    world.switch_off(0, 30..40);
    world.minutes(30);
    assert!(world.stored.is_empty(), "{:?}", world.stored);
    let status = world.watch.status(world.now);
    assert_eq!((status[0].phones.answering, status[0].phones.never_seen), (Some(30), 10));
}

#[test]
fn a_full_neighbour_table_is_named_by_its_rotation() {
    let mut world = World::new(sites(2, 90));
    world.minutes(6);
    world.tables.insert(SiteId(1), (64, VecDeque::new()));
    for _ in 0..40 {
        world.minutes(1);
        // Entries go when they are old, and whoever asks next takes the place.
        if let Some((_, served)) = world.tables.get_mut(&SiteId(1)) {
            served.drain(..served.len().min(4));
        }
    }
    assert_eq!(world.kinds(), [AlarmKind::NeighbourTableFull], "{:?}", world.open());
    let alarm = world.open()[0];
    for words in ["site 801", "never more than", "of 90 phones", "180 entries", "changed sides"] {
        assert!(alarm.cause.contains(words), "{words}: {}", alarm.cause);
    }
    for words in ["bigger table", "gc_thresh", "two VLANs", "permanent", "RFC 6583"] {
        assert!(alarm.remedy.contains(words), "{words}: {}", alarm.remedy);
    }
    assert_eq!(world.stored.len(), 1, "it took the place of the missing phones: {:#?}", world.stored);
    // A bigger router comes.
    world.tables.clear();
    world.minutes(20);
    assert!(world.open().is_empty(), "{:?}", world.open());
}

#[test]
fn a_full_neighbour_table_is_named_by_the_number_that_it_holds() {
    let mut all = sites(2, 90);
    all[0].table = Some(128);
    all[1].table = Some(1024);
    let mut world = World::new(all);
    world.minutes(6);
    world.tables.insert(SiteId(1), (64, VecDeque::new()));
    world.switch_off(1, 64..90);
    world.minutes(30);
    let mut kinds: Vec<_> = world.open().iter().map(|alarm| (alarm.subject.as_str(), alarm.kind)).collect();
    kinds.sort_unstable_by_key(|(subject, _)| *subject);
    assert_eq!(kinds, [("801", AlarmKind::NeighbourTableFull), ("802", AlarmKind::PhonesMissing)]);
}

#[test]
fn an_iad_that_reports_a_full_table_is_believed_at_once() {
    let mut world = World::new(sites(1, 90));
    world.minutes(6);
    let at = world.ms();
    if let Some(lease) = world.sites[0].tunnel.as_mut().and_then(|tunnel| tunnel.lease.as_mut()) {
        lease.report = Some(crate::picture::Report { entries: 128, capacity: Some(128), at });
    }
    world.run(Duration::from_secs(20));
    assert_eq!(world.kinds(), [AlarmKind::NeighbourTableFull]);
    assert!(world.open()[0].cause.contains("reports 128 of 128 entries"), "{}", world.open()[0].cause);
    // An old report says nothing.
    world.minutes(17);
    assert!(world.open().is_empty());
}

#[test]
fn an_iad_that_answers_no_echo_is_not_unreachable() {
    let mut world = World::new(sites(2, 20));
    world.no_echo.extend([SiteId(1), SiteId(2)]);
    world.minutes(20);
    assert!(world.stored.is_empty(), "{:?}", world.stored);
    assert_eq!(world.state("801"), "up");
    // A cut line is told by the phones alone.
    world.cut.insert(SiteId(1));
    world.minutes(8);
    assert_eq!(world.kinds(), [AlarmKind::IadUnreachable]);
    world.switch_off(1, 0..1);
    world.minutes(15);
    assert_eq!(world.kinds(), [AlarmKind::IadUnreachable, AlarmKind::PhonesMissing]);
    world.cut.clear();
    world.off.clear();
    world.minutes(15);
    assert!(world.open().is_empty(), "{:?}", world.open());
}

#[test]
fn a_lossy_line_is_neither_cut_nor_full() {
    let mut world = World::new(sites(3, 60));
    world.loses_one_in = Some(7);
    world.minutes(90);
    assert!(world.stored.is_empty(), "{:?}", world.stored);
}

#[test]
fn without_account_or_prefix_only_what_can_be_known_is_told() {
    let mut all = sites(3, 10);
    for site in &mut all {
        site.tunnel = None;
        site.phones.iter_mut().for_each(|phone| phone.registered_until = None);
    }
    all[1].iad = None;
    all[2].phones.clear();
    all[2].iad = None;
    let mut world = World::new(all);
    world.cut.insert(SiteId(1));
    world.minutes(20);
    assert_eq!(["801", "802", "803"].map(|code| world.state(code)), ["not_seen", "up", "not_seen"]);
    assert!(world.stored.is_empty());
    // Once it has been up, silence is a fault.
    world.cut.clear();
    world.minutes(10);
    world.cut.extend([SiteId(1), SiteId(2)]);
    world.minutes(15);
    assert_eq!(world.kinds(), [AlarmKind::IadUnreachable, AlarmKind::IadUnreachable]);
}

#[test]
fn a_renumbering_is_no_alarm() {
    let mut world = World::new(sites(1, 20));
    world.minutes(6);
    for _ in 0..10 {
        world.lease_up(0, false);
        world.cut.insert(SiteId(1));
        world.run(Duration::from_secs(20));
        world.lease_up(0, true);
        world.cut.clear();
        world.minutes(2);
    }
    assert!(world.stored.is_empty(), "{:?}", world.stored);
}

#[test]
fn alarms_survive_a_restart() {
    let settings = Settings::default();
    let mut world = World::new(sites(3, 20));
    world.minutes(6);
    world.cut.extend([SiteId(1), SiteId(3)]);
    world.lease_up(2, false);
    world.switch_off(1, 0..2);
    world.sites[1].phones.iter_mut().for_each(|phone| phone.registered_until = None);
    world.minutes(15);
    let before = world.stored.clone();
    assert_eq!(before.len(), 3);
    world.restart(settings.clone());
    world.minutes(15);
    let ids = |stored: &BTreeMap<AlarmId, Alarm>| {
        stored
            .values()
            .map(|alarm| (alarm.id, alarm.kind, alarm.raised_at, alarm.cleared_at))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&world.stored), ids(&before));
    // What ended while nobody watched is cleared.
    world.cut.clear();
    world.off.clear();
    world.lease_up(2, true);
    world.restart(settings);
    world.minutes(15);
    assert!(world.open().is_empty(), "{:?}", world.open());
    assert_eq!(world.stored.len(), 3);
}

#[test]
fn a_full_neighbour_table_is_still_named_after_a_restart() {
    let mut world = World::new(sites(1, 90));
    world.minutes(6);
    world.tables.insert(SiteId(1), (64, VecDeque::new()));
    let turn_over = |world: &mut World| {
        world.minutes(1);
        if let Some((_, served)) = world.tables.get_mut(&SiteId(1)) {
            served.drain(..served.len().min(4));
        }
    };
    (0..20).for_each(|_| turn_over(&mut world));
    let id = world.open()[0].id;
    world.give(Input::Acknowledge { alarm: id, by: "mia".into(), comment: None });
    world.restart(Settings::default());
    for _ in 0..20 {
        turn_over(&mut world);
        let open = world.open();
        assert_eq!((open.len(), open[0].id, open[0].kind), (1, id, AlarmKind::NeighbourTableFull));
        assert_eq!(open[0].acked_by.as_deref(), Some("mia"));
    }
    // It was mended while nobody watched.
    world.tables.clear();
    world.restart(Settings::default());
    world.minutes(10);
    assert!(world.open().is_empty(), "{:?}", world.open());
    assert_eq!(world.stored.len(), 1);
}

#[test]
fn a_line_that_goes_up_and_down_is_one_alarm() {
    let mut world = World::new(sites(1, 20));
    world.minutes(6);
    for _ in 0..20 {
        world.cut.insert(SiteId(1));
        world.minutes(4);
        world.cut.clear();
        world.minutes(4);
    }
    assert!(world.stored.len() <= 5, "{}", world.stored.len());
    assert_eq!(world.kinds(), [AlarmKind::IadUnreachable]);
    assert_eq!(world.state("801"), "up", "the state tells how it is now");
    world.minutes(17);
    assert!(world.open().is_empty());
}

#[test]
fn a_phone_that_was_away_and_is_home_again_is_no_alarm() {
    let mut all = sites(2, 3);
    let home = all[0].phones[0].address.expect("an address");
    let elsewhere = testing::address(SiteId(2), 0x999);
    all[0].lines = vec![testing::line(1000, home)];
    let mut world = World::new(all);
    world.minutes(6);
    let at = world.ms();
    let sighting = Place { address: SocketAddrV6::new(elsewhere, 5060, 0, 0), time: at };
    world.sites[0].lines[0].sighting = Some(sighting);
    world.off.insert(home);
    world.minutes(4);
    assert_eq!(world.kinds(), [AlarmKind::WrongSite], "and the phone is not missed at home");
    // It is carried back, and the sighting stays in the store.
    world.off.clear();
    world.minutes(7);
    assert!(world.open().is_empty(), "{:?}", world.open());
    world.restart(Settings::default());
    world.minutes(7);
    assert_eq!((world.open().len(), world.stored.len()), (0, 1), "{:?}", world.stored);
}

#[test]
fn an_acknowledgement_stays_and_the_history_is_bounded() {
    let settings = Settings { max_history: 2, ..Settings::default() };
    let mut world = World::with(settings, sites(1, 20));
    world.minutes(6);
    world.cut.insert(SiteId(1));
    world.minutes(5);
    let id = world.open()[0].id;
    world.give(Input::Acknowledge { alarm: id, by: "mia".into(), comment: Some("the digger".into()) });
    world.minutes(1);
    world.lease_up(0, false);
    world.minutes(5);
    let alarm = world.open()[0].clone();
    assert_eq!((alarm.kind, alarm.acked_by.as_deref()), (AlarmKind::TunnelDown, Some("mia")));
    for _ in 0..4 {
        world.cut.clear();
        world.lease_up(0, true);
        world.minutes(5);
        world.cut.insert(SiteId(1));
        world.minutes(5);
    }
    let ids: Vec<i64> = world.stored.keys().map(|id| id.0).collect();
    assert_eq!(ids.len(), 3, "two of the past and the open one: {ids:?}");
}

#[test]
fn nothing_is_lost_while_the_database_is_away() {
    let mut world = World::new(sites(1, 20));
    world.minutes(6);
    world.away = true;
    world.cut.insert(SiteId(1));
    world.minutes(5);
    assert!(world.stored.is_empty());
    world.away = false;
    world.minutes(1);
    assert_eq!(world.kinds(), [AlarmKind::IadUnreachable]);
}

#[test]
fn a_site_that_is_removed_takes_its_alarms_along() {
    let mut world = World::new(sites(2, 20));
    world.minutes(6);
    world.cut.insert(SiteId(1));
    world.minutes(5);
    world.sites.remove(0);
    world.minutes(1);
    assert!(world.open().is_empty());
}

fn packets(probe: &Probe) -> usize {
    usize::from(probe.options) + usize::from(probe.echo)
}

fn in_site(probe: &Probe, site: u16) -> bool {
    probe.target.ip().segments()[2] == site
}

fn by_second(world: &World, from: Instant) -> BTreeMap<u64, usize> {
    let mut seconds = BTreeMap::new();
    for (at, probe) in world.probes.iter().filter(|(at, _)| *at >= from) {
        *seconds.entry(at.duration_since(from).as_secs()).or_default() += packets(probe);
    }
    seconds
}

fn busiest_second_is_bounded(world: &World, bound: usize) {
    let busiest = by_second(world, world.start).into_values().max().unwrap_or(0);
    // A tenth of a second's packets may have been saved up.
    assert!(busiest <= bound + bound / 10 + 2, "{busiest} packets in a second");
}

fn evenly_spread(world: &World, from: Instant) {
    let seconds = by_second(world, from);
    let busiest = seconds.values().max().copied().unwrap_or(0);
    let idlest = (0..119).map(|second| seconds.get(&second).copied().unwrap_or(0)).min().unwrap_or(0);
    assert!(busiest < 180 && idlest > 40, "between {idlest} and {busiest} packets in a second");
}
