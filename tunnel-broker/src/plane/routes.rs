//! Addresses and routes of the system, through rtnetlink.

use std::io;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::route::{RouteMessage, RouteType};
use rtnetlink::{AddressMessageBuilder, Error, Handle, RouteMessageBuilder};
use tokio::task::JoinHandle;

/// The metric that the system gives to a route which is added without one.
pub const DEFAULT_METRIC: u32 = 1024;

/// Why an address or a route cannot be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The system's routing cannot be reached.
    #[error("the system's routing cannot be reached through netlink")]
    Netlink {
        /// What the system said.
        source: io::Error,
    },
    /// There is no such interface.
    #[error("there is no network interface {device}")]
    NoDevice {
        /// Its name.
        device: String,
    },
    /// The process lacks the privilege.
    #[error("{what}: not permitted, the process needs the capability CAP_NET_ADMIN")]
    NotPermitted {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused.
    #[error("{what}: the system refused")]
    Refused {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// What becomes of packets that no better route leads on (RFC 4213 §3.6, RFC 6324 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// They are dropped, and the sender is told with an ICMPv6 error.
    Unreachable,
    /// They are dropped in silence.
    Blackhole,
}

/// A connection to the system's routing: IPv6, main table, the network namespace in which it was opened. Doing something a second
/// time does no harm: what is there already is replaced, and what is gone already was removed with success.
#[derive(Debug)]
pub struct Routes {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Routes {
    /// Opens a connection. It runs as a task of the present tokio runtime, and ends when this is dropped.
    ///
    /// # Errors
    /// [`RouteError::Netlink`].
    pub fn open() -> Result<Routes, RouteError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|source| RouteError::Netlink { source })?;
        Ok(Routes { handle, connection: tokio::spawn(connection) })
    }

    /// Leads a network to a device. Among routes to the same network, the one with the lowest metric counts.
    ///
    /// # Errors
    /// [`RouteError`].
    pub async fn add_route(&self, network: Ipv6Net, device: &str, metric: u32) -> Result<(), RouteError> {
        let what = || format!("route to {network} through {device}");
        let route = to_device(network, index(device)?, metric);
        done(self.handle.route().add(route).replace().execute().await, &[], what)
    }

    /// Undoes [`Routes::add_route`].
    ///
    /// # Errors
    /// [`RouteError`].
    pub async fn remove_route(&self, network: Ipv6Net, device: &str, metric: u32) -> Result<(), RouteError> {
        let what = || format!("removing the route to {network} through {device}");
        let Ok(index) = index(device) else { return Ok(()) };
        let route = to_device(network, index, metric);
        done(self.handle.route().del(route).execute().await, &[libc::ESRCH], what)
    }

    /// Adds a discard route: it counts for what no longer prefix, and no route to the same network with a usual metric, leads on.
    ///
    /// # Errors
    /// [`RouteError`].
    pub async fn add_discard(&self, network: Ipv6Net, discard: Discard) -> Result<(), RouteError> {
        let what = || format!("discard route for {network}");
        done(self.handle.route().add(nowhere(network, discard)).replace().execute().await, &[], what)
    }

    /// Undoes [`Routes::add_discard`].
    ///
    /// # Errors
    /// [`RouteError`].
    pub async fn remove_discard(&self, network: Ipv6Net, discard: Discard) -> Result<(), RouteError> {
        let what = || format!("removing the discard route for {network}");
        done(self.handle.route().del(nowhere(network, discard)).execute().await, &[libc::ESRCH], what)
    }

    /// Puts an address on an interface, with the length of the prefix that lies behind it. It can be used at once: nobody is asked
    /// whether he has it already (no duplicate address detection).
    ///
    /// # Errors
    /// [`RouteError`].
    pub async fn add_address(&self, device: &str, address: Ipv6Net) -> Result<(), RouteError> {
        let what = || format!("address {address} on {device}");
        let index = index(device)?;
        let mut request =
            self.handle.address().add(index, address.addr().into(), address.prefix_len()).replace();
        request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        done(request.execute().await, &[], what)
    }

    /// Undoes [`Routes::add_address`].
    ///
    /// # Errors
    /// [`RouteError`].
    pub async fn remove_address(&self, device: &str, address: Ipv6Net) -> Result<(), RouteError> {
        let what = || format!("removing the address {address} from {device}");
        let Ok(index) = index(device) else { return Ok(()) };
        let message = AddressMessageBuilder::<Ipv6Addr>::new()
            .index(index)
            .address(address.addr(), address.prefix_len())
            .build();
        done(self.handle.address().del(message).execute().await, &[libc::EADDRNOTAVAIL, libc::ENODEV], what)
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn index(device: &str) -> Result<u32, RouteError> {
    if_nametoindex(device).map_err(|_| RouteError::NoDevice { device: device.to_owned() })
}

fn to_device(network: Ipv6Net, index: u32, metric: u32) -> RouteMessage {
    RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(network.trunc().addr(), network.prefix_len())
        .output_interface(index)
        .priority(metric)
        .build()
}

fn nowhere(network: Ipv6Net, discard: Discard) -> RouteMessage {
    let kind = match discard {
        Discard::Unreachable => RouteType::Unreachable,
        Discard::Blackhole => RouteType::BlackHole,
    };
    RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(network.trunc().addr(), network.prefix_len())
        .kind(kind)
        .priority(DISCARD_METRIC)
        .build()
}

/// Sorts out what the system said; the numbers in `fine` are no errors.
fn done(result: Result<(), Error>, fine: &[i32], what: impl Fn() -> String) -> Result<(), RouteError> {
    let source = match result {
        Ok(()) => return Ok(()),
        Err(Error::NetlinkError(message)) => message.to_io(),
        Err(error) => io::Error::other(error),
    };
    match source.raw_os_error() {
        Some(code) if fine.contains(&code) => Ok(()),
        Some(libc::EPERM | libc::EACCES) => Err(RouteError::NotPermitted { what: what(), source }),
        _ => Err(RouteError::Refused { what: what(), source }),
    }
}

/// After every route that leads somewhere.
const DISCARD_METRIC: u32 = u32::MAX - 1;
