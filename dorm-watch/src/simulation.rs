//! The watch against simulated sites, with a hand-moved clock.

mod faults;
mod lasting;
mod scale;

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
