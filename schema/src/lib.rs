//! What Centrex6 stores: migrations, rows, the [`Store`] trait with SQLite and PostgreSQL behind it. It knows no SIP.
//!
//! [`open`] gives a store. [`Directory`] holds what a node keeps in memory of it, and answers every question of a call from there.
//! [`Writer`] puts changes on disk in groups and applies them to the [`Mirror`], the node's memory, once they are there; [`follow`] does the
//! same with the changes of other nodes.

mod change;
mod db;
mod directory;
mod error;
mod mirror;
mod postgres;
pub mod rows;
pub mod secret;
mod spool;
mod sqlite;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod writer;

pub use change::{Change, Key};
pub use directory::{AddressPlan, Directory};
pub use error::{Result, StoreError};
pub use mirror::{Apply, Mirror, follow};
pub use rows::*;
pub use store::{
    CallQuery, Committed, Contents, FeedEntry, FeedPosition, Store, Tuning, Watch, open, open_with,
};
pub use writer::{SaveError, Writer, WriterSettings, WriterStats};
