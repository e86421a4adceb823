//! One LAN: its address, its advertisements, and who else advertises there.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dorm_provisioning::identity;
use ipnet::Ipv6Net;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::advert::{AdvertSocket, Advertisement, Advertiser, Content, Message};
use super::in_full;
use super::kernel::{Address, Interface, Kernel, Neighbour};
use super::settings::Lan;
use super::status::{AddressState, LanStatus, OtherRouter};

/// What a LAN's socket heard: the LAN's number among the agent's, the sender and its message.
pub(super) type Heard = (usize, Ipv6Addr, Message);

/// A LAN as the agent keeps it.
pub(super) struct LanPort {
    lan: Lan,
    number: usize,
    heard: mpsc::Sender<Heard>,
    /// Whether it is we who advertise here.
    advertises: bool,
    advertiser: Advertiser,
    interface: Option<Interface>,
    /// The interface's addresses, as last seen.
    addresses: Vec<Address>,
    open: Option<Open>,
    /// The address that we put there.
    assigned: Option<(u32, Ipv6Addr)>,
    others: BTreeMap<Ipv6Addr, (Advertisement, Instant)>,
    last_sent: Option<Instant>,
    fault: Option<String>,
}

/// The socket, and the task that listens to it.
struct Open {
    socket: Arc<AdvertSocket>,
    task: JoinHandle<()>,
}

/// What a LAN shall have.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) prefix: Option<Ipv6Net>,
    pub(super) routes: bool,
    pub(super) dns: Vec<Ipv6Addr>,
    pub(super) mtu: u16,
}

impl LanPort {
    pub(super) fn new(lan: Lan, number: usize, advertises: bool, heard: mpsc::Sender<Heard>) -> LanPort {
        LanPort {
            lan,
            number,
            heard,
            advertises,
            advertiser: Advertiser::new(StdRng::from_rng(&mut rand::rng())),
            interface: None,
            addresses: Vec::new(),
            open: None,
            assigned: None,
            others: BTreeMap::new(),
            last_sent: None,
            fault: None,
        }
    }

    /// Makes the LAN what it shall be, as far as the interface allows. Doing it again changes nothing.
    pub(super) async fn reconcile(&mut self, now: Instant, kernel: &Kernel, wanted: &Wanted) {
        let fault = self.try_reconcile(now, kernel, wanted).await.err().map(|error| in_full(error.as_ref()));
        if let Some(words) = fault.as_deref().filter(|words| self.fault.as_deref() != Some(*words)) {
            tracing::warn!(interface = self.lan.interface, "the LAN is not ready: {words}");
        }
        self.fault = fault;
    }

    async fn try_reconcile(
        &mut self,
        now: Instant,
        kernel: &Kernel,
        wanted: &Wanted,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.others.retain(|_, (_, seen)| now.saturating_duration_since(*seen) < FORGET_ROUTER);
        let subnet = wanted.prefix.map(|prefix| identity::vlan_prefix(prefix, self.lan.vlan)).transpose();
        let address = subnet.as_ref().ok().copied().flatten().map(router_address);
        let interface = match kernel.interface(&self.lan.interface).await {
            Ok(interface) => interface,
            Err(error) => {
                (self.interface, self.open, self.assigned) = (None, None, None);
                self.addresses.clear();
                return Err(error.into());
            }
        };
        if !interface.up && self.interface.is_none() {
            tracing::info!(interface = self.lan.interface, "switching the interface on");
            kernel.switch_on(interface.index).await?;
        }
        let came_back = !self.interface.as_ref().is_some_and(|before| before.up && before.carrier)
            && interface.up
            && interface.carrier;
        self.interface = Some(interface.clone());
        if self.open.as_ref().is_some_and(|open| open.socket.interface() != interface.index) {
            (self.open, self.assigned) = (None, None);
        }
        if self.open.is_none() {
            self.open = Some(Open::start(self, &interface)?);
        }
        if let Some((index, before)) = self.assigned.filter(|(_, before)| Some(*before) != address) {
            kernel.remove_address(index, before, 64).await?;
            self.assigned = None;
        }
        self.addresses = kernel.addresses(interface.index).await?;
        if let Some(address) = address.filter(|address| self.state_of(*address).is_none()) {
            kernel.add_address(interface.index, address, 64).await?;
            self.assigned = Some((interface.index, address));
            self.addresses = kernel.addresses(interface.index).await?;
        } else if let Some(address) = address {
            // It may be there from an agent that was killed.
            self.assigned = Some((interface.index, address));
        }
        let prefix = subnet?.filter(|_| self.advertises);
        let Wanted { routes, ref dns, mtu, .. } = *wanted;
        self.advertiser.set(now, Content { prefix, routes, dns: dns.clone(), mtu });
        if came_back {
            self.advertiser.restart(now);
        }
        Ok(())
    }

    /// The socket heard something.
    pub(super) fn heard(&mut self, now: Instant, source: Ipv6Addr, message: Message) {
        match message {
            Message::Solicitation(_) => self.advertiser.solicited(now),
            Message::Advertisement(advertisement) => {
                let is_new = !self.others.contains_key(&source);
                if is_new && self.others.len() >= MAX_OTHERS {
                    return;
                }
                let routes = advertisement.router_lifetime > Duration::ZERO;
                if is_new && self.advertises && (routes || !advertisement.prefixes.is_empty()) {
                    let interface = &self.lan.interface;
                    tracing::warn!(interface, router = %source, "another router advertises on the LAN: phones may take the wrong way");
                }
                self.others.insert(source, (advertisement, now));
            }
        }
    }

    /// When an advertisement is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.advertiser.deadline()
    }

    /// Sends the advertisement that is due.
    pub(super) fn send_due(&mut self, now: Instant) {
        let Some(advertisement) = self.advertiser.poll(now) else { return };
        match self.send(&advertisement) {
            Ok(()) => self.last_sent = Some(now),
            Err(error) => {
                tracing::debug!(interface = self.lan.interface, %error, "an advertisement could not be sent");
                self.advertiser.retry(now);
            }
        }
    }

    fn send(&self, advertisement: &Advertisement) -> io::Result<()> {
        let has_carrier = self.interface.as_ref().is_some_and(|interface| interface.up && interface.carrier);
        // RFC 4861 §4.2: the source is the link-local address. Without one, the kernel would take another.
        let has_source = self.addresses.iter().any(|it| it.address.is_unicast_link_local() && !it.tentative);
        let Some(open) = self.open.as_ref().filter(|_| has_carrier && has_source) else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        open.socket.send(advertisement)
    }

    /// Tells the phones that the prefix ends, and takes the address away.
    pub(super) async fn end(&mut self, kernel: &Kernel) {
        self.farewell();
        if let Some((index, address)) = self.assigned.take()
            && let Err(error) = kernel.remove_address(index, address, 64).await
        {
            tracing::warn!(interface = self.lan.interface, %error, "the address stays");
        }
    }

    /// Tells the phones that the prefix ends.
    pub(super) fn farewell(&self) {
        let Some(advertisement) = self.advertiser.farewell() else { return };
        if let Err(error) = self.send(&advertisement) {
            tracing::warn!(interface = self.lan.interface, %error, "the last advertisement could not be sent");
        }
    }

    fn index(&self) -> Option<u32> {
        self.interface.as_ref().map(|interface| interface.index)
    }

    fn address(&self) -> Option<Ipv6Addr> {
        self.assigned.map(|(_, address)| address)
    }

    /// How the LAN is.
    pub(super) fn status(&self, now: Instant, neighbours: &[Neighbour]) -> LanStatus {
        let subnet = self.address().map(|address| Ipv6Net::new_assert(address, 64));
        let is_phone = |it: &&Neighbour| {
            it.resolved
                && Some(it.interface) == self.index()
                && subnet.is_some_and(|subnet| subnet.contains(&it.address))
        };
        let ago = |then: Instant| now.saturating_duration_since(then).as_secs();
        LanStatus {
            interface: self.lan.interface.clone(),
            vlan: self.lan.vlan,
            exists: self.interface.is_some(),
            up: self.interface.as_ref().is_some_and(|interface| interface.up),
            carrier: self.interface.as_ref().is_some_and(|interface| interface.carrier),
            address: self.address(),
            address_state: self.address().and_then(|address| self.state_of(address)),
            advertises: self.advertises,
            advertised: self.last_sent.map(ago),
            phones: neighbours.iter().filter(is_phone).count() as u32,
            others: self
                .others
                .iter()
                .map(|(source, (said, seen))| OtherRouter::new(*source, said, ago(*seen)))
                .collect(),
            fault: self.fault.clone(),
        }
    }

    fn state_of(&self, address: Ipv6Addr) -> Option<AddressState> {
        let found = self.addresses.iter().find(|it| it.address == address)?;
        Some(match (found.duplicate, found.tentative) {
            (true, _) => AddressState::Duplicate,
            (false, true) => AddressState::Tentative,
            (false, false) => AddressState::Ready,
        })
    }
}

impl Open {
    fn start(port: &LanPort, interface: &Interface) -> io::Result<Open> {
        let socket = AdvertSocket::open(&port.lan.interface, interface.index, interface.mac)?;
        let socket = Arc::new(socket);
        let (number, heard, listener) = (port.number, port.heard.clone(), Arc::clone(&socket));
        let task = tokio::spawn(async move {
            // An error here is a lost interface: the next look at it opens a new socket.
            while let Ok((source, message)) = listener.receive().await {
                if heard.send((number, source, message)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Open { socket, task })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The box's own address on a LAN: the first one behind the subnet-router anycast address.
pub(super) fn router_address(subnet: Ipv6Net) -> Ipv6Addr {
    Ipv6Addr::from_bits(subnet.network().to_bits() | 1)
}

/// How many other routers are kept in mind.
const MAX_OTHERS: usize = 8;
/// How long another router is kept in mind: longer than the longest interval of an advertisement (RFC 4861 §6.2.1).
const FORGET_ROUTER: Duration = Duration::from_secs(1900);
