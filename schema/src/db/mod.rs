//! What both backends share: transactions, statements, and the way between rows and cells.
//!
//! Statements are made from one description of each table, in the words of each database ([`table::Dialect`]). Whole runs of rows travel
//! as one JSON parameter, so that a batch of hundreds costs a handful of prepared statements.

pub(crate) mod codec;
mod commit;
mod read;
pub(crate) mod session;
mod shared;
pub(crate) mod table;

pub(crate) use shared::{Backend, Database};
