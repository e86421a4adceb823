//! What happens on the IPv4 side.

use std::net::Ipv4Addr;

use tunnel_broker::Outer;
use tunnel_broker::plane::DataPlane;

use super::dorm::{Dorm, status, wait_for_address, wait_for_status};
use crate::need_root;
use crate::world::{CENTRE, SERVER, ping};

#[test]
fn a_renumbered_line_logs_in_at_once_and_the_phone_notices_nothing() {
    need_root!();
    let dorm = Dorm::new();
    let settings = dorm.settings();
    let _agent = dorm.start(&settings);
    let phone = dorm.phone_address(1);
    wait_for_address(&dorm.phone, "eth0", phone);
    let (before, _) = dorm.broker.wait_for("tunnel ");
    assert_eq!(before, dorm.site.address);
    ping(&dorm.phone, &phone.to_string(), CENTRE, b"before");

    let after = Ipv4Addr::new(198, 51, 100, 201);
    dorm.centre.namespace.ip(&format!("route add {after} dev site1 src {SERVER}"));
    dorm.site.take(after);
    dorm.site.namespace.ip(&format!("addr del {before}/32 dev wan"));
    let (seen, _) = dorm.broker.wait_for("tunnel ");
    assert_eq!(seen, after);
    let outer = Outer { client: after, server: SERVER };
    dorm.centre.plane.move_to(dorm.site.tunnel(), outer).unwrap();
    let status =
        wait_for_status(&settings, |seen| seen.site.as_ref().is_some_and(|site| site.local == after));
    ping(&dorm.phone, &phone.to_string(), CENTRE, b"after");
    wait_for_address(&dorm.phone, "eth0", phone);
    assert_eq!(status.login.logins, 2);
}

#[test]
fn the_tunnel_outlives_a_lost_session() {
    need_root!();
    let dorm = Dorm::new();
    let settings = dorm.settings();
    let _agent = dorm.start(&settings);
    let phone = dorm.phone_address(1);
    wait_for_address(&dorm.phone, "eth0", phone);
    dorm.broker.wait_for("tunnel ");
    dorm.broker.break_off();
    ping(&dorm.phone, &phone.to_string(), CENTRE, b"without a session");
    dorm.broker.wait_for("tunnel ");
    dorm.broker.wait_for("centre");
    ping(&dorm.phone, &phone.to_string(), CENTRE, b"with another one");
}

#[test]
fn a_box_behind_a_nat_says_so_and_goes_on() {
    need_root!();
    let dorm = Dorm::new();
    dorm.broker.change(|script| script.seen_as = Some(Ipv4Addr::new(203, 0, 113, 9)));
    let settings = dorm.settings();
    let _agent = dorm.start(&settings);
    wait_for_address(&dorm.phone, "eth0", dorm.phone_address(1));
    let site = status(&settings).site.unwrap();
    assert!(site.behind_nat);
    assert_eq!((site.local, site.seen_as), (dorm.site.address, Ipv4Addr::new(203, 0, 113, 9)));
}

#[test]
fn a_tunnel_whose_device_was_removed_is_raised_again() {
    need_root!();
    let dorm = Dorm::new();
    let settings = dorm.settings();
    let _agent = dorm.start(&settings);
    let phone = dorm.phone_address(1);
    wait_for_address(&dorm.phone, "eth0", phone);
    ping(&dorm.phone, &phone.to_string(), CENTRE, b"before");
    dorm.site.namespace.ip("link del cx6iad");
    // A tunnel that has carried nothing yet is another one.
    wait_for_status(&settings, |seen| seen.tunnel.as_ref().is_some_and(|tunnel| tunnel.packets_out == 0));
    ping(&dorm.phone, &phone.to_string(), CENTRE, b"after");
}
