//! Whole calls through the core, with the peers and the world of `testing`.

mod calls;
mod corpus;
mod descriptions;
mod early;
mod failover;
mod hangup;
mod limits;
mod named_gateways;
mod offers;
mod random;
mod reliable;
mod sessions;
mod transfers;
mod trunk_watch;
