//! The address plan in memory.

use std::collections::BTreeMap;

use crate::change::Change;
use crate::rows::{
    Pool, PrefixAllocation, PrefixAllocationId, Region, RegionBlock, RegionBlockId, RegionId, SiteId,
};
use crate::store::Contents;

/// All rows of the address plan, as plain data. `dorm-provisioning` computes on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressPlan {
    /// What is cut, when there is a pool.
    pub pool: Option<Pool>,
    /// The regions.
    pub regions: BTreeMap<RegionId, Region>,
    /// Their blocks.
    pub blocks: BTreeMap<RegionBlockId, RegionBlock>,
    /// The prefixes that sites have or had.
    pub allocations: BTreeMap<PrefixAllocationId, PrefixAllocation>,
}

impl AddressPlan {
    /// A region by its name.
    pub fn region_by_name(&self, name: &str) -> Option<&Region> {
        self.regions.values().find(|region| region.name == name)
    }

    /// What a site has now.
    pub fn allocation_of(&self, site: SiteId) -> Option<&PrefixAllocation> {
        self.allocations.values().find(|row| row.site == site && row.freed_at.is_none())
    }

    /// Takes a change over; changes of other rows do nothing.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::PutPool(row) => self.pool = Some(row.clone()),
            Change::RemovePool(_) => self.pool = None,
            Change::PutRegion(row) => drop(self.regions.insert(row.id, row.clone())),
            Change::RemoveRegion(id) => drop(self.regions.remove(id)),
            Change::PutRegionBlock(row) => drop(self.blocks.insert(row.id, row.clone())),
            Change::RemoveRegionBlock(id) => drop(self.blocks.remove(id)),
            Change::PutPrefixAllocation(row) => drop(self.allocations.insert(row.id, row.clone())),
            Change::RemovePrefixAllocation(id) => drop(self.allocations.remove(id)),
            _ => {}
        }
    }
}

impl From<&Contents> for AddressPlan {
    fn from(contents: &Contents) -> Self {
        AddressPlan {
            pool: contents.pools.first().cloned(),
            regions: contents.regions.iter().map(|row| (row.id, row.clone())).collect(),
            blocks: contents.region_blocks.iter().map(|row| (row.id, row.clone())).collect(),
            allocations: contents.prefix_allocations.iter().map(|row| (row.id, row.clone())).collect(),
        }
    }
}
