//! End-to-end tests of a dorm's coming up: the real binary in the lab of network namespaces. One file a behaviour.
//!
//! They need root. Every test has a lab of its own, with names of its own; it ends with its test, also when that fails. What a killed
//! test leaves behind, the next one removes.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)] // Tests.

mod broker_restart;
mod call_through_the_tunnel;
mod cut_line;
mod eight_steps;
mod neighbour_table;
mod old_client;
mod power_cut;
mod protocol_41_blocked;
mod radvd;
mod renumbering;
mod spoofed_source;
mod support;
mod takeover;
