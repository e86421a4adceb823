//! The address plan as it is stored. The crate `dorm-provisioning` decides what goes where.

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use super::{InvalidRow, PrefixAllocationId, RegionBlockId, RegionId, SiteId, check_id, check_name, ensure};

/// The carrier's IPv6 prefix and how it is cut: into blocks, of which a region has one or more, and these into sites.
///
/// All blocks have one length and all sites have one, so that a prefix that is handed out twice is the same text twice, which the store
/// refuses whatever two nodes do at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its key: [`Pool::MAIN`].
    pub name: String,
    /// What is cut.
    pub prefix: Ipv6Net,
    /// The length of a region's block, in bits.
    pub block_len: u8,
    /// The length of a site's prefix, in bits.
    pub site_len: u8,
    /// How long a freed prefix rests before another site may have it, in seconds.
    pub rest: i64,
}

/// A part of the country.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// The row's number.
    pub id: RegionId,
    /// What people call it; unique.
    pub name: String,
}

/// A block of the pool that is a region's for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionBlock {
    /// The row's number.
    pub id: RegionBlockId,
    /// Whose it is.
    pub region: RegionId,
    /// The block; unique.
    pub prefix: Ipv6Net,
    /// Since when, in seconds since 1970.
    pub given_at: i64,
}

/// A prefix that a site has, or had until lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixAllocation {
    /// The row's number.
    pub id: PrefixAllocationId,
    /// The prefix; unique.
    pub prefix: Ipv6Net,
    /// Whose it is, or was.
    pub site: SiteId,
    /// The region whose block it is from; nothing for a prefix that was given by hand.
    pub region: Option<RegionId>,
    /// Since when, in seconds since 1970.
    pub allocated_at: i64,
    /// Until when, in seconds since 1970; nothing while the site has it.
    pub freed_at: Option<i64>,
}

impl Pool {
    /// The one pool's key.
    pub const MAIN: &'static str = "main";

    /// A pool whose sites have a /48, cut into 64 blocks when there is room for so many, with a rest of 30 days.
    ///
    /// # Errors
    /// As [`check`](Pool::check).
    pub fn new(prefix: Ipv6Net) -> Result<Pool, InvalidRow> {
        let pool = Pool {
            name: Pool::MAIN.to_owned(),
            prefix,
            block_len: prefix.prefix_len().saturating_add(6).min(48),
            site_len: 48,
            rest: 30 * 24 * 3600,
        };
        pool.check().map(|()| pool)
    }

    /// Whether the pool may be stored.
    ///
    /// # Errors
    /// The first field that is not valid, with what to give instead.
    pub fn check(&self) -> Result<(), InvalidRow> {
        ensure(self.name == Pool::MAIN, "pool name", &self.name, "use main")?;
        check_prefix("pool prefix", self.prefix)?;
        let pool_len = self.prefix.prefix_len();
        ensure(
            (16..=48).contains(&pool_len),
            "pool prefix",
            &self.prefix.to_string(),
            "use a prefix of 16 to 48 bits, like 2001:db8::/32",
        )?;
        ensure(
            (pool_len..=pool_len + MAX_STEP).contains(&self.block_len),
            "pool block length",
            &self.block_len.to_string(),
            "use the pool's length or up to 16 bits more",
        )?;
        ensure(
            (self.block_len..=self.block_len + MAX_STEP).contains(&self.site_len) && self.site_len <= 60,
            "pool site length",
            &self.site_len.to_string(),
            "use the block's length or up to 16 bits more, and at most 60, so that a site has room for VLANs",
        )?;
        ensure((0..=MAX_REST).contains(&self.rest), "pool rest", &self.rest.to_string(), "use 0 to 3650 days")
    }
}

impl Region {
    /// A new region.
    ///
    /// # Errors
    /// As [`check`](Region::check).
    pub fn new(name: &str) -> Result<Region, InvalidRow> {
        let region = Region { id: RegionId::NEW, name: name.to_owned() };
        region.check().map(|()| region)
    }

    /// Whether the region may be stored.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub fn check(&self) -> Result<(), InvalidRow> {
        check_id("region id", self.id.0)?;
        check_name("region name", &self.name)
    }
}

impl RegionBlock {
    /// Whether the block may be stored.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub fn check(&self) -> Result<(), InvalidRow> {
        check_id("region block id", self.id.0)?;
        check_prefix("region block", self.prefix)
    }
}

impl PrefixAllocation {
    /// Whether the allocation may be stored.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub fn check(&self) -> Result<(), InvalidRow> {
        check_id("prefix allocation id", self.id.0)?;
        check_prefix("allocated prefix", self.prefix)
    }
}

/// Two spellings of one prefix would be two texts.
fn check_prefix(what: &'static str, prefix: Ipv6Net) -> Result<(), InvalidRow> {
    ensure(prefix == prefix.trunc(), what, &prefix.to_string(), "leave the bits after the prefix zero")
}

/// The most bits from a level of the plan to the next.
const MAX_STEP: u8 = 16;
/// Ten years, in seconds.
const MAX_REST: i64 = 3650 * 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_says_what_is_wrong_with_it() {
        let pool = Pool::new("2001:db8::/32".parse().expect("a prefix")).expect("valid");
        assert_eq!((pool.block_len, pool.site_len), (38, 48));
        for bad in ["2001:db8::1/32", "2000::/8", "2001:db8::/56"] {
            assert!(Pool::new(bad.parse().expect("a prefix")).is_err(), "{bad}");
        }
        for (block_len, site_len) in [(31, 48), (49, 60), (40, 39), (40, 57), (48, 61)] {
            assert!(Pool { block_len, site_len, ..pool.clone() }.check().is_err(), "{block_len} {site_len}");
        }
        assert!(Pool { rest: -1, ..pool }.check().is_err());
    }
}
