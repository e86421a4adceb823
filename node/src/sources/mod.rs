//! Where requests come from: how many are taken from one address, and which addresses only try what they may not.
//!
//! A scanner (unknown users, bad passwords, OPTIONS sweeps) collects points. With some it is slowed: one request a second is looked at.
//! With more it is dropped for a while, before anything of what it sends is read. Addresses of registered phones, of trunks and of our
//! own are never touched, and a network as a whole only where no site of ours has a part in it.
//!
//! [`Sources`] is shared by all workers of a process. It is bounded, and asks nobody but the memory.

mod entry;
mod settings;
mod table;

pub use entry::{Offence, Source, Standing, View};
pub use settings::SourceSettings;
pub(crate) use table::describe_metrics;
pub use table::{Neighbourhood, Sources};
