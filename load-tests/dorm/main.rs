//! End-to-end tests of the dorm's coming up, in the lab of network namespaces. One file a behaviour.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)] // Tests.

mod plain;
