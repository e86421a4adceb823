//! A centre with a tunnel server, and sites.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::ops::Range;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tunnel_broker::plane::routes::Routes;
use tunnel_broker::plane::{DataPlane, PlaneSettings, UserPlane};
use tunnel_broker::tunnel::DropReason;
use tunnel_broker::{Grant, Outer, TunnelId};

use crate::namespace::Namespace;
use crate::packet::{ICMPV6, Inner, outer};

/// The tunnel server's address.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The tunnel server's address on the inside.
pub(crate) const CENTRE: &str = "2001:db8:ffff::1";
/// How long something may take that should take no time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// After this time a packet that did not arrive is sent again: the queues of a busy machine are short.
const AGAIN: Duration = Duration::from_secs(1);

/// The centre: a server with its plane; its own network is `2001:db8:ffff::/48`.
pub(crate) struct Centre {
    pub(crate) namespace: Namespace,
    pub(crate) plane: UserPlane,
    sites: u8,
}

/// A site with a cable to the centre. Its prefix is `2001:db8:<number>::/48`.
pub(crate) struct Site {
    pub(crate) namespace: Namespace,
    pub(crate) number: u8,
    /// Its public address.
    pub(crate) address: Ipv4Addr,
}

impl Centre {
    pub(crate) fn new() -> Centre {
        let namespace = Namespace::new();
        namespace.ip(&format!("addr add {SERVER}/32 dev lo"));
        namespace.own(CENTRE);
        let plane = namespace.run(|| {
            let settings = PlaneSettings {
                own: vec!["2001:db8:ffff::/48".parse().unwrap()],
                ..PlaneSettings::new("server", SERVER, CENTRE.parse().unwrap())
            };
            let plane = UserPlane::start(settings).unwrap();
            with_routes(async |routes| {
                routes.add_route("2001:db8::/32".parse().unwrap(), "server", 1024).await.unwrap();
            });
            plane
        });
        Centre { namespace, plane, sites: 0 }
    }

    /// A further site, with its tunnel on the server. Nothing at the site knows of it yet.
    pub(crate) fn site(&mut self) -> Site {
        self.sites += 1;
        let number = self.sites;
        let namespace = Namespace::new();
        let near = format!("site{number}");
        self.namespace.join(&near, &namespace, "wan");
        let address = Ipv4Addr::new(198, 51, 100, number);
        let site = Site { namespace, number, address };
        site.take(address);
        self.namespace.ip(&format!("route add {address} dev {near} src {SERVER}"));
        site.namespace.own(&site.phone());
        let outer = Outer { client: address, server: SERVER };
        self.plane.add(site.tunnel(), outer, site.grant()).unwrap();
        site
    }
}

impl Site {
    pub(crate) fn tunnel(&self) -> TunnelId {
        TunnelId(self.number.into())
    }

    pub(crate) fn grant(&self) -> Grant {
        Grant { prefix: Some(self.prefix().parse().unwrap()), link: None }
    }

    pub(crate) fn prefix(&self) -> String {
        format!("2001:db8:{}::/48", self.number)
    }

    /// An address of the site, on its loopback interface.
    pub(crate) fn phone(&self) -> String {
        format!("2001:db8:{}::aa", self.number)
    }

    /// Gives the site a public address.
    pub(crate) fn take(&self, address: Ipv4Addr) {
        self.namespace.ip(&format!("addr add {address}/32 dev wan"));
        self.namespace.ip(&format!("route replace {SERVER} dev wan src {address}"));
    }

    /// The site's end of its tunnel, as an IAD has it.
    pub(crate) fn raise(&self, local: Ipv4Addr) -> UserPlane {
        let own = self.prefix().parse().unwrap();
        let settings = PlaneSettings {
            own: vec![own],
            capacity: 1,
            ..PlaneSettings::new("iad", local, self.phone().parse().unwrap())
        };
        let outer = Outer { client: SERVER, server: self.address };
        self.namespace.run(move || {
            let plane = UserPlane::start(settings).unwrap();
            let all = Grant { prefix: Some("::/0".parse().unwrap()), link: None };
            plane.add(TunnelId(1), outer, all).unwrap();
            with_routes(async |routes| {
                routes.add_route("::/0".parse().unwrap(), "iad", 1024).await.unwrap();
            });
            plane
        })
    }

    /// The site's end of its tunnel by hand.
    pub(crate) fn by_hand(&self) -> Wire {
        Wire::open(&self.namespace, self.address)
    }
}

/// A raw protocol-41 socket.
pub(crate) struct Wire {
    socket: Socket,
    local: Ipv4Addr,
}

impl Wire {
    pub(crate) fn open(namespace: &Namespace, local: Ipv4Addr) -> Wire {
        let socket = namespace.run(move || {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(41))).unwrap();
            socket.bind(&SocketAddrV4::new(local, 0).into()).unwrap();
            socket.set_header_included_v4(true).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        });
        Wire { socket, local }
    }

    pub(crate) fn send(&self, inner: &Inner) {
        self.send_as(self.local, &inner.bytes());
    }

    pub(crate) fn send_as(&self, source: Ipv4Addr, inner: &[u8]) {
        let packet = outer(source, SERVER, inner);
        self.socket.send_to(&packet, &SocketAddrV4::new(SERVER, 0).into()).unwrap();
    }

    /// The next packet: its IPv4 header and what is inside.
    pub(crate) fn receive(&self) -> (Vec<u8>, Inner) {
        let bytes = read(&self.socket);
        (bytes[..20].to_vec(), Inner::parse(&bytes[20..]))
    }

    /// The next packet's inside, when there is one soon.
    pub(crate) fn receive_soon(&self) -> Option<Inner> {
        self.socket.set_read_timeout(Some(AGAIN)).unwrap();
        let bytes = try_read(&self.socket);
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(Inner::parse(&bytes?[20..]))
    }

    /// The next packet of that protocol.
    pub(crate) fn receive_of(&self, protocol: u8) -> Inner {
        loop {
            let (_, inner) = self.receive();
            if inner.next_header == protocol {
                return inner;
            }
        }
    }
}

/// A raw socket of the system for one protocol: TCP segments and ICMPv6 messages by hand.
pub(crate) struct Raw {
    socket: Socket,
}

impl Raw {
    pub(crate) fn open(namespace: &Namespace, address: &str, protocol: u8) -> Raw {
        let address = SocketAddrV6::new(address.parse().unwrap(), 0, 0, 0);
        let socket = namespace.run(move || {
            let socket =
                Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(i32::from(protocol)))).unwrap();
            socket.bind(&address.into()).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        });
        Raw { socket }
    }

    pub(crate) fn send(&self, payload: &[u8], to: &str) {
        let to = SocketAddrV6::new(to.parse().unwrap(), 0, 0, 0);
        self.socket.send_to(payload, &to.into()).unwrap();
    }

    pub(crate) fn receive(&self) -> Vec<u8> {
        read(&self.socket)
    }
}

/// The next packet that a socket gets.
fn read(socket: &Socket) -> Vec<u8> {
    try_read(socket).expect("a packet in time")
}

/// The next packet that a socket gets, within its time limit.
fn try_read(mut socket: &Socket) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 65_536];
    loop {
        match socket.read(&mut bytes) {
            Ok(len) => return Some(bytes[..len].to_vec()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            // A wait with a time limit does not go on by itself after the machine stood still.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until something holds that a thread of a plane is about to do.
pub(crate) fn await_that(holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "it did not come in time");
        // Counters cannot be awaited.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A UDP socket on an address in a namespace.
pub(crate) fn udp(namespace: &Namespace, address: &str) -> UdpSocket {
    let address = SocketAddrV6::new(address.parse().unwrap(), 0, 0, 0);
    let socket = namespace.run(move || UdpSocket::bind(address).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends an ICMPv6 echo request until there is a reply. Gives how often it was sent again.
pub(crate) fn ping(namespace: &Namespace, from: &str, to: &str, data: &[u8]) -> u32 {
    let Raw { socket } = Raw::open(namespace, from, ICMPV6);
    socket.set_read_timeout(Some(AGAIN)).unwrap();
    let request = [&[128, 0, 0, 0, 0x12, 0x34, 0, 1][..], data].concat();
    let reply = [&[129, 0, 0, 0, 0x12, 0x34, 0, 1][..], data].concat();
    let is_reply = |mut got: Vec<u8>| {
        got[2..4].fill(0);
        got == reply
    };
    let to = SocketAddrV6::new(to.parse().unwrap(), 0, 0, 0);
    let started = Instant::now();
    for resent in 0.. {
        assert!(started.elapsed() < PATIENCE, "{to} does not answer {from}");
        // It may fail: an error about the request before is told at the next one.
        let _ = socket.send_to(&request, &to.into());
        while let Some(got) = try_read(&socket) {
            if is_reply(got) {
                return resent;
            }
        }
    }
    unreachable!("it ends when patience does")
}

/// Sends numbered datagrams both ways until each has arrived, in whatever order: the system may swap them where threads change
/// their processor. Gives how many were sent again.
pub(crate) fn exchange(one: &UdpSocket, other: &UdpSocket, numbers: Range<u32>) -> usize {
    let all: BTreeSet<u32> = numbers.collect();
    let mut ways = [(one, other, all.clone()), (other, one, all.clone())];
    let (started, mut sent) = (Instant::now(), 0);
    while ways.iter().any(|(.., missing)| !missing.is_empty()) {
        assert!(started.elapsed() < PATIENCE, "these do not arrive: {:?}", ways.map(|(.., missing)| missing));
        for number in &all {
            for (from, to, _) in ways.iter().filter(|(.., missing)| missing.contains(number)) {
                from.send_to(&number.to_be_bytes(), to.local_addr().unwrap()).unwrap();
                sent += 1;
            }
        }
        for (_, to, missing) in &mut ways {
            while !missing.is_empty()
                && let Some(data) = receive_soon(to)
            {
                missing.remove(&u32::from_be_bytes(data.try_into().unwrap()));
            }
        }
    }
    sent - 2 * all.len()
}

/// Sends a datagram until it arrives.
pub(crate) fn carry(from: &UdpSocket, to: &UdpSocket, data: &[u8]) {
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < PATIENCE, "it does not arrive");
        from.send_to(data, to.local_addr().unwrap()).unwrap();
        while let Some(got) = receive_soon(to) {
            if got == data {
                return;
            }
        }
    }
}

/// The next datagram, when there is one soon.
fn receive_soon(socket: &UdpSocket) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(AGAIN)).unwrap();
    let got = try_read(&SockRef::from(socket));
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    got
}

/// Checks that a plane has dropped nothing but what the system's own neighbour and listener discovery puts on a device.
pub(crate) fn assert_nothing_dropped(plane: &UserPlane) {
    let counters = plane.counters();
    for reason in DropReason::ALL {
        let is_noise = matches!(reason, DropReason::ForbiddenSource | DropReason::ForbiddenDestination);
        assert!(is_noise || counters.relay.dropped(reason) == 0, "{reason:?}: {counters:?}");
    }
    assert_eq!(counters.send, Default::default());
}

/// Runs something with a connection to the routing of the present namespace.
pub(crate) fn with_routes(act: impl AsyncFnOnce(&Routes)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let routes = Routes::open().unwrap();
        act(&routes).await;
    });
}
