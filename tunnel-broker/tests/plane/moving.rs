//! Tunnels that move, and many of them at once.

use std::net::Ipv4Addr;

use tunnel_broker::plane::DataPlane;
use tunnel_broker::tunnel::TableError;
use tunnel_broker::{Grant, Outer, TunnelId};

use crate::need_root;
use crate::world::{CENTRE, Centre, SERVER, assert_nothing_dropped, exchange, udp};

#[test]
fn a_renumbered_site_loses_no_packet_that_was_not_on_its_way() {
    need_root!();
    let mut centre = Centre::new();
    let site = centre.site();
    let iad = site.raise(Ipv4Addr::UNSPECIFIED);
    let (phone, core) = (udp(&site.namespace, &site.phone()), udp(&centre.namespace, CENTRE));
    let mut resent = exchange(&phone, &core, 0..100);
    for round in 1..10 {
        let address = Ipv4Addr::new(203, 0, 113, round);
        site.take(address);
        centre.namespace.ip(&format!("route add {address} dev site1 src {SERVER}"));
        iad.move_to(TunnelId(1), Outer { client: SERVER, server: address }).unwrap();
        centre.plane.move_to(site.tunnel(), Outer { client: address, server: SERVER }).unwrap();
        // Whatever is sent from now on arrives.
        let first = 100 * u32::from(round);
        resent += exchange(&phone, &core, first..first + 100);
    }
    let traffic = centre.plane.traffic(site.tunnel()).unwrap();
    assert!(traffic.packets_in >= 1000 && traffic.packets_out >= 1000 && traffic.dropped == 0, "{traffic:?}");
    // A datagram that the machine was slow with, and that was sent again, may still be on its way when the site moves.
    if resent == 0 {
        assert_nothing_dropped(&centre.plane);
        assert_nothing_dropped(&iad);
        assert_eq!((traffic.packets_in, traffic.packets_out), (1000, 1000));
    }
}

#[test]
fn ten_thousand_tunnels_come_move_and_go_while_one_carries_packets() {
    need_root!();
    let mut centre = Centre::new();
    let site = centre.site();
    let iad = site.raise(site.address);
    let (phone, core) = (udp(&site.namespace, &site.phone()), udp(&centre.namespace, CENTRE));
    let id = |number: u32| TunnelId(u64::from(number) + 100);
    let ends = |number: u32| Outer { client: Ipv4Addr::from(0x0a00_0000 + number), server: SERVER };
    let grant = |number: u32| Grant {
        prefix: Some(format!("2001:db8:{:x}::/48", number + 2).parse().unwrap()),
        link: None,
    };
    let plane = &centre.plane;
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            for number in 0..9_999 {
                plane.add(id(number), ends(number), grant(number)).unwrap();
            }
            let full = plane.add(id(9_999), ends(9_999), grant(9_999)).unwrap_err();
            assert!(matches!(full, tunnel_broker::plane::PlaneError::Table(TableError::Full(10_000))));
            assert_eq!(plane.counters().tunnels, 10_000);
            for number in 0..9_999 {
                plane.move_to(id(number), ends(number + 20_000)).unwrap();
            }
            for number in 0..9_999 {
                plane.remove(id(number)).unwrap();
            }
        });
        for number in 0.. {
            exchange(&phone, &core, number..number + 1);
            if churn.is_finished() && number >= 100 {
                break;
            }
        }
    });
    assert_nothing_dropped(plane);
    assert_nothing_dropped(&iad);
    assert_eq!(plane.counters().tunnels, 1);
    assert_eq!(plane.traffic(site.tunnel()).unwrap().dropped, 0);
}
