//! What is read from the database: everything at start, what changed, and call records.

use std::collections::{HashMap, HashSet};

use super::codec::Stored;
use super::commit::as_json;
use super::session::{Arg, Cell, Cursor, Session};
use super::shared::Catalog;
use super::table::{CALL_RECORD, made};
use crate::change::{Change, Key};
use crate::error::{Result, StoreError};
use crate::rows::{
    Account, Alarm, Binding, CallRecord, Device, Lease, Line, LineId, Number, Pool, PrefixAllocation, Region,
    RegionBlock, Route, Sighting, Site, Trunk,
};
use crate::store::{CallQuery, Contents, FeedEntry, FeedPosition};

/// Everything, and where the feed stands. The transaction must show one moment.
pub(crate) async fn load(session: &mut Session, catalog: &Catalog) -> Result<Contents> {
    let mut position = FeedPosition::default();
    for head in session.fetch("SELECT node, seq FROM feed_head", []).await? {
        let mut cursor = Cursor::new("feed_head", &head);
        position.advance(&cursor.text()?, cursor.number()?);
    }
    Ok(Contents {
        sites: all(session, catalog).await?,
        lines: all(session, catalog).await?,
        numbers: all(session, catalog).await?,
        trunks: all(session, catalog).await?,
        routes: all(session, catalog).await?,
        bindings: all(session, catalog).await?,
        devices: all(session, catalog).await?,
        pools: all(session, catalog).await?,
        regions: all(session, catalog).await?,
        region_blocks: all(session, catalog).await?,
        prefix_allocations: all(session, catalog).await?,
        accounts: all(session, catalog).await?,
        leases: all(session, catalog).await?,
        sightings: all(session, catalog).await?,
        alarms: all(session, catalog).await?,
        position,
    })
}

/// All rows of a table.
pub(crate) async fn all<T: Stored>(session: &mut Session, catalog: &Catalog) -> Result<Vec<T>> {
    let rows = session.fetch(catalog.statements(T::TABLE)?.all.clone(), []).await?;
    rows.iter().map(|row| T::read(Cursor::new(T::TABLE.what, row))).collect()
}

async fn some<T: Stored>(session: &mut Session, catalog: &Catalog, keys: &[Vec<Cell>]) -> Result<Vec<T>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let rows = session.fetch(catalog.statements(T::TABLE)?.some.clone(), [as_json(&keys)?]).await?;
    rows.iter().map(|row| T::read(Cursor::new(T::TABLE.what, row))).collect()
}

/// The next batches after a position: as many as fit into one answer.
pub(crate) async fn changes_since(
    session: &mut Session,
    catalog: &Catalog,
    position: &FeedPosition,
) -> Result<(Vec<FeedEntry>, FeedPosition)> {
    for head in session.fetch("SELECT node, pruned FROM feed_head", []).await? {
        let mut cursor = Cursor::new("feed_head", &head);
        let (node, pruned): (String, u64) = (cursor.text()?, cursor.number()?);
        if position.of(&node) < pruned {
            return Err(StoreError::FeedPruned { node });
        }
    }
    let seen: Vec<(&str, u64)> = position.iter().collect();
    let rows = session.fetch(catalog.feed_since.clone(), [as_json(&seen)?]).await?;
    let mut position = position.clone();
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let mut cursor = Cursor::new("feed entry", &row);
        let entry = FeedEntry { node: cursor.text()?, seq: cursor.number()?, keys: cursor.json()? };
        position.advance(&entry.node, entry.seq);
        entries.push(entry);
    }
    Ok((entries, position))
}

/// What is stored under each key, in the keys' order.
pub(crate) async fn read_back(session: &mut Session, catalog: &Catalog, keys: &[Key]) -> Result<Vec<Change>> {
    let mut found: HashMap<Key, Change> = HashMap::with_capacity(keys.len());
    let mut keep = |change: Change| {
        if let Some(key) = change.key() {
            found.insert(key, change);
        }
    };
    let wanted =
        |pick: fn(&Key) -> Option<Vec<Cell>>| -> Vec<Vec<Cell>> { keys.iter().filter_map(pick).collect() };

    let sites = wanted(|key| if let Key::Site(id) = key { Some(vec![id.0.into()]) } else { None });
    some::<Site>(session, catalog, &sites).await?.into_iter().map(Change::PutSite).for_each(&mut keep);
    let lines = wanted(|key| if let Key::Line(id) = key { Some(vec![id.0.into()]) } else { None });
    some::<Line>(session, catalog, &lines).await?.into_iter().map(Change::PutLine).for_each(&mut keep);
    let numbers =
        wanted(|key| if let Key::Number(e164) = key { Some(vec![e164.as_str().into()]) } else { None });
    some::<Number>(session, catalog, &numbers).await?.into_iter().map(Change::PutNumber).for_each(&mut keep);
    let trunks = wanted(|key| if let Key::Trunk(id) = key { Some(vec![id.0.into()]) } else { None });
    some::<Trunk>(session, catalog, &trunks).await?.into_iter().map(Change::PutTrunk).for_each(&mut keep);
    let routes = wanted(|key| if let Key::Route(id) = key { Some(vec![id.0.into()]) } else { None });
    some::<Route>(session, catalog, &routes).await?.into_iter().map(Change::PutRoute).for_each(&mut keep);
    let bindings = wanted(|key| match key {
        Key::Binding(line, contact) => Some(vec![line.0.into(), contact.as_str().into()]),
        _ => None,
    });
    some::<Binding>(session, catalog, &bindings)
        .await?
        .into_iter()
        .map(Change::PutBinding)
        .for_each(&mut keep);
    let devices = wanted(|key| if let Key::Device(id) = key { Some(vec![id.0.into()]) } else { None });
    some::<Device>(session, catalog, &devices).await?.into_iter().map(Change::PutDevice).for_each(&mut keep);
    let regions = wanted(|key| if let Key::Region(id) = key { Some(vec![id.0.into()]) } else { None });
    some::<Region>(session, catalog, &regions).await?.into_iter().map(Change::PutRegion).for_each(&mut keep);
    let blocks = wanted(|key| if let Key::RegionBlock(id) = key { Some(vec![id.0.into()]) } else { None });
    some::<RegionBlock>(session, catalog, &blocks)
        .await?
        .into_iter()
        .map(Change::PutRegionBlock)
        .for_each(&mut keep);
    let allocations =
        wanted(|key| if let Key::PrefixAllocation(id) = key { Some(vec![id.0.into()]) } else { None });
    some::<PrefixAllocation>(session, catalog, &allocations)
        .await?
        .into_iter()
        .map(Change::PutPrefixAllocation)
        .for_each(&mut keep);
    let pools = wanted(|key| if let Key::Pool(name) = key { Some(vec![name.as_str().into()]) } else { None });
    some::<Pool>(session, catalog, &pools).await?.into_iter().map(Change::PutPool).for_each(&mut keep);
    let accounts = wanted(|key| if let Key::Account(id) = key { Some(vec![id.0.into()]) } else { None });
    some::<Account>(session, catalog, &accounts)
        .await?
        .into_iter()
        .map(Change::PutAccount)
        .for_each(&mut keep);
    let leases =
        wanted(|key| if let Key::Lease(account) = key { Some(vec![account.0.into()]) } else { None });
    some::<Lease>(session, catalog, &leases).await?.into_iter().map(Change::PutLease).for_each(&mut keep);
    let sightings =
        wanted(|key| if let Key::Sighting(line) = key { Some(vec![line.0.into()]) } else { None });
    some::<Sighting>(session, catalog, &sightings)
        .await?
        .into_iter()
        .map(Change::PutSighting)
        .for_each(&mut keep);
    let alarms = wanted(|key| if let Key::Alarm(id) = key { Some(vec![id.0.into()]) } else { None });
    some::<Alarm>(session, catalog, &alarms).await?.into_iter().map(Change::PutAlarm).for_each(&mut keep);

    let lines = wanted(|key| if let Key::Bindings(line) = key { Some(vec![line.0.into()]) } else { None });
    let mut of_lines: HashMap<LineId, Vec<Change>> = HashMap::new();
    if !lines.is_empty() {
        for row in session.fetch(catalog.bindings_of_lines.clone(), [as_json(&lines)?]).await? {
            let binding = Binding::read(Cursor::new("binding", &row))?;
            of_lines.entry(binding.line).or_default().push(Change::PutBinding(binding));
        }
    }

    let mut seen = HashSet::new();
    let mut changes = Vec::with_capacity(keys.len());
    for key in keys.iter().filter(|key| seen.insert(*key)) {
        if let Key::Bindings(line) = key {
            changes.push(Change::RemoveBindings { line: *line });
            changes.extend(of_lines.remove(line).unwrap_or_default());
        } else {
            changes.push(found.remove(key).unwrap_or_else(|| removal(key)));
        }
    }
    Ok(changes)
}

fn removal(key: &Key) -> Change {
    match key.clone() {
        Key::Site(id) => Change::RemoveSite(id),
        Key::Line(id) => Change::RemoveLine(id),
        Key::Number(e164) => Change::RemoveNumber(e164),
        Key::Trunk(id) => Change::RemoveTrunk(id),
        Key::Route(id) => Change::RemoveRoute(id),
        Key::Binding(line, contact) => Change::RemoveBinding { line, contact },
        Key::Bindings(line) => Change::RemoveBindings { line },
        Key::Device(id) => Change::RemoveDevice(id),
        Key::Pool(name) => Change::RemovePool(name),
        Key::Region(id) => Change::RemoveRegion(id),
        Key::RegionBlock(id) => Change::RemoveRegionBlock(id),
        Key::PrefixAllocation(id) => Change::RemovePrefixAllocation(id),
        Key::Account(id) => Change::RemoveAccount(id),
        Key::Lease(account) => Change::RemoveLease(account),
        Key::Sighting(line) => Change::RemoveSighting(line),
        Key::Alarm(id) => Change::RemoveAlarm(id),
    }
}

/// The call records that a query asks for, the newest first.
pub(crate) async fn call_records(session: &mut Session, query: &CallQuery) -> Result<Vec<CallRecord>> {
    let mut args: Vec<Arg> = Vec::new();
    let mut conditions: Vec<String> = vec!["true".to_owned()];
    let mut narrow = |condition: &str, arg: Option<Arg>| {
        if let Some(arg) = arg {
            args.push(arg);
            conditions.push(condition.replace('?', &format!("${}", args.len())));
        }
    };
    narrow("started_at >= ?", query.from.map(Arg::from));
    narrow("started_at < ?", query.until.map(Arg::from));
    narrow("(caller = ? OR callee = ?)", query.party.as_deref().map(Arg::from));
    narrow("line = ?", query.line.map(|line| line.0.into()));
    narrow("trunk = ?", query.trunk.map(|trunk| trunk.0.into()));
    narrow("node = ?", query.node.as_deref().map(Arg::from));
    narrow("result = ?", query.result.map(|result| result.as_str().into()));
    let limit = query.limit.unwrap_or(100).min(10_000);
    let columns: Vec<&str> = CALL_RECORD.columns.iter().map(|(name, _)| *name).collect();
    let sql = format!(
        "SELECT {} FROM call_record WHERE {} ORDER BY started_at DESC, id LIMIT {limit}",
        columns.join(", "),
        conditions.join(" AND ")
    );
    let rows = session.fetch_many(made(sql), args).await?;
    rows.iter().map(|row| CallRecord::read(Cursor::new("call record", row))).collect()
}

/// One call record.
pub(crate) async fn call_record(
    session: &mut Session,
    catalog: &Catalog,
    id: &str,
) -> Result<Option<CallRecord>> {
    Ok(some(session, catalog, &[vec![id.into()]]).await?.pop())
}
