//! The address plan: the carrier's pool is cut into blocks, of which a region has one or more, and a block into sites.
//!
//! The rows are plain data ([`AddressPlan`]) and the functions compute what to write; whoever calls them writes it. The rules:
//!
//! - A live site never moves: asking again gives what it has.
//! - No prefix that is live, or was until lately, goes to another site. Until when is the pool's rest; prefixes that sites were given by
//!   hand count as well.
//! - New sites take untouched prefixes first, then those that rested longest ago, then the region grows by a block.
//! - Blocks of different regions start far apart (as RFC 3531 puts it: the leftmost bits first), so that a region can grow by its
//!   neighbour and stay one aggregate for a while.
//! - Same rows, same answer.

mod blocks;
mod by_hand;
mod dissolve;
mod occupied;
#[cfg(test)]
mod properties;
mod tree;

use ipnet::Ipv6Net;
pub use schema::{AddressPlan, Pool, PrefixAllocation, Region, RegionBlock};
use schema::{Change, PrefixAllocationId, RegionBlockId, RegionId, SiteId};

use self::blocks::candidates;
pub use self::by_hand::{check_by_hand, free_by_hand};
pub use self::dissolve::dissolve;
use self::occupied::Occupied;
pub use self::tree::{Branch, Kind, SiteLeaf, Tree, tree};

/// What to write so that a site has a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// A block that the region grows by: to be written first.
    pub block: Option<RegionBlock>,
    /// An allocation whose rest is over, to be removed before the new one is written. When two nodes hand out the same prefix at once, the
    /// store refuses one of them.
    pub replaces: Option<PrefixAllocationId>,
    /// What the site has.
    pub allocation: PrefixAllocation,
}

/// Why the plan does not give what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// There is no pool.
    #[error(
        "there is no pool of prefixes: `centrex6 pool set PREFIX` makes one, or give the site's with --prefix"
    )]
    NoPool,
    /// The region does not exist.
    #[error("there is no region {region}")]
    NoRegion {
        /// Its number.
        region: RegionId,
    },
    /// Nothing is left.
    #[error("{}", exhausted(.pool, .region, *.blocks, *.resting, *.next_at))]
    Exhausted {
        /// What is used up.
        pool: Box<Pool>,
        /// For whom.
        region: String,
        /// How many blocks it has.
        blocks: usize,
        /// How many of its prefixes rest.
        resting: usize,
        /// When the first of them may be given, in seconds since 1970.
        next_at: Option<i64>,
    },
    /// The pool cannot become what was asked for without moving what is given.
    #[error("the pool cannot change from {} to {}: {reason}", shown(.from), shown(.to))]
    Fixed {
        /// What it is.
        from: Box<Pool>,
        /// What it should be.
        to: Box<Pool>,
        /// What is in the way.
        reason: String,
    },
    /// Another site has it, or a part of it.
    #[error(
        "{prefix} overlaps {by}, which another site has: give another prefix; `centrex6 prefix tree` shows what is free"
    )]
    Taken {
        /// What was asked for.
        prefix: Ipv6Net,
        /// What is in the way.
        by: Ipv6Net,
    },
    /// Another site had it, or a part of it, until lately.
    #[error(
        "{prefix} overlaps {by}, which site {site} had and which rests until {}: give another prefix, wait, or let prefixes rest for fewer \
         days with `centrex6 pool set {pool} --rest-days`",
        date(*.until)
    )]
    Resting {
        /// What was asked for.
        prefix: Ipv6Net,
        /// What is in the way.
        by: Ipv6Net,
        /// Whose it was.
        site: SiteId,
        /// When its rest is over, in seconds since 1970.
        until: i64,
        /// The pool.
        pool: Ipv6Net,
    },
    /// A region cannot go while sites live in it.
    #[error("region {region} still has {}: remove them first, `centrex6 site list` shows them", counted(*.sites))]
    RegionInUse {
        /// Its name.
        region: String,
        /// How many have a prefix of its blocks.
        sites: usize,
    },
}

/// Finds a prefix for a site. `others` are the prefixes of all other sites, wherever they came from; `now` is in seconds since 1970.
///
/// # Errors
/// [`PlanError::NoPool`], [`PlanError::NoRegion`], [`PlanError::Exhausted`].
pub fn allocate(
    plan: &AddressPlan,
    others: &[Ipv6Net],
    site: SiteId,
    region: RegionId,
    now: i64,
) -> Result<Grant, PlanError> {
    let pool = plan.pool.as_ref().ok_or(PlanError::NoPool)?;
    let Region { name, .. } = plan.regions.get(&region).ok_or(PlanError::NoRegion { region })?;
    if let Some(live) = plan.allocation_of(site) {
        return Ok(Grant { block: None, replaces: None, allocation: live.clone() });
    }
    let mut own = plan.allocations.values().filter(|row| row.site == site && row.region == Some(region));
    if let Some(former) = own.find(|row| is_free_again(plan, pool, others, row, now)) {
        let allocation = PrefixAllocation { freed_at: None, ..former.clone() };
        return Ok(Grant { block: None, replaces: None, allocation });
    }
    let grant = |prefix: Ipv6Net, block: Option<RegionBlock>| {
        let former = plan.allocations.values().find(|row| row.prefix == prefix);
        let allocation = PrefixAllocation {
            id: PrefixAllocationId::NEW,
            prefix,
            site,
            region: Some(region),
            allocated_at: now,
            freed_at: None,
        };
        Grant { block, replaces: former.map(|row| row.id), allocation }
    };
    let occupied = Occupied::new(plan, pool, others, now);
    let own_blocks = blocks_of(plan, region);
    let untouched = own_blocks.iter().find_map(|block| occupied.first_untouched(block.prefix));
    if let Some(prefix) = untouched.or_else(|| occupied.longest_rested(&own_blocks)) {
        return Ok(grant(prefix, None));
    }
    for prefix in candidates(plan, pool, &occupied, region) {
        let block = RegionBlock { id: RegionBlockId::NEW, region, prefix, given_at: now };
        if let Some(free) = occupied.first_untouched(prefix).or_else(|| occupied.longest_rested(&[&block])) {
            return Ok(grant(free, Some(block)));
        }
    }
    let resting =
        plan.allocations.values().filter(|row| row.region == Some(region) && row.freed_at.is_some());
    let ends: Vec<i64> = resting.filter_map(|row| rests_until(row, pool)).collect();
    Err(PlanError::Exhausted {
        pool: Box::new(pool.clone()),
        region: name.clone(),
        blocks: own_blocks.len(),
        resting: ends.len(),
        next_at: ends.into_iter().min(),
    })
}

/// Blocks for a region, so that it has room for `sites` from the start.
///
/// # Errors
/// As [`allocate`].
pub fn give_blocks(
    plan: &AddressPlan,
    others: &[Ipv6Net],
    region: RegionId,
    sites: u32,
    now: i64,
) -> Result<Vec<RegionBlock>, PlanError> {
    let pool = plan.pool.as_ref().ok_or(PlanError::NoPool)?;
    let Region { name, .. } = plan.regions.get(&region).ok_or(PlanError::NoRegion { region })?;
    let occupied = Occupied::new(plan, pool, others, now);
    let wanted = u64::from(sites).div_ceil(sites_a_block(pool)).max(1);
    let mut plan = plan.clone();
    let mut given = Vec::new();
    while (given.len() as u64) < wanted {
        let Some(prefix) = candidates(&plan, pool, &occupied, region).next() else {
            return Err(PlanError::Exhausted {
                pool: Box::new(pool.clone()),
                region: name.clone(),
                blocks: blocks_of(&plan, region).len() - given.len(),
                resting: 0,
                next_at: None,
            });
        };
        let block = RegionBlock { id: RegionBlockId::NEW, region, prefix, given_at: now };
        // Numbers below zero are never stored: they stand for rows that are not written yet.
        let place = RegionBlockId(-1 - given.len() as i64);
        plan.blocks.insert(place, RegionBlock { id: place, ..block.clone() });
        given.push(block);
    }
    Ok(given)
}

/// What to write when a site gives its prefix back; nothing when it has none of the plan's.
pub fn free(plan: &AddressPlan, site: SiteId, now: i64) -> Option<PrefixAllocation> {
    let live = plan.allocation_of(site)?;
    Some(PrefixAllocation { freed_at: Some(now), ..live.clone() })
}

/// Whether the pool may become `new`: what is given must keep its place.
///
/// # Errors
/// [`PlanError::Fixed`].
pub fn check_pool(plan: &AddressPlan, new: &Pool) -> Result<(), PlanError> {
    let Some(old) = &plan.pool else { return Ok(()) };
    let fixed =
        |reason: String| PlanError::Fixed { from: Box::new(old.clone()), to: Box::new(new.clone()), reason };
    if let Some(outside) = plan.blocks.values().find(|block| !new.prefix.contains(&block.prefix)) {
        let region = plan.regions.get(&outside.region).map_or("?", |region| region.name.as_str());
        return Err(fixed(format!("block {} of region {region} would be outside", outside.prefix)));
    }
    let same_cut = (old.block_len, old.site_len) == (new.block_len, new.site_len);
    if !plan.blocks.is_empty() && !same_cut {
        return Err(fixed("blocks are given, so their length and that of sites stay".to_owned()));
    }
    Ok(())
}

/// How many sites a block has room for.
pub fn sites_a_block(pool: &Pool) -> u64 {
    1 << pool.site_len.saturating_sub(pool.block_len).min(32)
}

/// When a freed prefix may go to another site, in seconds since 1970; nothing while it is live.
pub fn rests_until(row: &PrefixAllocation, pool: &Pool) -> Option<i64> {
    row.freed_at.map(|freed_at| freed_at.saturating_add(pool.rest))
}

/// Whether two prefixes have an address in common.
pub fn overlap(one: Ipv6Net, other: Ipv6Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

impl Grant {
    /// The changes, in the order in which each must succeed before the next is tried.
    pub fn changes(self) -> Vec<Change> {
        let block = self.block.map(Change::PutRegionBlock);
        let replaced = self.replaces.map(Change::RemovePrefixAllocation);
        block.into_iter().chain(replaced).chain([Change::PutPrefixAllocation(self.allocation)]).collect()
    }
}

/// Whether the former prefix of a site can be its own again: nobody else's live or resting one lies in it or around it.
fn is_free_again(
    plan: &AddressPlan,
    pool: &Pool,
    others: &[Ipv6Net],
    former: &PrefixAllocation,
    now: i64,
) -> bool {
    let mut held = plan
        .allocations
        .values()
        .filter(|row| row.id != former.id && rests_until(row, pool).is_none_or(|until| until > now))
        .map(|row| row.prefix)
        .chain(others.iter().copied());
    !held.any(|prefix| overlap(prefix, former.prefix))
}

/// A region's blocks, in the order in which it got them.
fn blocks_of(plan: &AddressPlan, region: RegionId) -> Vec<&RegionBlock> {
    plan.blocks.values().filter(|block| block.region == region).collect()
}

fn exhausted(pool: &Pool, region: &str, blocks: usize, resting: usize, next_at: Option<i64>) -> String {
    let rest = match next_at.map(date) {
        Some(date) => {
            format!(", and {resting} of its prefixes still rest, the first until {date}")
        }
        None => String::new(),
    };
    format!(
        "pool {} is used up: no prefix is left in the {blocks} blocks of region {region}, no block is left for it to grow by{rest}: widen \
         the pool with `centrex6 pool set`",
        pool.prefix
    )
}

fn shown(pool: &Pool) -> String {
    format!("{} (blocks /{}, sites /{})", pool.prefix, pool.block_len, pool.site_len)
}

fn counted(sites: usize) -> String {
    if sites == 1 { "1 site".to_owned() } else { format!("{sites} sites") }
}

/// A day, as people write it.
fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map(|time| time.to_string().chars().take(10).collect())
        .unwrap_or_else(|_| "?".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;

    pub(super) fn net(text: &str) -> Ipv6Net {
        text.parse().expect("a prefix")
    }

    /// A pool of four blocks with four sites each, and regions 1 and 2 without blocks.
    pub(super) fn small() -> AddressPlan {
        let mut plan = AddressPlan {
            pool: Some(Pool {
                block_len: 42,
                site_len: 44,
                ..Pool::new(net("2001:db8::/40")).expect("a pool")
            }),
            ..AddressPlan::default()
        };
        for (id, name) in [(1, "Kanto"), (2, "Kansai")] {
            let region = Region { id: RegionId(id), ..Region::new(name).expect("a region") };
            plan.apply(&Change::PutRegion(region));
        }
        plan
    }

    /// Does what the store does: numbers rows and keeps them.
    pub(super) fn write(plan: &mut AddressPlan, grant: Grant) -> Ipv6Net {
        let prefix = grant.allocation.prefix;
        for mut change in grant.changes() {
            match &mut change {
                Change::PutRegionBlock(row) if row.id == RegionBlockId::NEW => {
                    row.id = RegionBlockId(plan.blocks.keys().next_back().map_or(1, |last| last.0 + 1));
                }
                Change::PutPrefixAllocation(row) if row.id == PrefixAllocationId::NEW => {
                    let last = plan.allocations.keys().next_back();
                    row.id = PrefixAllocationId(last.map_or(1, |last| last.0 + 1));
                }
                _ => {}
            }
            plan.apply(&change);
        }
        prefix
    }

    fn take(plan: &mut AddressPlan, site: i64, region: i64, now: i64) -> Result<String, PlanError> {
        let grant = allocate(plan, &[], SiteId(site), RegionId(region), now)?;
        Ok(write(plan, grant).to_string())
    }

    fn give_back(plan: &mut AddressPlan, site: i64, now: i64) {
        let freed = free(plan, SiteId(site), now).expect("a live site");
        plan.apply(&Change::PutPrefixAllocation(freed));
    }

    #[test]
    fn regions_start_far_apart_and_grow_by_their_neighbour() {
        let mut plan = small();
        let kanto: Vec<String> = (1..=5).map(|site| take(&mut plan, site, 1, 0).expect("room")).collect();
        assert_eq!(
            kanto,
            ["2001:db8::/44", "2001:db8:10::/44", "2001:db8:20::/44", "2001:db8:30::/44", "2001:db8:40::/44"]
        );
        assert_eq!(take(&mut plan, 6, 2, 0).as_deref(), Ok("2001:db8:80::/44"));
        assert_eq!(take(&mut plan, 1, 1, 9).as_deref(), Ok("2001:db8::/44"), "a live site does not move");
        let blocks: Vec<String> = plan.blocks.values().map(|block| block.prefix.to_string()).collect();
        assert_eq!(blocks, ["2001:db8::/42", "2001:db8:40::/42", "2001:db8:80::/42"]);
    }

    #[test]
    fn a_freed_prefix_rests_and_goes_back_to_its_own_site() {
        let mut plan = small();
        for site in 1..=16 {
            take(&mut plan, site, 1, 0).expect("room");
        }
        give_back(&mut plan, 3, 100);
        give_back(&mut plan, 2, 100 + DAY);
        let error = take(&mut plan, 17, 1, 100 + 30 * DAY - 1).expect_err("everything rests");
        let words = error.to_string();
        assert!(
            words.starts_with(
                "pool 2001:db8::/40 is used up: no prefix is left in the 4 blocks of region Kanto, no block is left \
                 for it to grow by, and 2 of its prefixes still rest, the first until 1970-01-31"
            ),
            "{words}"
        );
        assert_eq!(take(&mut plan, 2, 1, 200 + DAY).as_deref(), Ok("2001:db8:10::/44"), "its own comes back");
        assert_eq!(take(&mut plan, 17, 1, 100 + 30 * DAY).as_deref(), Ok("2001:db8:20::/44"));
        assert_eq!(plan.allocations.len(), 16, "the row of the former holder is replaced");
        assert!(take(&mut plan, 3, 1, 100 + 30 * DAY).is_err(), "another site has it now");
    }

    #[test]
    fn what_sites_have_by_hand_is_avoided_and_rests_too() {
        let mut plan = small();
        let others = [net("2001:db8:0:42::/64"), net("2001:db8:80::/41")];
        let grant = allocate(&plan, &others, SiteId(1), RegionId(1), 0).expect("room");
        assert_eq!(write(&mut plan, grant), net("2001:db8:10::/44"));
        let grant = allocate(&plan, &others, SiteId(2), RegionId(2), 0).expect("room");
        assert_eq!(write(&mut plan, grant), net("2001:db8:40::/44"));
        let (row, replaced) =
            free_by_hand(&plan, SiteId(9), net("2001:db8:0:42::/64"), 5).expect("it is the pool's");
        assert!(replaced.is_none() && row.freed_at == Some(5));
        plan.apply(&Change::PutPrefixAllocation(PrefixAllocation { id: PrefixAllocationId(9), ..row }));
        let next =
            |now| allocate(&plan, &[], SiteId(3), RegionId(1), now).map(|grant| grant.allocation.prefix);
        assert_eq!(next(5), Ok(net("2001:db8:20::/44")));
        assert_eq!(free_by_hand(&plan, SiteId(9), net("2001:db9::/48"), 5), None);
    }

    #[test]
    fn a_region_gets_room_from_the_start() {
        let mut plan = small();
        let prefixes =
            |given: Vec<RegionBlock>| given.iter().map(|block| block.prefix.to_string()).collect::<Vec<_>>();
        let given = give_blocks(&plan, &[], RegionId(1), 5, 0).expect("room");
        assert_eq!(prefixes(given.clone()), ["2001:db8::/42", "2001:db8:40::/42"]);
        for (id, block) in (1..).zip(given) {
            plan.apply(&Change::PutRegionBlock(RegionBlock { id: RegionBlockId(id), ..block }));
        }
        assert!(matches!(
            give_blocks(&plan, &[], RegionId(2), 9, 0),
            Err(PlanError::Exhausted { blocks: 0, .. })
        ));
        let given = give_blocks(&plan, &[], RegionId(2), 8, 0).expect("room");
        assert_eq!(prefixes(given), ["2001:db8:80::/42", "2001:db8:c0::/42"]);
    }

    #[test]
    fn a_pool_can_widen_and_not_leave_its_sites() {
        let mut plan = small();
        take(&mut plan, 1, 1, 0).expect("room");
        let pool = plan.pool.clone().expect("a pool");
        assert_eq!(check_pool(&plan, &Pool { prefix: net("2001:db8::/36"), ..pool.clone() }), Ok(()));
        let away = check_pool(&plan, &Pool { prefix: net("2001:db9::/40"), ..pool.clone() });
        assert!(
            away.expect_err("moved")
                .to_string()
                .ends_with("block 2001:db8::/42 of region Kanto would be outside")
        );
        assert!(check_pool(&plan, &Pool { site_len: 48, ..pool }).is_err());
        assert_eq!(allocate(&AddressPlan::default(), &[], SiteId(1), RegionId(1), 0), Err(PlanError::NoPool));
        assert_eq!(
            allocate(&plan, &[], SiteId(2), RegionId(9), 0),
            Err(PlanError::NoRegion { region: RegionId(9) })
        );
    }
}
