//! Who is where: MACs at two places, phones at the wrong site or room, addresses that are not the predicted ones.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{Ipv6Addr, SocketAddrV6};

use dorm_provisioning::identity::{Cause, mac_of};
use ipnet::Ipv6Net;
use schema::{AlarmKind, LineId, Mac, SiteId};
use serde_json::json;

use super::{Finding, some_of};
use crate::picture::{LinePicture, Mismatch, Place, SitePicture};

/// What has to be found out by asking: whether a MAC lives at several places, and whether a phone that was seen elsewhere is back.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// MACs that were seen in several subnets.
    candidates: BTreeMap<Mac, Candidate>,
    /// Lines that were used elsewhere, and their bindings at home.
    sighted: BTreeMap<LineId, Sighted>,
    /// The addresses of candidates, by site.
    asked: BTreeMap<SiteId, BTreeSet<SocketAddrV6>>,
    /// All addresses whose answer may decide something.
    decisive: HashSet<SocketAddrV6>,
}

#[derive(Debug)]
struct Candidate {
    /// Since when it is one, in milliseconds since 1970.
    since: i64,
    addresses: BTreeMap<SocketAddrV6, SiteId>,
}

#[derive(Debug)]
struct Sighted {
    /// When, in milliseconds since 1970.
    at: i64,
    homes: BTreeMap<SocketAddrV6, Home>,
}

/// A binding at home of a line that was seen elsewhere.
#[derive(Debug, Clone, Copy)]
struct Home {
    /// Until when it holds, in seconds since 1970.
    until: i64,
    /// When it was seen to be refreshed, in milliseconds since 1970.
    refreshed_at: Option<i64>,
}

/// What is found, and which lines are known to be elsewhere than at their site.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) findings: Vec<Finding>,
    pub(crate) away: BTreeMap<SiteId, BTreeSet<LineId>>,
}

impl Places {
    /// Looks for MACs in several subnets, and for lines that were used elsewhere. Old bindings linger after a phone has moved, and a sighting
    /// stays after it is back, so the addresses are asked whether they live: gives those that are new.
    pub(crate) fn update(&mut self, now_ms: i64, sites: &[SitePicture]) -> Vec<(SiteId, SocketAddrV6)> {
        let mut new = self.look_for_macs(now_ms, sites);
        new.extend(self.look_for_sighted(now_ms, sites));
        self.asked.clear();
        self.decisive.clear();
        for (address, site) in self.candidates.values().flat_map(|candidate| &candidate.addresses) {
            self.asked.entry(*site).or_default().insert(*address);
            self.decisive.insert(*address);
        }
        self.decisive.extend(self.sighted.values().flat_map(|sighted| sighted.homes.keys()));
        new
    }

    /// The addresses of a site to ask because a MAC is there and elsewhere.
    pub(crate) fn of_site(&self, site: SiteId) -> &BTreeSet<SocketAddrV6> {
        self.asked.get(&site).unwrap_or(&NOWHERE)
    }

    /// Whether an answer from there may decide something.
    pub(crate) fn cares_for(&self, address: SocketAddrV6) -> bool {
        self.decisive.contains(&address)
    }

    fn look_for_macs(&mut self, now_ms: i64, sites: &[SitePicture]) -> Vec<(SiteId, SocketAddrV6)> {
        let mut seen: HashMap<Mac, BTreeMap<SocketAddrV6, SiteId>> = HashMap::new();
        for (site, line) in sites.iter().flat_map(|site| site.lines.iter().map(move |line| (site, line))) {
            for place in line.bindings.iter().chain(fresh_sighting(line, now_ms)) {
                if let Some(mac) = mac_of(*place.address.ip()) {
                    seen.entry(mac).or_default().insert(place.address, site.id);
                }
            }
        }
        seen.retain(|_, addresses| {
            let mut subnets = addresses.keys().map(|address| subnet(*address.ip()));
            let first = subnets.next();
            subnets.any(|other| Some(other) != first)
        });
        self.candidates.retain(|mac, _| seen.contains_key(mac));
        let mut new = Vec::new();
        for (mac, addresses) in seen {
            let candidate =
                self.candidates.entry(mac).or_insert(Candidate { since: now_ms, addresses: BTreeMap::new() });
            let old = std::mem::replace(&mut candidate.addresses, addresses);
            if candidate.addresses.keys().any(|address| !old.contains_key(address)) {
                candidate.since = now_ms;
                new.extend(candidate.addresses.iter().map(|(address, site)| (*site, *address)));
            }
        }
        new
    }

    fn look_for_sighted(&mut self, now_ms: i64, sites: &[SitePicture]) -> Vec<(SiteId, SocketAddrV6)> {
        let mut old = std::mem::take(&mut self.sighted);
        let mut new = Vec::new();
        for (site, line) in sites.iter().flat_map(|site| site.lines.iter().map(move |line| (site, line))) {
            let Some(sighting) = fresh_sighting(line, now_ms) else { continue };
            let before = old.remove(&line.id);
            let homes = line.bindings.iter().filter(|place| is_home(site, place)).map(|place| {
                let last = before.as_ref().and_then(|sighted| sighted.homes.get(&place.address));
                let refreshed = last.is_some_and(|home| place.time > home.until);
                let refreshed_at =
                    if refreshed { Some(now_ms) } else { last.and_then(|home| home.refreshed_at) };
                (place.address, Home { until: place.time, refreshed_at })
            });
            let homes: BTreeMap<SocketAddrV6, Home> = homes.collect();
            if before.is_none_or(|sighted| sighted.at < sighting.time) {
                new.extend(homes.keys().map(|address| (site.id, *address)));
            }
            self.sighted.insert(line.id, Sighted { at: sighting.time, homes });
        }
        new
    }

    /// What is wrong. `answered` tells when an address answered last, in milliseconds since 1970; what is older than `stale` does not count.
    pub(crate) fn findings(
        &self,
        now_ms: i64,
        stale: i64,
        sites: &[&SitePicture],
        answered: impl Fn(SiteId, SocketAddrV6) -> Option<i64>,
    ) -> Found {
        let book = Book::of(sites);
        let mut found = Found::default();
        let mut doubled = BTreeSet::new();
        for (mac, candidate) in &self.candidates {
            let alive = candidate.addresses.iter().filter(|(address, site)| {
                answered(**site, **address).is_some_and(|at| at >= candidate.since && now_ms - at <= stale)
            });
            let alive: BTreeMap<u64, (SocketAddrV6, SiteId)> =
                alive.map(|(address, site)| (subnet(*address.ip()), (*address, *site))).collect();
            if alive.len() > 1 {
                doubled.insert(*mac);
                found.findings.push(duplicate(&book, *mac, alive.into_values().collect()));
            }
        }
        let is_doubled =
            |address: &SocketAddrV6| mac_of(*address.ip()).is_some_and(|mac| doubled.contains(&mac));
        let mut rooms = Vec::new();
        let mut mismatches: BTreeMap<(SiteId, &str), Vec<(&LinePicture, Mismatch)>> = BTreeMap::new();
        for (site, line) in sites.iter().flat_map(|site| site.lines.iter().map(move |line| (*site, line))) {
            if line.anywhere {
                continue;
            }
            let lives = |place: &Place| answered(site.id, place.address).max(self.refreshed_at(line, place));
            if let Some((place, other)) = elsewhere(&book, site, line, now_ms, lives) {
                found.away.entry(site.id).or_default().insert(line.id);
                if !is_doubled(&place.address) {
                    found.findings.push(wrong_site(site, line, place, other));
                }
                continue;
            }
            let newest = line
                .bindings
                .iter()
                .max_by_key(|place| place.time)
                .filter(|place| !is_doubled(&place.address));
            if let Some(mac) = newest.and_then(|place| foreign_mac(&book, line, place)) {
                rooms.push((site, line, mac));
            } else if let Some(mismatch) = line.mismatch.filter(|mismatch| counts(mismatch.cause)) {
                mismatches.entry((site.id, mismatch.cause.as_str())).or_default().push((line, mismatch));
            }
        }
        found.findings.extend(wrong_rooms(&book, &rooms));
        for ((id, _), lines) in mismatches {
            let Some(site) = book.sites.get(&id) else { continue };
            if lines.len() > SINGLE_MISMATCHES {
                found.findings.push(many_mismatches(site, &lines));
            } else {
                found
                    .findings
                    .extend(lines.iter().map(|(line, mismatch)| mismatch_of(site, line, *mismatch)));
            }
        }
        found
    }

    fn refreshed_at(&self, line: &LinePicture, place: &Place) -> Option<i64> {
        self.sighted.get(&line.id)?.homes.get(&place.address)?.refreshed_at
    }
}

/// Whose MAC, and whose prefix.
struct Book<'p> {
    sites: HashMap<SiteId, &'p SitePicture>,
    owners: HashMap<Mac, (&'p SitePicture, &'p LinePicture)>,
    prefixes: BTreeMap<u128, (Ipv6Net, &'p SitePicture)>,
}

impl<'p> Book<'p> {
    fn of(sites: &[&'p SitePicture]) -> Book<'p> {
        let lines = sites.iter().flat_map(|site| site.lines.iter().map(move |line| (*site, line)));
        Book {
            sites: sites.iter().map(|site| (site.id, *site)).collect(),
            owners: lines
                .flat_map(|(site, line)| line.devices.iter().map(move |device| (device.mac, (site, line))))
                .collect(),
            prefixes: sites
                .iter()
                .filter_map(|site| Some((site.prefix?.network().to_bits(), (site.prefix?, *site))))
                .collect(),
        }
    }

    /// The site whose prefix an address is in. Prefixes do not overlap.
    fn site_at(&self, address: Ipv6Addr) -> Option<&'p SitePicture> {
        let (_, (prefix, site)) = self.prefixes.range(..=address.to_bits()).next_back()?;
        prefix.contains(&address).then_some(*site)
    }
}

/// Where a line is seen that should be at its own site, and whose site that is. `lives` tells when somewhere was last known to live.
fn elsewhere<'p>(
    book: &Book<'p>,
    site: &SitePicture,
    line: &LinePicture,
    now_ms: i64,
    lives: impl Fn(&Place) -> Option<i64>,
) -> Option<(Place, &'p SitePicture)> {
    let other = |place: &Place| {
        book.site_at(*place.address.ip()).filter(|other| other.id != site.id && !is_home(site, place))
    };
    let newest = line.bindings.iter().max_by_key(|place| place.time);
    let by_binding = newest.and_then(|place| Some((*place, other(place)?)));
    by_binding.or_else(|| {
        let sighting = fresh_sighting(line, now_ms)?;
        let other = other(sighting)?;
        // Back home: the same phone answers or registers there after it was seen elsewhere. One whose address does not tell who it is can only
        // be the same when the line has no other.
        let mac = mac_of(*sighting.address.ip());
        let is_same =
            |place: &Place| mac_of(*place.address.ip()) == mac && (mac.is_some() || line.devices.len() <= 1);
        let is_back = line.bindings.iter().any(|place| {
            is_home(site, place)
                && is_same(place)
                && lives(place).is_some_and(|at| at > sighting.time + SETTLING)
        });
        (!is_back).then_some((*sighting, other))
    })
}

fn is_home(site: &SitePicture, place: &Place) -> bool {
    site.prefix.is_some_and(|prefix| prefix.contains(place.address.ip()))
}

/// The MAC of a device that is not the line's.
fn foreign_mac(book: &Book<'_>, line: &LinePicture, place: &Place) -> Option<Mac> {
    let mac = mac_of(*place.address.ip())?;
    if line.devices.is_empty() || line.devices.iter().any(|device| device.mac == mac) {
        return None;
    }
    // An identifier that looks like a stranger's MAC says nothing when a device of the line may have any.
    let known = book.owners.contains_key(&mac);
    (known || line.devices.iter().all(|device| device.from_mac)).then_some(mac)
}

fn duplicate(book: &Book<'_>, mac: Mac, alive: Vec<(SocketAddrV6, SiteId)>) -> Finding {
    let owner = book.owners.get(&mac);
    let places = alive.iter().take(NAMED).map(|(address, site)| match book.sites.get(site) {
        Some(site) => format!("{} (seen by site {} {})", address.ip(), site.code, site.name),
        None => address.ip().to_string(),
    });
    let site = owner.map(|(site, _)| site.id).or_else(|| alive.first().map(|(_, site)| *site));
    let whose = owner
        .map(|(site, line)| format!(", which is the phone of line {} at site {},", line.user, site.code));
    Finding {
        kind: AlarmKind::DuplicateMac,
        site: site.unwrap_or(SiteId::NEW),
        subject: mac.to_string(),
        cause: format!(
            "MAC {mac}{} lives at {} places at the same time: {}.",
            whose.unwrap_or_default(),
            alive.len(),
            places.collect::<Vec<_>>().join(" and ")
        ),
        remedy: "Two devices have one MAC: a cloned or faulty network card, or a copy of a phone's virtual machine. Exchange one of them. If \
                 two VLANs are bridged at the site, separate them."
            .to_owned(),
        details: json!({ "mac": mac, "addresses": alive.iter().take(NAMED).map(|(address, _)| address.ip()).collect::<Vec<_>>() }),
    }
}

fn wrong_site(site: &SitePicture, line: &LinePicture, place: Place, other: &SitePicture) -> Finding {
    Finding {
        kind: AlarmKind::WrongSite,
        site: site.id,
        subject: line.user.clone(),
        cause: format!(
            "Line {} (extension {} of site {} {}) is used at site {} ({}): it sends from {}.",
            line.user,
            line.extension,
            site.code,
            site.name,
            other.code,
            other.name,
            place.address.ip()
        ),
        remedy: format!(
            "Carry the phone back to site {}. If it shall stay, give it a line of site {} (`centrex6 line add`, `centrex6 device add`), or let the \
             line register from everywhere (--anywhere).",
            site.code, other.code
        ),
        details: json!({ "line": line.user, "home": site.code, "seen_at": other.code, "address": place.address.ip() }),
    }
}

/// One finding a line, and one for two lines whose phones are swapped.
fn wrong_rooms(book: &Book<'_>, rooms: &[(&SitePicture, &LinePicture, Mac)]) -> Vec<Finding> {
    let used: HashMap<LineId, Mac> = rooms.iter().map(|(_, line, mac)| (line.id, *mac)).collect();
    let is_of = |line: &LinePicture, mac: &Mac| line.devices.iter().any(|device| device.mac == *mac);
    let mut found = Vec::new();
    for (site, line, mac) in rooms {
        let owner = book.owners.get(mac);
        let swapped =
            owner.filter(|(_, other)| used.get(&other.id).is_some_and(|theirs| is_of(line, theirs)));
        found.push(match (swapped, owner) {
            (Some((_, other)), _) if other.user < line.user => continue,
            (Some((_, other)), _) => swapped_rooms(site, line, other, *mac, used.get(&other.id).copied()),
            (None, Some((home, other))) => wrong_room(site, line, *mac, Some((home, other))),
            (None, None) => wrong_room(site, line, *mac, None),
        });
    }
    found
}

fn swapped_rooms(
    site: &SitePicture,
    one: &LinePicture,
    other: &LinePicture,
    mac: Mac,
    theirs: Option<Mac>,
) -> Finding {
    let theirs = theirs.map(|mac| mac.to_string()).unwrap_or_default();
    Finding {
        kind: AlarmKind::WrongRoom,
        site: site.id,
        subject: format!("{} {}", one.user, other.user),
        cause: format!(
            "At site {} ({}) the phones of {} and {} are swapped: line {} registers from {mac}, which is the phone of {}, and line {} from \
             {theirs}, which is the phone of {}.",
            site.code,
            site.name,
            one.extension,
            other.extension,
            one.user,
            other.extension,
            other.user,
            one.extension
        ),
        remedy: format!(
            "Swap the two phones between the rooms of {} and {}. If they shall stay, correct the devices (`centrex6 device remove`, `device add`).",
            one.extension, other.extension
        ),
        details: json!({ "lines": [one.user, other.user], "macs": [mac.to_string(), theirs] }),
    }
}

fn wrong_room(
    site: &SitePicture,
    line: &LinePicture,
    mac: Mac,
    owner: Option<(&SitePicture, &LinePicture)>,
) -> Finding {
    let own: Vec<String> = line.devices.iter().map(|device| device.mac.to_string()).collect();
    let (whose, remedy) = match owner {
        Some((home, other)) => (
            format!("which is the phone of {} at site {}", other.extension, home.code),
            format!(
                "Bring the phone {mac} back to the room of {}, and the phone {} to that of {}.",
                other.extension,
                some_of(&own),
                line.extension
            ),
        ),
        None => (
            "which is no known device".to_owned(),
            format!(
                "If the phone was exchanged, say so: `centrex6 device remove {}` and `centrex6 device add --mac {mac}`. Otherwise somebody uses \
                 the line's credentials in another device: give the line a new password.",
                own.first().map_or("", String::as_str)
            ),
        ),
    };
    Finding {
        kind: AlarmKind::WrongRoom,
        site: site.id,
        subject: line.user.clone(),
        cause: format!(
            "Line {} (extension {} of site {} {}) registers from {mac}, {whose}; its own phone is {}.",
            line.user,
            line.extension,
            site.code,
            site.name,
            some_of(&own)
        ),
        remedy,
        details: json!({ "line": line.user, "mac": mac, "own": own, "owner": owner.map(|(_, other)| &other.user) }),
    }
}

fn mismatch_of(site: &SitePicture, line: &LinePicture, mismatch: Mismatch) -> Finding {
    let Mismatch { predicted, learned, cause } = mismatch;
    Finding {
        kind: AlarmKind::AddressMismatch,
        site: site.id,
        subject: line.user.clone(),
        cause: format!(
            "The phone of {} (line {}) at site {} ({}) registered from {learned}, where {predicted} was expected: {cause}.",
            line.extension, line.user, site.code, site.name
        ),
        remedy: remedy_of(cause).to_owned(),
        details: json!({ "line": line.user, "predicted": predicted, "learned": learned, "cause": cause }),
    }
}

/// When many phones of a site differ in the same way, that is one matter.
fn many_mismatches(site: &SitePicture, lines: &[(&LinePicture, Mismatch)]) -> Finding {
    let names: Vec<String> = lines.iter().map(|(line, _)| line.extension.clone()).collect();
    let cause = lines.first().map_or(Cause::Elsewhere, |(_, mismatch)| mismatch.cause);
    Finding {
        kind: AlarmKind::AddressMismatch,
        site: site.id,
        subject: format!("{} {}", site.code, cause.as_str()),
        cause: format!(
            "At site {} ({}) {} phones registered from other addresses than expected: {cause}. They are {}.",
            site.code,
            site.name,
            lines.len(),
            some_of(&names)
        ),
        remedy: remedy_of(cause).to_owned(),
        details: json!({ "cause": cause, "phones": lines.len(), "lines": names.iter().take(200).collect::<Vec<_>>() }),
    }
}

fn remedy_of(cause: Cause) -> &'static str {
    match cause {
        Cause::OtherVlan => {
            "Put the switch port into the right VLAN, or correct the device's VLAN (`centrex6 device remove`, then `device add --vlan`)."
        }
        _ => {
            "Declare how the phone comes by its address: `centrex6 device remove`, then `device add` with --addressing opaque (RFC 7217), static \
             with --address, or dhcpv6. Or let the phone make its address from its MAC."
        }
    }
}

/// Another device and another site have alarms of their own.
fn counts(cause: Cause) -> bool {
    matches!(cause, Cause::OtherVlan | Cause::OtherIdentifier | Cause::Elsewhere)
}

fn fresh_sighting(line: &LinePicture, now_ms: i64) -> Option<&Place> {
    line.sighting.as_ref().filter(|sighting| now_ms.saturating_sub(sighting.time) <= SIGHTING_HOLDS)
}

fn subnet(address: Ipv6Addr) -> u64 {
    (address.to_bits() >> 64) as u64
}

/// How long a refused use of a line means that its phone is there, in milliseconds: a phone that is refused tries again within an hour or two.
const SIGHTING_HOLDS: i64 = 2 * 3600 * 1000;
/// An answer that may have been under way when a phone was carried off proves nothing, in milliseconds.
const SETTLING: i64 = 10_000;
static NOWHERE: BTreeSet<SocketAddrV6> = BTreeSet::new();
/// Places of a MAC that an alarm names.
const NAMED: usize = 16;
/// More mismatches of one kind at a site are one alarm.
const SINGLE_MISMATCHES: usize = 5;

#[cfg(test)]
mod tests;
