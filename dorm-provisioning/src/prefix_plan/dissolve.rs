//! The end of a region.

use schema::{AddressPlan, Change, PrefixAllocation, RegionId};

use super::{PlanError, blocks_of};

/// What to write, in this order, so that a region is gone and its blocks are the pool's again. Its freed prefixes rest on.
///
/// # Errors
/// [`PlanError::NoRegion`], [`PlanError::RegionInUse`].
pub fn dissolve(plan: &AddressPlan, region: RegionId) -> Result<Vec<Change>, PlanError> {
    let name = &plan.regions.get(&region).ok_or(PlanError::NoRegion { region })?.name;
    let own: Vec<&PrefixAllocation> =
        plan.allocations.values().filter(|row| row.region == Some(region)).collect();
    let sites = own.iter().filter(|row| row.freed_at.is_none()).count();
    if sites > 0 {
        return Err(PlanError::RegionInUse { region: name.clone(), sites });
    }
    let rest = own.into_iter().map(|row| PrefixAllocation { region: None, ..row.clone() });
    let blocks = blocks_of(plan, region).into_iter().map(|block| Change::RemoveRegionBlock(block.id));
    Ok(rest.map(Change::PutPrefixAllocation).chain(blocks).chain([Change::RemoveRegion(region)]).collect())
}

#[cfg(test)]
mod tests {
    use schema::SiteId;

    use super::super::tests::{net, small, write};
    use super::super::{allocate, free};
    use super::*;

    #[test]
    fn a_region_goes_when_its_sites_are_gone_and_what_rests_stays_kept() {
        let mut plan = small();
        for site in [1, 2] {
            let grant = allocate(&plan, &[], SiteId(site), RegionId(1), 0).expect("room");
            write(&mut plan, grant);
        }
        let refusal = dissolve(&plan, RegionId(1)).expect_err("two sites live there");
        assert_eq!(
            refusal.to_string(),
            "region Kanto still has 2 sites: remove them first, `centrex6 site list` shows them"
        );
        for site in [1, 2] {
            let freed = free(&plan, SiteId(site), 5).expect("a live site");
            plan.apply(&Change::PutPrefixAllocation(freed));
        }
        for change in dissolve(&plan, RegionId(1)).expect("nobody lives there") {
            plan.apply(&change);
        }
        assert!(plan.region_by_name("Kanto").is_none() && plan.blocks.is_empty());
        let next = allocate(&plan, &[], SiteId(3), RegionId(2), 6).expect("room");
        assert_eq!(next.allocation.prefix, net("2001:db8:20::/44"), "behind the two that rest");
        assert!(next.block.is_some_and(|block| block.prefix == net("2001:db8::/42")));
        assert!(matches!(dissolve(&plan, RegionId(1)), Err(PlanError::NoRegion { .. })));
    }
}
