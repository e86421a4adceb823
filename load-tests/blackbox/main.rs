//! Black-box tests: the real binary, with sipp and simulated phones around it. One file a behaviour.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)] // Tests.

mod support;
