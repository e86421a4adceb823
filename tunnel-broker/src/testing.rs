//! A data plane for tests, which only remembers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use crate::control::{Executor, Identity};
use crate::lease::{Grant, Outer, TunnelId};
use crate::plane::{DataPlane, PlaneCounters, PlaneError};
use crate::tunnel::{TableError, Traffic};

/// Where the test's tunnel server is.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Remembers what it was told; refuses two tunnels to one address.
#[derive(Debug, Default)]
pub(crate) struct FakePlane {
    tunnels: Mutex<BTreeMap<TunnelId, (Outer, Grant)>>,
    broken: Mutex<bool>,
}

impl FakePlane {
    /// The far ends and prefixes of the tunnels that there are.
    pub(crate) fn tunnels(&self) -> Vec<(Ipv4Addr, Option<String>)> {
        let tunnels = self.tunnels.lock().unwrap();
        let mut tunnels: Vec<_> = tunnels
            .values()
            .map(|(outer, grant)| (outer.client, grant.prefix.map(|prefix| prefix.to_string())))
            .collect();
        tunnels.sort();
        tunnels
    }

    /// From now on it fails for no reason of the order's, or does not.
    pub(crate) fn set_broken(&self, broken: bool) {
        *self.broken.lock().unwrap() = broken;
    }

    fn works(&self) -> Result<(), PlaneError> {
        match *self.broken.lock().unwrap() {
            true => Err(PlaneError::Thread { source: std::io::ErrorKind::Other.into() }),
            false => Ok(()),
        }
    }
}

impl DataPlane for FakePlane {
    fn add(&self, tunnel: TunnelId, outer: Outer, grant: Grant) -> Result<(), PlaneError> {
        self.works()?;
        let mut tunnels = self.tunnels.lock().unwrap();
        if let Some((holder, _)) = tunnels.iter().find(|(_, (other, _))| *other == outer) {
            return Err(TableError::SameEnds(*holder).into());
        }
        tunnels.insert(tunnel, (outer, grant));
        Ok(())
    }

    fn move_to(&self, tunnel: TunnelId, outer: Outer) -> Result<(), PlaneError> {
        self.works()?;
        self.tunnels.lock().unwrap().get_mut(&tunnel).ok_or(TableError::Unknown)?.0 = outer;
        Ok(())
    }

    fn remove(&self, tunnel: TunnelId) -> Result<(), PlaneError> {
        self.works()?;
        self.tunnels.lock().unwrap().remove(&tunnel);
        Ok(())
    }

    fn counters(&self) -> PlaneCounters {
        PlaneCounters::default()
    }

    fn traffic(&self, _: TunnelId) -> Option<Traffic> {
        None
    }
}

/// A tunnel server in the east over a fake plane.
pub(crate) fn executor(capacity: usize) -> (Arc<Executor>, Arc<FakePlane>) {
    executor_in("east", SERVER, capacity)
}

/// The same elsewhere.
pub(crate) fn executor_in(
    region: &str,
    address: Ipv4Addr,
    capacity: usize,
) -> (Arc<Executor>, Arc<FakePlane>) {
    let plane = Arc::new(FakePlane::default());
    let identity = Identity { region: region.into(), address, capacity };
    (Executor::new(identity, Arc::clone(&plane) as Arc<dyn DataPlane>), plane)
}
