//! What a node keeps in memory of sites, devices, lines, numbers, trunks, routes, the address plan, tunnel accounts and what the watch
//! found. Every question of a call is answered from here.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use dashmap::DashMap;

use crate::change::Change;
use crate::mirror::Apply;
use crate::rows::{
    Account, AccountId, Alarm, AlarmId, Device, DeviceId, Lease, Line, LineId, Mac, Number, Route, RouteId,
    Sighting, Site, SiteId, Trunk, TrunkId,
};
use crate::store::Contents;

mod accounts;
mod devices;
mod plan;
mod routes;

use accounts::AccountTable;
use devices::DeviceTable;
pub use plan::AddressPlan;
use routes::RouteTable;

/// What is in memory. Look-ups clone an `Arc` out and hold nothing.
#[derive(Debug, Default)]
pub struct Directory {
    sites: DashMap<SiteId, Arc<Site>>,
    sites_by_domain: DashMap<String, Arc<Site>>,
    sites_by_code: DashMap<String, Arc<Site>>,
    lines: DashMap<LineId, Arc<Line>>,
    lines_by_user: DashMap<String, Arc<Line>>,
    lines_by_extension: DashMap<(SiteId, String), Arc<Line>>,
    numbers: DashMap<String, Arc<Number>>,
    numbers_by_line: DashMap<LineId, Vec<Arc<Number>>>,
    trunks: DashMap<TrunkId, Arc<Trunk>>,
    routes: RwLock<Arc<RouteTable>>,
    devices: DeviceTable,
    plan: RwLock<Arc<AddressPlan>>,
    accounts: AccountTable,
    sightings: DashMap<LineId, Arc<Sighting>>,
    alarms: DashMap<AlarmId, Arc<Alarm>>,
    /// Changes several maps as one.
    changing: Mutex<()>,
}

impl Directory {
    /// A site by its id.
    pub fn site(&self, id: SiteId) -> Option<Arc<Site>> {
        found(&self.sites, &id)
    }

    /// A site by its domain, in any case.
    pub fn site_by_domain(&self, domain: &str) -> Option<Arc<Site>> {
        if domain.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return found(&self.sites_by_domain, &domain.to_ascii_lowercase());
        }
        found(&self.sites_by_domain, domain)
    }

    /// A site by its whole code.
    pub fn site_by_code(&self, code: &str) -> Option<Arc<Site>> {
        found(&self.sites_by_code, code)
    }

    /// The site whose code, the longest that fits, begins what was dialled; and the rest of what was dialled.
    pub fn site_by_code_prefix<'d>(&self, dialled: &'d str) -> Option<(Arc<Site>, &'d str)> {
        let longest = dialled.len().min(crate::rows::MAX_CODE);
        (1..=longest).rev().find_map(|len| {
            let (code, rest) = dialled.split_at_checked(len)?;
            Some((self.site_by_code(code)?, rest))
        })
    }

    /// A line by its id.
    pub fn line(&self, id: LineId) -> Option<Arc<Line>> {
        found(&self.lines, &id)
    }

    /// A line by the user name that its phone authenticates with.
    pub fn line_by_auth_user(&self, auth_user: &str) -> Option<Arc<Line>> {
        found(&self.lines_by_user, auth_user)
    }

    /// A line by its site and extension.
    pub fn line_at(&self, site: SiteId, extension: &str) -> Option<Arc<Line>> {
        found(&self.lines_by_extension, &(site, extension.to_owned()))
    }

    /// A number.
    pub fn number(&self, e164: &str) -> Option<Arc<Number>> {
        found(&self.numbers, e164)
    }

    /// The line that a number rings.
    pub fn line_of_number(&self, e164: &str) -> Option<Arc<Line>> {
        self.line(self.number(e164)?.line)
    }

    /// The numbers that ring a line, in order.
    pub fn numbers_of_line(&self, line: LineId) -> Vec<Arc<Number>> {
        self.numbers_by_line.get(&line).map(|numbers| numbers.clone()).unwrap_or_default()
    }

    /// A trunk by its id.
    pub fn trunk(&self, id: TrunkId) -> Option<Arc<Trunk>> {
        found(&self.trunks, &id)
    }

    /// A trunk by its name.
    pub fn trunk_by_name(&self, name: &str) -> Option<Arc<Trunk>> {
        self.trunks.iter().find(|trunk| trunk.name == name).map(|trunk| Arc::clone(&trunk))
    }

    /// A route by its id.
    pub fn route(&self, id: RouteId) -> Option<Arc<Route>> {
        self.route_table().by_id(id)
    }

    /// The routes for a number as it was dialled: those of the longest prefix first, and of one prefix by priority.
    pub fn routes_for(&self, dialled: &str) -> Vec<Arc<Route>> {
        self.route_table().routes_for(dialled)
    }

    /// A device by its id.
    pub fn device(&self, id: DeviceId) -> Option<Arc<Device>> {
        self.devices.device(id)
    }

    /// A device by its MAC.
    pub fn device_by_mac(&self, mac: Mac) -> Option<Arc<Device>> {
        self.devices.by_mac(mac)
    }

    /// The devices that register a line.
    pub fn devices_of_line(&self, line: LineId) -> Vec<Arc<Device>> {
        self.devices.of_line(line)
    }

    /// The devices of a site, by MAC.
    pub fn devices_of_site(&self, site: SiteId) -> Vec<Arc<Device>> {
        self.devices.of_site(site)
    }

    /// The address plan as it is now.
    pub fn address_plan(&self) -> Arc<AddressPlan> {
        Arc::clone(&self.plan.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A tunnel account by its id.
    pub fn account(&self, id: AccountId) -> Option<Arc<Account>> {
        self.accounts.account(id)
    }

    /// A tunnel account by the name that it logs in with.
    pub fn account_by_name(&self, name: &str) -> Option<Arc<Account>> {
        self.accounts.by_name(name)
    }

    /// The tunnel account of a site.
    pub fn account_of_site(&self, site: SiteId) -> Option<Arc<Account>> {
        self.accounts.of_site(site)
    }

    /// What the broker last saw of an account; nothing when it has never logged in.
    pub fn lease(&self, account: AccountId) -> Option<Arc<Lease>> {
        self.accounts.lease(account)
    }

    /// Where a line's credential was last used from outside its site.
    pub fn sighting(&self, line: LineId) -> Option<Arc<Sighting>> {
        found(&self.sightings, &line)
    }

    /// An alarm.
    pub fn alarm(&self, id: AlarmId) -> Option<Arc<Alarm>> {
        found(&self.alarms, &id)
    }

    /// All tunnel accounts, by name.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        self.accounts.all()
    }

    /// All leases, by account.
    pub fn leases(&self) -> Vec<Arc<Lease>> {
        self.accounts.leases()
    }

    /// All sightings, the newest first.
    pub fn sightings(&self) -> Vec<Arc<Sighting>> {
        sorted(&self.sightings, |row| (Reverse(row.seen_at), row.line))
    }

    /// All alarms, the newest first, those that are over too.
    pub fn alarms(&self) -> Vec<Arc<Alarm>> {
        sorted(&self.alarms, |alarm| (Reverse(alarm.raised_at), Reverse(alarm.id)))
    }

    /// All sites, by code.
    pub fn sites(&self) -> Vec<Arc<Site>> {
        sorted(&self.sites, |site| site.code.clone())
    }

    /// All lines, by site and extension.
    pub fn lines(&self) -> Vec<Arc<Line>> {
        sorted(&self.lines, |line| (line.site, line.extension.len(), line.extension.clone()))
    }

    /// The lines of a site, by extension.
    pub fn lines_of_site(&self, site: SiteId) -> Vec<Arc<Line>> {
        let own = self.lines.iter().filter(|line| line.site == site);
        let mut lines: Vec<Arc<Line>> = own.map(|line| Arc::clone(&line)).collect();
        lines.sort_by_cached_key(|line| (line.extension.len(), line.extension.clone()));
        lines
    }

    /// All numbers, in order.
    pub fn numbers(&self) -> Vec<Arc<Number>> {
        sorted(&self.numbers, |number| number.e164.clone())
    }

    /// All trunks, by name.
    pub fn trunks(&self) -> Vec<Arc<Trunk>> {
        sorted(&self.trunks, |trunk| trunk.name.clone())
    }

    /// All routes, by prefix and priority.
    pub fn routes(&self) -> Vec<Arc<Route>> {
        self.route_table().all()
    }

    /// How many lines there are.
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// Takes a change over. Bindings, call records and nodes are not kept here.
    pub fn apply(&self, change: &Change) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::PutSite(site) => self.put_site(site),
            Change::RemoveSite(id) => self.remove_site(*id),
            Change::PutLine(line) => self.put_line(line),
            Change::RemoveLine(id) => self.remove_line(*id),
            Change::PutNumber(number) => self.put_number(number),
            Change::RemoveNumber(e164) => self.remove_number(e164),
            Change::PutTrunk(trunk) => {
                self.trunks.insert(trunk.id, Arc::new(trunk.clone()));
            }
            Change::RemoveTrunk(id) => {
                self.trunks.remove(id);
            }
            Change::PutRoute(route) => self.change_routes(|table| table.put(Arc::new(route.clone()))),
            Change::RemoveRoute(id) => self.change_routes(|table| table.remove(*id)),
            Change::PutDevice(device) => self.devices.put(device),
            Change::RemoveDevice(id) => self.devices.remove(*id),
            Change::PutPool(_)
            | Change::RemovePool(_)
            | Change::PutRegion(_)
            | Change::RemoveRegion(_)
            | Change::PutRegionBlock(_)
            | Change::RemoveRegionBlock(_)
            | Change::PutPrefixAllocation(_)
            | Change::RemovePrefixAllocation(_) => {
                let mut plan = AddressPlan::clone(&self.address_plan());
                plan.apply(change);
                *self.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
            }
            Change::PutAccount(account) => self.accounts.put(account),
            Change::RemoveAccount(id) => self.accounts.remove(*id),
            Change::PutLease(lease) => self.accounts.put_lease(lease),
            Change::RemoveLease(account) => self.accounts.remove_lease(*account),
            Change::PutSighting(sighting) => {
                self.sightings.insert(sighting.line, Arc::new(sighting.clone()));
            }
            Change::RemoveSighting(line) => {
                self.sightings.remove(line);
            }
            Change::PutAlarm(alarm) => {
                self.alarms.insert(alarm.id, Arc::new(alarm.clone()));
            }
            Change::RemoveAlarm(id) => {
                self.alarms.remove(id);
            }
            Change::PutBinding(_)
            | Change::RemoveBinding { .. }
            | Change::RemoveBindings { .. }
            | Change::AddCallRecord(_)
            | Change::SeeNode(_) => {}
        }
    }

    /// Becomes what the store holds. What stays is never missing in between.
    pub fn replace(&self, contents: &Contents) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        contents.sites.iter().for_each(|site| self.put_site(site));
        contents.lines.iter().for_each(|line| self.put_line(line));
        contents.numbers.iter().for_each(|number| self.put_number(number));
        for trunk in &contents.trunks {
            self.trunks.insert(trunk.id, Arc::new(trunk.clone()));
        }
        for e164 in gone(&self.numbers, contents.numbers.iter().map(|number| number.e164.clone())) {
            self.remove_number(&e164);
        }
        for id in gone(&self.lines, contents.lines.iter().map(|line| line.id)) {
            self.remove_line(id);
        }
        for id in gone(&self.sites, contents.sites.iter().map(|site| site.id)) {
            self.remove_site(id);
        }
        for id in gone(&self.trunks, contents.trunks.iter().map(|trunk| trunk.id)) {
            self.trunks.remove(&id);
        }
        contents.devices.iter().for_each(|device| self.devices.put(device));
        self.devices.keep(contents.devices.iter().map(|device| device.id));
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(AddressPlan::from(contents));
        self.accounts.replace(contents);
        for sighting in &contents.sightings {
            self.sightings.insert(sighting.line, Arc::new(sighting.clone()));
        }
        for line in gone(&self.sightings, contents.sightings.iter().map(|row| row.line)) {
            self.sightings.remove(&line);
        }
        for alarm in &contents.alarms {
            self.alarms.insert(alarm.id, Arc::new(alarm.clone()));
        }
        for id in gone(&self.alarms, contents.alarms.iter().map(|alarm| alarm.id)) {
            self.alarms.remove(&id);
        }
        let routes = RouteTable::new(contents.routes.iter().cloned().map(Arc::new));
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
    }

    fn put_site(&self, row: &Site) {
        let site = Arc::new(row.clone());
        let old = self.sites.insert(site.id, Arc::clone(&site));
        self.sites_by_domain.insert(site.domain.clone(), Arc::clone(&site));
        self.sites_by_code.insert(site.code.clone(), Arc::clone(&site));
        if let Some(old) = old {
            if old.domain != site.domain {
                self.sites_by_domain.remove_if(&old.domain, |_, holder| holder.id == old.id);
            }
            if old.code != site.code {
                self.sites_by_code.remove_if(&old.code, |_, holder| holder.id == old.id);
            }
        }
    }

    fn remove_site(&self, id: SiteId) {
        if let Some((_, old)) = self.sites.remove(&id) {
            self.sites_by_domain.remove_if(&old.domain, |_, holder| holder.id == id);
            self.sites_by_code.remove_if(&old.code, |_, holder| holder.id == id);
        }
    }

    fn put_line(&self, row: &Line) {
        let line = Arc::new(row.clone());
        let old = self.lines.insert(line.id, Arc::clone(&line));
        self.lines_by_user.insert(line.auth_user.clone(), Arc::clone(&line));
        self.lines_by_extension.insert((line.site, line.extension.clone()), Arc::clone(&line));
        if let Some(old) = old {
            if old.auth_user != line.auth_user {
                self.lines_by_user.remove_if(&old.auth_user, |_, holder| holder.id == old.id);
            }
            if (old.site, &old.extension) != (line.site, &line.extension) {
                // Somebody else may have the extension by now.
                self.lines_by_extension
                    .remove_if(&(old.site, old.extension.clone()), |_, holder| holder.id == old.id);
            }
        }
    }

    fn remove_line(&self, id: LineId) {
        if let Some((_, old)) = self.lines.remove(&id) {
            self.lines_by_user.remove_if(&old.auth_user, |_, holder| holder.id == id);
            self.lines_by_extension
                .remove_if(&(old.site, old.extension.clone()), |_, holder| holder.id == id);
        }
        // The database removes it with the line.
        self.sightings.remove(&id);
    }

    fn put_number(&self, row: &Number) {
        let number = Arc::new(row.clone());
        if let Some(old) = self.numbers.insert(number.e164.clone(), Arc::clone(&number)) {
            self.forget_number_of_line(&old);
        }
        let mut numbers = self.numbers_by_line.entry(number.line).or_default();
        numbers.push(number);
        numbers.sort_by(|one, other| one.e164.cmp(&other.e164));
    }

    fn remove_number(&self, e164: &str) {
        if let Some((_, old)) = self.numbers.remove(e164) {
            self.forget_number_of_line(&old);
        }
    }

    fn forget_number_of_line(&self, number: &Number) {
        if let Some(mut numbers) = self.numbers_by_line.get_mut(&number.line) {
            numbers.retain(|other| other.e164 != number.e164);
        }
        self.numbers_by_line.remove_if(&number.line, |_, numbers| numbers.is_empty());
    }

    fn route_table(&self) -> Arc<RouteTable> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change_routes(&self, change: impl FnOnce(&mut RouteTable)) {
        let mut table = RouteTable::clone(&self.route_table());
        change(&mut table);
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }
}

impl From<&Contents> for Directory {
    fn from(contents: &Contents) -> Self {
        let directory = Directory::default();
        directory.replace(contents);
        directory
    }
}

impl Apply for Directory {
    fn apply(&self, change: &Change) {
        Directory::apply(self, change);
    }

    fn reload(&self, contents: &Contents) {
        self.replace(contents);
    }
}

fn found<K, Q, V>(map: &DashMap<K, Arc<V>>, key: &Q) -> Option<Arc<V>>
where
    K: Hash + Eq + std::borrow::Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    map.get(key).map(|value| Arc::clone(&value))
}

fn sorted<K: Hash + Eq, V, S: Ord>(map: &DashMap<K, Arc<V>>, by: impl Fn(&V) -> S) -> Vec<Arc<V>> {
    let mut rows: Vec<Arc<V>> = map.iter().map(|row| Arc::clone(&row)).collect();
    rows.sort_by_cached_key(|row| by(row));
    rows
}

/// The keys that are in the map and not among those that stay.
fn gone<K: Hash + Eq + Clone, V>(map: &DashMap<K, V>, stay: impl Iterator<Item = K>) -> Vec<K> {
    let stay: HashSet<K> = stay.collect();
    map.iter().map(|row| row.key().clone()).filter(|key| !stay.contains(key)).collect()
}

#[cfg(test)]
mod tests;
