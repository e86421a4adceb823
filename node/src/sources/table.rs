//! The table of sources, shared by the workers of a process.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::entry::{Entry, Offence, Source, Standing, View};
use super::settings::SourceSettings;

/// What is known of addresses without asking anybody: who lives there.
pub trait Neighbourhood: Send + Sync {
    /// Whether this address is a registered phone's, a trunk's or one of our own: it is never slowed or dropped.
    fn is_known(&self, address: IpAddr) -> bool;
    /// Whether a site of ours, or a registered phone, has a part in the /64 that begins here.
    fn is_shared(&self, network: Ipv6Addr) -> bool;
}

/// Every source that was seen lately.
pub struct Sources {
    settings: SourceSettings,
    neighbourhood: Box<dyn Neighbourhood>,
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<Source, Entry>>>,
    /// Offences since the start: as long as there are none, nobody needs to be looked up.
    offences: AtomicU64,
}

impl Sources {
    /// Nobody is known yet.
    pub fn new(settings: SourceSettings, neighbourhood: Box<dyn Neighbourhood>) -> Sources {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Sources { settings, neighbourhood, hasher: RandomState::new(), shards, offences: AtomicU64::new(0) }
    }

    /// Whether a message from there is looked at, before anything of it is read.
    pub fn admits(&self, now: Instant, address: IpAddr) -> bool {
        if self.offences.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let sources = [Some(Source::Address(address)), Source::network_of(address)];
        for source in sources.into_iter().flatten() {
            let mut shard = self.shard(source);
            let Some(entry) = shard.get_mut(&source) else { continue };
            let standing = entry.standing(now, scale(source), &self.settings);
            let passes = match standing {
                Standing::Watched => true,
                Standing::Slowed => entry.take_slowly(now),
                Standing::Dropped => false,
            };
            if passes {
                continue;
            }
            if self.neighbourhood.is_known(address) {
                continue;
            }
            let after = entry.ignored(now, scale(source), &self.settings);
            drop(shard);
            if after != standing {
                self.say(source, after);
            }
            metrics::counter!(DROPPED, "standing" => standing.as_str()).increment(1);
            return false;
        }
        true
    }

    /// Takes one of the new requests that a source may send; `false` when it has sent too many.
    pub fn take(&self, now: Instant, address: IpAddr) -> bool {
        if self.settings.rate.is_unlimited() {
            return true;
        }
        let source = Source::Address(address);
        let mut shard = self.shard(source);
        let entry = self.entry(&mut shard, now, source);
        let is_taken = entry.take(now, &self.settings);
        if !is_taken {
            if self.neighbourhood.is_known(address) {
                return true;
            }
            entry.limited += 1;
            metrics::counter!(LIMITED).increment(1);
        }
        is_taken
    }

    /// Notes what a source did. Gives who is slowed or dropped from now on for it.
    pub fn offend(&self, now: Instant, address: IpAddr, offence: Offence) -> Option<(Source, Standing)> {
        if self.neighbourhood.is_known(address) {
            return None;
        }
        metrics::counter!(OFFENCES, "offence" => offence.as_str()).increment(1);
        self.offences.fetch_add(1, Ordering::Relaxed);
        let of_address = self.add(now, Source::Address(address), offence);
        // Who moves about in a network is caught by the network, unless others live there.
        let of_network = Source::network_of(address).and_then(|network| self.add(now, network, offence));
        let changed = of_network.or(of_address);
        if let Some((source, standing)) = changed {
            self.say(source, standing);
        }
        changed
    }

    /// Forgets what a source did: it has shown that it belongs here.
    pub fn vouch(&self, address: IpAddr) {
        if self.offences.load(Ordering::Relaxed) > 0 {
            self.forgive(Source::Address(address));
        }
    }

    /// Forgets a source; `false` when nothing was known of it.
    pub fn forgive(&self, source: Source) -> bool {
        self.shard(source).remove(&source).is_some()
    }

    /// Those that did something wrong or sent too much, the worst first.
    pub fn list(&self, now: Instant) -> Vec<View> {
        let mut views = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            let shown = shard
                .iter_mut()
                .map(|(source, entry)| entry.view(*source, now, scale(*source), &self.settings));
            views.extend(shown.filter(|view| view.points > 0 || view.limited > 0 || view.dropped > 0));
        }
        views.sort_by_key(|view| (std::cmp::Reverse((view.points, view.limited)), view.source));
        views
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn add(&self, now: Instant, source: Source, offence: Offence) -> Option<(Source, Standing)> {
        let mut shard = self.shard(source);
        let entry = self.entry(&mut shard, now, source);
        let before = entry.standing(now, scale(source), &self.settings);
        entry.offend(now, offence, scale(source), &self.settings);
        let after = entry.standing(now, scale(source), &self.settings);
        if after == before || after == Standing::Watched {
            return None;
        }
        if let Source::Network(network) = source
            && self.neighbourhood.is_shared(network)
        {
            // Its addresses answer for themselves.
            shard.remove(&source);
            return None;
        }
        Some((source, after))
    }

    fn say(&self, source: Source, standing: Standing) {
        let (address, width) = match source {
            Source::Address(address) => (address, "one address"),
            Source::Network(network) => (network.into(), "its /64"),
        };
        let source = self.settings.mask.ip(address);
        tracing::warn!(%source, width, standing = standing.as_str(), "a scanner");
    }

    fn entry<'s>(
        &self,
        shard: &'s mut HashMap<Source, Entry>,
        now: Instant,
        source: Source,
    ) -> &'s mut Entry {
        if !shard.contains_key(&source) && shard.len() >= (self.settings.max_sources / SHARDS).max(1) {
            make_room(shard, now);
        }
        shard.entry(source).or_insert_with(|| Entry::new(now, &self.settings))
    }

    fn shard(&self, source: Source) -> MutexGuard<'_, HashMap<Source, Entry>> {
        let at = self.hasher.hash_one(source) as usize % SHARDS;
        // There are SHARDS of them.
        lock(&self.shards[at])
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Says what the metrics of sources mean. Once, at the start.
pub(crate) fn describe_metrics() {
    metrics::describe_counter!(OFFENCES, "Wrong credentials and other things that scanners do, by kind.");
    metrics::describe_counter!(DROPPED, "Messages that were not looked at because of where they came from.");
    metrics::describe_counter!(
        LIMITED,
        "New requests answered with 503 because their source had sent too many."
    );
}

/// Takes the blank ones out, or else one of those that did least.
fn make_room(shard: &mut HashMap<Source, Entry>, now: Instant) {
    // A look at all of them would cost too much each time.
    let seen: Vec<(Source, bool, f64)> = shard
        .iter_mut()
        .take(LOOKED_AT)
        .map(|(source, entry)| (*source, entry.is_blank(now), entry.points()))
        .collect();
    let least = seen.iter().min_by(|(_, _, one), (_, _, two)| one.total_cmp(two)).map(|(source, ..)| *source);
    shard.retain(|source, _| {
        !seen.iter().any(|(known, is_blank, _)| known == source && *is_blank) && Some(*source) != least
    });
}

/// A network is slowed and dropped for what would do so to eight addresses.
fn scale(source: Source) -> u32 {
    match source {
        Source::Address(_) => 1,
        Source::Network(_) => 8,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const SHARDS: usize = 16;
/// Entries that are looked at to make room for one.
const LOOKED_AT: usize = 32;
const OFFENCES: &str = "centrex6_source_offences_total";
const DROPPED: &str = "centrex6_source_messages_dropped_total";
const LIMITED: &str = "centrex6_source_requests_limited_total";

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
