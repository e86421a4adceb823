//! What is asked of the store, and the names of what was changed.

use serde::{Deserialize, Serialize};

use crate::rows::{
    Account, AccountId, Alarm, AlarmId, Binding, CallRecord, Device, DeviceId, InvalidRow, Lease, Line,
    LineId, Node, Number, Pool, PrefixAllocation, PrefixAllocationId, Region, RegionBlock, RegionBlockId,
    RegionId, Route, RouteId, Sighting, Site, SiteId, Trunk, TrunkId,
};

/// One change of what is stored.
///
/// A `Put` makes the row or replaces the one with its key; an id of `NEW` (0) asks the store for a number.
/// A `Remove` of a site, line, trunk, route, device, account, alarm or part of the address plan fails when it is not there or when something still refers to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Makes or replaces a site.
    PutSite(Site),
    /// Removes a site that has neither lines nor devices nor an account.
    RemoveSite(SiteId),
    /// Makes or replaces a line.
    PutLine(Line),
    /// Removes a line that has neither numbers nor devices, its bindings and its sighting.
    RemoveLine(LineId),
    /// Makes a number, or gives it to another line.
    PutNumber(Number),
    /// Removes a number.
    RemoveNumber(String),
    /// Makes or replaces a trunk.
    PutTrunk(Trunk),
    /// Removes a trunk that has no routes.
    RemoveTrunk(TrunkId),
    /// Makes or replaces a route.
    PutRoute(Route),
    /// Removes a route.
    RemoveRoute(RouteId),
    /// Makes or replaces a binding.
    PutBinding(Binding),
    /// Removes a binding, or does nothing when there is none.
    RemoveBinding {
        /// The line.
        line: LineId,
        /// The contact URI.
        contact: String,
    },
    /// Removes all bindings of a line.
    RemoveBindings {
        /// The line.
        line: LineId,
    },
    /// Makes or replaces a device.
    PutDevice(Device),
    /// Removes a device.
    RemoveDevice(DeviceId),
    /// Makes or replaces the pool of prefixes.
    PutPool(Pool),
    /// Removes the pool.
    RemovePool(String),
    /// Makes or renames a region.
    PutRegion(Region),
    /// Removes a region that has neither blocks nor allocations.
    RemoveRegion(RegionId),
    /// Gives a block of the pool to a region.
    PutRegionBlock(RegionBlock),
    /// Takes a block back.
    RemoveRegionBlock(RegionBlockId),
    /// Gives a prefix to a site, or says that it is freed.
    PutPrefixAllocation(PrefixAllocation),
    /// Forgets an allocation.
    RemovePrefixAllocation(PrefixAllocationId),
    /// Makes or replaces a tunnel account.
    PutAccount(Account),
    /// Removes a tunnel account and its lease.
    RemoveAccount(AccountId),
    /// Says what the broker last saw of an account.
    PutLease(Lease),
    /// Forgets what the broker saw of an account, or does nothing when that is nothing.
    RemoveLease(AccountId),
    /// Says where a line's credential was last used from outside its site.
    PutSighting(Sighting),
    /// Forgets a line's sighting, or does nothing when there is none.
    RemoveSighting(LineId),
    /// Makes or replaces an alarm.
    PutAlarm(Alarm),
    /// Removes an alarm from the history.
    RemoveAlarm(AlarmId),
    /// Writes a call record, exactly once: a second one of the same id is ignored and counted.
    AddCallRecord(CallRecord),
    /// Says that a node lives.
    SeeNode(Node),
}

impl Change {
    /// Whether the row may be stored, as far as can be told without the others.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub fn check(&self) -> Result<(), InvalidRow> {
        match self {
            Change::PutSite(row) => row.check(),
            Change::PutLine(row) => row.check(),
            Change::PutNumber(row) => row.check(),
            Change::PutTrunk(row) => row.check(),
            Change::PutRoute(row) => row.check(),
            Change::PutBinding(row) => row.check(),
            Change::PutDevice(row) => row.check(),
            Change::PutPool(row) => row.check(),
            Change::PutRegion(row) => row.check(),
            Change::PutRegionBlock(row) => row.check(),
            Change::PutPrefixAllocation(row) => row.check(),
            Change::PutAccount(row) => row.check(),
            Change::PutLease(row) => row.check(),
            Change::PutSighting(row) => row.check(),
            Change::PutAlarm(row) => row.check(),
            Change::AddCallRecord(row) => row.check(),
            Change::SeeNode(row) => row.check(),
            Change::RemoveSite(_)
            | Change::RemoveLine(_)
            | Change::RemoveNumber(_)
            | Change::RemoveTrunk(_)
            | Change::RemoveRoute(_)
            | Change::RemoveBinding { .. }
            | Change::RemoveBindings { .. }
            | Change::RemoveDevice(_)
            | Change::RemovePool(_)
            | Change::RemoveRegion(_)
            | Change::RemoveRegionBlock(_)
            | Change::RemovePrefixAllocation(_)
            | Change::RemoveAccount(_)
            | Change::RemoveLease(_)
            | Change::RemoveSighting(_)
            | Change::RemoveAlarm(_) => Ok(()),
        }
    }

    /// What other nodes need to read again after this change; nothing for what no node keeps in memory.
    pub fn key(&self) -> Option<Key> {
        Some(match self {
            Change::PutSite(row) => Key::Site(row.id),
            Change::RemoveSite(id) => Key::Site(*id),
            Change::PutLine(row) => Key::Line(row.id),
            Change::RemoveLine(id) => Key::Line(*id),
            Change::PutNumber(row) => Key::Number(row.e164.clone()),
            Change::RemoveNumber(e164) => Key::Number(e164.clone()),
            Change::PutTrunk(row) => Key::Trunk(row.id),
            Change::RemoveTrunk(id) => Key::Trunk(*id),
            Change::PutRoute(row) => Key::Route(row.id),
            Change::RemoveRoute(id) => Key::Route(*id),
            Change::PutBinding(row) => Key::Binding(row.line, row.contact.clone()),
            Change::RemoveBinding { line, contact } => Key::Binding(*line, contact.clone()),
            Change::RemoveBindings { line } => Key::Bindings(*line),
            Change::PutDevice(row) => Key::Device(row.id),
            Change::RemoveDevice(id) => Key::Device(*id),
            Change::PutPool(row) => Key::Pool(row.name.clone()),
            Change::RemovePool(name) => Key::Pool(name.clone()),
            Change::PutRegion(row) => Key::Region(row.id),
            Change::RemoveRegion(id) => Key::Region(*id),
            Change::PutRegionBlock(row) => Key::RegionBlock(row.id),
            Change::RemoveRegionBlock(id) => Key::RegionBlock(*id),
            Change::PutPrefixAllocation(row) => Key::PrefixAllocation(row.id),
            Change::RemovePrefixAllocation(id) => Key::PrefixAllocation(*id),
            Change::PutAccount(row) => Key::Account(row.id),
            Change::RemoveAccount(id) => Key::Account(*id),
            Change::PutLease(row) => Key::Lease(row.account),
            Change::RemoveLease(account) => Key::Lease(*account),
            Change::PutSighting(row) => Key::Sighting(row.line),
            Change::RemoveSighting(line) => Key::Sighting(*line),
            Change::PutAlarm(row) => Key::Alarm(row.id),
            Change::RemoveAlarm(id) => Key::Alarm(*id),
            Change::AddCallRecord(_) | Change::SeeNode(_) => return None,
        })
    }
}

/// Names what a change touched. Its JSON form is part of the stored feed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Key {
    /// A site.
    #[serde(rename = "s")]
    Site(SiteId),
    /// A line.
    #[serde(rename = "l")]
    Line(LineId),
    /// A number.
    #[serde(rename = "n")]
    Number(String),
    /// A trunk.
    #[serde(rename = "t")]
    Trunk(TrunkId),
    /// A route.
    #[serde(rename = "r")]
    Route(RouteId),
    /// A binding, by its line and contact.
    #[serde(rename = "b")]
    Binding(LineId, String),
    /// All bindings of a line.
    #[serde(rename = "a")]
    Bindings(LineId),
    /// A device.
    #[serde(rename = "d")]
    Device(DeviceId),
    /// The pool.
    #[serde(rename = "p")]
    Pool(String),
    /// A region.
    #[serde(rename = "g")]
    Region(RegionId),
    /// A region's block.
    #[serde(rename = "k")]
    RegionBlock(RegionBlockId),
    /// A prefix allocation.
    #[serde(rename = "x")]
    PrefixAllocation(PrefixAllocationId),
    /// A tunnel account.
    #[serde(rename = "c")]
    Account(AccountId),
    /// An account's lease.
    #[serde(rename = "e")]
    Lease(AccountId),
    /// A line's sighting.
    #[serde(rename = "i")]
    Sighting(LineId),
    /// An alarm.
    #[serde(rename = "m")]
    Alarm(AlarmId),
}
