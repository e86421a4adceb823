//! Rows to cells and back, in the order of their table's columns.

use std::net::Ipv4Addr;

use super::session::{Cell, Cursor};
use super::table::{self, Table};
use crate::error::Result;
use crate::rows::{
    Account, AccountId, Alarm, AlarmId, Binding, CallRecord, Device, DeviceId, GatewayPlace, Lease, Line,
    LineId, Node, Number, Pool, PrefixAllocation, PrefixAllocationId, Region, RegionBlock, RegionBlockId,
    RegionId, Rights, Route, RouteId, Sighting, Site, SiteId, Trunk, TrunkId, TunnelLink,
};
use crate::secret::{Ha1Set, Sealed};

/// A row that has a table.
pub(crate) trait Stored: Sized {
    const TABLE: &'static Table;

    /// Its cells, in the order of the table's columns.
    fn cells(&self) -> Vec<Cell>;

    /// Reads them back.
    fn read(cursor: Cursor<'_>) -> Result<Self>;
}

impl Stored for Site {
    const TABLE: &'static Table = &table::SITE;

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.id.0.into(),
            self.name.as_str().into(),
            self.code.as_str().into(),
            self.domain.as_str().into(),
            self.region.as_str().into(),
            self.pattern.as_str().into(),
            self.prefix.map(|prefix| prefix.to_string()).into(),
        ]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(Site {
            id: SiteId(cell.int()?),
            name: cell.text()?,
            code: cell.text()?,
            domain: cell.text()?,
            region: cell.text()?,
            pattern: cell.text()?,
            prefix: cell.optional_parsed()?,
        })
    }
}

impl Stored for Line {
    const TABLE: &'static Table = &table::LINE;

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.id.0.into(),
            self.site.0.into(),
            self.extension.as_str().into(),
            self.auth_user.as_str().into(),
            self.display_name.as_str().into(),
            self.ha1.md5().into(),
            self.ha1.sha256().into(),
            self.ha1.sha512_256().into(),
            self.sealed_password.as_stored().into(),
            self.rights.external.into(),
            self.rights.international.into(),
            self.anywhere.into(),
        ]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(Line {
            id: LineId(cell.int()?),
            site: SiteId(cell.int()?),
            extension: cell.text()?,
            auth_user: cell.text()?,
            display_name: cell.text()?,
            ha1: Ha1Set::from_stored(cell.text()?, cell.text()?, cell.text()?),
            sealed_password: Sealed::from_stored(cell.text()?),
            rights: Rights { external: cell.flag()?, international: cell.flag()? },
            anywhere: cell.flag()?,
        })
    }
}

impl Stored for Number {
    const TABLE: &'static Table = &table::NUMBER;

    fn cells(&self) -> Vec<Cell> {
        vec![self.e164.as_str().into(), self.line.0.into()]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(Number { e164: cell.text()?, line: LineId(cell.int()?) })
    }
}

/// All gateways of a trunk, as one list.
fn places(trunk: &Trunk) -> Vec<GatewayPlace> {
    let addresses = trunk.gateways.iter().copied().map(GatewayPlace::Address);
    addresses.chain(trunk.hosts.iter().cloned().map(GatewayPlace::Name)).collect()
}

impl Stored for Trunk {
    const TABLE: &'static Table = &table::TRUNK;

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.id.0.into(),
            self.name.as_str().into(),
            list(&places(self)),
            list(&self.sources),
            list(&self.media_networks),
            self.max_calls.into(),
            self.max_udp_bytes.into(),
            self.default_caller.as_deref().into(),
            self.enabled.into(),
            self.certificate_name.as_deref().into(),
            list(&self.codecs),
            self.may_redirect.into(),
        ]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        let (id, name) = (TrunkId(cell.int()?), cell.text()?);
        let (gateways, hosts) = GatewayPlace::split(cell.json()?);
        Ok(Trunk {
            id,
            name,
            gateways,
            hosts,
            sources: cell.json()?,
            media_networks: cell.json()?,
            max_calls: cell.optional_number()?,
            max_udp_bytes: cell.optional_number()?,
            default_caller: cell.optional_text()?,
            enabled: cell.flag()?,
            certificate_name: cell.optional_text()?,
            codecs: cell.json()?,
            may_redirect: cell.flag()?,
        })
    }
}

impl Stored for Route {
    const TABLE: &'static Table = &table::ROUTE;

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.id.0.into(),
            self.prefix.as_str().into(),
            self.priority.into(),
            self.trunk.0.into(),
            self.strip.into(),
            self.prepend.as_str().into(),
        ]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(Route {
            id: RouteId(cell.int()?),
            prefix: cell.text()?,
            priority: cell.number()?,
            trunk: TrunkId(cell.int()?),
            strip: cell.number()?,
            prepend: cell.text()?,
        })
    }
}

impl Stored for Binding {
    const TABLE: &'static Table = &table::BINDING;

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.line.0.into(),
            self.contact.as_str().into(),
            self.call_id.as_str().into(),
            self.cseq.into(),
            self.q.into(),
            self.expires_at.into(),
            self.stored_until.into(),
            list(&self.path),
            self.received.as_str().into(),
            self.user_agent.as_deref().into(),
            self.instance.as_deref().into(),
            self.reg_id.into(),
            self.source.map(|source| source.to_string()).into(),
        ]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(Binding {
            line: LineId(cell.int()?),
            contact: cell.text()?,
            call_id: cell.text()?,
            cseq: cell.number()?,
            q: cell.number()?,
            expires_at: cell.int()?,
            stored_until: cell.int()?,
            path: cell.json()?,
            received: cell.text()?,
            user_agent: cell.optional_text()?,
            instance: cell.optional_text()?,
            reg_id: cell.optional_number()?,
            source: cell.optional_parsed()?,
        })
    }
}

impl Stored for CallRecord {
    const TABLE: &'static Table = &table::CALL_RECORD;

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.id.as_str().into(),
            self.node.as_str().into(),
            self.started_at.into(),
            self.answered_at.into(),
            self.ended_at.into(),
            self.caller.as_str().into(),
            self.callee.as_str().into(),
            self.direction.as_str().into(),
            self.line.map(|line| line.0).into(),
            self.trunk.map(|trunk| trunk.0).into(),
            self.result.as_str().into(),
            self.status.into(),
            self.reason.as_str().into(),
            self.ended_by.map(|side| side.as_str()).into(),
            self.media.to_string().into(),
            list(&self.call_ids),
            self.explanation.as_str().into(),
        ]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(CallRecord {
            id: cell.text()?,
            node: cell.text()?,
            started_at: cell.int()?,
            answered_at: cell.optional_int()?,
            ended_at: cell.optional_int()?,
            caller: cell.text()?,
            callee: cell.text()?,
            direction: cell.parsed()?,
            line: cell.optional_int()?.map(LineId),
            trunk: cell.optional_int()?.map(TrunkId),
            result: cell.parsed()?,
            status: cell.optional_number()?,
            reason: cell.text()?,
            ended_by: cell.optional_parsed()?,
            media: cell.json()?,
            call_ids: cell.json()?,
            explanation: cell.text()?,
        })
    }
}

impl Stored for Node {
    const TABLE: &'static Table = &table::NODE;

    fn cells(&self) -> Vec<Cell> {
        vec![self.name.as_str().into(), list(&self.roles), self.started_at.into(), self.seen_at.into()]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(Node { name: cell.text()?, roles: cell.json()?, started_at: cell.int()?, seen_at: cell.int()? })
    }
}

impl Stored for Device {
    const TABLE: &'static Table = &table::DEVICE;

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.id.0.into(),
            self.site.0.into(),
            self.mac.to_string().into(),
            self.model.as_str().into(),
            self.vlan.into(),
            self.addressing.as_str().into(),
            self.static_address.map(|address| address.to_string()).into(),
            self.line.map(|line| line.0).into(),
            self.neighbours.into(),
        ]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(Device {
            id: DeviceId(cell.int()?),
            site: SiteId(cell.int()?),
            mac: cell.parsed()?,
            model: cell.text()?,
            vlan: cell.number()?,
            addressing: cell.parsed()?,
            static_address: cell.optional_parsed()?,
            line: cell.optional_int()?.map(LineId),
            neighbours: cell.optional_number()?,
        })
    }
}

impl Stored for Pool {
    const TABLE: &'static Table = &table::POOL;

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.name.as_str().into(),
            self.prefix.to_string().into(),
            self.block_len.into(),
            self.site_len.into(),
            self.rest.into(),
        ]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(Pool {
            name: cell.text()?,
            prefix: cell.parsed()?,
            block_len: cell.number()?,
            site_len: cell.number()?,
            rest: cell.int()?,
        })
    }
}

impl Stored for Region {
    const TABLE: &'static Table = &table::REGION;

    fn cells(&self) -> Vec<Cell> {
        vec![self.id.0.into(), self.name.as_str().into()]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(Region { id: RegionId(cell.int()?), name: cell.text()? })
    }
}

impl Stored for RegionBlock {
    const TABLE: &'static Table = &table::REGION_BLOCK;

    fn cells(&self) -> Vec<Cell> {
        vec![self.id.0.into(), self.region.0.into(), self.prefix.to_string().into(), self.given_at.into()]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(RegionBlock {
            id: RegionBlockId(cell.int()?),
            region: RegionId(cell.int()?),
            prefix: cell.parsed()?,
            given_at: cell.int()?,
        })
    }
}

impl Stored for PrefixAllocation {
    const TABLE: &'static Table = &table::PREFIX_ALLOCATION;

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.id.0.into(),
            self.prefix.to_string().into(),
            self.site.0.into(),
            self.region.map(|region| region.0).into(),
            self.allocated_at.into(),
            self.freed_at.into(),
        ]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(PrefixAllocation {
            id: PrefixAllocationId(cell.int()?),
            prefix: cell.parsed()?,
            site: SiteId(cell.int()?),
            region: cell.optional_int()?.map(RegionId),
            allocated_at: cell.int()?,
            freed_at: cell.optional_int()?,
        })
    }
}

impl Stored for Account {
    const TABLE: &'static Table = &table::ACCOUNT;

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.id.0.into(),
            self.name.as_str().into(),
            self.site.0.into(),
            self.sealed_password.as_stored().into(),
            self.link.map(|link| link.client.to_string()).into(),
            self.link.map(|link| link.server.to_string()).into(),
            self.barred.into(),
        ]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(Account {
            id: AccountId(cell.int()?),
            name: cell.text()?,
            site: SiteId(cell.int()?),
            sealed_password: Sealed::from_stored(cell.text()?),
            link: match (cell.optional_parsed()?, cell.optional_parsed()?) {
                (Some(client), Some(server)) => Some(TunnelLink { client, server }),
                _ => None,
            },
            barred: cell.flag()?,
        })
    }
}

impl Stored for Lease {
    const TABLE: &'static Table = &table::LEASE;

    fn cells(&self) -> Vec<Cell> {
        let text = |address: Option<Ipv4Addr>| address.map(|address| address.to_string()).into();
        vec![
            self.account.0.into(),
            self.up.into(),
            text(self.client),
            text(self.server),
            self.changed_at.into(),
            self.logins.into(),
            self.takeovers.into(),
            text(self.previous_client),
            self.neighbours.into(),
            self.neighbour_capacity.into(),
            self.reported_at.into(),
        ]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(Lease {
            account: AccountId(cell.int()?),
            up: cell.flag()?,
            client: cell.optional_parsed()?,
            server: cell.optional_parsed()?,
            changed_at: cell.int()?,
            logins: cell.int()?,
            takeovers: cell.int()?,
            previous_client: cell.optional_parsed()?,
            neighbours: cell.optional_number()?,
            neighbour_capacity: cell.optional_number()?,
            reported_at: cell.optional_int()?,
        })
    }
}

impl Stored for Sighting {
    const TABLE: &'static Table = &table::SIGHTING;

    fn cells(&self) -> Vec<Cell> {
        vec![self.line.0.into(), self.source.to_string().into(), self.seen_at.into()]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(Sighting { line: LineId(cell.int()?), source: cell.parsed()?, seen_at: cell.int()? })
    }
}

impl Stored for Alarm {
    const TABLE: &'static Table = &table::ALARM;

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.id.0.into(),
            self.kind.as_str().into(),
            self.site.map(|site| site.0).into(),
            self.subject.as_str().into(),
            self.cause.as_str().into(),
            self.remedy.as_str().into(),
            self.details.to_string().into(),
            self.raised_at.into(),
            self.cleared_at.into(),
            self.acked_at.into(),
            self.acked_by.as_deref().into(),
            self.comment.as_deref().into(),
        ]
    }

    fn read(mut cell: Cursor<'_>) -> Result<Self> {
        Ok(Alarm {
            id: AlarmId(cell.int()?),
            kind: cell.parsed()?,
            site: cell.optional_int()?.map(SiteId),
            subject: cell.text()?,
            cause: cell.text()?,
            remedy: cell.text()?,
            details: cell.json()?,
            raised_at: cell.int()?,
            cleared_at: cell.optional_int()?,
            acked_at: cell.optional_int()?,
            acked_by: cell.optional_text()?,
            comment: cell.optional_text()?,
        })
    }
}

/// A list in one cell.
fn list<T: serde::Serialize>(values: &[T]) -> Cell {
    Cell::Text(serde_json::to_string(values).expect("strings and addresses are always JSON"))
}
