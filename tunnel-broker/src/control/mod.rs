//! How a broker gives its orders to tunnel servers, in one process or over the network.
//!
//! A tunnel server has an [`Executor`]: it holds tunnels with the names of their accounts, and moves the data plane. Whoever
//! gives orders takes its seat; the newest one has it, so that a broker that was started anew never waits for its dead forerunner.
//! Tunnels stand when the broker goes, and the next one is told which there are.
//!
//! The broker has a [`Link`] to each server: [`Link::local`] or [`Link::remote`]. A link answers every order exactly once, and what
//! it tells comes in this order: answers to all orders first, then [`LinkEvent::Down`], later [`LinkEvent::Up`] with what the server
//! holds by then.
//!
//! Between machines there is one TCP connection. Both ends say [`PROTOCOL`] and a random nonce; from then on each message bears an
//! HMAC over direction, both nonces, its number and its bytes, made with a key that both derive from the platform's key file. So
//! nobody else can give orders, change, repeat or reorder them, or play server. What is sent can be read: it holds no secrets.

mod executor;
mod frame;
mod hello;
mod link;
mod local;
mod message;
mod remote;
mod server;
#[cfg(test)]
mod tests;

pub use executor::{Executor, Identity, Ousted, Seat};
pub use frame::ControlKey;
pub use link::{Link, LinkEvent, LinkSettings};
pub use message::Order;
pub use server::{ControlError, ControlServer};

/// The version of what is said between broker and tunnel server.
pub const PROTOCOL: u32 = 1;

/// What the key file derives the control key for.
pub const KEY_PURPOSE: &str = "tunnel-control";
