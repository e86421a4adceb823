//! Sites and their devices: the address plan, predicted addresses, and what a design must look out for.
//!
//! Everything here is computed from rows that the store keeps; nothing asks a clock, a socket or a database.
//!
//! - [`prefix_plan`] cuts the carrier's pool into regions and sites, and shows it as a tree.
//! - [`identity`] predicts a device's address and compares it with the one that REGISTER teaches.
//! - [`neighbours`] warns when a site has more phones than its router's neighbour table can hold.

pub mod identity;
pub mod neighbours;
pub mod prefix_plan;
