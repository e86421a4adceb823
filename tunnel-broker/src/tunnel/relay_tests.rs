//! The relay packet by packet, and two relays against each other.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::packet::{checksum, parse_inner, parse_outer};
use super::*;
use crate::lease::{Grant, Link, Outer, TunnelId};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SITE_1: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const SITE_2: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const CORE: &str = "2001:db8:ffff:100::5";
const PHONE_1: &str = "2001:db8:1:10::aa";
const PHONE_2: &str = "2001:db8:2:10::bb";

/// A server with two sites: site 1 with the MTU 1280, site 2 with 1454. Its own are `2001:db8:ffff::/48`; the links are in
/// `2001:db8:fffe::/64`.
fn server() -> Relay {
    let mut table = Table::new(100);
    for (site, client, mtu) in [(1, SITE_1, 1280), (2, SITE_2, 1454)] {
        let link = Link {
            client: format!("2001:db8:fffe::{site}:2").parse().unwrap(),
            server: "2001:db8:ffff::1".parse().unwrap(),
        };
        let prefix = format!("2001:db8:{site}::/48").parse().unwrap();
        let grant = Grant { prefix: Some(prefix), link: Some(link) };
        table.add(TunnelId(site), Outer { client, server: SERVER }, grant, mtu).unwrap();
    }
    let own = vec!["2001:db8:ffff::/48".parse().unwrap()];
    Relay::new(Settings::new("2001:db8:ffff::1".parse().unwrap(), own), table)
}

/// The other end of a site's tunnel.
fn iad(site: u16, address: Ipv4Addr) -> Relay {
    let mut table = Table::new(1);
    let grant = Grant { prefix: Some("::/0".parse().unwrap()), link: None };
    table.add(TunnelId(1), Outer { client: SERVER, server: address }, grant, 1280).unwrap();
    let own = vec![format!("2001:db8:{site}::/48").parse().unwrap()];
    Relay::new(Settings::new(format!("2001:db8:{site}::1").parse().unwrap(), own), table)
}

fn inner(source: &str, destination: &str, class: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60 | class >> 4, class << 4 | 0x0a, 0xbc, 0xde];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([17, hop_limit]);
    packet.extend(source.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(destination.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(payload);
    packet
}

fn udp(source: &str, destination: &str) -> Vec<u8> {
    inner(source, destination, 0, 64, b"hello, phone")
}

fn outer(source: Ipv4Addr, destination: Ipv4Addr, tos: u8, inner: &[u8]) -> Vec<u8> {
    let header = OuterHeader::new(source, destination, tos, inner.len(), 61).unwrap();
    [&header.bytes, inner].concat()
}

/// What the server makes of an inner packet of site 1.
fn from_site_1(relay: &mut Relay, inner: &[u8]) -> Verdict {
    relay.decapsulate(&mut outer(SITE_1, SERVER, 0, inner), Instant::now())
}

fn dropped(reason: DropReason) -> Verdict {
    Verdict::Drop(reason)
}

#[test]
fn a_packet_from_a_site_reaches_the_inside_as_it_was() {
    let mut relay = server();
    for destination in [CORE, "2001:db8:ffff::1", "2400::1", "2001:db8:3::1"] {
        let inner = inner(PHONE_1, destination, 0xb8, 1, b"x");
        let mut packet = outer(SITE_1, SERVER, 0, &inner);
        let verdict = relay.decapsulate(&mut packet, Instant::now());
        assert_eq!(verdict, Verdict::Inside(20..20 + inner.len()), "{destination}");
        assert_eq!(packet[20..], inner, "the system counts the hop limit down, not we");
    }
    let traffic = relay.table().tunnel(TunnelId(1)).unwrap().traffic();
    assert_eq!((traffic.packets_in, traffic.bytes_in, traffic.dropped), (4, 4 * 41, 0));
    assert_eq!(relay.counters().to_inside, 4);
}

#[test]
fn a_packet_for_a_site_byte_for_byte() {
    let mut relay = server();
    let inner = inner(CORE, PHONE_1, 0xba, 63, b"hello");
    let verdict = relay.encapsulate(&mut inner.clone(), Instant::now());
    let mut expected = [0x45, 0xba, 0, 65, 0, 0, 0, 0, 64, 41, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1];
    let sum = checksum(&[&expected]);
    expected[10..12].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(verdict, Verdict::Tunnel(OuterHeader { bytes: expected, destination: SITE_1 }, 0..45));
    let traffic = relay.table().tunnel(TunnelId(1)).unwrap().traffic();
    assert_eq!((traffic.packets_out, traffic.bytes_out), (1, 45));
}

#[test]
fn padding_does_not_pass() {
    let mut relay = server();
    let plain = udp(PHONE_1, CORE);
    let padded = [&plain[..], &[0; 6]].concat();
    assert_eq!(from_site_1(&mut relay, &padded), Verdict::Inside(20..20 + plain.len()));
    let padded = [&udp(CORE, PHONE_1)[..], &[0; 6]].concat();
    let Verdict::Tunnel(header, range) = relay.encapsulate(&mut padded.clone(), Instant::now()) else {
        panic!()
    };
    assert_eq!(range, 0..padded.len() - 6);
    assert_eq!(u16::from_be_bytes([header.bytes[2], header.bytes[3]]) as usize, 20 + padded.len() - 6);
}

#[test]
fn the_outer_pair_must_be_exact() {
    let mut relay = server();
    let other = Ipv4Addr::new(198, 51, 100, 3);
    for (source, destination) in [(other, SERVER), (SITE_1, other), (SERVER, SITE_1), (SITE_1, SITE_2)] {
        let mut packet = outer(source, destination, 0, &udp(PHONE_1, CORE));
        assert_eq!(relay.decapsulate(&mut packet, Instant::now()), dropped(DropReason::UnknownPair));
    }
    let mut packet = outer(SITE_2, SERVER, 0, &udp(PHONE_1, CORE));
    assert_eq!(relay.decapsulate(&mut packet, Instant::now()), dropped(DropReason::SpoofedSource));
}

#[test]
fn the_inner_source_must_lie_behind_the_tunnel() {
    let mut relay = server();
    for (source, reason) in [
        (PHONE_2, DropReason::SpoofedSource),
        ("2400::1", DropReason::SpoofedSource),
        ("2001:db8:fffe::2:2", DropReason::SpoofedSource),
        (CORE, DropReason::OwnSource),
        ("2001:db8:ffff::1", DropReason::OwnSource),
        ("2002:c633:6401::1", DropReason::ForbiddenSource),
        ("::ffff:198.51.100.1", DropReason::ForbiddenSource),
        ("fe80::1", DropReason::ForbiddenSource),
        ("::", DropReason::ForbiddenSource),
        ("::1", DropReason::ForbiddenSource),
        ("ff02::1", DropReason::ForbiddenSource),
    ] {
        assert_eq!(from_site_1(&mut relay, &udp(source, CORE)), dropped(reason), "{source}");
    }
    assert!(
        matches!(from_site_1(&mut relay, &udp("2001:db8:fffe::1:2", CORE)), Verdict::Inside(_)),
        "the link"
    );
    assert_eq!(relay.counters().dropped(DropReason::SpoofedSource), 3);
    assert_eq!(relay.counters().dropped(DropReason::OwnSource), 2);
    assert_eq!(relay.counters().dropped(DropReason::ForbiddenSource), 6);
    assert_eq!(relay.table().tunnel(TunnelId(1)).unwrap().traffic().dropped, 11);
}

#[test]
fn forbidden_destinations_are_dropped_both_ways() {
    let mut relay = server();
    for destination in ["2002:c000:201::1", "::ffff:192.0.2.1", "fe80::1", "ff0e::1", "::1", "::"] {
        let reason = DropReason::ForbiddenDestination;
        assert_eq!(from_site_1(&mut relay, &udp(PHONE_1, destination)), dropped(reason), "{destination}");
        assert_eq!(
            relay.encapsulate(&mut udp(CORE, destination), Instant::now()),
            dropped(reason),
            "{destination}"
        );
    }
    assert_eq!(
        relay.encapsulate(&mut udp("fe80::1", PHONE_1), Instant::now()),
        dropped(DropReason::ForbiddenSource)
    );
}

#[test]
fn no_packet_goes_back_to_where_it_came_from() {
    let mut relay = server();
    assert_eq!(from_site_1(&mut relay, &udp(PHONE_1, "2001:db8:1:99::1")), dropped(DropReason::Loop));
    let now = Instant::now();
    assert_eq!(relay.encapsulate(&mut udp(PHONE_1, "2001:db8:1:99::1"), now), dropped(DropReason::Loop));
    assert_eq!(
        relay.encapsulate(&mut udp(PHONE_1, CORE), now),
        dropped(DropReason::Loop),
        "routed out though inside"
    );

    let mut iad = iad(1, SITE_1);
    assert_eq!(
        iad.encapsulate(&mut udp(CORE, "2001:db8:1:99::1"), now),
        dropped(DropReason::Loop),
        "no discard route"
    );
    let mut packet = outer(SERVER, SITE_1, 0, &udp(CORE, "2001:db8:7::1"));
    assert_eq!(iad.decapsulate(&mut packet, now), dropped(DropReason::Loop));
    let mut packet = outer(SERVER, SITE_1, 0, &udp(PHONE_1, PHONE_1));
    assert_eq!(iad.decapsulate(&mut packet, now), dropped(DropReason::OwnSource));
}

#[test]
fn what_belongs_to_no_tunnel_ends_here() {
    let mut relay = server();
    let packet = udp(CORE, "2001:db8:3::1");
    let Verdict::RefuseInside(DropReason::NoTunnel, error) =
        relay.encapsulate(&mut packet.clone(), Instant::now())
    else {
        panic!()
    };
    let head = parse_inner(&error).unwrap();
    assert_eq!((head.source, head.destination), ("2001:db8:ffff::1".parse().unwrap(), CORE.parse().unwrap()));
    assert_eq!(error[40..42], [1, 3]);
    assert_eq!(error[48..], packet);
}

#[test]
fn from_site_to_site_the_packet_is_turned_around() {
    let mut relay = server();
    let inner = inner(PHONE_1, PHONE_2, 0xb8, 64, b"voice");
    let mut packet = outer(SITE_1, SERVER, 0, &inner);
    let Verdict::Tunnel(header, range) = relay.decapsulate(&mut packet, Instant::now()) else { panic!() };
    assert_eq!(header, OuterHeader::new(SERVER, SITE_2, 0xb8, inner.len(), 64).unwrap());
    let mut expected = inner.clone();
    expected[7] = 63;
    assert_eq!(packet[range], expected);
    assert_eq!(relay.counters().turned, 1);
    assert_eq!(relay.table().tunnel(TunnelId(1)).unwrap().traffic().packets_in, 1);
    assert_eq!(relay.table().tunnel(TunnelId(2)).unwrap().traffic().packets_out, 1);
}

#[test]
fn a_used_up_hop_limit_is_reported_to_the_sender() {
    let mut relay = server();
    for hop_limit in [0, 1] {
        let packet = inner(PHONE_1, PHONE_2, 0, hop_limit, b"x");
        let Verdict::RefuseTunnel(DropReason::HopLimit, header, error) = from_site_1(&mut relay, &packet)
        else {
            panic!()
        };
        assert_eq!(header, OuterHeader::new(SERVER, SITE_1, 0, error.len(), 64).unwrap());
        assert_eq!(error[40..42], [3, 0]);
        assert_eq!(error[48..], packet);
    }
    assert_eq!(
        relay.encapsulate(&mut inner(CORE, PHONE_1, 0, 0, b""), Instant::now()),
        dropped(DropReason::HopLimit)
    );
}

#[test]
fn what_is_longer_than_the_mtu_is_answered_with_it() {
    let mut relay = server();
    let now = Instant::now();
    let fits = inner(CORE, PHONE_1, 0, 64, &[0; 1280 - 40]);
    assert!(matches!(relay.encapsulate(&mut fits.clone(), now), Verdict::Tunnel(..)));
    let long = inner(CORE, PHONE_1, 0, 64, &[0; 1281 - 40]);
    let Verdict::RefuseInside(DropReason::TooBig, error) = relay.encapsulate(&mut long.clone(), now) else {
        panic!()
    };
    assert_eq!((&error[40..42], &error[44..48]), (&[2, 0][..], &1280u32.to_be_bytes()[..]));
    assert_eq!(error.len(), 1280);

    let long = inner(PHONE_2, PHONE_1, 0, 64, &[0; 1400 - 40]);
    let mut packet = outer(SITE_2, SERVER, 0, &long);
    let Verdict::RefuseTunnel(DropReason::TooBig, header, error) = relay.decapsulate(&mut packet, now) else {
        panic!()
    };
    assert_eq!(header.destination, SITE_2);
    assert_eq!(error[44..48], 1280u32.to_be_bytes());
    assert_eq!(error[48..], long[..1232], "the packet is quoted as it came");
    assert!(matches!(
        from_site_1(&mut relay, &inner(PHONE_1, PHONE_2, 0, 64, &[0; 1360])),
        Verdict::Tunnel(..)
    ));
    assert_eq!(relay.counters().dropped(DropReason::TooBig), 2);
}

#[test]
fn errors_are_limited_for_each_tunnel() {
    let mut relay = server();
    let start = Instant::now();
    let to_1 = inner(CORE, PHONE_1, 0, 64, &[0; 1400]);
    let to_2 = inner(CORE, PHONE_2, 0, 64, &[0; 1460]);
    let mut told = |packet: &[u8], ms| {
        let now = start + Duration::from_millis(ms);
        (0..50)
            .filter(|_| matches!(relay.encapsulate(&mut packet.to_vec(), now), Verdict::RefuseInside(..)))
            .count()
    };
    assert_eq!(told(&to_1, 0), 10);
    assert_eq!(told(&to_2, 0), 10, "the other tunnel has its own");
    assert_eq!(told(&to_1, 250), 2);
    assert_eq!(told(&udp(CORE, "2001:db8:3::1"), 250), 10, "and so has what belongs to none");
    assert_eq!(relay.counters().errors_sent, 32);
    assert_eq!(relay.counters().errors_held_back, 200 - 32);
    assert_eq!(relay.counters().dropped(DropReason::TooBig), 150);
}

#[test]
fn an_error_is_not_answered_with_an_error() {
    let mut relay = server();
    let mut packet = inner(CORE, "2001:db8:3::1", 0, 64, &[1, 0, 0, 0, 0, 0, 0, 0]);
    packet[6] = 58;
    assert_eq!(relay.encapsulate(&mut packet.clone(), Instant::now()), dropped(DropReason::NoTunnel));
}

#[test]
fn congestion_marks_come_through() {
    let mut relay = server();
    for (class, tos, left) in [
        (0xb8, 0x03, None),
        (0xba, 0x03, Some(0xbb)),
        (0xb9, 0x02, Some(0xb9)),
        (0xba, 0x01, Some(0xb9)),
        (0xbb, 0, Some(0xbb)),
    ] {
        for destination in [CORE, PHONE_2] {
            let inner = inner(PHONE_1, destination, class, 64, b"");
            let mut packet = outer(SITE_1, SERVER, tos, &inner);
            match (relay.decapsulate(&mut packet, Instant::now()), left) {
                (Verdict::Drop(DropReason::Congestion), None) => {}
                (Verdict::Inside(range), Some(left)) => {
                    assert_eq!(parse_inner(&packet[range]).unwrap().traffic_class, left);
                }
                (Verdict::Tunnel(header, range), Some(left)) => {
                    assert_eq!(parse_inner(&packet[range]).unwrap().traffic_class, left);
                    assert_eq!(header.bytes[1], left);
                }
                other => panic!("{class:#x} {tos:#x}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_moved_tunnel_takes_and_gives_at_its_new_address_only() {
    let mut relay = server();
    let new = Ipv4Addr::new(203, 0, 113, 9);
    relay.table_mut().move_to(TunnelId(1), Outer { client: new, server: SERVER }).unwrap();
    assert_eq!(from_site_1(&mut relay, &udp(PHONE_1, CORE)), dropped(DropReason::UnknownPair));
    let mut packet = outer(new, SERVER, 0, &udp(PHONE_1, CORE));
    assert!(matches!(relay.decapsulate(&mut packet, Instant::now()), Verdict::Inside(_)));
    let Verdict::Tunnel(header, _) = relay.encapsulate(&mut udp(CORE, PHONE_1), Instant::now()) else {
        panic!()
    };
    assert_eq!(header.destination, new);
}

#[test]
fn ten_thousand_tunnels_come_move_and_go_without_touching_the_others() {
    let mut relay = server();
    *relay.table_mut() = Table::new(10_000);
    let ends = |site: u32| Outer { client: Ipv4Addr::from(0x0a00_0000 + site), server: SERVER };
    for site in 0..10_000u32 {
        let prefix = format!("2001:db8:{site:x}::/48").parse().unwrap();
        let grant = Grant { prefix: Some(prefix), link: None };
        relay.table_mut().add(TunnelId(site.into()), ends(site), grant, 1280).unwrap();
    }
    for site in (0..10_000).step_by(3) {
        relay.table_mut().move_to(TunnelId(site.into()), ends(site + 20_000)).unwrap();
    }
    for site in (1..10_000u32).step_by(3) {
        relay.table_mut().remove(TunnelId(site.into())).unwrap();
    }
    for site in 0..10_000u32 {
        let verdict =
            relay.encapsulate(&mut udp("2400::1", &format!("2001:db8:{site:x}::1")), Instant::now());
        match site % 3 {
            1 => assert!(matches!(verdict, Verdict::RefuseInside(..) | Verdict::Drop(DropReason::NoTunnel))),
            moved => {
                let Verdict::Tunnel(header, _) = verdict else { panic!("{site}: {verdict:?}") };
                let client = ends(if moved == 0 { site + 20_000 } else { site }).client;
                assert_eq!(header.destination, client);
            }
        }
    }
}

/// A SYN that announces segments of 1,440 bytes.
fn syn(source: &str, destination: &str) -> Vec<u8> {
    let mut segment =
        vec![0x13, 0xc4, 0x9a, 0x01, 1, 2, 3, 4, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4];
    segment.extend(1440u16.to_be_bytes());
    let mut packet = inner(source, destination, 0, 64, &segment);
    packet[6] = 6;
    packet
}

#[test]
fn a_connection_never_announces_more_than_the_narrowest_tunnel_takes() {
    let announced = |packet: &[u8]| u16::from_be_bytes([packet[62], packet[63]]);
    let mut relay = server();
    let now = Instant::now();
    for (client, source, destination, size) in
        [(SITE_1, PHONE_1, CORE, 1220), (SITE_2, PHONE_2, CORE, 1394), (SITE_2, PHONE_2, PHONE_1, 1220)]
    {
        let mut packet = outer(client, SERVER, 0, &syn(source, destination));
        let (Verdict::Inside(range) | Verdict::Tunnel(_, range)) = relay.decapsulate(&mut packet, now) else {
            panic!()
        };
        assert_eq!(announced(&packet[range]), size, "{source} {destination}");
    }
    for (destination, size) in [(PHONE_1, 1220), (PHONE_2, 1394)] {
        let mut packet = syn(CORE, destination);
        assert!(matches!(relay.encapsulate(&mut packet, now), Verdict::Tunnel(..)));
        assert_eq!(announced(&packet), size, "{destination}");
    }
    relay.settings.clamp_mss = false;
    let mut packet = syn(CORE, PHONE_1);
    assert!(matches!(relay.encapsulate(&mut packet, now), Verdict::Tunnel(..)));
    assert_eq!(announced(&packet), 1440, "not asked for");
}

/// Addresses of all kinds, those that matter more often.
fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (1u16..4, any::<u16>()).prop_map(|(site, host)| format!("2001:db8:{site}::{host:x}")),
        2 => any::<u16>().prop_map(|host| format!("2001:db8:ffff::{host:x}")),
        1 => any::<u128>().prop_map(|any| Ipv6Addr::from(any).to_string()),
        1 => prop::sample::select(vec!["fe80::1", "::", "::1", "2002::1", "ff02::1", "2001:db8:fffe::1:2"]).prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_each_packet_is_counted_once(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120),
        as_outer: bool,
    ) {
        let mut relay = server();
        let verdict = if as_outer {
            let mut packet = outer(SITE_1, SERVER, 3, &bytes);
            relay.decapsulate(&mut packet, Instant::now())
        } else {
            relay.decapsulate(&mut bytes.clone(), Instant::now());
            relay = server();
            if let Some(first) = bytes.first_mut() {
                *first = 0x60 | *first & 0x0f;
            }
            relay.encapsulate(&mut bytes, Instant::now())
        };
        let counters = relay.counters();
        let dropped: u64 = DropReason::ALL.iter().map(|&reason| counters.dropped(reason)).sum();
        prop_assert_eq!(dropped + counters.to_inside + counters.to_tunnel + counters.turned, 1, "{:?}", verdict);
    }

    #[test]
    fn what_is_decapsulated_was_inside(
        source in address(), destination in address(), class: u8, hop: u8, tos: u8,
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut relay = server();
        let packet = inner(&source, &destination, class, hop, &payload);
        let mut bytes = outer(SITE_1, SERVER, tos, &packet);
        let verdict = relay.decapsulate(&mut bytes, Instant::now());
        let (range, hop_limit) = match verdict {
            Verdict::Inside(range) => (range, hop),
            Verdict::Tunnel(_, range) => (range, hop - 1),
            _ => return Ok(()),
        };
        let passed = &bytes[range];
        let head = parse_inner(passed).unwrap();
        let tunnel = relay.table().tunnel(TunnelId(1)).unwrap();
        prop_assert!(tunnel.grant().covers(head.source));
        prop_assert!(!tunnel.grant().covers(head.destination));
        let mut expected = packet.clone();
        expected[7] = hop_limit;
        // Only the two ECN bits may differ besides.
        expected[1] = expected[1] & !0x30 | passed[1] & 0x30;
        prop_assert_eq!(passed, &expected[..]);
    }

    #[test]
    fn through_both_ends_a_packet_comes_out_as_it_went_in(
        up: bool, host: u16, other in prop_oneof![Just("2400::7"), Just(CORE)], class: u8, hop in 1u8..,
        payload in prop::collection::vec(any::<u8>(), 0..1240),
    ) {
        let (mut server, mut site) = (server(), iad(1, SITE_1));
        let phone = format!("2001:db8:1::{host:x}");
        let (near, far, packet) = if up {
            (&mut site, &mut server, inner(&phone, other, class, hop, &payload))
        } else {
            (&mut server, &mut site, inner(other, &phone, class, hop, &payload))
        };
        let now = Instant::now();
        let Verdict::Tunnel(header, range) = near.encapsulate(&mut packet.clone(), now) else { panic!() };
        let mut wire = [&header.bytes[..], &packet[range]].concat();
        prop_assert_eq!(parse_outer(&wire).unwrap().destination, header.destination);
        let Verdict::Inside(range) = far.decapsulate(&mut wire, now) else { panic!() };
        prop_assert_eq!(&wire[range], &packet[..]);
    }

    #[test]
    fn from_site_to_site_only_the_hop_limit_changes(class: u8, hop in 2u8.., payload in prop::collection::vec(any::<u8>(), 0..1240)) {
        let (mut server, mut one, mut two) = (server(), iad(1, SITE_1), iad(2, SITE_2));
        let packet = inner(PHONE_1, PHONE_2, class, hop, &payload);
        let now = Instant::now();
        let Verdict::Tunnel(header, range) = one.encapsulate(&mut packet.clone(), now) else { panic!() };
        let mut wire = [&header.bytes[..], &packet[range]].concat();
        let Verdict::Tunnel(header, range) = server.decapsulate(&mut wire, now) else { panic!() };
        let mut wire = [&header.bytes[..], &wire[range]].concat();
        let Verdict::Inside(range) = two.decapsulate(&mut wire, now) else { panic!() };
        let mut expected = packet;
        expected[7] = hop - 1;
        prop_assert_eq!(&wire[range], &expected[..]);
    }
}
