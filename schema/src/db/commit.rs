//! A batch becomes one transaction, in which each change succeeds or fails on its own.
//!
//! Neighbours of one kind make a run, which is one statement under a savepoint. A run that the database refuses is halved until the change
//! at fault stands alone; then the database is asked what is wrong with it.

use std::collections::{HashMap, HashSet};
use std::mem::discriminant;

use super::codec::Stored;
use super::session::{Arg, Cell, Cells, Cursor, Session};
use super::shared::Catalog;
use super::table::{self, Dialect, Table, made};
use crate::change::{Change, Key};
use crate::error::{Result, StoreError};
use crate::rows::{
    AccountId, AlarmId, DeviceId, LineId, PrefixAllocationId, RegionBlockId, RegionId, RouteId, SiteId,
    TrunkId,
};
use crate::store::Committed;

/// A batch on its way to the disk.
pub(crate) struct Batch {
    changes: Vec<Change>,
    failures: Vec<Option<StoreError>>,
    /// Those that were given a number in this attempt.
    numbered: Vec<usize>,
    repeated_records: usize,
}

/// What is done to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    /// Make or replace.
    Put,
    /// Make, or leave what is there.
    Add,
    /// Remove, and fail when there is nothing.
    Remove,
    /// Remove what is there.
    Clear,
}

impl Batch {
    pub(crate) fn new(changes: Vec<Change>) -> Batch {
        let failures = changes.iter().map(|change| change.check().err().map(StoreError::from)).collect();
        Batch { changes, failures, numbered: Vec::new(), repeated_records: 0 }
    }

    /// Forgets an attempt, so that the same batch can be tried again.
    pub(crate) fn reset(&mut self) {
        for index in std::mem::take(&mut self.numbered) {
            self.set_id(index, 0);
        }
        self.failures =
            self.changes.iter().map(|change| change.check().err().map(StoreError::from)).collect();
        self.repeated_records = 0;
    }

    pub(crate) fn into_committed(self) -> Committed {
        let outcomes = self.changes.into_iter().zip(self.failures);
        let outcomes = outcomes.map(|(change, failure)| failure.map_or(Ok(change), Err)).collect();
        Committed { outcomes, repeated_records: self.repeated_records }
    }

    /// Writes the batch and its feed entry into the transaction. True when other nodes need to look.
    pub(crate) async fn write(
        &mut self,
        session: &mut Session,
        catalog: &Catalog,
        node: &str,
    ) -> Result<bool> {
        let mut waiting = self.runs();
        while let Some(run) = waiting.pop() {
            session.execute("SAVEPOINT run", []).await?;
            match self.write_run(session, catalog, &run).await {
                Ok(()) => {
                    session.execute("RELEASE SAVEPOINT run", []).await?;
                }
                Err(error) if error.is_callers_mistake() => {
                    session.execute("ROLLBACK TO SAVEPOINT run", []).await?;
                    session.execute("RELEASE SAVEPOINT run", []).await?;
                    self.forget_numbers(&run);
                    match run.as_slice() {
                        [index] => {
                            let error = self.explain(session, *index, error).await?;
                            self.fail(*index, error);
                        }
                        _ => {
                            let (first, second) = run.split_at(run.len() / 2);
                            waiting.push(second.to_vec());
                            waiting.push(first.to_vec());
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.write_feed(session, catalog, node).await
    }

    /// Neighbours of one kind, the first run at the end.
    fn runs(&self) -> Vec<Vec<usize>> {
        let mut runs: Vec<Vec<usize>> = Vec::new();
        let mut kind = None;
        for (index, change) in self.changes.iter().enumerate() {
            if self.failures.get(index).is_some_and(Option::is_some) {
                continue;
            }
            match runs.last_mut() {
                Some(run) if kind == Some(discriminant(change)) => run.push(index),
                _ => runs.push(vec![index]),
            }
            kind = Some(discriminant(change));
        }
        runs.reverse();
        runs
    }

    async fn write_run(&mut self, session: &mut Session, catalog: &Catalog, run: &[usize]) -> Result<()> {
        let Some((table, verb)) = run.first().and_then(|first| self.changes.get(*first)).map(target) else {
            return Ok(());
        };
        if table.numbered && verb == Verb::Put {
            self.number(session, table, run).await?;
        }
        let rows: Vec<Vec<Cell>> =
            run.iter().filter_map(|index| self.changes.get(*index)).map(cells).collect();
        let statements = catalog.statements(table)?;
        match verb {
            Verb::Put => {
                session.execute(statements.put.clone(), [as_json(&last_of_each(table, rows))?]).await?;
            }
            Verb::Add => {
                let added = session.fetch(statements.add.clone(), [as_json(&rows)?]).await?;
                self.repeated_records += rows.len().saturating_sub(added.len());
            }
            Verb::Remove => {
                let removed = session.fetch(statements.remove.clone(), [as_json(&rows)?]).await?;
                let removed: HashSet<String> =
                    removed.iter().map(|row| key_text(table, row)).collect::<Result<_>>()?;
                for (index, row) in run.iter().zip(&rows) {
                    let key = row.first().map(Cell::to_string).unwrap_or_default();
                    if !removed.contains(&key) {
                        self.fail(*index, StoreError::Missing { what: table.what, key });
                    }
                }
            }
            // Only bindings are cleared by a part of their key.
            Verb::Clear if rows.first().is_some_and(|row| row.len() < table.key) => {
                session.execute(catalog.clear_bindings.clone(), [as_json(&rows)?]).await?;
            }
            Verb::Clear => {
                session.fetch(statements.remove.clone(), [as_json(&rows)?]).await?;
            }
        }
        Ok(())
    }

    /// Gives numbers to the new rows of a run, and keeps the counter above those that brought their own.
    async fn number(&mut self, session: &mut Session, table: &Table, run: &[usize]) -> Result<()> {
        let id_of = |index: &usize| self.changes.get(*index).and_then(id).unwrap_or_default();
        let highest = run.iter().map(id_of).max().unwrap_or_default();
        let fresh: Vec<usize> = run.iter().filter(|index| id_of(index) == 0).copied().collect();
        if highest > 0 {
            let raise = "UPDATE next_id SET next = $2 + 1 WHERE kind = $1 AND next <= $2";
            session.execute(raise, [table.name.into(), highest.into()]).await?;
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let count = i64::try_from(fresh.len()).unwrap_or(i64::MAX);
        let take = "UPDATE next_id SET next = next + $2 WHERE kind = $1 RETURNING next - $2";
        let taken = session.fetch(take, [table.name.into(), count.into()]).await?;
        let first = taken.first().map(|row| Cursor::new("next_id", row).int()).transpose()?;
        let first = first.ok_or_else(|| StoreError::Damaged {
            what: "next_id",
            reason: format!("no row for {}", table.name),
        })?;
        for (index, id) in fresh.into_iter().zip(first..) {
            self.set_id(index, id);
            self.numbered.push(index);
        }
        Ok(())
    }

    fn forget_numbers(&mut self, run: &[usize]) {
        let (forgotten, kept) =
            std::mem::take(&mut self.numbered).into_iter().partition(|index| run.contains(index));
        self.numbered = kept;
        let forgotten: Vec<usize> = forgotten;
        for index in forgotten {
            self.set_id(index, 0);
        }
    }

    fn set_id(&mut self, index: usize, id: i64) {
        match self.changes.get_mut(index) {
            Some(Change::PutSite(row)) => row.id = SiteId(id),
            Some(Change::PutLine(row)) => row.id = LineId(id),
            Some(Change::PutTrunk(row)) => row.id = TrunkId(id),
            Some(Change::PutRoute(row)) => row.id = RouteId(id),
            Some(Change::PutDevice(row)) => row.id = DeviceId(id),
            Some(Change::PutRegion(row)) => row.id = RegionId(id),
            Some(Change::PutRegionBlock(row)) => row.id = RegionBlockId(id),
            Some(Change::PutPrefixAllocation(row)) => row.id = PrefixAllocationId(id),
            Some(Change::PutAccount(row)) => row.id = AccountId(id),
            Some(Change::PutAlarm(row)) => row.id = AlarmId(id),
            _ => {}
        }
    }

    fn fail(&mut self, index: usize, error: StoreError) {
        if let Some(slot) = self.failures.get_mut(index) {
            *slot = Some(error);
        }
    }

    /// Asks the database why it refused a change; its own words are the last resort.
    async fn explain(&self, session: &mut Session, index: usize, error: StoreError) -> Result<StoreError> {
        let Some(change) = self.changes.get(index) else { return Ok(error) };
        let (table, verb) = target(change);
        let row = cells(change);
        let Some(key) = row.first() else { return Ok(error) };
        if verb == Verb::Remove {
            for (child, column) in table.held_by {
                let (name, label) = (table.name, table.label);
                let sql = format!(
                    "SELECT (SELECT {label} FROM {name} WHERE id = $1), (SELECT count(*) FROM {} WHERE {column} = $1)",
                    child.name
                );
                let answer = session.fetch(made(sql), [key.to_arg()]).await?;
                let Some(answer) = answer.first() else { continue };
                let mut cursor = Cursor::new(table.what, answer);
                let (label, count) = (cursor.optional_text()?.unwrap_or_default(), cursor.int()?);
                if count > 0 {
                    let by = if count == 1 { child.what } else { child.plural };
                    return Ok(StoreError::StillReferenced { what: table.what, key: label, count, by });
                }
            }
            return Ok(error);
        }
        for (what, columns) in table.uniques {
            let values: Vec<&Cell> = columns
                .iter()
                .filter_map(|column| table.place_of(column))
                .filter_map(|place| row.get(place))
                .collect();
            let same: Vec<String> =
                columns.iter().zip(2..).map(|(column, place)| format!("{column} = ${place}")).collect();
            let sql = format!("SELECT id FROM {} WHERE id <> $1 AND {}", table.name, same.join(" AND "));
            let args = std::iter::once(key).chain(values.iter().copied()).map(Cell::to_arg).collect();
            if !session.fetch_many(made(sql), args).await?.is_empty() {
                let key = values.first().map(|value| value.to_string()).unwrap_or_default();
                return Ok(StoreError::Duplicate { what, key });
            }
        }
        for (column, parent) in table.references {
            let value = table.place_of(column).and_then(|place| row.get(place));
            let Some(value) = value.filter(|value| !matches!(value, Cell::Nothing)) else { continue };
            let sql = format!("SELECT id FROM {} WHERE id = $1", parent.name);
            if session.fetch(made(sql), [value.to_arg()]).await?.is_empty() {
                return Ok(StoreError::Missing { what: parent.what, key: value.to_string() });
            }
        }
        Ok(error)
    }

    async fn write_feed(&self, session: &mut Session, catalog: &Catalog, node: &str) -> Result<bool> {
        let mut seen = HashSet::new();
        let written = self.changes.iter().zip(&self.failures).filter(|(_, failure)| failure.is_none());
        let mut keys: Vec<Key> = written.filter_map(|(change, _)| change.key()).collect();
        keys.retain(|key| seen.insert(key.clone()));
        if keys.is_empty() {
            return Ok(false);
        }
        let next = "INSERT INTO feed_head (node, seq, pruned) VALUES ($1, 1, 0) \
                    ON CONFLICT (node) DO UPDATE SET seq = feed_head.seq + 1 RETURNING seq";
        let next = session.fetch(next, [node.into()]).await?;
        let seq =
            next.first().map(|row| Cursor::new("feed_head", row).int()).transpose()?.unwrap_or_default();
        let entry = "INSERT INTO feed (node, seq, keys) VALUES ($1, $2, $3)";
        session.execute(entry, [node.into(), seq.into(), as_json(&keys)?]).await?;
        let keep = i64::try_from(catalog.feed_keep).unwrap_or(i64::MAX);
        // Not at every batch, so that pruning costs little; at least every time that a quarter more than wanted is there.
        if seq > keep && seq % (keep / 4).max(1) == 0 {
            let pruned: [Arg; 2] = [node.into(), (seq - keep).into()];
            session.execute("UPDATE feed_head SET pruned = $2 WHERE node = $1", pruned.clone()).await?;
            session.execute("DELETE FROM feed WHERE node = $1 AND seq <= $2", pruned).await?;
        }
        if catalog.dialect == Dialect::Postgres {
            session.fetch("SELECT 1 FROM pg_notify('centrex6_feed', $1)", [node.into()]).await?;
        }
        Ok(true)
    }
}

fn target(change: &Change) -> (&'static Table, Verb) {
    match change {
        Change::PutSite(_) => (&table::SITE, Verb::Put),
        Change::RemoveSite(_) => (&table::SITE, Verb::Remove),
        Change::PutLine(_) => (&table::LINE, Verb::Put),
        Change::RemoveLine(_) => (&table::LINE, Verb::Remove),
        Change::PutNumber(_) => (&table::NUMBER, Verb::Put),
        Change::RemoveNumber(_) => (&table::NUMBER, Verb::Remove),
        Change::PutTrunk(_) => (&table::TRUNK, Verb::Put),
        Change::RemoveTrunk(_) => (&table::TRUNK, Verb::Remove),
        Change::PutRoute(_) => (&table::ROUTE, Verb::Put),
        Change::RemoveRoute(_) => (&table::ROUTE, Verb::Remove),
        Change::PutBinding(_) => (&table::BINDING, Verb::Put),
        Change::RemoveBinding { .. } | Change::RemoveBindings { .. } => (&table::BINDING, Verb::Clear),
        Change::AddCallRecord(_) => (&table::CALL_RECORD, Verb::Add),
        Change::SeeNode(_) => (&table::NODE, Verb::Put),
        Change::PutDevice(_) => (&table::DEVICE, Verb::Put),
        Change::RemoveDevice(_) => (&table::DEVICE, Verb::Remove),
        Change::PutPool(_) => (&table::POOL, Verb::Put),
        Change::RemovePool(_) => (&table::POOL, Verb::Remove),
        Change::PutRegion(_) => (&table::REGION, Verb::Put),
        Change::RemoveRegion(_) => (&table::REGION, Verb::Remove),
        Change::PutRegionBlock(_) => (&table::REGION_BLOCK, Verb::Put),
        Change::RemoveRegionBlock(_) => (&table::REGION_BLOCK, Verb::Remove),
        Change::PutPrefixAllocation(_) => (&table::PREFIX_ALLOCATION, Verb::Put),
        Change::RemovePrefixAllocation(_) => (&table::PREFIX_ALLOCATION, Verb::Remove),
        Change::PutAccount(_) => (&table::ACCOUNT, Verb::Put),
        Change::RemoveAccount(_) => (&table::ACCOUNT, Verb::Remove),
        Change::PutLease(_) => (&table::LEASE, Verb::Put),
        Change::RemoveLease(_) => (&table::LEASE, Verb::Clear),
        Change::PutSighting(_) => (&table::SIGHTING, Verb::Put),
        Change::RemoveSighting(_) => (&table::SIGHTING, Verb::Clear),
        Change::PutAlarm(_) => (&table::ALARM, Verb::Put),
        Change::RemoveAlarm(_) => (&table::ALARM, Verb::Remove),
    }
}

/// The row, or the key, as cells.
fn cells(change: &Change) -> Vec<Cell> {
    match change {
        Change::PutSite(row) => row.cells(),
        Change::PutLine(row) => row.cells(),
        Change::PutNumber(row) => row.cells(),
        Change::PutTrunk(row) => row.cells(),
        Change::PutRoute(row) => row.cells(),
        Change::PutBinding(row) => row.cells(),
        Change::AddCallRecord(row) => row.cells(),
        Change::SeeNode(row) => row.cells(),
        Change::PutDevice(row) => row.cells(),
        Change::PutPool(row) => row.cells(),
        Change::PutRegion(row) => row.cells(),
        Change::PutRegionBlock(row) => row.cells(),
        Change::PutPrefixAllocation(row) => row.cells(),
        Change::PutAccount(row) => row.cells(),
        Change::PutLease(row) => row.cells(),
        Change::PutSighting(row) => row.cells(),
        Change::PutAlarm(row) => row.cells(),
        Change::RemoveSite(id) => vec![id.0.into()],
        Change::RemoveLine(id) => vec![id.0.into()],
        Change::RemoveTrunk(id) => vec![id.0.into()],
        Change::RemoveRoute(id) => vec![id.0.into()],
        Change::RemoveNumber(e164) => vec![e164.as_str().into()],
        Change::RemoveBinding { line, contact } => vec![line.0.into(), contact.as_str().into()],
        Change::RemoveBindings { line } => vec![line.0.into()],
        Change::RemoveDevice(id) => vec![id.0.into()],
        Change::RemovePool(name) => vec![name.as_str().into()],
        Change::RemoveRegion(id) => vec![id.0.into()],
        Change::RemoveRegionBlock(id) => vec![id.0.into()],
        Change::RemovePrefixAllocation(id) => vec![id.0.into()],
        Change::RemoveAccount(id) | Change::RemoveLease(id) => vec![id.0.into()],
        Change::RemoveSighting(line) => vec![line.0.into()],
        Change::RemoveAlarm(id) => vec![id.0.into()],
    }
}

fn id(change: &Change) -> Option<i64> {
    match change {
        Change::PutSite(row) => Some(row.id.0),
        Change::PutLine(row) => Some(row.id.0),
        Change::PutTrunk(row) => Some(row.id.0),
        Change::PutRoute(row) => Some(row.id.0),
        Change::PutDevice(row) => Some(row.id.0),
        Change::PutRegion(row) => Some(row.id.0),
        Change::PutRegionBlock(row) => Some(row.id.0),
        Change::PutPrefixAllocation(row) => Some(row.id.0),
        Change::PutAccount(row) => Some(row.id.0),
        Change::PutAlarm(row) => Some(row.id.0),
        _ => None,
    }
}

/// PostgreSQL refuses to write a row twice in a statement; only the last one counts anyway.
fn last_of_each(table: &Table, rows: Vec<Vec<Cell>>) -> Vec<Vec<Cell>> {
    let mut last: HashMap<String, usize> = HashMap::with_capacity(rows.len());
    let key = |row: &[Cell]| row.iter().take(table.key).map(Cell::to_string).collect::<Vec<_>>().join("\n");
    for (index, row) in rows.iter().enumerate() {
        last.insert(key(row), index);
    }
    if last.len() == rows.len() {
        return rows;
    }
    let kept: HashSet<usize> = last.into_values().collect();
    rows.into_iter().enumerate().filter(|(index, _)| kept.contains(index)).map(|(_, row)| row).collect()
}

/// The first cell of a key that the database gave back.
fn key_text(table: &Table, row: &Cells) -> Result<String> {
    let mut cursor = Cursor::new(table.what, row);
    if table.numbered { Ok(cursor.int()?.to_string()) } else { cursor.text() }
}

pub(super) fn as_json<T: serde::Serialize>(value: &T) -> Result<Arg> {
    let json = serde_json::to_string(value);
    json.map(Arg::Text).map_err(|error| StoreError::Refused { reason: error.to_string() })
}
