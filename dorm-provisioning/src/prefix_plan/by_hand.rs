//! Prefixes that an operator gives by hand, beside those of the plan.

use ipnet::Ipv6Net;
use schema::{AddressPlan, PrefixAllocation, PrefixAllocationId, SiteId};

use super::{PlanError, overlap, rests_until};

/// Whether a new site may be given a prefix by hand. `others` are the prefixes of all other sites; `now` is in seconds since 1970. What has
/// nothing to do with the pool is the operator's own affair.
///
/// # Errors
/// [`PlanError::Taken`], [`PlanError::Resting`].
pub fn check_by_hand(
    plan: &AddressPlan,
    others: &[Ipv6Net],
    prefix: Ipv6Net,
    now: i64,
) -> Result<(), PlanError> {
    let Some(pool) = plan.pool.as_ref().filter(|pool| overlap(pool.prefix, prefix)) else { return Ok(()) };
    let live = plan.allocations.values().filter(|row| row.freed_at.is_none()).map(|row| row.prefix);
    if let Some(by) = live.chain(others.iter().copied()).find(|other| overlap(*other, prefix)) {
        return Err(PlanError::Taken { prefix, by });
    }
    let mut resting = plan.allocations.values().filter(|row| overlap(row.prefix, prefix));
    match resting.find_map(|row| Some((row, rests_until(row, pool).filter(|until| *until > now)?))) {
        Some((row, until)) => {
            Err(PlanError::Resting { prefix, by: row.prefix, site: row.site, until, pool: pool.prefix })
        }
        None => Ok(()),
    }
}

/// What to write when a site goes that had a prefix by hand, so that it rests like any other; nothing when it is none of the pool's. The
/// second is a row that it replaces.
pub fn free_by_hand(
    plan: &AddressPlan,
    site: SiteId,
    prefix: Ipv6Net,
    now: i64,
) -> Option<(PrefixAllocation, Option<PrefixAllocationId>)> {
    let prefix = prefix.trunc();
    plan.pool.as_ref().filter(|pool| overlap(pool.prefix, prefix))?;
    let former = plan.allocations.values().find(|row| row.prefix == prefix);
    if former.is_some_and(|row| row.freed_at.is_none()) {
        return None;
    }
    let row = PrefixAllocation {
        id: PrefixAllocationId::NEW,
        prefix,
        site,
        region: None,
        allocated_at: now,
        freed_at: Some(now),
    };
    Some((row, former.map(|row| row.id)))
}

#[cfg(test)]
mod tests {
    use schema::{Change, RegionId};

    use super::super::tests::{net, small, write};
    use super::super::{allocate, free};
    use super::*;

    const DAY: i64 = 24 * 3600;

    #[test]
    fn what_is_live_or_rests_is_not_given_by_hand() {
        let mut plan = small();
        let grant = allocate(&plan, &[], SiteId(1), RegionId(1), 0).expect("room");
        assert_eq!(write(&mut plan, grant), net("2001:db8::/44"));
        let others = [net("2001:db8:20:42::/64")];
        let check = |plan: &AddressPlan, prefix: &str, now| check_by_hand(plan, &others, net(prefix), now);
        for (prefix, by) in [
            ("2001:db8:1::/48", "2001:db8::/44"),
            ("2001:db8::/40", "2001:db8::/44"),
            ("2001:db8:20::/48", "2001:db8:20:42::/64"),
        ] {
            assert_eq!(
                check(&plan, prefix, 0),
                Err(PlanError::Taken { prefix: net(prefix), by: net(by) }),
                "{prefix}"
            );
        }
        assert_eq!(check(&plan, "2001:db8:10::/44", 0), Ok(()));
        assert_eq!(check(&plan, "2001:db9::/48", 0), Ok(()));
        let freed = free(&plan, SiteId(1), 5).expect("a live site");
        plan.apply(&Change::PutPrefixAllocation(freed));
        let words = check(&plan, "2001:db8:1::/48", 5).expect_err("it rests").to_string();
        assert!(
            words.starts_with(
                "2001:db8:1::/48 overlaps 2001:db8::/44, which site 1 had and which rests until 1970-01-31"
            ),
            "{words}"
        );
        assert!(words.contains("--rest-days"), "{words}");
        assert_eq!(check(&plan, "2001:db8:1::/48", 5 + 30 * DAY), Ok(()));
    }

    #[test]
    fn without_a_pool_nothing_is_in_the_way() {
        let same = net("::1/128");
        assert_eq!(check_by_hand(&AddressPlan::default(), &[same], same, 0), Ok(()));
    }
}
