//! What is carried.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use tunnel_broker::plane::DataPlane;

use crate::namespace::{ETHTOOL_SGRO, ETHTOOL_STSO, ethtool, wait_to_merge};
use crate::need_root;
use crate::world::{CENTRE, Centre, PATIENCE, Site, assert_nothing_dropped, exchange, ping, udp};

#[test]
fn echo_requests_and_datagrams_pass_both_ways() {
    need_root!();
    let mut centre = Centre::new();
    let site = centre.site();
    let iad = site.raise(site.address);
    let mut resent = ping(&site.namespace, &site.phone(), CENTRE, b"from the site") as usize;
    resent += ping(&centre.namespace, CENTRE, &site.phone(), &[7; 1232]) as usize;
    let (phone, core) = (udp(&site.namespace, &site.phone()), udp(&centre.namespace, CENTRE));
    resent += exchange(&phone, &core, 0..200);

    assert!(centre.plane.is_running() && iad.is_running());
    assert_nothing_dropped(&centre.plane);
    assert_nothing_dropped(&iad);
    let traffic = centre.plane.traffic(site.tunnel()).unwrap();
    assert!(traffic.packets_in >= 202 && traffic.packets_out >= 202 && traffic.dropped == 0, "{traffic:?}");
    // What was sent again, and whether it came twice, depends on the machine.
    if resent == 0 {
        let counters = centre.plane.counters();
        assert_eq!((traffic.packets_in, traffic.packets_out), (202, 202));
        assert_eq!((counters.relay.to_inside, counters.relay.to_tunnel, counters.tunnels), (202, 202, 1));
        assert_eq!(iad.counters().relay.to_tunnel, 202);
    }
}

/// Sends this over a TCP connection from the centre to the site; gives what arrives.
fn download(centre: &Centre, site: &Site, data: &[u8]) -> Vec<u8> {
    let address: SocketAddr = format!("[{CENTRE}]:0").parse().unwrap();
    let listener = centre.namespace.run(move || TcpListener::bind(address).unwrap());
    let address = listener.local_addr().unwrap();
    let mut phone =
        site.namespace.run(move || TcpStream::connect_timeout(&address, PATIENCE).expect("a connection"));
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut core = listener.accept().unwrap().0;
    core.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut got = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || core.write_all(data).unwrap());
        phone.read_to_end(&mut got).expect("everything in time");
    });
    got
}

#[test]
fn a_connection_passes_whether_its_segments_come_one_by_one_or_merged() {
    need_root!();
    let mut centre = Centre::new();
    let site = centre.site();
    let iad = site.raise(site.address);
    let data: Vec<u8> = (0..3_000_000u32).map(|index| (index ^ index >> 8) as u8).collect();
    assert!(download(&centre, &site, &data) == data);
    assert_eq!(iad.counters().merged, 0);
    // A virtual cable merges only what comes from an end that leaves nothing undone.
    centre.namespace.run(|| ethtool("site1", ETHTOOL_STSO, false));
    site.namespace.run(|| {
        ethtool("wan", ETHTOOL_SGRO, true);
        wait_to_merge("wan");
    });
    assert!(download(&centre, &site, &data) == data);
    assert!(iad.counters().merged > 0, "the system merges");
    assert_eq!(centre.plane.traffic(site.tunnel()).unwrap().dropped, 0);
}
