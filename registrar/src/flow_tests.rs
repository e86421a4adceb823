//! Registrations of phones with several flows, GRUUs and routes.

use schema::Change;
use sip_core::flow::{ConnectionId, Flow, Transport};
use sip_core::wire::Name;

use crate::Settings;
use crate::register::tests::{Bench, contacts, status};

const OUTBOUND: &str = "Supported: path, outbound\r\n";
const INSTANCE: &str = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";

fn flow(number: u32, connection: u64) -> (String, Flow) {
    let contact = format!(
        "{OUTBOUND}Contact: <sip:101@[::1]:6000;transport=tcp>;reg-id={number};{INSTANCE};expires=600\r\n"
    );
    let (local, remote) = ("[::1]:5060".parse().unwrap(), "[::1]:40000".parse().unwrap());
    let connection = Some(ConnectionId(connection));
    (contact, Flow { transport: Transport::Tcp, local, remote, connection })
}

/// RFC 5626 §6: flows of one phone are told apart by reg-id, though their contacts have one URI.
/// RFC 5626 §6: the registrar says Require: outbound and Flow-Timer.
#[test]
fn two_flows_of_one_phone() {
    let mut bench = Bench::new();
    for (number, connection) in [(1, 0xa), (2, 0xb)] {
        let (headers, flow) = flow(number, connection);
        bench.flow = flow;
        let answer = bench.register(0, &headers);
        assert_eq!((status(&answer), contacts(&answer).len()), (200, number as usize));
        assert_eq!(answer.1.text(Name::Require), Some("outbound"));
        assert_eq!(answer.1.text(Name::Other("Flow-Timer")), Some("120"));
    }
    let all = contacts(&bench.register(0, ""));
    assert!(
        all[0].contains(";reg-id=") && all[0].starts_with("<sip:101@[::1]:6000;transport=tcp>;"),
        "{all:?}"
    );
}

/// RFC 5626 §6: a flow that is registered again from elsewhere takes the place of the old one.
#[test]
fn a_flow_moves() {
    let mut bench = Bench::new();
    let (headers, first) = flow(1, 0xa);
    bench.flow = first;
    bench.register(0, &headers);
    // Over another stream.
    bench.flow = flow(1, 0xc).1;
    let again = bench.register(10, &headers);
    let [Change::PutBinding(binding)] = again.0.as_slice() else { panic!("{:?}", again.0) };
    assert!(binding.received.ends_with(" node1 c"), "{}", binding.received);
    // With another URI.
    let moved = bench.register(20, &headers.replace("6000", "7000"));
    assert!(
        matches!(moved.0.as_slice(), [Change::RemoveBinding { .. }, Change::PutBinding(_)]),
        "{:?}",
        moved.0
    );
    assert_eq!(contacts(&moved).len(), 1);
    // And goes.
    let gone = bench.register(30, &headers.replace("6000", "7000").replace("expires=600", "expires=0"));
    assert_eq!(contacts(&gone).len(), 0);
}

/// RFC 5626 §6: without the support of phone and first hop a reg-id means nothing, or 439.
#[test]
fn what_is_no_flow() {
    let mut bench = Bench::new();
    let (headers, flow) = flow(1, 0xa);
    bench.flow = flow;
    let unsupported = bench.register(0, &headers.replace(", outbound", ""));
    assert_eq!((status(&unsupported), unsupported.1.has(Name::Require)), (200, false));
    let no_instance = bench.register(0, &headers.replace(INSTANCE, "x=y"));
    assert_eq!((status(&no_instance), no_instance.1.has(Name::Require)), (200, false));
    let edge = bench.register(0, &format!("{headers}Path: <sip:edge.example.net;lr>\r\n"));
    assert_eq!(status(&edge), 439);
    let able = bench.register(0, &format!("{headers}Path: <sip:edge.example.net;lr;ob>\r\n"));
    assert_eq!((status(&able), able.1.text(Name::Require)), (200, Some("outbound")));
    for wrong in ["reg-id=0", "reg-id=x", "reg-id=2147483648"] {
        assert_eq!(status(&bench.register(0, &headers.replace("reg-id=1", wrong))), 400, "{wrong}");
    }
    let two = format!("{headers}Contact: <sip:b@[::1]>;reg-id=2;{INSTANCE}\r\n");
    assert_eq!(status(&bench.register(0, &two)), 400);
}

/// RFC 5627 §5.2: a phone that supports them gets a public and a temporary GRUU for its instance.
/// RFC 5627 §5.1: a Contact that is itself a GRUU of the line is refused.
#[test]
fn gruus_are_given() {
    let mut bench = Bench::new();
    let contact = format!("Contact: <sip:101@[::1]:6000>;{INSTANCE};expires=600\r\n");
    assert!(!contacts(&bench.register(0, &contact))[0].contains("gruu"));
    let given = contacts(&bench.register(1, &format!("Supported: gruu\r\n{contact}"))).remove(0);
    let public = "sip:101@s42.example.net;gr=urn:uuid:00000000-0000-1000-8000-000A95A0E128";
    assert!(given.contains(&format!(";pub-gruu=\"{public}\"")), "{given}");
    assert!(given.contains(";temp-gruu=\"sip:tgruu.") && given.contains("@s42.example.net;gr\""), "{given}");
    let without = contacts(&bench.register(2, "Supported: gruu\r\nContact: <sip:102@[::1]>;expires=600\r\n"));
    assert_eq!(without.iter().filter(|contact| contact.contains("gruu")).count(), 1);
    assert_eq!(status(&bench.register(3, &format!("Contact: <{public}>\r\n"))), 403);
}

/// RFC 3608 §6.3: the registrar tells the phone by which way its requests shall come.
/// RFC 3327 §5.3: and which Path was stored.
#[test]
fn routes_are_told() {
    let routes = ["<sip:p2.example.net;lr>", "<sip:p1.example.net;lr>"];
    let routes = routes.map(|route| sip_core::wire::header::NameAddr::parse(route).unwrap());
    let settings = Settings { service_route: routes.to_vec(), ..Settings::default() };
    let mut bench = Bench::with(settings);
    let answer = bench.register(0, "Contact: <sip:101@[::1]>\r\nPath: <sip:edge;lr>, <sip:inner;lr>\r\n");
    let routes: Vec<&[u8]> = answer.1.raws(Name::ServiceRoute).collect();
    assert_eq!(routes, [&b"<sip:p2.example.net;lr>"[..], b"<sip:p1.example.net;lr>"]);
    assert_eq!(answer.1.text(Name::Path), Some("<sip:edge;lr>, <sip:inner;lr>"));
    let [Change::PutBinding(binding)] = answer.0.as_slice() else { panic!("{:?}", answer.0) };
    assert_eq!(binding.path, ["<sip:edge;lr>", "<sip:inner;lr>"]);
}
