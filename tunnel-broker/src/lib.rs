//! IPv6 for sites on IPv4-only lines: the DTCP broker and the tunnel server.
//!
//! - [`dtcp`] is the wire: what client and broker say to each other over TCP.
//! - [`broker`] is the broker without I/O: who may raise a tunnel, and on which tunnel server.
//! - [`tunnel`] is the data plane without I/O: which packets pass, what is done to them, and why the others do not.
//! - [`plane`] is the data plane for real: a TUN device, a raw socket and two threads.
//!
//! DTCP has no encryption and proves only the client to the broker. Where the line between them is not trusted, the same
//! words are spoken inside TLS.

pub mod agent;
pub mod broker;
pub mod dtcp;
mod lease;
pub mod plane;
pub mod tunnel;

pub use lease::{Grant, Link, Outer, TunnelId};
