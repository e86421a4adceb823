//! The tunnel server at work: the data plane, the routes that lead to it, its counters, and where it takes orders.

mod address;
mod counters;
mod routing;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv6Net;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

pub use counters::describe_metrics;

use routing::Routing;

use crate::control::{ControlError, ControlKey, ControlServer, Executor, Identity};
use crate::plane::routes::RouteError;
use crate::plane::{DataPlane, PlaneError, PlaneSettings, UserPlane};

/// How a tunnel server is set up.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// What it is.
    pub identity: Identity,
    /// The name of its network device.
    pub device: String,
    /// The largest IPv6 packet that a tunnel carries, bytes.
    pub mtu: u16,
    /// Whether TCP's segment size is lowered to what a tunnel carries.
    pub clamp_mss: bool,
    /// The source of its ICMPv6 errors; `None` takes an address of this machine.
    pub icmp_source: Option<Ipv6Addr>,
    /// Where brokers of other processes give orders.
    pub control_listen: Option<SocketAddr>,
}

/// Why a tunnel server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Errors to sites would have no source.
    #[error(
        "this machine has no global IPv6 address that sites could be sent errors from: give it one, or set [tunnel_server] icmp_source"
    )]
    NoAddress,
    /// The data plane cannot be had.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// The system's routes cannot be changed.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Orders cannot be taken.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// A running tunnel server.
pub struct TunnelServer {
    executor: Arc<Executor>,
    control: Option<ControlServer>,
    routing: Routing,
    plane: Arc<UserPlane>,
    publishing: JoinHandle<()>,
}

impl ServerSettings {
    /// As the configuration says; `None` without an address.
    pub fn from_config(config: &node::config::TunnelServer) -> Option<ServerSettings> {
        Some(ServerSettings {
            identity: Identity {
                region: config.region.as_str().into(),
                address: config.address?,
                capacity: config.capacity,
            },
            device: config.device.clone(),
            mtu: config.mtu,
            clamp_mss: config.clamp_mss,
            icmp_source: config.icmp_source,
            control_listen: config.control_listen,
        })
    }
}

impl TunnelServer {
    /// Starts it. When this returns, it takes orders, and packets to `networks` lead to its device, whatever they become later.
    ///
    /// # Errors
    /// [`ServerError`] says what is missing.
    pub async fn start(
        settings: ServerSettings,
        key: ControlKey,
        networks: watch::Receiver<Vec<Ipv6Net>>,
    ) -> Result<TunnelServer, ServerError> {
        let own = address::of_this_machine();
        let outside = |address: &Ipv6Addr| !networks.borrow().iter().any(|network| network.contains(address));
        let source = settings
            .icmp_source
            .or_else(|| own.iter().copied().find(outside).or_else(|| own.first().copied()));
        let plane = UserPlane::start(PlaneSettings {
            own: own.iter().copied().map(Ipv6Net::from).collect(),
            mtu: settings.mtu,
            capacity: settings.identity.capacity,
            clamp_mss: settings.clamp_mss,
            ..PlaneSettings::new(
                &settings.device,
                settings.identity.address,
                source.ok_or(ServerError::NoAddress)?,
            )
        })?;
        let plane = Arc::new(plane);
        let routing = Routing::start(settings.device, networks).await?;
        routing::warn_unless_forwarding();
        let executor = Executor::new(settings.identity, Arc::clone(&plane) as Arc<dyn DataPlane>);
        let control = match settings.control_listen {
            Some(address) => Some(ControlServer::start(address, key, Arc::clone(&executor)).await?),
            None => None,
        };
        let publishing = tokio::spawn(counters::publish(Arc::clone(&executor)));
        Ok(TunnelServer { executor, control, routing, plane, publishing })
    }

    /// What carries out a broker's orders.
    pub fn executor(&self) -> &Arc<Executor> {
        &self.executor
    }

    /// Where brokers of other processes give orders, with the port that the system gave.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control.as_ref().map(ControlServer::address)
    }

    /// Returns when packets are carried no more although nobody stopped it.
    pub async fn died(&self) {
        while self.plane.is_running() {
            sleep(LOOK).await;
        }
    }

    /// Takes no more orders, and takes the device and the routes away.
    pub async fn stop(self) {
        self.publishing.abort();
        if let Some(control) = self.control {
            control.close().await;
        }
        self.routing.remove().await;
    }
}

/// How often the plane is looked at.
const LOOK: Duration = Duration::from_secs(1);
