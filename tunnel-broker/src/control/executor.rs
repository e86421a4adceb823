//! The tunnel server's side of an order: the tunnels with their accounts, and the data plane.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::message::Order;
use crate::broker::{HeldTunnel, TunnelFailure};
use crate::lease::{Outer, TunnelId};
use crate::plane::DataPlane;

/// What a tunnel server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The region in which it stands.
    pub region: Arc<str>,
    /// Its end of every tunnel.
    pub address: Ipv4Addr,
    /// How many tunnels it takes.
    pub capacity: usize,
}

/// Holds a server's tunnels and moves its data plane. Shared by whoever gives it orders.
pub struct Executor {
    identity: Identity,
    plane: Arc<dyn DataPlane>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts those who took the seat: only the last one's orders are carried out.
    seat: u64,
    held: BTreeMap<TunnelId, HeldTunnel>,
}

/// The right to give orders, until another one takes it.
pub struct Seat {
    executor: Arc<Executor>,
    number: u64,
}

/// Somebody else gives the orders now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another broker gives orders to the tunnel server now: a platform has one at a time")]
pub struct Ousted;

impl Executor {
    /// An executor without tunnels over a plane without tunnels.
    pub fn new(identity: Identity, plane: Arc<dyn DataPlane>) -> Arc<Executor> {
        Arc::new(Executor { identity, plane, state: Mutex::default() })
    }

    /// What the server is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The data plane, for its counters.
    pub fn plane(&self) -> &Arc<dyn DataPlane> {
        &self.plane
    }

    /// The tunnels that there are, for who wants to see them.
    pub fn held(&self) -> Vec<HeldTunnel> {
        self.state().held.values().cloned().collect()
    }

    /// How many tunnels there are.
    pub fn tunnels(&self) -> usize {
        self.state().held.len()
    }

    /// Takes the right to give orders. When this returns, no order of anybody before is under way or will be carried out.
    pub fn take_seat(self: &Arc<Self>) -> Seat {
        let mut state = self.state();
        state.seat += 1;
        Seat { executor: Arc::clone(self), number: state.seat }
    }

    fn carry_out(
        &self,
        held: &mut BTreeMap<TunnelId, HeldTunnel>,
        order: &Order,
    ) -> Result<(), TunnelFailure> {
        match order {
            Order::Add { tunnel, account, outer, grant } => {
                if held.contains_key(tunnel) {
                    return Err(TunnelFailure::Clash);
                }
                if held.len() >= self.identity.capacity {
                    return Err(TunnelFailure::Full);
                }
                self.ours(outer)?;
                self.plane.add(*tunnel, *outer, *grant).map_err(|error| failed("raised", *tunnel, &error))?;
                let (account, client) = (account.clone(), outer.client);
                held.insert(*tunnel, HeldTunnel { tunnel: *tunnel, account, client, grant: *grant });
            }
            Order::Move { tunnel, outer } => {
                let entry = held.get_mut(tunnel).ok_or(TunnelFailure::Unknown)?;
                self.ours(outer)?;
                self.plane.move_to(*tunnel, *outer).map_err(|error| failed("moved", *tunnel, &error))?;
                entry.client = outer.client;
            }
            Order::Remove { tunnel } => {
                self.plane.remove(*tunnel).map_err(|error| failed("taken down", *tunnel, &error))?;
                held.remove(tunnel);
            }
        }
        Ok(())
    }

    /// A tunnel from another address than ours would never receive a packet.
    fn ours(&self, outer: &Outer) -> Result<(), TunnelFailure> {
        if outer.server == self.identity.address { Ok(()) } else { Err(TunnelFailure::Clash) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one insertion or removal after the plane has agreed, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Carries out one order.
    ///
    /// # Errors
    /// [`Ousted`] when somebody else has taken the seat; nothing changed then.
    pub fn execute(&self, order: &Order) -> Result<Result<(), TunnelFailure>, Ousted> {
        let mut state = self.executor.state();
        if state.seat != self.number {
            return Err(Ousted);
        }
        Ok(self.executor.carry_out(&mut state.held, order))
    }

    /// The tunnels that there are.
    ///
    /// # Errors
    /// [`Ousted`] when somebody else has taken the seat.
    pub fn held(&self) -> Result<Vec<HeldTunnel>, Ousted> {
        let state = self.executor.state();
        if state.seat != self.number {
            return Err(Ousted);
        }
        Ok(state.held.values().cloned().collect())
    }

    /// Whether nobody else has taken the seat.
    pub fn is_taken_by_us(&self) -> bool {
        self.executor.state().seat == self.number
    }

    /// What the server is.
    pub fn identity(&self) -> &Identity {
        &self.executor.identity
    }
}

fn failed(what: &str, tunnel: TunnelId, error: &crate::plane::PlaneError) -> TunnelFailure {
    tracing::warn!(tunnel = tunnel.0, %error, "a tunnel could not be {what}");
    error.into()
}
