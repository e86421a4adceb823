//! A dorm: the box with the agent on it, and a phone on its LAN.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use schema::secret::Password;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tunnel_broker::agent::check::Report;
use tunnel_broker::agent::status::Status;
use tunnel_broker::agent::{self, AgentError, Settings};

use super::broker::{Broker, PASSWORD, Script, USER};
use crate::namespace::Namespace;
use crate::world::{CENTRE, Centre, PATIENCE, SERVER, Site};

/// The phone's interface identifier: its MAC is 02:00:00:00:00:11.
const PHONE: u64 = 0x0000_00ff_fe00_0011;

/// A dorm with its centre: plane, broker, box and phone.
pub(crate) struct Dorm {
    pub(crate) centre: Centre,
    pub(crate) site: Site,
    pub(crate) broker: Broker,
    pub(crate) phone: Namespace,
}

/// A running agent.
pub(crate) struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), AgentError>>>,
}

impl Dorm {
    pub(crate) fn new() -> Dorm {
        let mut centre = Centre::new();
        let site = centre.site();
        // The plane's tests keep the site's own address on its loopback interface; here the agent finds one.
        site.namespace.ip(&format!("addr del {} dev lo", site.phone()));
        let script = Script {
            prefix: format!("2001:0db8:{:04x}::/48", site.number),
            seen_as: None,
            centre: format!("sip=[{CENTRE}]:5060 dns={CENTRE}"),
        };
        let broker = Broker::start(&centre.namespace, script, None);
        let phone = Namespace::new();
        site.namespace.join("lan", &phone, "eth0");
        phone.ip("link set eth0 address 02:00:00:00:00:11");
        Dorm { centre, site, broker, phone }
    }

    pub(crate) fn settings(&self) -> Settings {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cx6-iad-{}-{}.sock", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Settings {
            broker: agent::Broker::parse(&SERVER.to_string(), None).unwrap(),
            user: USER.to_owned(),
            password: Password::new(PASSWORD),
            lans: vec!["lan=0".parse().unwrap()],
            advertise: true,
            neighbour_capacity: None,
            status_socket: std::env::temp_dir().join(name),
            mtu: 1280,
        }
    }

    /// Starts the agent on the box.
    pub(crate) fn start(&self, settings: &Settings) -> Running {
        let (stop, stopped) = oneshot::channel();
        let settings = settings.clone();
        let thread = self.site.namespace.run(move || {
            // A thread is born into the namespace of the one that makes it.
            std::thread::spawn(move || {
                block_on(async {
                    let stopped = async {
                        let _ = stopped.await;
                    };
                    agent::run(settings, stopped).await
                })
            })
        });
        Running { stop: Some(stop), thread: Some(thread) }
    }

    /// The address that the phone makes in a site of that number.
    pub(crate) fn phone_address(&self, site: u8) -> Ipv6Addr {
        let network: Ipv6Addr = format!("2001:db8:{site}::").parse().unwrap();
        Ipv6Addr::from_bits(network.to_bits() | u128::from(PHONE))
    }
}

impl Running {
    /// Stops the agent as SIGTERM does, and waits for its end.
    pub(crate) fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits until the IPv6 addresses of an interface are as they shall be: each with whether it is preferred.
pub(crate) fn wait_for_addresses(
    namespace: &Namespace,
    interface: &'static str,
    are_right: impl Fn(&[(Ipv6Addr, bool)]) -> bool + Send + 'static,
) {
    namespace.run(move || {
        block_on(async {
            let groups = [MulticastGroup::Ipv6Ifaddr];
            let (connection, handle, mut events) = rtnetlink::new_multicast_connection(&groups).unwrap();
            tokio::spawn(connection);
            let index = nix::net::if_::if_nametoindex(interface).unwrap();
            loop {
                let all = handle.address().get().set_link_index_filter(index).execute();
                let all: Vec<AddressMessage> = all.try_collect().await.unwrap();
                let all: Vec<_> = all.iter().filter_map(usable).collect();
                if are_right(&all) {
                    return;
                }
                let event = timeout(PATIENCE, events.next()).await;
                assert!(event.is_ok(), "the addresses of {interface} stay {all:?}");
            }
        });
    });
}

/// Waits until an interface has an address that is preferred.
pub(crate) fn wait_for_address(namespace: &Namespace, interface: &'static str, address: Ipv6Addr) {
    wait_for_addresses(namespace, interface, move |all| all.contains(&(address, true)));
}

/// An address that is not tentative, and whether it is preferred.
fn usable(message: &AddressMessage) -> Option<(Ipv6Addr, bool)> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(IpAddr::V6(address)) => Some(*address),
        _ => None,
    });
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let flags = flags.unwrap_or(AddressFlags::empty());
    let is_tentative = flags.contains(AddressFlags::Tentative);
    (!is_tentative).then_some((address?, !flags.contains(AddressFlags::Deprecated)))
}

/// Asks the agent how it is.
pub(crate) fn status(settings: &Settings) -> Status {
    block_on(agent::status::ask(&settings.status_socket)).unwrap()
}

/// Asks the agent, again and again, until it is as it shall be.
pub(crate) fn wait_for_status(settings: &Settings, is_right: impl Fn(&Status) -> bool) -> Status {
    let started = Instant::now();
    loop {
        let seen = status(settings);
        if is_right(&seen) {
            return seen;
        }
        assert!(started.elapsed() < PATIENCE, "the agent stays {seen:?}");
    }
}

/// Runs `iad check` on the box.
pub(crate) fn check(dorm: &Dorm, settings: &Settings) -> Report {
    let (settings, socket): (Settings, PathBuf) = (settings.clone(), settings.status_socket.clone());
    dorm.site.namespace.run(move || block_on(agent::check::check(Some(&settings), &socket)).unwrap())
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
