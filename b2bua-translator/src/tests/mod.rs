//! Whole calls through the core, with the peers and the world of `testing`.

mod calls;
mod early;
mod failover;
mod hangup;
mod limits;
mod offers;
mod random;
mod reliable;
mod sessions;
mod trunk_watch;
