//! Devices in memory, by id, MAC, line and site.

use std::sync::Arc;

use dashmap::DashMap;

use super::{found, gone};
use crate::rows::{Device, DeviceId, LineId, Mac, SiteId};

/// The caller changes it under one lock, so that the maps agree.
#[derive(Debug, Default)]
pub(super) struct DeviceTable {
    by_id: DashMap<DeviceId, Arc<Device>>,
    by_mac: DashMap<Mac, Arc<Device>>,
    by_line: DashMap<LineId, Vec<Arc<Device>>>,
    by_site: DashMap<SiteId, Vec<Arc<Device>>>,
}

impl DeviceTable {
    pub(super) fn device(&self, id: DeviceId) -> Option<Arc<Device>> {
        found(&self.by_id, &id)
    }

    pub(super) fn by_mac(&self, mac: Mac) -> Option<Arc<Device>> {
        found(&self.by_mac, &mac)
    }

    pub(super) fn of_line(&self, line: LineId) -> Vec<Arc<Device>> {
        self.by_line.get(&line).map(|devices| devices.clone()).unwrap_or_default()
    }

    /// By MAC.
    pub(super) fn of_site(&self, site: SiteId) -> Vec<Arc<Device>> {
        let mut devices = self.by_site.get(&site).map(|devices| devices.clone()).unwrap_or_default();
        devices.sort_by_key(|device| device.mac);
        devices
    }

    pub(super) fn put(&self, row: &Device) {
        let device = Arc::new(row.clone());
        if let Some(old) = self.by_id.insert(device.id, Arc::clone(&device)) {
            self.forget(&old);
        }
        self.by_mac.insert(device.mac, Arc::clone(&device));
        if let Some(line) = device.line {
            self.by_line.entry(line).or_default().push(Arc::clone(&device));
        }
        self.by_site.entry(device.site).or_default().push(device);
    }

    pub(super) fn remove(&self, id: DeviceId) {
        if let Some((_, old)) = self.by_id.remove(&id) {
            self.forget(&old);
        }
    }

    /// Removes those that do not stay.
    pub(super) fn keep(&self, stay: impl Iterator<Item = DeviceId>) {
        for id in gone(&self.by_id, stay) {
            self.remove(id);
        }
    }

    fn forget(&self, old: &Device) {
        // Somebody else may have the MAC by now.
        self.by_mac.remove_if(&old.mac, |_, holder| holder.id == old.id);
        if let Some(line) = old.line {
            drop_from(&self.by_line, line, old.id);
        }
        drop_from(&self.by_site, old.site, old.id);
    }
}

fn drop_from<K: std::hash::Hash + Eq>(map: &DashMap<K, Vec<Arc<Device>>>, key: K, id: DeviceId) {
    if let Some(mut devices) = map.get_mut(&key) {
        devices.retain(|device| device.id != id);
    }
    map.remove_if(&key, |_, devices| devices.is_empty());
}
