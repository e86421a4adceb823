use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// A zone: what is known under each question.
#[derive(Default)]
struct Zone(HashMap<Query, Records>);

impl Zone {
    fn naptr(mut self, name: &str, records: &[(u16, u16, &str, &str)]) -> Zone {
        let naptr = records.iter().map(|(order, preference, service, replacement)| Naptr {
            order: *order,
            preference: *preference,
            flags: "s".to_owned(),
            service: (*service).to_owned(),
            replacement: (*replacement).to_owned(),
        });
        let records = Records { naptr: naptr.collect(), ..Records::default() };
        self.0.insert(Query::Naptr(name.to_owned()), records);
        self
    }

    fn srv(mut self, name: &str, records: &[(u16, u16, u16, &str)]) -> Zone {
        let srv = records.iter().map(|(priority, weight, port, target)| Srv {
            priority: *priority,
            weight: *weight,
            port: *port,
            target: (*target).to_owned(),
        });
        self.0.insert(Query::Srv(name.to_owned()), Records { srv: srv.collect(), ..Records::default() });
        self
    }

    fn host(mut self, name: &str, addresses: &[&str]) -> Zone {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        self.0.insert(Query::Addresses(name.to_owned()), Records { addresses, ..Records::default() });
        self
    }

    fn locate(&self, wanted: Wanted, random: u64) -> Vec<String> {
        let mut locator = Locator::new(wanted, &[Transport::Udp, Transport::Tcp, Transport::Tls], random);
        loop {
            match locator.step() {
                Step::Ask(query) => locator.answer(self.0.get(&query).cloned().unwrap_or_default()),
                Step::Done(hops) => {
                    return hops.iter().map(|hop| format!("{} {}", hop.transport, hop.addr)).collect();
                }
            }
        }
    }
}

fn wanted(host: &str, port: Option<u16>, transport: Option<Transport>) -> Wanted {
    Wanted { host: host.to_owned(), port, transport }
}

/// The zone of the example in RFC 3263 §4.1.
fn example() -> Zone {
    Zone::default()
        .naptr(
            "example.com",
            &[
                (50, 50, "SIPS+D2T", "_sips._tcp.example.com"),
                (90, 50, "SIP+D2T", "_sip._tcp.example.com"),
                (100, 50, "SIP+D2U", "_sip._udp.example.com"),
            ],
        )
        .srv("_sips._tcp.example.com", &[(0, 1, 5061, "server1.example.com")])
        .srv(
            "_sip._tcp.example.com",
            &[(0, 1, 5060, "server1.example.com"), (0, 2, 5060, "server2.example.com")],
        )
        .host("server1.example.com", &["2001:db8::1", "192.0.2.1"])
        .host("server2.example.com", &["2001:db8::2"])
        .host("example.com", &["192.0.2.99"])
}

/// RFC 3263 §4.1: NAPTR records choose the transport, the lowest order that we can use.
#[test]
fn naptr_chooses_the_transport() {
    assert_eq!(
        example().locate(wanted("example.com", None, None), 1),
        ["TLS [2001:db8::1]:5061", "TLS 192.0.2.1:5061"]
    );
    let mut locator = Locator::new(wanted("example.com", None, None), &[Transport::Tcp], 1);
    locator.answer(example().0[&Query::Naptr("example.com".into())].clone());
    assert_eq!(locator.step(), Step::Ask(Query::Srv("_sip._tcp.example.com".into())));
    // Records that name no service of ours are as none.
    let other = Zone::default().naptr("b.net", &[(1, 1, "E2U+email", "x")]).host("b.net", &["192.0.2.7"]);
    assert_eq!(other.locate(wanted("b.net", None, None), 1), ["UDP 192.0.2.7:5060"]);
}

/// RFC 3263 §4.1: a port or a transport that is given is not looked for.
/// RFC 3263 §4.2: with a port only addresses are looked for; with a transport, its SRV records.
#[test]
fn what_is_given_is_taken() {
    let zone = example();
    assert_eq!(zone.locate(wanted("example.com", Some(5080), None), 1), ["UDP 192.0.2.99:5080"]);
    assert_eq!(
        zone.locate(wanted("example.com", Some(5080), Some(Transport::Tls)), 1),
        ["TLS 192.0.2.99:5080"]
    );
    let mut tcp = zone.locate(wanted("example.com", None, Some(Transport::Tcp)), 1);
    tcp.sort();
    assert_eq!(tcp, ["TCP 192.0.2.1:5060", "TCP [2001:db8::1]:5060", "TCP [2001:db8::2]:5060"]);
    assert!(zone.locate(wanted("example.com", None, Some(Transport::Ws)), 1).is_empty());
}

/// RFC 3263 §4.1: without NAPTR the SRV records of UDP, then of TCP.
/// RFC 3263 §4.2: without SRV the addresses with the transport's own port.
#[test]
fn what_is_missing_is_made_up_for() {
    let zone = Zone::default()
        .srv("_sip._tcp.a.net", &[(1, 0, 5070, "gw.a.net")])
        .host("gw.a.net", &["192.0.2.1"])
        .host("b.net", &["2001:db8::1", "192.0.2.2"]);
    assert_eq!(zone.locate(wanted("a.net", None, None), 1), ["TCP 192.0.2.1:5070"]);
    assert_eq!(zone.locate(wanted("b.net", None, None), 1), ["UDP [2001:db8::1]:5060", "UDP 192.0.2.2:5060"]);
    let tls = wanted("b.net", None, Some(Transport::Tls));
    assert_eq!(zone.locate(tls, 1), ["TLS [2001:db8::1]:5061", "TLS 192.0.2.2:5061"]);
    assert!(zone.locate(wanted("c.net", None, None), 1).is_empty());
}

/// RFC 3263 §4.2: servers are tried by priority; among equals the weight decides how often each is first.
/// RFC 3263 §4.2: a target `.` says that the service is not there.
#[test]
fn servers_come_by_priority_and_weight() {
    let zone = Zone::default()
        .srv(
            "_sip._udp.a.net",
            &[(20, 0, 5060, "c.a.net"), (10, 30, 5060, "b.a.net"), (10, 10, 5060, "a.a.net")],
        )
        .srv("_sip._udp.gone.net", &[(0, 0, 0, ".")])
        .host("gone.net", &["192.0.2.9"])
        .host("a.a.net", &["192.0.2.1"])
        .host("b.a.net", &["192.0.2.2"])
        .host("c.a.net", &["192.0.2.3"]);
    let mut b_first = 0;
    for random in 0..1_000 {
        let order = zone.locate(wanted("a.net", None, Some(Transport::Udp)), random);
        assert_eq!(order.len(), 3);
        assert_eq!(order[2], "UDP 192.0.2.3:5060");
        b_first += usize::from(order[0] == "UDP 192.0.2.2:5060");
    }
    assert!((650..850).contains(&b_first), "{b_first}");
    assert!(zone.locate(wanted("gone.net", None, Some(Transport::Udp)), 1).is_empty());
}

proptest! {
    /// Whatever a hostile zone says, the search ends and is bounded.
    #[test]
    fn the_search_ends(
        naptr in proptest::collection::vec((0u16..3, 0u16..3, prop::sample::select(vec!["SIP+D2U", "sips+d2t", "x"]), "[a-c.]{0,3}"), 0..30),
        srv in proptest::collection::vec((0u16..3, any::<u16>(), any::<u16>(), "[a-c.]{0,3}"), 0..40),
        addresses in proptest::collection::vec(any::<[u8; 4]>(), 0..40),
        random: u64,
    ) {
        let naptr: Vec<Naptr> = naptr.into_iter().map(|(order, preference, service, replacement)| Naptr {
            order, preference, flags: "S".into(), service: service.into(), replacement,
        }).collect();
        let srv: Vec<Srv> = srv.into_iter().map(|(priority, weight, port, target)| Srv { priority, weight, port, target }).collect();
        let addresses: Vec<IpAddr> = addresses.into_iter().map(IpAddr::from).collect();
        let records = Records { naptr, srv, addresses };
        let mut locator = Locator::new(wanted("a.net", None, None), &[Transport::Udp, Transport::Tls], random);
        let mut asked = 0;
        while let Step::Ask(_) = locator.step() {
            locator.answer(records.clone());
            asked += 1;
            prop_assert!(asked <= MAX_QUERIES);
        }
        let Step::Done(hops) = locator.step() else { unreachable!() };
        prop_assert!(hops.len() <= MAX_HOPS);
    }
}

/// RFC 3263 §4.1: what a URI says beside its host is kept; an address is not looked up.
#[test]
fn a_uri_says_what_is_wanted() {
    let of = |text: &str| Wanted::of(text.parse::<crate::wire::Uri>().unwrap().sip().unwrap());
    assert_eq!(of("sip:a@Edge.example.net.;lr"), Some(wanted("edge.example.net", None, None)));
    assert_eq!(of("sip:a@b.net:5080;transport=tcp"), Some(wanted("b.net", Some(5080), Some(Transport::Tcp))));
    assert_eq!(of("sips:a@b.net"), Some(wanted("b.net", None, Some(Transport::Tls))));
    assert_eq!(of("sip:a@b.net;maddr=c.net"), Some(wanted("c.net", None, None)));
    for uri in [
        "sip:a@192.0.2.1",
        "sip:[2001:db8::1]",
        "sip:a@x.invalid;transport=ws",
        "sip:a@b.net;maddr=192.0.2.1",
    ] {
        assert_eq!(of(uri), None, "{uri}");
    }
}
