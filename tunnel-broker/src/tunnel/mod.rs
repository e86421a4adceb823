//! The data plane without I/O: IPv6 in IPv4, protocol 41 (RFC 4213 §3).
//!
//! A [`Relay`] looks at one packet at a time and says what is to be done with it: [`Relay::decapsulate`] for what arrives from
//! the IPv4 side, [`Relay::encapsulate`] for what the system routes into the tunnels. It edits headers in place and copies
//! nothing. The inside is the system's own routing: there the hop limit is counted down by the system, as for every packet
//! that it forwards. A packet from one site to another is turned around here, and here its hop limit is counted down.
//!
//! What passes comes from exactly the pair of IPv4 addresses of a tunnel, and has an inner source from behind that tunnel. What
//! does not pass is counted by its [`DropReason`]. No packet goes back into the tunnel that it came from (RFC 6324), and what
//! belongs to no tunnel ends here, as with a discard route.
//!
//! The same code serves the other end: there the one tunnel's grant is `::/0`, and the site's prefix is what is inside.

mod counters;
mod ecn;
mod extension;
mod fragment;
mod icmp;
mod mss;
mod offload;
mod packet;
mod rate;
mod relay;
#[cfg(test)]
mod relay_tests;
mod table;

pub use counters::{Counters, DropReason};
pub use offload::{Segments, finish};
pub use packet::OuterHeader;
pub use relay::{Relay, Settings, Verdict};
pub use table::{MIN_MTU, Table, TableError, Traffic, Tunnel};
