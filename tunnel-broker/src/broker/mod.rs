//! The broker without I/O: sessions, accounts, tunnels and the servers that hold them.
//!
//! [`Broker`] has two verbs, [`handle_input`](Broker::handle_input) and [`poll_output`](Broker::poll_output), and one law: one
//! input, then drain every output, then the next input. It knows no socket and no clock. What needs the world leaves as
//! [`Output::Ask`] and comes back as [`Input::Answer`]; every question is answered exactly once, with
//! [`TunnelFailure::Unreachable`] or [`LookupFailed`] when the time is up.
//!
//! What holds at all times:
//! - An account has at most one session with a tunnel, the newest. The older one is dismissed, and its tunnel moved or gone, before the
//!   newer one is answered.
//! - An account has at most one tunnel on the servers that are up.
//! - A tunnel goes when its session ends, whatever ended it.
//! - Two accounts never have tunnels to the same IPv4 address.
//!
//! The old session of a renumbered line stays half-open until it times out. TCP keep-alive on the broker's connections (30 s)
//! makes that short, which matters when the line's old address has gone to another site.

mod account;
mod core;
mod desk;
mod fleet;
mod io;
mod session;
mod settings;
#[cfg(test)]
mod tests;

pub use account::Account;
pub use core::Broker;
pub use io::{
    Answer, ConnectionId, Event, HeldTunnel, Input, LookupFailed, Output, Question, ServerId, ServerInfo,
    Standing, TimerId, Token, TunnelFailure,
};
pub use settings::Settings;
