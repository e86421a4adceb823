//! Reading and writing SIP: properties, another library's opinion, and the fuzz corpora replayed.

#![allow(clippy::unwrap_used, clippy::panic)] // A test says what it expects by failing.

mod corpus;
mod differential;
mod entry;
mod generate;
mod properties;
mod torture;
