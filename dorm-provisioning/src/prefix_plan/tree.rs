//! The plan as people look at it.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use ipnet::Ipv6Net;
use schema::{AddressPlan, PrefixAllocation, RegionBlock, SiteId};
use serde::Serialize;

use super::{date, rests_until, sites_a_block};
use crate::identity::vlan_prefix;

/// A site as the tree needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteLeaf {
    /// Its number.
    pub id: SiteId,
    /// What to call it.
    pub title: String,
    /// Its prefix.
    pub prefix: Option<Ipv6Net>,
    /// How many devices are in each of its VLANs.
    pub vlans: BTreeMap<u16, usize>,
}

/// The whole plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tree {
    /// The pool with everything in it; nothing when there is none.
    pub pool: Option<Branch>,
    /// Prefixes of sites that are none of the pool's.
    pub outside: Vec<Branch>,
}

/// A prefix of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Branch {
    /// The prefix.
    pub prefix: Ipv6Net,
    /// What it is.
    pub kind: Kind,
    /// Whose it is: the name of the region or site.
    pub title: String,
    /// How many parts of it are taken: blocks of a pool, sites of a block, devices of a VLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// How many parts it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<u64>,
    /// Until when it rests, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rests_until: Option<i64>,
    /// What it is cut into.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Branch>,
}

/// What a prefix is in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The carrier's.
    Pool,
    /// A region's.
    Block,
    /// A site's, from the pool.
    Site,
    /// A site's, given by hand.
    SiteByHand,
    /// Freed, and kept from others for a while.
    Resting,
    /// Freed long ago: the next site may have it.
    Rested,
    /// A VLAN's.
    Vlan,
}

/// Shows a plan. `now` is in seconds since 1970.
pub fn tree(plan: &AddressPlan, sites: &[SiteLeaf], now: i64) -> Tree {
    let mut leaves: Vec<Branch> = plan.allocations.values().map(|row| leaf(row, plan, sites, now)).collect();
    let by_hand = sites.iter().filter(|site| plan.allocation_of(site.id).is_none());
    leaves.extend(by_hand.filter_map(|site| {
        let prefix = site.prefix?;
        Some(Branch { children: vlans(site, prefix), ..branch(prefix, Kind::SiteByHand, site.title.clone()) })
    }));
    leaves.sort_by_key(|leaf| (leaf.prefix, leaf.kind as u8));
    let Some(pool) = &plan.pool else { return Tree { pool: None, outside: leaves } };

    let mut blocks: Vec<&RegionBlock> = plan.blocks.values().collect();
    blocks.sort_by_key(|block| block.prefix);
    let mut children: Vec<Branch> = Vec::new();
    for block in blocks {
        let (inside, rest) = leaves.into_iter().partition(|leaf| block.prefix.contains(&leaf.prefix));
        leaves = rest;
        let inside: Vec<Branch> = inside;
        let title =
            plan.regions.get(&block.region).map_or_else(|| "?".to_owned(), |region| region.name.clone());
        let used = inside.iter().filter(|leaf| matches!(leaf.kind, Kind::Site | Kind::SiteByHand)).count();
        children.push(Branch {
            used: Some(used as u64),
            room: Some(sites_a_block(pool)),
            children: inside,
            ..branch(block.prefix, Kind::Block, title)
        });
    }
    let (inside, outside): (Vec<Branch>, Vec<Branch>) =
        leaves.into_iter().partition(|leaf| pool.prefix.contains(&leaf.prefix));
    children.extend(inside);
    children.sort_by_key(|child| child.prefix);
    let room = 1_u64 << pool.block_len.saturating_sub(pool.prefix.prefix_len()).min(32);
    let root = Branch {
        used: Some(plan.blocks.len() as u64),
        room: Some(room),
        children,
        ..branch(pool.prefix, Kind::Pool, "pool".to_owned())
    };
    Tree { pool: Some(root), outside }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pool) = &self.pool {
            writeln!(f, "{}", pool.line())?;
            f.write_str(&drawn(&pool.children, ""))?;
        }
        if !self.outside.is_empty() {
            writeln!(f, "{}", if self.pool.is_some() { "outside the pool" } else { "there is no pool" })?;
            f.write_str(&drawn(&self.outside, ""))?;
        }
        Ok(())
    }
}

impl Branch {
    fn line(&self) -> String {
        let Branch { prefix, title, used, room, .. } = self;
        let (used, room) = (used.unwrap_or(0), room.unwrap_or(0));
        match self.kind {
            Kind::Pool => format!("{prefix}  {title}, {used} of {room} blocks given"),
            Kind::Block => format!("{prefix}  {title}, {used} of {room} sites"),
            Kind::Site => format!("{prefix}  {title}"),
            Kind::SiteByHand => format!("{prefix}  {title} (by hand)"),
            Kind::Resting => {
                format!("{prefix}  {title}, rests until {}", self.rests_until.map(date).unwrap_or_default())
            }
            Kind::Rested => format!("{prefix}  free again"),
            Kind::Vlan if used == 1 => format!("{prefix}  {title}, 1 device"),
            Kind::Vlan => format!("{prefix}  {title}, {used} devices"),
        }
    }
}

fn leaf(row: &PrefixAllocation, plan: &AddressPlan, sites: &[SiteLeaf], now: i64) -> Branch {
    let site = sites.iter().find(|site| site.id == row.site);
    let title = site.map_or_else(|| format!("former site {}", row.site), |site| site.title.clone());
    match plan.pool.as_ref().and_then(|pool| rests_until(row, pool)).or(row.freed_at) {
        None => {
            let children = site.map(|site| vlans(site, row.prefix)).unwrap_or_default();
            Branch { children, ..branch(row.prefix, Kind::Site, title) }
        }
        Some(until) if until <= now => branch(row.prefix, Kind::Rested, title),
        Some(until) => Branch { rests_until: Some(until), ..branch(row.prefix, Kind::Resting, title) },
    }
}

fn vlans(site: &SiteLeaf, prefix: Ipv6Net) -> Vec<Branch> {
    let vlan = |(vlan, devices): (&u16, &usize)| {
        let title = if *vlan == 0 { "untagged".to_owned() } else { format!("VLAN {vlan}") };
        let subnet = vlan_prefix(prefix, *vlan).ok()?;
        Some(Branch { used: Some(*devices as u64), ..branch(subnet, Kind::Vlan, title) })
    };
    site.vlans.iter().filter_map(vlan).collect()
}

fn branch(prefix: Ipv6Net, kind: Kind, title: String) -> Branch {
    Branch { prefix, kind, title, used: None, room: None, rests_until: None, children: Vec::new() }
}

fn drawn(branches: &[Branch], indent: &str) -> String {
    let mut text = String::new();
    for (index, branch) in branches.iter().enumerate() {
        let is_last = index + 1 == branches.len();
        let (knot, deeper) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{indent}{knot}{}", branch.line());
        text.push_str(&drawn(&branch.children, &format!("{indent}{deeper}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use schema::{Change, RegionId};

    use super::*;
    use crate::prefix_plan::{allocate, free, tests};

    fn leaf(id: i64, title: &str, prefix: Option<Ipv6Net>, vlans: &[(u16, usize)]) -> SiteLeaf {
        SiteLeaf { id: SiteId(id), title: title.to_owned(), prefix, vlans: vlans.iter().copied().collect() }
    }

    #[test]
    fn the_plan_is_shown_as_a_tree() {
        let mut plan = tests::small();
        for (site, region) in [(1, 1), (2, 1), (3, 2)] {
            let grant = allocate(&plan, &[], SiteId(site), RegionId(region), 0).expect("room");
            tests::write(&mut plan, grant);
        }
        let freed = free(&plan, SiteId(2), 0).expect("a live site");
        plan.apply(&Change::PutPrefixAllocation(freed));
        let prefix = |text: &str| Some(text.parse().expect("a prefix"));
        let sites = [
            leaf(1, "8041 Sakura", prefix("2001:db8::/44"), &[(24, 90), (0, 1)]),
            leaf(3, "8043 Ume", prefix("2001:db8:80::/44"), &[]),
            leaf(4, "8044 Fuji", prefix("2001:db8:c0::/48"), &[]),
            leaf(5, "8045 Momiji", prefix("2001:db9::/48"), &[]),
            leaf(6, "8046 Kiku", None, &[]),
        ];
        let shown = tree(&plan, &sites, 1).to_string();
        let expected = "\
2001:db8::/40  pool, 2 of 4 blocks given
├─ 2001:db8::/42  Kanto, 1 of 4 sites
│  ├─ 2001:db8::/44  8041 Sakura
│  │  ├─ 2001:db8::/64  untagged, 1 device
│  │  └─ 2001:db8:0:18::/64  VLAN 24, 90 devices
│  └─ 2001:db8:10::/44  former site 2, rests until 1970-01-31
├─ 2001:db8:80::/42  Kansai, 1 of 4 sites
│  └─ 2001:db8:80::/44  8043 Ume
└─ 2001:db8:c0::/48  8044 Fuji (by hand)
outside the pool
└─ 2001:db9::/48  8045 Momiji (by hand)
";
        assert_eq!(shown, expected, "{shown}");
        assert!(tree(&plan, &sites, 31 * 24 * 3600).to_string().contains("2001:db8:10::/44  free again"));
        let bare = tree(&AddressPlan::default(), &sites, 1).to_string();
        assert!(bare.starts_with("there is no pool\n├─ 2001:db8::/44  8041 Sakura (by hand)\n"), "{bare}");
    }
}
