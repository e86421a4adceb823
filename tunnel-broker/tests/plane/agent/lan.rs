//! What a phone on the LAN sees.

use std::io::Read;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use tunnel_broker::agent::check::{State, Step};

use super::dorm::{Dorm, block_on, check, status, wait_for_address, wait_for_addresses, wait_for_status};
use crate::namespace::Namespace;
use crate::need_root;
use crate::world::{CENTRE, PATIENCE, ping, with_routes};

#[test]
fn a_phone_makes_its_address_and_reaches_the_centre_until_the_agent_takes_it_back() {
    need_root!();
    let dorm = Dorm::new();
    let settings = dorm.settings();
    let agent = dorm.start(&settings);
    let phone = dorm.phone_address(1);
    wait_for_address(&dorm.phone, "eth0", phone);
    wait_for_address(&dorm.site.namespace, "lan", "2001:db8:1::1".parse().unwrap());
    ping(&dorm.phone, &phone.to_string(), CENTRE, b"from the phone");
    ping(&dorm.centre.namespace, CENTRE, &phone.to_string(), b"from the centre");
    assert_eq!(default_routes(&dorm.phone), 1);
    let seen = status(&settings);
    assert_eq!(seen.lans[0].phones, 1);
    assert_eq!(seen.dns, [CENTRE.parse::<Ipv6Addr>().unwrap()]);

    agent.stop();
    wait_for_addresses(&dorm.phone, "eth0", move |all| all.contains(&(phone, false)));
    dorm.broker.wait_for("quit");
    assert_eq!(default_routes(&dorm.phone), 0);
    assert_eq!(default_routes(&dorm.site.namespace), 0);
    wait_for_addresses(&dorm.site.namespace, "lan", |all| {
        all.iter().all(|(address, _)| address.is_unicast_link_local())
    });
    let gone = dorm.site.namespace.run(|| nix::net::if_::if_nametoindex("cx6iad").is_err());
    assert!(gone, "the TUN device stays");
    assert!(!settings.status_socket.exists());
}

#[test]
fn solicitations_are_answered() {
    need_root!();
    let dorm = Dorm::new();
    let _agent = dorm.start(&dorm.settings());
    wait_for_address(&dorm.phone, "eth0", dorm.phone_address(1));
    dorm.phone.run(|| {
        let index = nix::net::if_::if_nametoindex("eth0").unwrap();
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
        socket.set_multicast_hops_v6(255).unwrap();
        let routers = SocketAddrV6::new("ff02::2".parse().unwrap(), 0, 0, index);
        let started = Instant::now();
        // Unasked, one comes every 16 seconds at most: never three within the time.
        for _ in 0..3 {
            socket.send_to(&[133, 0, 0, 0, 0, 0, 0, 0], &routers.into()).unwrap();
            let mut kind = 0;
            while kind != 134 {
                let left = PATIENCE.checked_sub(started.elapsed()).expect("three answers in time");
                socket.set_read_timeout(Some(left)).unwrap();
                let mut bytes = [0; 1500];
                let len = (&socket).read(&mut bytes).expect("an advertisement in time");
                assert!(len > 0);
                kind = bytes[0];
            }
        }
    });
}

#[test]
fn another_prefix_replaces_the_old_one() {
    need_root!();
    let dorm = Dorm::new();
    let _agent = dorm.start(&dorm.settings());
    let (old, new) = (dorm.phone_address(1), dorm.phone_address(7));
    wait_for_address(&dorm.phone, "eth0", old);
    dorm.broker.change(|script| script.prefix = "2001:0db8:0007::/48".into());
    dorm.broker.break_off();
    wait_for_addresses(&dorm.phone, "eth0", move |all| {
        all.contains(&(new, true)) && all.contains(&(old, false))
    });
    wait_for_addresses(&dorm.site.namespace, "lan", |all| {
        let ours: Vec<_> = all.iter().filter(|(address, _)| !address.is_unicast_link_local()).collect();
        ours == [&("2001:db8:7::1".parse().unwrap(), true)]
    });
}

#[test]
fn a_full_neighbour_table_is_reported_at_once() {
    need_root!();
    let dorm = Dorm::new();
    let mut settings = dorm.settings();
    settings.neighbour_capacity = Some(1);
    let _agent = dorm.start(&settings);
    let phone = dorm.phone_address(1);
    wait_for_address(&dorm.phone, "eth0", phone);
    ping(&dorm.phone, &phone.to_string(), "2001:db8:1::1", b"I am here");
    let full = |line: &str| {
        let entries = line.strip_prefix("report neighbours=").unwrap().split(' ').next().unwrap();
        assert!(line.ends_with(" capacity=1"), "{line}");
        entries.parse::<u32>().unwrap() >= 1
    };
    while !full(&dorm.broker.wait_for("report ").1) {}
    let json = serde_json::to_value(status(&settings)).unwrap();
    assert_eq!(json["neighbours"]["level"], "full");
}

#[test]
fn nothing_is_advertised_when_another_program_shall_do_so() {
    need_root!();
    let dorm = Dorm::new();
    let mut settings = dorm.settings();
    settings.advertise = false;
    let agent = dorm.start(&settings);
    wait_for_address(&dorm.site.namespace, "lan", "2001:db8:1::1".parse().unwrap());
    let seen = wait_for_status(&settings, |seen| seen.tunnel.is_some());
    assert!(!seen.lans[0].advertises);
    let report = check(&dorm, &settings);
    let fourth = report.steps.iter().find(|finding| finding.step == Step::Advertisement).unwrap();
    assert_eq!(fourth.state, State::Fails, "{report}");
    // Another router of the LAN does it.
    let router = "fe80::2".parse::<Ipv6Addr>().unwrap();
    dorm.phone.ip("addr add fe80::2/64 dev eth0 nodad");
    let phone = dorm.phone_address(1);
    dorm.phone.run(move || {
        let index = nix::net::if_::if_nametoindex("eth0").unwrap();
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
        socket.bind(&SocketAddrV6::new(router, 0, 0, index).into()).unwrap();
        socket.set_multicast_hops_v6(255).unwrap();
        let prefix = [&[3, 4, 64, 0xc0][..], &[0, 0, 7, 8].repeat(2), &[0; 4], &phone.octets()[..8], &[0; 8]];
        let advertisement = [&[134, 0, 0, 0, 64, 0, 7, 8][..], &[0; 8], &prefix.concat()].concat();
        let nodes = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, index);
        socket.send_to(&advertisement, &nodes.into()).unwrap();
    });
    wait_for_status(&settings, |seen| !seen.lans[0].others.is_empty());
    let report = check(&dorm, &settings);
    let fourth = report.steps.iter().find(|finding| finding.step == Step::Advertisement).unwrap();
    assert_eq!(fourth.state, State::Holds, "{report}");
    agent.stop();
    let all = dorm.phone.run(|| nix::ifaddrs::getifaddrs().unwrap().collect::<Vec<_>>());
    assert!(!format!("{all:?}").contains("2001:db8:1:"), "the phone never heard the agent");
}

#[test]
fn another_router_on_the_lan_is_noticed() {
    need_root!();
    let dorm = Dorm::new();
    let settings = dorm.settings();
    let _agent = dorm.start(&settings);
    wait_for_address(&dorm.phone, "eth0", dorm.phone_address(1));
    let rogue = dorm.phone.run(|| {
        let index = nix::net::if_::if_nametoindex("eth0").unwrap();
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
        socket.set_multicast_hops_v6(255).unwrap();
        let nodes = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, index);
        let advertisement = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        socket.send_to(&advertisement, &nodes.into()).unwrap();
        let own = SocketAddrV6::new("fe80::1".parse().unwrap(), 0, 0, index);
        socket.connect(&own.into()).unwrap();
        *socket.local_addr().unwrap().as_socket_ipv6().unwrap().ip()
    });
    let others = wait_for_status(&settings, |seen| !seen.lans[0].others.is_empty()).lans[0].others.clone();
    assert_eq!(others.len(), 1);
    assert_eq!((others[0].address, others[0].routes), (rogue, true));
}

/// How many default routes there are.
fn default_routes(namespace: &Namespace) -> usize {
    use futures_util::TryStreamExt;
    use rtnetlink::RouteMessageBuilder;
    use rtnetlink::packet_route::route::{RouteMessage, RouteType};
    namespace.run(|| {
        block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            let all = handle.route().get(RouteMessageBuilder::<Ipv6Addr>::new().build()).execute();
            let all: Vec<RouteMessage> = all.try_collect().await.unwrap();
            let leads_out = |route: &&RouteMessage| {
                route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast
            };
            all.iter().filter(leads_out).count()
        })
    })
}

#[test]
fn what_stood_before_is_taken_over() {
    need_root!();
    let dorm = Dorm::new();
    // An agent that was killed left its address and its discard route behind.
    dorm.site.namespace.ip("addr add 2001:db8:1::1/64 dev lan");
    dorm.site.namespace.run(|| {
        with_routes(async |routes| {
            let discard = tunnel_broker::plane::routes::Discard::Unreachable;
            routes.add_discard("2001:db8:1::/48".parse().unwrap(), discard).await.unwrap();
        });
    });
    let agent = dorm.start(&dorm.settings());
    let phone = dorm.phone_address(1);
    wait_for_address(&dorm.phone, "eth0", phone);
    ping(&dorm.phone, &phone.to_string(), CENTRE, b"again");
    agent.stop();
    wait_for_addresses(&dorm.site.namespace, "lan", |all| {
        all.iter().all(|(address, _)| address.is_unicast_link_local())
    });
}
