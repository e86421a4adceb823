//! Routes by prefix.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::rows::{MAX_PREFIX, Route, RouteId};

/// All routes. It is copied to be changed: routes change seldom, and calls read them all the time.
#[derive(Debug, Clone, Default)]
pub(super) struct RouteTable {
    by_id: BTreeMap<RouteId, Arc<Route>>,
    by_prefix: HashMap<String, Vec<Arc<Route>>>,
}

impl RouteTable {
    pub(super) fn new(routes: impl Iterator<Item = Arc<Route>>) -> RouteTable {
        let mut table = RouteTable::default();
        routes.for_each(|route| table.put(route));
        table
    }

    pub(super) fn put(&mut self, route: Arc<Route>) {
        self.remove(route.id);
        let same = self.by_prefix.entry(route.prefix.clone()).or_default();
        same.push(Arc::clone(&route));
        same.sort_by_key(|route| (route.priority, route.id));
        self.by_id.insert(route.id, route);
    }

    pub(super) fn remove(&mut self, id: RouteId) {
        let Some(old) = self.by_id.remove(&id) else { return };
        if let Some(same) = self.by_prefix.get_mut(&old.prefix) {
            same.retain(|route| route.id != id);
            if same.is_empty() {
                self.by_prefix.remove(&old.prefix);
            }
        }
    }

    pub(super) fn by_id(&self, id: RouteId) -> Option<Arc<Route>> {
        self.by_id.get(&id).cloned()
    }

    pub(super) fn routes_for(&self, dialled: &str) -> Vec<Arc<Route>> {
        let prefixes = (0..=dialled.len().min(MAX_PREFIX)).rev().filter_map(|len| dialled.get(..len));
        prefixes.filter_map(|prefix| self.by_prefix.get(prefix)).flatten().cloned().collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<Route>> {
        let mut routes: Vec<Arc<Route>> = self.by_id.values().cloned().collect();
        routes.sort_by(|one, other| {
            (&one.prefix, one.priority, one.id).cmp(&(&other.prefix, other.priority, other.id))
        });
        routes
    }
}
