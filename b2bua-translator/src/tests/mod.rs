//! Whole calls through the core: a hand-moved clock, scripted peers that exchange real messages, and a world that is faked.

mod calls;
mod early;
mod failover;
mod hangup;
mod harness;
mod limits;
mod offers;
mod random;
mod reliable;
mod sessions;
mod trunk_watch;
