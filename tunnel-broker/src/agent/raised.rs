//! The raised tunnel: the data plane with its one tunnel, and the routes around it.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

use super::site::Standing;
use crate::lease::{Grant, TunnelId};
use crate::plane::routes::{Discard, RouteError, Routes};
use crate::plane::{DataPlane, PlaneError, PlaneSettings, UserPlane};
use crate::tunnel::Traffic;

/// A tunnel that stands.
pub(super) struct Raised {
    plane: UserPlane,
    standing: Standing,
    routed: Result<(), RouteError>,
}

impl Raised {
    /// Raises the tunnel. `address` is the box's own address in the site's prefix.
    ///
    /// # Errors
    /// [`PlaneError`] says what is missing.
    pub(super) fn raise(standing: Standing, address: Ipv6Addr, mtu: u16) -> Result<Raised, PlaneError> {
        // On every address: ours may change at any time.
        let mut settings = PlaneSettings::new(DEVICE, Ipv4Addr::UNSPECIFIED, address);
        settings.own = vec![standing.prefix];
        settings.mtu = mtu;
        settings.capacity = 1;
        let plane = UserPlane::start(settings)?;
        plane.add(TUNNEL, standing.outer, Grant { prefix: Some(everything()), link: None })?;
        Ok(Raised { plane, standing, routed: Ok(()) })
    }

    /// Whether packets are carried; not when somebody removed the device.
    pub(super) fn is_running(&self) -> bool {
        self.plane.is_running()
    }

    /// What the tunnel stands for.
    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// Gives the tunnel other ends; what goes through it goes on.
    ///
    /// # Errors
    /// None that is known: there is no other tunnel that could be in the way.
    pub(super) fn move_to(&mut self, standing: Standing) -> Result<(), PlaneError> {
        self.plane.move_to(TUNNEL, standing.outer)?;
        self.standing = standing;
        Ok(())
    }

    /// Sets the routes, or sets them again.
    pub(super) async fn route(&mut self, routes: &Routes) {
        let device = self.plane.device();
        let prefix = self.standing.prefix;
        let routed = async {
            routes.add_discard(prefix, Discard::Unreachable).await?;
            routes.add_route(everything(), device, METRIC).await
        };
        let routed = routed.await;
        if let (Err(error), Ok(())) = (&routed, &self.routed) {
            tracing::error!(%error, "the routes around the tunnel cannot be set");
        }
        self.routed = routed;
    }

    /// Why there are no routes; nothing when they are there.
    pub(super) fn fault(&self) -> Option<&RouteError> {
        self.routed.as_ref().err()
    }

    /// What went through the tunnel.
    pub(super) fn traffic(&self) -> Traffic {
        self.plane.traffic(TUNNEL).unwrap_or_default()
    }

    /// The TUN device's name.
    pub(super) fn device(&self) -> &str {
        self.plane.device()
    }

    /// Takes the tunnel down, and the routes.
    pub(super) async fn lower(self, routes: &Routes) {
        let device = self.plane.device();
        let removed = routes.remove_route(everything(), device, METRIC).await;
        let discard = routes.remove_discard(self.standing.prefix, Discard::Unreachable).await;
        if let Err(error) = removed.and(discard) {
            tracing::warn!(%error, "a route stays");
        }
    }
}

fn everything() -> Ipv6Net {
    Ipv6Net::default()
}

/// There is one tunnel and it has no name elsewhere.
const TUNNEL: TunnelId = TunnelId(1);
/// The name of the TUN device.
const DEVICE: &str = "cx6iad";
/// Before a default route that the kernel has learned from a router (1024).
const METRIC: u32 = 512;
