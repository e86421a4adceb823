//! What is carried.

use tunnel_broker::plane::DataPlane;

use crate::need_root;
use crate::world::{CENTRE, Centre, ping, udp};

#[test]
fn echo_requests_and_datagrams_pass_both_ways() {
    need_root!();
    let mut centre = Centre::new();
    let site = centre.site();
    let iad = site.raise(site.address);
    ping(&site.namespace, &site.phone(), CENTRE, b"from the site");
    ping(&centre.namespace, CENTRE, &site.phone(), &[7; 1232]);

    let (phone, core) = (udp(&site.namespace, &site.phone()), udp(&centre.namespace, CENTRE));
    for index in 0..200u32 {
        phone.send_to(&index.to_be_bytes(), core.local_addr().unwrap()).unwrap();
        core.send_to(&index.to_be_bytes(), phone.local_addr().unwrap()).unwrap();
    }
    for index in 0..200u32 {
        let mut data = [0; 8];
        for socket in [&core, &phone] {
            let (len, _) = socket.recv_from(&mut data).expect("a datagram in time");
            assert_eq!(data[..len], index.to_be_bytes(), "in order");
        }
    }
    let traffic = centre.plane.traffic(site.tunnel()).unwrap();
    assert_eq!((traffic.packets_in, traffic.packets_out, traffic.dropped), (202, 202, 0));
    let counters = centre.plane.counters();
    assert_eq!((counters.relay.to_inside, counters.relay.to_tunnel, counters.tunnels), (202, 202, 1));
    assert_eq!(iad.counters().relay.to_tunnel, 202);
    assert_eq!(counters.send, Default::default());
    assert!(centre.plane.is_running() && iad.is_running());
}
