//! For tests of this crate and for its fuzz targets: whole calls through the core, with a hand-moved clock, scripted peers that exchange real
//! messages, and a world that is faked.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)] // What is wrong in a test shall end it.

mod call_ops;
pub(crate) mod harness;

pub use self::call_ops::call_ops;
