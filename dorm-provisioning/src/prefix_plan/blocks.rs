//! Which block a region gets next.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use schema::{AddressPlan, Pool, RegionId};

use super::blocks_of;
use super::occupied::Occupied;

/// The free blocks in the order in which the region should take them: its own blocks' neighbours, then those that leave most room.
pub(super) fn candidates(
    plan: &AddressPlan,
    pool: &Pool,
    occupied: &Occupied,
    region: RegionId,
) -> impl Iterator<Item = Ipv6Net> {
    let width = u32::from(pool.block_len.saturating_sub(pool.prefix.prefix_len()));
    let count = 1_u32 << width.min(16);
    let given: BTreeSet<u32> =
        plan.blocks.values().filter_map(|block| index_of(block.prefix, pool)).collect();
    let own = blocks_of(plan, region).into_iter().filter_map(|block| index_of(block.prefix, pool));
    let neighbours: Vec<u32> = own.map(|index| index + 1).filter(|index| *index < count).collect();
    let apart = (0..count).map(move |turn| reversed(turn, width));
    let pool = pool.clone();
    neighbours
        .into_iter()
        .chain(apart)
        .filter(move |index| !given.contains(index))
        .map(move |index| at(index, &pool))
        .filter(|block| !occupied.is_covered(*block))
}

/// The place of a block in the pool; nothing when it lies outside.
fn index_of(block: Ipv6Net, pool: &Pool) -> Option<u32> {
    if !pool.prefix.contains(&block) {
        return None;
    }
    let offset = block.network().to_bits() - pool.prefix.network().to_bits();
    u32::try_from(offset >> (128 - u32::from(pool.block_len))).ok()
}

fn at(index: u32, pool: &Pool) -> Ipv6Net {
    let offset = u128::from(index) << (128 - u32::from(pool.block_len));
    Ipv6Net::new_assert(Ipv6Addr::from_bits(pool.prefix.network().to_bits() | offset), pool.block_len)
}

/// The lowest `width` bits in reverse: 0, half, a quarter, three quarters and so on.
fn reversed(turn: u32, width: u32) -> u32 {
    turn.reverse_bits().checked_shr(32 - width).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_leave_most_room() {
        assert_eq!((0..8).map(|turn| reversed(turn, 3)).collect::<Vec<_>>(), [0, 4, 2, 6, 1, 5, 3, 7]);
        assert_eq!(reversed(0, 0), 0);
    }
}
