//! Tunnels that move, and many of them at once.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use tunnel_broker::plane::DataPlane;
use tunnel_broker::tunnel::TableError;
use tunnel_broker::{Grant, Outer, TunnelId};

use crate::need_root;
use crate::world::{CENTRE, Centre, SERVER, udp};

#[test]
fn a_renumbered_site_loses_no_packet_that_was_not_on_its_way() {
    need_root!();
    let mut centre = Centre::new();
    let site = centre.site();
    let iad = site.raise(Ipv4Addr::UNSPECIFIED);
    let (phone, core) = (udp(&site.namespace, &site.phone()), udp(&centre.namespace, CENTRE));
    let exchange = |round: u32| {
        for index in 0..100 {
            let data = (round * 100 + index).to_be_bytes();
            phone.send_to(&data, core.local_addr().unwrap()).unwrap();
            core.send_to(&data, phone.local_addr().unwrap()).unwrap();
        }
        for socket in [&phone, &core] {
            for index in 0..100 {
                let mut data = [0; 8];
                let (len, _) = socket.recv_from(&mut data).expect("a datagram in time");
                assert_eq!(data[..len], (round * 100 + index).to_be_bytes());
            }
        }
    };
    exchange(0);
    for round in 1..10 {
        let address = Ipv4Addr::new(203, 0, 113, round);
        site.take(address);
        centre.namespace.ip(&format!("route add {address} dev site1 src {SERVER}"));
        iad.move_to(TunnelId(1), Outer { client: SERVER, server: address }).unwrap();
        centre.plane.move_to(site.tunnel(), Outer { client: address, server: SERVER }).unwrap();
        // Whatever is sent from now on arrives.
        exchange(round.into());
    }
    let traffic = centre.plane.traffic(site.tunnel()).unwrap();
    assert_eq!((traffic.packets_in, traffic.packets_out, traffic.dropped), (1000, 1000, 0));
}

#[test]
fn ten_thousand_tunnels_come_move_and_go_while_one_carries_packets() {
    need_root!();
    let mut centre = Centre::new();
    let site = centre.site();
    let _iad = site.raise(site.address);
    let (phone, core) = (udp(&site.namespace, &site.phone()), udp(&centre.namespace, CENTRE));
    let id = |number: u32| TunnelId(u64::from(number) + 100);
    let ends = |number: u32| Outer { client: Ipv4Addr::from(0x0a00_0000 + number), server: SERVER };
    let grant = |number: u32| Grant {
        prefix: Some(format!("2001:db8:{:x}::/48", number + 2).parse().unwrap()),
        link: None,
    };
    let (plane, is_done) = (&centre.plane, AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
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
            is_done.store(true, Ordering::Release);
        });
        let mut index = 0u32;
        while !is_done.load(Ordering::Acquire) || index < 100 {
            for (from, to) in [(&phone, &core), (&core, &phone)] {
                from.send_to(&index.to_be_bytes(), to.local_addr().unwrap()).unwrap();
                let mut data = [0; 8];
                let (len, _) = to.recv_from(&mut data).expect("a datagram in time");
                assert_eq!(data[..len], index.to_be_bytes());
            }
            index += 1;
        }
    });
    assert_eq!(centre.plane.counters().tunnels, 1);
    assert_eq!(centre.plane.traffic(site.tunnel()).unwrap().dropped, 0);
}
