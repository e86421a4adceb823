//! IPv6 for sites on IPv4-only lines: the DTCP broker, the tunnel server and the sites' IAD.
//!
//! - [`dtcp`] is the wire: what client and broker say to each other over TCP.
//! - [`broker`] is the broker without I/O: who may raise a tunnel, and on which tunnel server.
//! - [`tunnel`] is the data plane without I/O: which packets pass, what is done to them, and why the others do not.
//! - [`plane`] is the data plane for real: a TUN device, a raw socket and two threads.
//! - [`control`] is how a broker gives its orders to tunnel servers, in one process or over the network.
//! - [`server`] is the tunnel server at work: data plane, routes, orders.
//! - [`service`] is the broker at work: TCP, TLS, timers, accounts and leases.
//! - [`agent`] is the other end: the box at the site, which makes a dorm come up by itself.
//!
//! DTCP has no encryption and proves only the client to the broker. Where the line between them is not trusted, the same
//! words are spoken inside TLS.

pub mod agent;
pub mod broker;
pub mod control;
pub mod dtcp;
mod lease;
pub mod plane;
pub mod server;
pub mod service;
#[cfg(test)]
mod testing;
pub mod tunnel;

pub use lease::{Grant, Link, Outer, TunnelId};
