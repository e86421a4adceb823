//! What broker and tunnel server say to each other.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::broker::{HeldTunnel, TunnelFailure};
use crate::lease::{Grant, Outer, TunnelId};

/// An order to a tunnel server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Raise a tunnel.
    Add {
        /// Its name.
        tunnel: TunnelId,
        /// Whose it is.
        account: Arc<str>,
        /// Its ends.
        outer: Outer,
        /// What it carries.
        grant: Grant,
    },
    /// Give a tunnel's far end another address.
    Move {
        /// Which tunnel.
        tunnel: TunnelId,
        /// Its ends from now on.
        outer: Outer,
    },
    /// Take a tunnel down. That it is gone already is a success.
    Remove {
        /// Which tunnel.
        tunnel: TunnelId,
    },
}

/// Sent in the clear by both ends, before anything else.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    /// [`PROTOCOL`](super::PROTOCOL).
    pub(super) protocol: u32,
    /// 32 random bytes in hexadecimal; absent in what is not our protocol.
    #[serde(default)]
    pub(super) nonce: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromBroker {
    /// I give the orders from now on. The first message.
    Take,
    /// An order; each has the number of the one before it and one more.
    Order { number: u64, order: Order },
    /// Are you there?
    Ping,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromServer {
    /// You give the orders; this is what I am. `Held` follows.
    Welcome { region: Arc<str>, address: Ipv4Addr, capacity: usize },
    /// Tunnels that I hold; more follow unless it is the last.
    Held { tunnels: Vec<HeldTunnel>, last: bool },
    /// What became of an order.
    Done { number: u64, result: Result<(), TunnelFailure> },
    /// I am here.
    Pong,
    /// Another broker gives the orders now.
    Ousted,
}

/// Tunnels in one `Held`: its frame stays well below the limit.
pub(super) const HELD_AT_ONCE: usize = 100;
