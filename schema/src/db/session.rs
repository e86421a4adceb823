//! One transaction on either database, and the cells of its rows.

use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Postgres, Row, SqlSafeStr, SqlStr, Sqlite, Transaction};

use crate::error::{Result, StoreError};

/// A transaction. Dropped without a commit, it is rolled back.
pub(crate) enum Session {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// A statement's parameter.
#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Int(i64),
    Text(String),
}

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Arg::Int(value)
    }
}

impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Arg::Text(value.to_owned())
    }
}

impl From<String> for Arg {
    fn from(value: String) -> Self {
        Arg::Text(value)
    }
}

macro_rules! bound {
    ($sql:expr, $args:expr) => {{
        let mut query = sqlx::query($sql);
        for arg in $args {
            query = match arg {
                Arg::Int(value) => query.bind(value),
                Arg::Text(value) => query.bind(value),
            };
        }
        query
    }};
}

impl Session {
    /// Runs a statement and gives its rows.
    pub(crate) async fn fetch<const N: usize>(
        &mut self,
        sql: impl SqlSafeStr,
        args: [Arg; N],
    ) -> Result<Vec<Cells>> {
        self.fetch_many(sql.into_sql_str(), args.into()).await
    }

    /// As [`fetch`](Session::fetch), with parameters of a number that is known only when it runs.
    pub(crate) async fn fetch_many(&mut self, sql: SqlStr, args: Vec<Arg>) -> Result<Vec<Cells>> {
        Ok(match self {
            Session::Sqlite(transaction) => {
                let rows = bound!(sql, args).fetch_all(&mut **transaction).await?;
                rows.into_iter().map(Cells::Sqlite).collect()
            }
            Session::Postgres(transaction) => {
                let rows = bound!(sql, args).fetch_all(&mut **transaction).await?;
                rows.into_iter().map(Cells::Postgres).collect()
            }
        })
    }

    /// Runs a statement that gives no rows, and says how many it touched.
    pub(crate) async fn execute<const N: usize>(
        &mut self,
        sql: impl SqlSafeStr,
        args: [Arg; N],
    ) -> Result<u64> {
        let sql = sql.into_sql_str();
        Ok(match self {
            Session::Sqlite(transaction) => {
                bound!(sql, args).execute(&mut **transaction).await?.rows_affected()
            }
            Session::Postgres(transaction) => {
                bound!(sql, args).execute(&mut **transaction).await?.rows_affected()
            }
        })
    }

    /// Puts everything on disk.
    pub(crate) async fn commit(self) -> Result<()> {
        match self {
            Session::Sqlite(transaction) => transaction.commit().await?,
            Session::Postgres(transaction) => transaction.commit().await?,
        }
        Ok(())
    }
}

/// A row's cells as the database gives them.
pub(crate) enum Cells {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! cell {
    ($name:ident, $type:ty) => {
        pub(crate) fn $name(&mut self) -> Result<$type> {
            let index = self.next;
            self.next += 1;
            let cell = match self.cells {
                Cells::Sqlite(row) => row.try_get::<$type, usize>(index),
                Cells::Postgres(row) => row.try_get::<$type, usize>(index),
            };
            Ok(cell?)
        }
    };
}

/// Reads a row's cells from left to right.
pub(crate) struct Cursor<'a> {
    what: &'static str,
    cells: &'a Cells,
    next: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first cell; `what` names the row in errors.
    pub(crate) fn new(what: &'static str, cells: &'a Cells) -> Cursor<'a> {
        Cursor { what, cells, next: 0 }
    }

    cell!(int, i64);
    cell!(optional_int, Option<i64>);
    cell!(text, String);
    cell!(optional_text, Option<String>);
    cell!(flag, bool);

    /// A number that must fit into a smaller type.
    pub(crate) fn number<T: TryFrom<i64>>(&mut self) -> Result<T> {
        let value = self.int()?;
        T::try_from(value).map_err(|_| self.damaged(format!("{value} is out of range")))
    }

    /// As [`number`](Cursor::number), or nothing.
    pub(crate) fn optional_number<T: TryFrom<i64>>(&mut self) -> Result<Option<T>> {
        let Some(value) = self.optional_int()? else { return Ok(None) };
        T::try_from(value).map(Some).map_err(|_| self.damaged(format!("{value} is out of range")))
    }

    /// Text that is read as something else.
    pub(crate) fn parsed<T: std::str::FromStr<Err: ToString>>(&mut self) -> Result<T> {
        self.text()?.parse().map_err(|error: T::Err| self.damaged(error.to_string()))
    }

    /// As [`parsed`](Cursor::parsed), or nothing.
    pub(crate) fn optional_parsed<T: std::str::FromStr<Err: ToString>>(&mut self) -> Result<Option<T>> {
        let Some(text) = self.optional_text()? else { return Ok(None) };
        text.parse().map(Some).map_err(|error: T::Err| self.damaged(error.to_string()))
    }

    /// Text that holds JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        serde_json::from_str(&self.text()?).map_err(|error| self.damaged(error.to_string()))
    }

    fn damaged(&self, reason: String) -> StoreError {
        StoreError::Damaged { what: self.what, reason }
    }
}

/// A cell on its way into the database, as an element of a JSON array.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    Nothing,
    Int(i64),
    Flag(bool),
    Text(String),
}

impl Cell {
    /// The cell as a parameter of its own; only numbers and text are ever looked up so.
    pub(crate) fn to_arg(&self) -> Arg {
        match self {
            Cell::Nothing => Arg::Int(0),
            Cell::Int(value) => Arg::Int(*value),
            Cell::Flag(value) => Arg::Int((*value).into()),
            Cell::Text(value) => Arg::Text(value.clone()),
        }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cell::Nothing => Ok(()),
            Cell::Int(value) => value.fmt(f),
            Cell::Flag(value) => value.fmt(f),
            Cell::Text(value) => value.fmt(f),
        }
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Cell::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Cell::Text(value)
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Cell::Flag(value)
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Cell::Int(value)
    }
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Cell::Int(value.into())
    }
}

impl From<u16> for Cell {
    fn from(value: u16) -> Self {
        Cell::Int(value.into())
    }
}

impl From<u8> for Cell {
    fn from(value: u8) -> Self {
        Cell::Int(value.into())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Nothing, Into::into)
    }
}
