//! What holds of every plan, whatever is asked of it in whatever order.

use std::collections::HashMap;

use ipnet::Ipv6Net;
use proptest::prelude::*;
use schema::{AddressPlan, Change, PrefixAllocationId, RegionBlock, RegionBlockId, RegionId, SiteId};

use super::tests::{small, write};
use super::*;

#[derive(Debug, Clone)]
enum Operation {
    Allocate { site: i64, region: i64 },
    Free { site: i64 },
    ByHand { site: i64, place: u8, len: u8 },
    GiveBlocks { region: i64, sites: u32 },
    Wait { seconds: i64 },
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (1_i64..20, 1_i64..=2).prop_map(|(site, region)| Operation::Allocate { site, region }),
        4 => (1_i64..24).prop_map(|site| Operation::Free { site }),
        1 => (20_i64..24, any::<u8>(), 41_u8..=50).prop_map(|(site, place, len)| Operation::ByHand { site, place, len }),
        1 => (1_i64..=2, 0_u32..10).prop_map(|(region, sites)| Operation::GiveBlocks { region, sites }),
        2 => (0_i64..2_000_000).prop_map(|seconds| Operation::Wait { seconds }),
    ]
}

/// The platform as far as it matters here.
#[derive(Default)]
struct World {
    plan: AddressPlan,
    /// What each site has.
    sites: HashMap<SiteId, Ipv6Net>,
    /// Who had what until when.
    history: Vec<(SiteId, Ipv6Net, i64)>,
    now: i64,
}

impl World {
    fn others(&self, site: SiteId) -> Vec<Ipv6Net> {
        self.sites.iter().filter(|(other, _)| **other != site).map(|(_, prefix)| *prefix).collect()
    }

    fn run(&mut self, operation: Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Wait { seconds } => self.now += seconds,
            Operation::GiveBlocks { region, sites } => {
                let others: Vec<Ipv6Net> = self.sites.values().copied().collect();
                for block in
                    give_blocks(&self.plan, &others, RegionId(region), sites, self.now).unwrap_or_default()
                {
                    let id = RegionBlockId(self.plan.blocks.keys().next_back().map_or(1, |last| last.0 + 1));
                    self.plan.apply(&Change::PutRegionBlock(RegionBlock { id, ..block }));
                }
            }
            Operation::ByHand { site, place, len } => {
                let address = u128::from(place) << 80 | 0x2001_0db8 << 96;
                let prefix = Ipv6Net::new_assert(address.into(), len).trunc();
                // An operator may overrule the plan, though not put two sites at one place.
                let others = self.others(SiteId(site));
                if !self.sites.contains_key(&SiteId(site))
                    && !others.iter().any(|other| overlap(*other, prefix))
                {
                    self.sites.insert(SiteId(site), prefix);
                }
            }
            Operation::Allocate { site, region } => self.allocate(SiteId(site), RegionId(region))?,
            Operation::Free { site } => self.free(SiteId(site)),
        }
        self.check()
    }

    fn allocate(&mut self, site: SiteId, region: RegionId) -> Result<(), TestCaseError> {
        let others = self.others(site);
        let granted = allocate(&self.plan, &others, site, region, self.now);
        prop_assert_eq!(
            &granted,
            &allocate(&self.plan, &others, site, region, self.now),
            "same rows, same answer"
        );
        let grant = match granted {
            Ok(grant) => grant,
            Err(error) => {
                prop_assert!(matches!(error, PlanError::Exhausted { .. }), "{}", error);
                return Ok(());
            }
        };
        let prefix = write(&mut self.plan, grant);
        if let Some(had) = self.sites.insert(site, prefix) {
            prop_assert_eq!(had, prefix, "a live site does not move");
            return Ok(());
        }
        let rest = self.plan.pool.as_ref().map(|pool| pool.rest).unwrap_or_default();
        for (holder, held, until) in &self.history {
            let others = *holder != site && overlap(*held, prefix);
            prop_assert!(!others || until + rest <= self.now, "{} rests: it was {}'s", held, holder);
        }
        let blocks = self.plan.blocks.values();
        prop_assert!(
            blocks.filter(|block| block.region == region).any(|block| block.prefix.contains(&prefix)),
            "a site is in its region's block"
        );
        Ok(())
    }

    fn free(&mut self, site: SiteId) {
        let Some(prefix) = self.sites.remove(&site) else { return };
        self.history.push((site, prefix, self.now));
        if let Some(row) = free(&self.plan, site, self.now) {
            return self.plan.apply(&Change::PutPrefixAllocation(row));
        }
        if let Some((row, replaced)) = free_by_hand(&self.plan, site, prefix, self.now) {
            replaced.into_iter().for_each(|id| self.plan.apply(&Change::RemovePrefixAllocation(id)));
            let id =
                PrefixAllocationId(self.plan.allocations.keys().next_back().map_or(1, |last| last.0 + 1));
            self.plan.apply(&Change::PutPrefixAllocation(PrefixAllocation { id, ..row }));
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let apart = |prefixes: Vec<Ipv6Net>| {
            prefixes
                .iter()
                .enumerate()
                .all(|(index, one)| prefixes.iter().skip(index + 1).all(|other| !overlap(*one, *other)))
        };
        prop_assert!(apart(self.sites.values().copied().collect()), "live sites overlap");
        prop_assert!(apart(self.plan.blocks.values().map(|block| block.prefix).collect()), "blocks overlap");
        let mut texts: Vec<Ipv6Net> = self.plan.allocations.values().map(|row| row.prefix).collect();
        texts.sort();
        let count = texts.len();
        texts.dedup();
        prop_assert_eq!(texts.len(), count, "the store would refuse a prefix that is there twice");
        Ok(())
    }
}

proptest! {
    #[test]
    fn a_plan_keeps_its_promises(operations in prop::collection::vec(operation(), 1..80)) {
        let mut world = World { plan: small(), ..World::default() };
        for operation in operations {
            world.run(operation)?;
        }
    }

    #[test]
    fn no_room_is_wasted(regions in prop::collection::vec(1_i64..=2, 16)) {
        let mut plan = small();
        let mut given = Vec::new();
        for (site, region) in (1..).zip(regions) {
            if let Ok(grant) = allocate(&plan, &[], SiteId(site), RegionId(region), 0) {
                given.push(write(&mut plan, grant));
            }
        }
        // Two regions leave at most one block broken each.
        prop_assert!(given.len() >= 10, "{} sites", given.len());
    }
}
