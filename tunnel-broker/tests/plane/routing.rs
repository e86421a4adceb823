//! Addresses and routes.

use std::process::Command;

use tunnel_broker::plane::routes::{DEFAULT_METRIC, Discard, RouteError};

use crate::namespace::Namespace;
use crate::need_root;
use crate::world::with_routes;

fn shown(words: &'static str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn routes_come_and_go_and_doing_it_twice_does_no_harm() {
    need_root!();
    let namespace = Namespace::new();
    namespace.join("lan", &namespace, "phone");
    namespace.run(|| {
        with_routes(async |routes| {
            let (all, site) = ("::/0".parse().unwrap(), "2001:db8:1::/48".parse().unwrap());
            for _ in 0..2 {
                routes.add_route(all, "lan", DEFAULT_METRIC).await.unwrap();
                routes.add_route(site, "lan", DEFAULT_METRIC).await.unwrap();
                routes.add_discard(site, Discard::Unreachable).await.unwrap();
            }
            let text = shown("-6 route show");
            assert_eq!(text.matches("default dev lan").count(), 1, "{text}");
            assert_eq!(text.matches("2001:db8:1::/48 dev lan").count(), 1, "{text}");
            assert_eq!(text.matches("unreachable 2001:db8:1::/48").count(), 1, "{text}");
            assert!(
                shown("-6 route get 2001:db8:1::7").contains("dev lan"),
                "the device goes before the discard"
            );
            for _ in 0..2 {
                routes.remove_route(site, "lan", DEFAULT_METRIC).await.unwrap();
            }
            assert_eq!(shown("-6 route get 2001:db8:1::7"), "", "unreachable, not by the default route");
            routes.add_discard("2001:db8:2::/48".parse().unwrap(), Discard::Blackhole).await.unwrap();
            assert!(shown("-6 route show").contains("blackhole 2001:db8:2::/48"));
            for _ in 0..2 {
                routes.remove_discard(site, Discard::Unreachable).await.unwrap();
                routes.remove_discard("2001:db8:2::/48".parse().unwrap(), Discard::Blackhole).await.unwrap();
                routes.remove_route(all, "lan", DEFAULT_METRIC).await.unwrap();
            }
            let text = shown("-6 route show");
            assert!(!text.contains("2001") && !text.contains("default"), "{text}");
        });
    });
}

#[test]
fn addresses_come_and_go_and_can_be_used_at_once() {
    need_root!();
    let namespace = Namespace::new();
    namespace.join("lan", &namespace, "phone");
    namespace.run(|| {
        with_routes(async |routes| {
            let address = "2001:db8:1:10::1/64".parse().unwrap();
            for _ in 0..2 {
                routes.add_address("lan", address).await.unwrap();
            }
            let text = shown("-6 addr show dev lan scope global");
            assert_eq!(text.matches("inet6 2001:db8:1:10::1/64").count(), 1, "{text}");
            assert!(!text.contains("tentative"), "{text}");
            assert!(
                shown("-6 route show").contains("2001:db8:1:10::/64 dev lan"),
                "what is behind it is reached"
            );
            for _ in 0..2 {
                routes.remove_address("lan", address).await.unwrap();
            }
            assert_eq!(shown("-6 addr show dev lan scope global"), "");
        });
    });
}

#[test]
fn what_is_missing_is_told() {
    need_root!();
    let namespace = Namespace::new();
    namespace.run(|| {
        with_routes(async |routes| {
            let network = "2001:db8::/32".parse().unwrap();
            let error = routes.add_route(network, "nothing", 1).await.unwrap_err();
            assert!(matches!(error, RouteError::NoDevice { .. }), "{error:?}");
            routes.remove_route(network, "nothing", 1).await.unwrap();
            let error = routes.add_address("nothing", network).await.unwrap_err();
            assert!(matches!(error, RouteError::NoDevice { .. }), "{error:?}");
            let error = routes.add_address("lo", "ff02::1/128".parse().unwrap()).await.unwrap_err();
            assert!(matches!(error, RouteError::Refused { .. }), "{error:?}");
        });
    });
}
