//! What can be missing, and what the system may do to packets.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Command;

use tunnel_broker::plane::{DataPlane, PlaneError, PlaneSettings, UserPlane};

use crate::namespace::Namespace;
use crate::need_root;
use crate::packet::Inner;
use crate::world::{CENTRE, Centre, await_that, carry, udp};

fn settings(device: &str, local: Ipv4Addr) -> PlaneSettings {
    PlaneSettings::new(device, local, CENTRE.parse().unwrap())
}

fn start(namespace: &Namespace, settings: PlaneSettings) -> Result<UserPlane, PlaneError> {
    namespace.run(move || UserPlane::start(settings))
}

#[test]
fn a_plane_that_cannot_be_says_why() {
    need_root!();
    let namespace = Namespace::new();
    let local = Ipv4Addr::LOCALHOST;
    let away = Ipv4Addr::new(192, 0, 2, 9);
    let error = start(&namespace, settings("tunnels", away)).unwrap_err();
    assert!(matches!(error, PlaneError::NotLocal { address, .. } if address == away), "{error:?}");
    assert!(error.to_string().contains("192.0.2.9"));
    for name in ["", "sixteen-letters-", "a/b", "a b", "..", "a%d"] {
        let error = start(&namespace, settings(name, local)).unwrap_err();
        assert!(matches!(error, PlaneError::Setting { name: "device", .. }), "{name:?}: {error:?}");
    }
    let error = start(&namespace, PlaneSettings { mtu: 1279, ..settings("tunnels", local) }).unwrap_err();
    assert!(matches!(error, PlaneError::Setting { name: "mtu", .. }), "{error:?}");

    let first = start(&namespace, settings("tunnels", local)).unwrap();
    let error = start(&namespace, settings("tunnels", local)).unwrap_err();
    assert!(matches!(&error, PlaneError::DeviceBusy { name, .. } if name == "tunnels"), "{error:?}");
    drop(first);
    drop(start(&namespace, settings("tunnels", local)).unwrap());
    namespace.join("occupied", &namespace, "other");
    let error = start(&namespace, settings("occupied", local)).unwrap_err();
    assert!(matches!(error, PlaneError::DeviceBusy { .. }), "{error:?}");
}

#[test]
fn a_process_without_privileges_is_told_which_it_needs() {
    need_root!();
    let own = std::env::current_exe().unwrap();
    let output = Command::new("setpriv")
        .args(["--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw"])
        .arg(own)
        .args(["--exact", "trouble::without_privileges", "--include-ignored", "--nocapture"])
        .output()
        .expect("setpriv (util-linux)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "a_process_without_privileges_is_told_which_it_needs runs it"]
fn without_privileges() {
    let error = UserPlane::start(settings("tunnels", Ipv4Addr::LOCALHOST)).unwrap_err();
    assert!(matches!(error, PlaneError::NotPermitted { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("CAP_NET_ADMIN") && text.contains("CAP_NET_RAW"), "{text}");
}

#[test]
fn the_device_is_up_has_the_mtu_and_no_address_and_is_gone_with_the_plane() {
    need_root!();
    let namespace = Namespace::new();
    let local = Ipv4Addr::LOCALHOST;
    let plane = start(&namespace, PlaneSettings { mtu: 1400, ..settings("tunnels", local) }).unwrap();
    let shown = |namespace: &Namespace| {
        namespace.run(|| {
            let output = Command::new("ip").args(["addr", "show", "dev", "tunnels"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        })
    };
    let text = shown(&namespace);
    assert!(text.contains("mtu 1400") && text.contains(",UP") && !text.contains("inet"), "{text}");
    assert_eq!(plane.device(), "tunnels");
    drop(plane);
    assert_eq!(shown(&namespace), "");
}

#[test]
fn a_device_that_somebody_removes_stops_the_plane() {
    need_root!();
    let namespace = Namespace::new();
    let plane = start(&namespace, settings("tunnels", Ipv4Addr::LOCALHOST)).unwrap();
    assert!(plane.is_running());
    namespace.ip("link del tunnels");
    await_that(|| !plane.is_running());
    drop(plane);
    drop(start(&namespace, settings("tunnels", Ipv4Addr::LOCALHOST)).unwrap());
}

#[test]
fn what_cannot_be_sent_to_one_site_keeps_nothing_from_another() {
    need_root!();
    let mut centre = Centre::new();
    let (blocked, open) = (centre.site(), centre.site());
    let wire = open.by_hand();
    centre.namespace.command("nft add table ip filter");
    centre.namespace.command("nft add chain ip filter output { type filter hook output priority 0 ; }");
    centre.namespace.command(&format!("nft add rule ip filter output ip daddr {} drop", blocked.address));
    let core = udp(&centre.namespace, CENTRE);
    let mut missing: BTreeSet<u32> = (0..100).collect();
    let mut sent = 0;
    while !missing.is_empty() {
        for index in &missing {
            for site in [&blocked, &open] {
                core.send_to(&index.to_be_bytes(), (site.phone().as_str(), 5060)).unwrap();
            }
        }
        sent += missing.len() as u64;
        while !missing.is_empty()
            && let Some(inner) = wire.receive_soon()
        {
            missing.remove(&u32::from_be_bytes(inner.payload[8..].try_into().unwrap()));
        }
    }
    await_that(|| centre.plane.counters().send.not_permitted == sent);
    await_that(|| centre.plane.counters().relay.to_tunnel == 2 * sent);
}

#[test]
fn where_the_first_link_is_narrow_packets_go_in_fragments() {
    need_root!();
    let mut centre = Centre::new();
    let site = centre.site();
    centre.namespace.ip("link set site1 mtu 1000");
    let iad = site.raise(site.address);
    let (phone, core) = (udp(&site.namespace, &site.phone()), udp(&centre.namespace, CENTRE));
    for len in [1232, 100, 1000, 1232] {
        carry(&core, &phone, &vec![len as u8; len]);
    }
    assert_eq!(centre.plane.counters().send, Default::default());
    assert!(iad.counters().relay.to_inside >= 4);
}

#[test]
fn a_burst_that_comes_while_nobody_looks_waits_or_is_counted() {
    need_root!();
    let mut centre = Centre::new();
    let site = centre.site();
    let wire = site.by_hand();
    let packet = Inner::udp(&site.phone(), CENTRE, (1, 9), &[7; 160]);
    // The first one finds its neighbour, for which not all would wait.
    wire.send(&packet);
    await_that(|| centre.plane.counters().relay.to_inside == 1);
    const SENT: u64 = 20_000;
    for _ in 1..SENT {
        wire.send(&packet);
    }
    await_that(|| {
        let counters = centre.plane.counters();
        counters.relay.to_inside + counters.overflows + site.namespace.lost_by("wan") == SENT
    });
}
