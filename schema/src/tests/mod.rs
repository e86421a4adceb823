//! What every store must do, run on both databases.

mod contract;
mod feed;
mod fixtures;
mod provisioning;
mod tunnels;
mod writer;
