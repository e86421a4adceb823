use std::time::Duration;

use sip_core::overload::Rate;

use super::*;

/// One registered phone, and a site with a /48.
struct Town;

const PHONE: &str = "2001:db8:1::7";

impl Neighbourhood for Town {
    fn is_known(&self, address: IpAddr) -> bool {
        address == PHONE.parse::<IpAddr>().unwrap()
    }

    fn is_shared(&self, network: Ipv6Addr) -> bool {
        network.segments()[..3] == [0x2001, 0xdb8, 1]
    }
}

fn sources() -> Sources {
    let settings = SourceSettings { rate: Rate { per_second: 5, burst: 10 }, ..SourceSettings::default() };
    Sources::new(settings, Box::new(Town))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn offend(sources: &Sources, now: Instant, address: &str, times: usize) {
    for _ in 0..times {
        sources.offend(now, ip(address), Offence::Credentials);
    }
}

fn looked_at(sources: &Sources, now: Instant, address: &str) -> usize {
    (0..100).filter(|_| sources.admits(now, ip(address))).count()
}

#[test]
fn a_scanner_is_slowed_and_then_dropped() {
    let (now, sources) = (Instant::now(), sources());
    for address in ["2001:db8:bad::1", "192.0.2.66"] {
        offend(&sources, now, address, 9);
        assert_eq!(looked_at(&sources, now, address), 100);
        assert_eq!(
            sources.offend(now, ip(address), Offence::Relay),
            Some((Source::Address(ip(address)), Standing::Slowed))
        );
        assert_eq!(looked_at(&sources, now, address), 1);
        // What is not looked at counts, too.
        offend(&sources, now, address, 11);
        let later = now + Duration::from_secs(599);
        assert_eq!(looked_at(&sources, later, address), 0);
        // Then it is slowed until what it did is forgotten.
        let free = now + Duration::from_secs(601);
        assert!(sources.admits(free, ip(address)) && !sources.admits(free, ip(address)));
        assert_eq!(looked_at(&sources, free + Duration::from_secs(120), address), 100);
    }
    assert_eq!(looked_at(&sources, now, "2001:db8:bad::2"), 100, "another address of the network");
    let views = sources.list(now);
    assert!(views.iter().any(|view| view.standing == Standing::Dropped && view.offences == 21), "{views:?}");
}

#[test]
fn one_mistake_now_and_then_is_borne() {
    let sources = sources();
    let start = Instant::now();
    for minute in 0..100 {
        let now = start + Duration::from_secs(30 * minute);
        offend(&sources, now, "2001:db8:bad::1", 3);
        assert_eq!(looked_at(&sources, now, "2001:db8:bad::1"), 100, "{minute}");
    }
    // Who proves to belong here starts anew.
    offend(&sources, start, "192.0.2.66", 15);
    sources.vouch(ip("192.0.2.66"));
    assert_eq!(looked_at(&sources, start, "192.0.2.66"), 100);
}

#[test]
fn who_moves_about_is_caught_by_its_network() {
    let (now, sources) = (Instant::now(), sources());
    for host in 0..240 {
        offend(&sources, now, &format!("2001:db8:bad::{host:x}"), 1);
    }
    assert_eq!(looked_at(&sources, now, "2001:db8:bad::ffff"), 0);
    assert_eq!(looked_at(&sources, now, "2001:db8:bad:1::1"), 100, "the next network");
    assert!(sources.forgive(Source::network_of(ip("2001:db8:bad::")).unwrap()));
    assert_eq!(looked_at(&sources, now, "2001:db8:bad::ffff"), 100);
}

#[test]
fn a_site_is_not_locked_out_with_its_neighbour() {
    let (now, sources) = (Instant::now(), sources());
    for host in 0x100..0x400 {
        offend(&sources, now, &format!("2001:db8:1::{host:x}"), 1);
    }
    offend(&sources, now, "2001:db8:1::bad", 100);
    assert_eq!(looked_at(&sources, now, "2001:db8:1::bad"), 0);
    assert_eq!(looked_at(&sources, now, "2001:db8:1::8"), 100, "not registered yet");
    // A registered phone does what it likes.
    offend(&sources, now, PHONE, 100);
    assert_eq!(looked_at(&sources, now, PHONE), 100);
}

#[test]
fn a_registered_phone_passes_where_its_network_does_not() {
    struct Guest;
    impl Neighbourhood for Guest {
        fn is_known(&self, address: IpAddr) -> bool {
            Town.is_known(address)
        }
        fn is_shared(&self, _: Ipv6Addr) -> bool {
            false
        }
    }
    let sources = Sources::new(SourceSettings::default(), Box::new(Guest));
    let now = Instant::now();
    for host in 0x100..0x200 {
        offend(&sources, now, &format!("2001:db8:1::{host:x}"), 1);
    }
    assert_eq!(looked_at(&sources, now, "2001:db8:1::8"), 0);
    assert_eq!(looked_at(&sources, now, PHONE), 100);
}

#[test]
fn requests_of_one_source_are_counted() {
    let (now, sources) = (Instant::now(), sources());
    let taken = |now, address| (0..50).filter(|_| sources.take(now, ip(address))).count();
    assert_eq!(taken(now, "2001:db8::1"), 10);
    assert_eq!(taken(now, "2001:db8::2"), 10);
    assert_eq!(taken(now + Duration::from_secs(1), "2001:db8::1"), 5);
    let limited: Vec<u64> = sources.list(now).iter().map(|view| view.limited).collect();
    assert_eq!(limited, [85, 40]);
}

#[test]
fn memory_is_bounded_and_the_worst_stay() {
    let settings = SourceSettings { max_sources: 1600, ..SourceSettings::default() };
    let sources = Sources::new(settings, Box::new(Town));
    let now = Instant::now();
    offend(&sources, now, "192.0.2.66", 30);
    for number in 0..20_000_u32 {
        let address = IpAddr::from((u128::from(number) << 64 | 0x2002 << 112).to_be_bytes());
        sources.take(now, address);
        if number % 2 == 0 {
            sources.offend(now, address, Offence::Probe);
        }
    }
    assert!(sources.len() <= 1600, "{}", sources.len());
    assert_eq!(looked_at(&sources, now, "192.0.2.66"), 0);
}
