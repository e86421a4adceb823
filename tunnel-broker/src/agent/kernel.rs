//! The box's own kernel: interfaces, addresses, routes and neighbours, by rtnetlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;

use futures_util::{Stream, StreamExt, TryStreamExt};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{
    AddressMessageBuilder, Error, Handle, LinkMessageBuilder, LinkUnspec, MulticastGroup, RouteMessageBuilder,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A connection to the kernel of the network namespace in which it was made. Clones share it.
#[derive(Debug)]
pub(super) struct Kernel {
    handle: Handle,
    tasks: Vec<JoinHandle<()>>,
    changes: watch::Receiver<u64>,
}

/// Why the kernel could not be asked or told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// There is no netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// The kernel refused.
    #[error("cannot {what}: {source}")]
    Refused {
        /// What was tried.
        what: String,
        /// The kernel's words.
        source: Error,
    },
    /// There is no such interface.
    #[error("there is no interface {0:?}: `ip link` lists them")]
    NoInterface(String),
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    /// Its MAC; interfaces that are no Ethernet have none.
    pub(super) mac: Option<[u8; 6]>,
    /// Whether it is switched on.
    pub(super) up: bool,
    /// Whether a cable is plugged in, or what counts as one.
    pub(super) carrier: bool,
}

/// An IPv6 address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) address: Ipv6Addr,
    /// Duplicate address detection has not ended yet.
    pub(super) tentative: bool,
    /// Another box has the same address (RFC 4862 §5.4.5).
    pub(super) duplicate: bool,
}

/// An entry of the IPv6 neighbour table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) interface: u32,
    pub(super) address: Ipv6Addr,
    /// Whether the neighbour answered at some time: it has a MAC.
    pub(super) resolved: bool,
    /// Whether it takes a place that the kernel does not free by itself when it needs one.
    pub(super) counts: bool,
}

impl Kernel {
    /// Connects to the kernel of this thread's network namespace.
    ///
    /// # Errors
    /// When there is no netlink socket.
    pub(super) fn connect() -> Result<Kernel, KernelError> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Ifaddr,
        ];
        let (events, _, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
        let (changed, changes) = watch::channel(0);
        let count = async move {
            while messages.next().await.is_some() {
                changed.send_modify(|count| *count += 1);
            }
        };
        let tasks = vec![tokio::spawn(connection), tokio::spawn(events), tokio::spawn(count)];
        Ok(Kernel { handle, tasks, changes })
    }

    /// Moves on whenever an interface, an address or an IPv4 route has changed.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Looks an interface up.
    pub(super) async fn interface(&self, name: &str) -> Result<Interface, KernelError> {
        let found = pin!(self.handle.link().get().match_name(name).execute()).try_next().await;
        match found {
            Ok(Some(message)) => Ok(Interface::read(&message)),
            _ => Err(KernelError::NoInterface(name.to_owned())),
        }
    }

    /// Switches an interface on.
    pub(super) async fn switch_on(&self, interface: u32) -> Result<(), KernelError> {
        let message = LinkMessageBuilder::<LinkUnspec>::default().index(interface).up().build();
        let changed = self.handle.link().set(message).execute().await;
        changed.map_err(refused(|| "switch the interface on"))
    }

    /// The IPv6 addresses of an interface.
    pub(super) async fn addresses(&self, interface: u32) -> Result<Vec<Address>, KernelError> {
        let messages = self.handle.address().get().set_link_index_filter(interface).execute();
        let messages = collect(messages).await.map_err(refused(|| "list addresses"))?;
        Ok(messages.iter().filter_map(Address::read).collect())
    }

    /// Gives an interface an address, when it does not have it yet.
    pub(super) async fn add_address(
        &self,
        interface: u32,
        address: Ipv6Addr,
        len: u8,
    ) -> Result<(), KernelError> {
        let request = self.handle.address().add(interface, address.into(), len).replace();
        request.execute().await.map_err(refused(|| format!("add the address {address}/{len}")))
    }

    /// Takes an address away; gone already is fine.
    pub(super) async fn remove_address(
        &self,
        interface: u32,
        address: Ipv6Addr,
        len: u8,
    ) -> Result<(), KernelError> {
        let message = AddressMessageBuilder::<Ipv6Addr>::new().index(interface).address(address, len).build();
        let removed = self.handle.address().del(message).execute().await;
        unless_gone(removed).map_err(refused(|| format!("remove the address {address}/{len}")))
    }

    /// The gateway of the IPv4 default route, with its interface's index; the address is missing on a point-to-point line.
    pub(super) async fn ipv4_default_route(&self) -> Result<Option<(Option<Ipv4Addr>, u32)>, KernelError> {
        let routes = self.handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        let routes = collect(routes).await.map_err(refused(|| "list routes"))?;
        Ok(routes.iter().filter(|route| route.header.destination_prefix_length == 0).find_map(gateway))
    }

    /// The IPv6 neighbour table.
    pub(super) async fn neighbours(&self) -> Result<Vec<Neighbour>, KernelError> {
        let request = self.handle.neighbours().get().set_address_family(AddressFamily::Inet6);
        let messages = collect(request.execute()).await.map_err(refused(|| "list neighbours"))?;
        Ok(messages.iter().filter_map(Neighbour::read).collect())
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Interface {
    fn read(message: &LinkMessage) -> Interface {
        let mac = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Address(bytes) => bytes.as_slice().try_into().ok(),
            _ => None,
        });
        let flags = message.header.flags;
        Interface {
            index: message.header.index,
            mac: mac.filter(|mac| *mac != [0; 6]),
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
        }
    }
}

impl Address {
    fn read(message: &AddressMessage) -> Option<Address> {
        let mut address = None;
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(IpAddr::V6(it)) => address = Some(*it),
                AddressAttribute::Flags(all) => flags = *all,
                _ => {}
            }
        }
        Some(Address {
            address: address?,
            tentative: flags.contains(AddressFlags::Tentative),
            duplicate: flags.contains(AddressFlags::Dadfailed),
        })
    }
}

impl Neighbour {
    fn read(message: &NeighbourMessage) -> Option<Neighbour> {
        use NeighbourState::{Delay, Incomplete, Permanent, Probe, Reachable, Stale};
        let mut address = None;
        let mut has_mac = false;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(it)) => address = Some(*it),
                NeighbourAttribute::LinkLayerAddress(mac) => has_mac = !mac.is_empty(),
                _ => {}
            }
        }
        let state = message.header.state;
        Some(Neighbour {
            interface: message.header.ifindex,
            address: address?,
            resolved: has_mac && matches!(state, Reachable | Stale | Delay | Probe | Permanent),
            // The kernel's forced collection takes failed and multicast (no ARP) entries first, and does not count permanent ones.
            counts: matches!(state, Incomplete | Reachable | Stale | Delay | Probe),
        })
    }
}

fn gateway(route: &RouteMessage) -> Option<(Option<Ipv4Addr>, u32)> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let mut gateway = None;
    let mut interface = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            RouteAttribute::Oif(index) => interface = Some(*index),
            _ => {}
        }
    }
    Some((gateway, interface?))
}

async fn collect<T>(messages: impl Stream<Item = Result<T, Error>>) -> Result<Vec<T>, Error> {
    messages.try_collect().await
}

fn refused<T: Into<String>>(what: impl FnOnce() -> T) -> impl FnOnce(Error) -> KernelError {
    move |source| KernelError::Refused { what: what().into(), source }
}

/// Removing what is not there is no failure.
fn unless_gone(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::NetlinkError(message)) if GONE.contains(&message.raw_code().abs()) => Ok(()),
        other => other,
    }
}

/// No such device, address not available.
const GONE: [i32; 2] = [libc::ENODEV, libc::EADDRNOTAVAIL];
