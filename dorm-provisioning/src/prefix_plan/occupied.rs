//! What may not be given, and what was never given.

use std::collections::{BTreeSet, HashSet};
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use schema::{AddressPlan, Pool, RegionBlock};

use super::{overlap, rests_until};

/// The prefixes of a plan by what may be done with them.
pub(super) struct Occupied {
    site_len: u8,
    /// Site-sized places that hold something live or resting.
    slots: HashSet<u128>,
    /// Live or resting prefixes that are wider than a site.
    wide: Vec<Ipv6Net>,
    /// Site-sized places of freed prefixes whose rest is over, by when they were freed.
    rested: BTreeSet<(i64, Ipv6Net)>,
    /// The same places.
    touched: HashSet<u128>,
}

impl Occupied {
    pub(super) fn new(plan: &AddressPlan, pool: &Pool, others: &[Ipv6Net], now: i64) -> Occupied {
        let mut occupied = Occupied {
            site_len: pool.site_len,
            slots: HashSet::new(),
            wide: Vec::new(),
            rested: BTreeSet::new(),
            touched: HashSet::new(),
        };
        for prefix in others.iter().filter(|prefix| overlap(pool.prefix, **prefix)) {
            occupied.occupy(*prefix);
        }
        for row in plan.allocations.values() {
            match (row.freed_at, rests_until(row, pool)) {
                (Some(freed_at), Some(until)) if until <= now => occupied.touch(row.prefix, freed_at),
                _ => occupied.occupy(row.prefix),
            }
        }
        occupied
    }

    /// The first place in a block where nothing is or was.
    pub(super) fn first_untouched(&self, block: Ipv6Net) -> Option<Ipv6Net> {
        let step = 128 - u32::from(self.site_len);
        let first = block.network().to_bits() >> step;
        let count = 1_u128 << self.site_len.saturating_sub(block.prefix_len()).min(32);
        let free = (first..first + count).find(|slot| {
            !self.slots.contains(slot)
                && !self.touched.contains(slot)
                && !self.is_in_wide(Ipv6Addr::from_bits(slot << step))
        });
        free.map(|slot| Ipv6Net::new_assert(Ipv6Addr::from_bits(slot << step), self.site_len))
    }

    /// The site-sized prefix in these blocks whose rest is over for the longest time.
    pub(super) fn longest_rested(&self, blocks: &[&RegionBlock]) -> Option<Ipv6Net> {
        self.rested.iter().map(|(_, prefix)| *prefix).find(|prefix| {
            blocks.iter().any(|block| block.prefix.contains(prefix))
                && !self.slots.contains(&self.slot(*prefix))
                && !self.is_in_wide(prefix.network())
        })
    }

    /// Whether a block lies in something wide that is somebody's, or overlaps it.
    pub(super) fn is_covered(&self, block: Ipv6Net) -> bool {
        self.wide.iter().any(|wide| overlap(*wide, block) && wide.prefix_len() <= block.prefix_len())
    }

    fn occupy(&mut self, prefix: Ipv6Net) {
        if prefix.prefix_len() < self.site_len {
            self.wide.push(prefix.trunc());
        } else {
            self.slots.insert(self.slot(prefix));
        }
    }

    /// A wide one, which was given by hand, leaves places that count as untouched.
    fn touch(&mut self, prefix: Ipv6Net, freed_at: i64) {
        if prefix.prefix_len() >= self.site_len {
            let place = Ipv6Net::new_assert(prefix.network(), self.site_len).trunc();
            self.rested.insert((freed_at, place));
            self.touched.insert(self.slot(prefix));
        }
    }

    fn slot(&self, prefix: Ipv6Net) -> u128 {
        prefix.network().to_bits() >> (128 - u32::from(self.site_len))
    }

    fn is_in_wide(&self, address: Ipv6Addr) -> bool {
        self.wide.iter().any(|wide| wide.contains(&address))
    }
}
