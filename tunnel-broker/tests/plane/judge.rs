//! What is refused, and how the sender learns of it.

use std::net::Ipv4Addr;

use tunnel_broker::plane::DataPlane;
use tunnel_broker::tunnel::DropReason;

use crate::need_root;
use crate::packet::{ICMPV6, Inner, TCP};
use crate::world::{CENTRE, Centre, Raw, await_that, udp};

#[test]
fn what_may_not_come_out_of_a_tunnel_is_dropped_and_counted_by_its_reason() {
    need_root!();
    let mut centre = Centre::new();
    let (site, other) = (centre.site(), centre.site());
    let (wire, core) = (site.by_hand(), udp(&centre.namespace, CENTRE));
    let port = core.local_addr().unwrap().port();
    let from = |source: &str, data: &[u8]| Inner::udp(source, CENTRE, (5004, port), data);
    let phone = site.phone();
    wire.send(&from(&other.phone(), b"spoofed"));
    wire.send(&from("2400::1", b"spoofed"));
    wire.send(&from("2001:db8:ffff::7", b"ours"));
    wire.send(&from("2002:c000:201::1", b"forbidden"));
    wire.send(&Inner::udp(&phone, "2001:db8:1:77::1", (1, 1), b"back to the site itself"));
    wire.send_as(Ipv4Addr::new(203, 0, 113, 1), &from(&phone, b"from nowhere").bytes());
    wire.send_as(other.address, &from(&phone, b"as if from the other site").bytes());
    wire.send_as(site.address, b"no packet");
    wire.send(&from(&phone, b"good"));
    let mut data = [0; 100];
    let (len, source) = core.recv_from(&mut data).expect("the last packet in time");
    assert_eq!((&data[..len], source.ip().to_string()), (&b"good"[..], phone));
    // The system may swap packets where a thread changes its processor.
    for (reason, count) in [
        (DropReason::SpoofedSource, 3),
        (DropReason::OwnSource, 1),
        (DropReason::ForbiddenSource, 1),
        (DropReason::Loop, 1),
        (DropReason::UnknownPair, 1),
        (DropReason::InnerMalformed, 1),
    ] {
        await_that(|| centre.plane.counters().relay.dropped(reason) == count);
    }
    assert_eq!(centre.plane.counters().relay.to_inside, 1);
    assert_eq!(centre.plane.traffic(site.tunnel()).unwrap().dropped, 6);
}

#[test]
fn a_packet_too_big_for_the_other_sites_tunnel_is_answered() {
    need_root!();
    let mut centre = Centre::new();
    let (one, two) = (centre.site(), centre.site());
    let wire = one.by_hand();
    let long = Inner::udp(&one.phone(), &two.phone(), (1, 2), &[7; 1300]);
    wire.send(&long);
    let (outer, error) = wire.receive();
    assert_eq!(outer[6..8], [0, 0], "it may be fragmented");
    assert_ne!(outer[4..6], [0, 0], "the system gives an identification");
    assert_eq!(error.next_header, ICMPV6);
    assert_eq!(error.source, CENTRE.parse::<std::net::Ipv6Addr>().unwrap());
    assert_eq!(error.destination, long.source);
    assert_eq!((&error.payload[..2], &error.payload[4..8]), (&[2, 0][..], &1280u32.to_be_bytes()[..]));
    assert_eq!(error.payload[8..], long.bytes()[..1280 - 48]);
    assert_eq!(error.sum(), 0);
    assert_eq!(centre.plane.counters().relay.dropped(DropReason::TooBig), 1);
}

#[test]
fn a_hop_limit_ends_between_two_sites() {
    need_root!();
    let mut centre = Centre::new();
    let (one, two) = (centre.site(), centre.site());
    let (wire, far) = (one.by_hand(), two.by_hand());
    let mut packet = Inner::udp(&one.phone(), &two.phone(), (1, 2), b"hop");
    packet.hop_limit = 2;
    wire.send(&packet);
    let (_, turned) = far.receive();
    assert_eq!((turned.hop_limit, &turned.payload), (1, &packet.payload));
    packet.hop_limit = 1;
    wire.send(&packet);
    let error = wire.receive_of(ICMPV6);
    assert_eq!(error.payload[..2], [3, 0]);
    assert_eq!(error.payload[8..], packet.bytes());
    assert_eq!(centre.plane.counters().relay.turned, 1);
    assert_eq!(centre.plane.counters().relay.dropped(DropReason::HopLimit), 1);
}

#[test]
fn what_belongs_to_no_tunnel_ends_at_the_server_and_its_sender_is_told() {
    need_root!();
    let centre = Centre::new();
    let (core, errors) = (udp(&centre.namespace, CENTRE), Raw::open(&centre.namespace, CENTRE, ICMPV6));
    core.send_to(b"anybody?", ("2001:db8:77::1", 5060)).unwrap();
    let error = errors.receive();
    assert_eq!((&error[..2], &error[error.len() - 8..]), (&[1, 3][..], &b"anybody?"[..]));
    assert_eq!(centre.plane.counters().relay.dropped(DropReason::NoTunnel), 1);
}

#[test]
fn a_connection_announces_no_larger_segments_than_the_tunnel_takes() {
    need_root!();
    let mut centre = Centre::new();
    let site = centre.site();
    let (wire, core) = (site.by_hand(), Raw::open(&centre.namespace, CENTRE, TCP));
    let announced = |segment: &[u8]| u16::from_be_bytes([segment[22], segment[23]]);

    wire.send(&Inner::syn(&site.phone(), CENTRE, (4000, 5061), 1440));
    let segment = core.receive();
    assert_eq!((segment.len(), announced(&segment)), (24, 1220));
    // Nobody listens there: the system's reset is proof that it found the checksum right.
    let reset = wire.receive_of(TCP);
    assert_eq!(reset.payload[13] & 0x04, 0x04);

    let syn = Inner::syn(CENTRE, &site.phone(), (5061, 4000), 1440);
    core.send(&syn.payload, &site.phone());
    let passed = wire.receive_of(TCP);
    assert_eq!((announced(&passed.payload), passed.sum()), (1220, 0));
}

#[test]
fn a_removed_tunnel_carries_nothing_more() {
    need_root!();
    let mut centre = Centre::new();
    let (site, other) = (centre.site(), centre.site());
    let (wire, rest) = (site.by_hand(), other.by_hand());
    let core = udp(&centre.namespace, CENTRE);
    let port = core.local_addr().unwrap().port();
    centre.plane.remove(site.tunnel()).unwrap();
    centre.plane.remove(site.tunnel()).unwrap();
    assert_eq!(centre.plane.traffic(site.tunnel()), None);
    wire.send(&Inner::udp(&site.phone(), CENTRE, (1, port), b"gone"));
    await_that(|| centre.plane.counters().relay.dropped(DropReason::UnknownPair) == 1);
    rest.send(&Inner::udp(&other.phone(), CENTRE, (1, port), b"here"));
    let mut data = [0; 10];
    let (len, _) = core.recv_from(&mut data).expect("a datagram in time");
    assert_eq!(&data[..len], b"here");
    assert_eq!(centre.plane.counters().tunnels, 1);
}
