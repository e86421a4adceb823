//! The data plane: carries packets between the tunnels and the system's own routing.
//!
//! Whoever raises tunnels knows the trait [`DataPlane`] alone. The one plane there is, [`UserPlane`], moves packets in user space
//! between a TUN device and a raw protocol-41 socket; what is done with each of them says [`crate::tunnel`]. It serves the tunnel
//! server and, with the one grant `::/0`, the far end at the site as well. [`routes`] puts addresses and routes around it.

mod counters;
mod device;
mod error;
mod inward;
mod metrics;
mod mmsg;
mod outward;
pub mod routes;
mod settings;
mod socket;
mod user;

pub use counters::{PlaneCounters, SendCounters};
pub use error::PlaneError;
pub use metrics::PlaneMetrics;
pub use settings::PlaneSettings;
pub use user::UserPlane;

use crate::lease::{Grant, Outer, TunnelId};
use crate::tunnel::Traffic;

/// What raises tunnels and takes them down. Every call costs microseconds, never waits for the network, and touches no other tunnel.
pub trait DataPlane: Send + Sync + 'static {
    /// Raises a tunnel.
    ///
    /// # Errors
    /// [`PlaneError::Table`] when there is no room, or it clashes with another one; nothing changed then.
    fn add(&self, tunnel: TunnelId, outer: Outer, grant: Grant) -> Result<(), PlaneError>;

    /// Gives a tunnel other ends in IPv4; what is behind it and its counters stay.
    ///
    /// # Errors
    /// [`PlaneError::Table`] when there is no such tunnel, or another one has these ends; nothing changed then.
    fn move_to(&self, tunnel: TunnelId, outer: Outer) -> Result<(), PlaneError>;

    /// Takes a tunnel down. That there is none is a success. When this returns, no packet passes through it any more.
    ///
    /// # Errors
    /// None in a plane in user space; one elsewhere may not answer.
    fn remove(&self, tunnel: TunnelId) -> Result<(), PlaneError>;

    /// What the whole plane has done since its start.
    fn counters(&self) -> PlaneCounters;

    /// What went through one tunnel; `None` when there is none of that name.
    fn traffic(&self, tunnel: TunnelId) -> Option<Traffic>;
}
