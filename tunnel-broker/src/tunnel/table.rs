//! The tunnels of one server, found by their IPv4 ends and by what is behind them.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::rate::Limit;
use crate::lease::{Grant, Outer, TunnelId};

/// The smallest MTU of a tunnel, and the default, bytes (RFC 4213 §3.2.1).
pub const MIN_MTU: u16 = 1280;

/// All tunnels. Adding, moving and removing one costs a few look-ups and touches no other.
#[derive(Debug)]
pub struct Table {
    slots: Vec<Option<Tunnel>>,
    free: Vec<usize>,
    by_id: HashMap<TunnelId, usize>,
    by_outer: HashMap<Outer, usize>,
    /// First address of a network to its last one and its tunnel. No two networks overlap.
    by_network: BTreeMap<u128, (u128, usize)>,
    capacity: usize,
}

/// One tunnel.
#[derive(Debug)]
pub struct Tunnel {
    pub(super) id: TunnelId,
    pub(super) outer: Outer,
    pub(super) grant: Grant,
    pub(super) mtu: u16,
    pub(super) traffic: Traffic,
    /// How often an ICMPv6 error is sent on this tunnel's account.
    pub(super) errors: Limit,
}

/// What went through a tunnel: packets and inner bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets that came out of it and passed.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Packets that went into it.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Packets that came out of it, or should have gone into it, and were dropped.
    pub dropped: u64,
}

/// Why a tunnel cannot be had. Nothing changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// All places are taken.
    #[error("all {0} tunnels are taken")]
    Full(usize),
    /// There is a tunnel of that name.
    #[error("there is a tunnel of that name")]
    Taken,
    /// There is no tunnel of that name.
    #[error("there is no tunnel of that name")]
    Unknown,
    /// Another tunnel has the same two ends.
    #[error("tunnel {0:?} has the same two ends")]
    SameEnds(TunnelId),
    /// Another tunnel leads to a part of the same network.
    #[error("tunnel {0:?} leads to a part of the same network")]
    Overlap(TunnelId),
    /// Nothing would be behind the tunnel.
    #[error("nothing would be behind the tunnel")]
    Empty,
    /// The MTU is too small for IPv6.
    #[error("an MTU of {0} is less than 1280")]
    Mtu(u16),
}

impl Table {
    /// An empty table for that many tunnels.
    pub fn new(capacity: usize) -> Table {
        Table {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            by_outer: HashMap::new(),
            by_network: BTreeMap::new(),
            capacity,
        }
    }

    /// Adds a tunnel. `mtu` is in bytes and counts the inner packet.
    ///
    /// # Errors
    /// [`TableError`] when it clashes with another tunnel, or there is no room.
    pub fn add(&mut self, id: TunnelId, outer: Outer, grant: Grant, mtu: u16) -> Result<(), TableError> {
        if mtu < MIN_MTU {
            return Err(TableError::Mtu(mtu));
        }
        if self.by_id.contains_key(&id) {
            return Err(TableError::Taken);
        }
        if self.by_id.len() >= self.capacity {
            return Err(TableError::Full(self.capacity));
        }
        if let Some(&other) = self.by_outer.get(&outer) {
            return Err(TableError::SameEnds(self.name(other).ok_or(TableError::Unknown)?));
        }
        let networks = networks(&grant);
        if networks.iter().flatten().next().is_none() {
            return Err(TableError::Empty);
        }
        for &(first, last) in networks.iter().flatten() {
            // Networks that do not overlap end in the order in which they begin: the last that begins in time decides.
            let before = self.by_network.range(..=last).next_back();
            if let Some((_, &(_, other))) = before.filter(|(_, (its_last, _))| *its_last >= first) {
                return Err(TableError::Overlap(self.name(other).ok_or(TableError::Unknown)?));
            }
        }
        let tunnel = Tunnel { id, outer, grant, mtu, traffic: Traffic::default(), errors: Limit::default() };
        let index = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(index) {
            Some(slot) => *slot = Some(tunnel),
            None => self.slots.push(Some(tunnel)),
        }
        self.by_id.insert(id, index);
        self.by_outer.insert(outer, index);
        self.by_network.extend(networks.into_iter().flatten().map(|(first, last)| (first, (last, index))));
        Ok(())
    }

    /// Gives a tunnel other ends. What is behind it, its counters and all other tunnels stay.
    ///
    /// # Errors
    /// [`TableError`] when there is no such tunnel, or another one has these ends.
    pub fn move_to(&mut self, id: TunnelId, outer: Outer) -> Result<(), TableError> {
        let &index = self.by_id.get(&id).ok_or(TableError::Unknown)?;
        if let Some(&other) = self.by_outer.get(&outer).filter(|&&other| other != index) {
            return Err(TableError::SameEnds(self.name(other).ok_or(TableError::Unknown)?));
        }
        let tunnel = self.at_mut(index).ok_or(TableError::Unknown)?;
        let before = std::mem::replace(&mut tunnel.outer, outer);
        self.by_outer.remove(&before);
        self.by_outer.insert(outer, index);
        Ok(())
    }

    /// Removes a tunnel and gives what went through it; `None` when there is none of that name.
    pub fn remove(&mut self, id: TunnelId) -> Option<Traffic> {
        let index = self.by_id.remove(&id)?;
        let tunnel = self.slots.get_mut(index)?.take()?;
        self.free.push(index);
        self.by_outer.remove(&tunnel.outer);
        for (first, _) in networks(&tunnel.grant).into_iter().flatten() {
            self.by_network.remove(&first);
        }
        Some(tunnel.traffic)
    }

    /// How many tunnels there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The tunnel of that name.
    pub fn tunnel(&self, id: TunnelId) -> Option<&Tunnel> {
        self.at(*self.by_id.get(&id)?)
    }

    /// All tunnels, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Tunnel> {
        self.slots.iter().flatten()
    }

    pub(super) fn by_outer(&self, outer: Outer) -> Option<usize> {
        self.by_outer.get(&outer).copied()
    }

    pub(super) fn by_address(&self, address: Ipv6Addr) -> Option<usize> {
        let address = u128::from(address);
        let (_, &(last, index)) = self.by_network.range(..=address).next_back()?;
        (address <= last).then_some(index)
    }

    pub(super) fn at(&self, index: usize) -> Option<&Tunnel> {
        self.slots.get(index)?.as_ref()
    }

    pub(super) fn at_mut(&mut self, index: usize) -> Option<&mut Tunnel> {
        self.slots.get_mut(index)?.as_mut()
    }

    fn name(&self, index: usize) -> Option<TunnelId> {
        self.at(index).map(|tunnel| tunnel.id)
    }
}

impl Tunnel {
    /// Its name.
    pub fn id(&self) -> TunnelId {
        self.id
    }

    /// Its two ends.
    pub fn outer(&self) -> Outer {
        self.outer
    }

    /// What is behind it.
    pub fn grant(&self) -> Grant {
        self.grant
    }

    /// The longest inner packet that goes into it, bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// What went through it.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }
}

/// The networks behind a tunnel, as first and last address; the link only where the prefix does not hold it already.
fn networks(grant: &Grant) -> [Option<(u128, u128)>; 2] {
    let span = |network: Ipv6Net| (u128::from(network.network()), u128::from(network.broadcast()));
    let link = grant.link.map(|link| link.client);
    let outside = link.filter(|link| !grant.prefix.is_some_and(|prefix| prefix.contains(link)));
    [grant.prefix.map(span), outside.map(|address| (u128::from(address), u128::from(address)))]
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::lease::Link;

    fn outer(host: u32) -> Outer {
        Outer { client: Ipv4Addr::from(0xc633_6400 + host), server: Ipv4Addr::new(192, 0, 2, 1) }
    }

    fn grant(prefix: &str) -> Grant {
        Grant { prefix: Some(prefix.parse().unwrap()), link: None }
    }

    fn found(table: &Table, address: &str) -> Option<u64> {
        table.by_address(address.parse().unwrap()).map(|index| table.at(index).unwrap().id.0)
    }

    #[test]
    fn a_tunnel_is_found_by_its_ends_and_by_what_is_behind_it() {
        let mut table = Table::new(10);
        table.add(TunnelId(1), outer(1), grant("2001:db8:1::/48"), 1280).unwrap();
        let link =
            Link { client: "2001:db8:ffff::2".parse().unwrap(), server: "2001:db8:ffff::1".parse().unwrap() };
        table
            .add(TunnelId(2), outer(2), Grant { link: Some(link), ..grant("2001:db8:2::/56") }, 1480)
            .unwrap();
        assert_eq!(found(&table, "2001:db8:1::"), Some(1));
        assert_eq!(found(&table, "2001:db8:1:ffff:ffff:ffff:ffff:ffff"), Some(1));
        assert_eq!(found(&table, "2001:db8:0:ffff:ffff:ffff:ffff:ffff"), None);
        assert_eq!(found(&table, "2001:db8:2::"), Some(2));
        assert_eq!(found(&table, "2001:db8:2:100::"), None);
        assert_eq!(found(&table, "2001:db8:ffff::2"), Some(2));
        assert_eq!(found(&table, "2001:db8:ffff::1"), None);
        assert_eq!(found(&table, "2001:db8:ffff::3"), None);
        assert!(table.by_outer(outer(1)).is_some() && table.by_outer(outer(3)).is_none());
        let turned = Outer { client: outer(1).server, server: outer(1).client };
        assert!(table.by_outer(turned).is_none());
    }

    #[test]
    fn a_move_changes_the_ends_and_nothing_else() {
        let mut table = Table::new(10);
        table.add(TunnelId(1), outer(1), grant("2001:db8:1::/48"), 1280).unwrap();
        table.add(TunnelId(2), outer(2), grant("2001:db8:2::/48"), 1280).unwrap();
        let index = table.by_outer(outer(1)).unwrap();
        table.at_mut(index).unwrap().traffic.packets_in = 7;
        assert_eq!(table.move_to(TunnelId(1), outer(2)), Err(TableError::SameEnds(TunnelId(2))));
        assert_eq!(table.move_to(TunnelId(3), outer(3)), Err(TableError::Unknown));
        table.move_to(TunnelId(1), outer(1)).unwrap();
        table.move_to(TunnelId(1), outer(3)).unwrap();
        assert_eq!(table.by_outer(outer(1)), None);
        assert_eq!(table.by_outer(outer(3)), Some(index));
        assert_eq!(found(&table, "2001:db8:1::1"), Some(1));
        assert_eq!(table.remove(TunnelId(1)).unwrap().packets_in, 7);
        assert_eq!(table.remove(TunnelId(1)), None);
        assert_eq!((found(&table, "2001:db8:1::1"), found(&table, "2001:db8:2::1")), (None, Some(2)));
    }

    #[test]
    fn what_clashes_is_refused_and_changes_nothing() {
        let mut table = Table::new(3);
        table.add(TunnelId(1), outer(1), grant("2001:db8:1::/48"), 1280).unwrap();
        let add =
            |table: &mut Table, id, host, prefix| table.add(TunnelId(id), outer(host), grant(prefix), 1280);
        assert_eq!(add(&mut table, 1, 2, "2001:db8:2::/48"), Err(TableError::Taken));
        assert_eq!(add(&mut table, 2, 1, "2001:db8:2::/48"), Err(TableError::SameEnds(TunnelId(1))));
        for prefix in
            ["2001:db8:1::/48", "2001:db8::/32", "2001:db8:1:2::/64", "2001:db8:1:ffff::/64", "::/0"]
        {
            assert_eq!(add(&mut table, 2, 2, prefix), Err(TableError::Overlap(TunnelId(1))), "{prefix}");
        }
        assert_eq!(table.add(TunnelId(2), outer(2), grant("::/0"), 1279), Err(TableError::Mtu(1279)));
        let nothing = Grant { prefix: None, link: None };
        assert_eq!(table.add(TunnelId(2), outer(2), nothing, 1280), Err(TableError::Empty));
        assert_eq!(table.len(), 1);
        add(&mut table, 2, 2, "2001:db8:2::/48").unwrap();
        add(&mut table, 3, 3, "2001:db8:0::/48").unwrap();
        assert_eq!(add(&mut table, 4, 4, "2001:db8:4::/48"), Err(TableError::Full(3)));
    }

    #[test]
    fn a_link_inside_the_prefix_is_no_clash() {
        let mut table = Table::new(3);
        let link =
            Link { client: "2001:db8:1::2".parse().unwrap(), server: "2001:db8:1::1".parse().unwrap() };
        let grant = Grant { link: Some(link), ..grant("2001:db8:1::/48") };
        table.add(TunnelId(1), outer(1), grant, 1280).unwrap();
        assert_eq!(found(&table, "2001:db8:1::2"), Some(1));
        let link =
            Link { client: "2001:db8:ffff::2".parse().unwrap(), server: "2001:db8:ffff::1".parse().unwrap() };
        let only_link = Grant { prefix: None, link: Some(link) };
        table.add(TunnelId(2), outer(2), only_link, 1280).unwrap();
        assert_eq!(
            table.add(TunnelId(3), outer(3), only_link, 1280),
            Err(TableError::Overlap(TunnelId(2))),
            "two tunnels with one link address"
        );
        table.remove(TunnelId(1)).unwrap();
        table.remove(TunnelId(2)).unwrap();
        assert!(table.is_empty() && table.by_network.is_empty() && table.by_outer.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Compares with a list that is searched from end to end.
        #[test]
        fn any_order_of_changes_gives_what_a_plain_list_gives(
            changes in prop::collection::vec((0u64..8, 0u32..8, 0u16..4, 0usize..4, 0usize..3), 1..80),
        ) {
            let mut table = Table::new(6);
            let mut list: Vec<(TunnelId, Outer, Ipv6Net)> = Vec::new();
            for (id, host, site, len, change) in changes {
                let (id, outer) = (TunnelId(id), outer(host));
                let prefix = Ipv6Net::new(Ipv6Addr::new(0x2001, 0xdb8, site << 8, site << 12, 0, 0, 0, 1), [30, 44, 56, 64][len]);
                let prefix = prefix.unwrap().trunc();
                match change {
                    0 => {
                        let clash = list.iter().any(|(other, ends, network)| {
                            *other == id || *ends == outer || network.contains(&prefix) || prefix.contains(network)
                        });
                        let result = table.add(id, outer, Grant { prefix: Some(prefix), link: None }, 1280);
                        prop_assert_eq!(result.is_ok(), !clash && list.len() < 6);
                        if result.is_ok() {
                            list.push((id, outer, prefix));
                        }
                    }
                    1 => {
                        let taken = list.iter().any(|(other, ends, _)| *other != id && *ends == outer);
                        let known = list.iter_mut().find(|(other, ..)| *other == id);
                        prop_assert_eq!(table.move_to(id, outer).is_ok(), known.is_some() && !taken);
                        if let Some((_, ends, _)) = known.filter(|_| !taken) {
                            *ends = outer;
                        }
                    }
                    _ => {
                        let known = list.iter().position(|(other, ..)| *other == id);
                        prop_assert_eq!(table.remove(id).is_some(), known.is_some());
                        known.map(|index| list.remove(index));
                    }
                }
                prop_assert_eq!(table.len(), list.len());
                for &(id, ends, network) in &list {
                    let of = |index: Option<usize>| index.and_then(|index| table.at(index)).map(|tunnel| tunnel.id);
                    prop_assert_eq!(of(table.by_outer(ends)), Some(id));
                    prop_assert_eq!(of(table.by_address(network.network())), Some(id));
                    prop_assert_eq!(of(table.by_address(network.broadcast())), Some(id));
                }
                prop_assert!(table.slots.len() <= 6, "freed slots are used again");
                prop_assert_eq!((table.by_outer.len(), table.by_network.len()), (list.len(), list.len()));
            }
        }
    }
}
