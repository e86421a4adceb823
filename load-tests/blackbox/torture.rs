//! The torture messages of RFC 4475 and RFC 5118 (`sip-core/torture`) at the running node: the answer or the silence that the RFC asks
//! for, what becomes of the connection, and a node that is as well as before.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use user_agent::Message;

use crate::support::raw::own_ipv4;
use crate::support::{Certificates, Node, Raw, Setup};

/// Statuses in order.
type Answers = &'static [u16];
/// RFC, message, what the proxy answers in a datagram; and on a stream, where that is something else or the connection ends.
type Case = (&'static str, &'static str, Answers, Option<(Answers, bool)>);

/// Every message. The node of the test has the realm `registrar.example.com`, sites with the domains example.com, example.net
/// and example.org, and goes by `[2001:db8::10]` with the ports 5060 and 5070, so that most messages are for it.
const ANSWERS: &[Case] = &[
    // Routed through somebody else; what follows is for us, and asks for credentials.
    ("rfc4475", "wsinv", &[403], None),
    ("rfc4475", "intmeth", &[407], None),
    ("rfc4475", "esc01", &[407], None),
    ("rfc4475", "escnull", &[401], None),
    ("rfc4475", "esc02", &[501], None),
    ("rfc4475", "lwsdisp", &[407], None),
    ("rfc4475", "longreq", &[407], None),
    // On a stream the second message is one; what follows its body is none.
    ("rfc4475", "dblreq", &[401], Some((&[401, 407], false))),
    ("rfc4475", "semiuri", &[407], None),
    ("rfc4475", "transports", &[407], None),
    ("rfc4475", "mpart01", &[403], None),
    ("rfc4475", "unreason", &[], None),
    ("rfc4475", "noreason", &[], None),
    ("rfc4475", "badinv01", &[400], None),
    ("rfc4475", "clerr", &[400], Some((&[], true))),
    ("rfc4475", "ncl", &[400], Some((&[400], false))),
    ("rfc4475", "scalar02", &[400], None),
    ("rfc4475", "scalarlg", &[], None),
    ("rfc4475", "quotbal", &[400], None),
    ("rfc4475", "ltgtruri", &[400], None),
    ("rfc4475", "lwsruri", &[400], None),
    ("rfc4475", "lwsstart", &[400], None),
    ("rfc4475", "trws", &[400], None),
    ("rfc4475", "escruri", &[400], None),
    ("rfc4475", "baddate", &[407], None),
    ("rfc4475", "regbadct", &[400], None),
    ("rfc4475", "badaspec", &[407], None),
    // With the empty line that the archive's copy lacks, its display names are overlooked.
    ("rfc4475", "baddn", &[400], Some((&[407], true))),
    ("rfc4475", "badvers", &[505], None),
    ("rfc4475", "mismatch01", &[400], None),
    ("rfc4475", "mismatch02", &[400], None),
    ("rfc4475", "bigcode", &[], None),
    ("rfc4475", "badbranch", &[407], None),
    ("rfc4475", "insuf", &[400], None),
    ("rfc4475", "unkscm", &[416], None),
    ("rfc4475", "novelsc", &[416], None),
    ("rfc4475", "unksm2", &[400], None),
    ("rfc4475", "bext01", &[420], None),
    ("rfc4475", "invut", &[407], None),
    ("rfc4475", "regaut01", &[401], None),
    ("rfc4475", "multi01", &[400], None),
    ("rfc4475", "mcl01", &[400], Some((&[400], false))),
    ("rfc4475", "bcast", &[], None),
    ("rfc4475", "zeromf", &[200], None),
    ("rfc4475", "cparam01", &[401], None),
    ("rfc4475", "cparam02", &[401], None),
    ("rfc4475", "regescrt", &[401], None),
    ("rfc4475", "sdp01", &[407], None),
    ("rfc4475", "inv2543", &[407], Some((&[400], false))),
    ("rfc5118", "ipv6-good", &[401], None),
    ("rfc5118", "ipv6-bad", &[400], None),
    // Another host, not ours with another port.
    ("rfc5118", "port-ambiguous", &[403], None),
    ("rfc5118", "port-unambiguous", &[401], None),
    ("rfc5118", "via-received-param-with-delim", &[481], None),
    ("rfc5118", "via-received-param-no-delim", &[200], None),
    ("rfc5118", "ipv6-in-sdp", &[407], None),
    ("rfc5118", "mult-ip-in-header", &[403], None),
    ("rfc5118", "mult-ip-in-sdp", &[407], None),
    ("rfc5118", "ipv4-mapped-ipv6", &[407], None),
    ("rfc5118", "ipv6-bug-abnf-3-colons", &[403], None),
    ("rfc5118", "ipv6-correct-abnf-2-colons", &[403], None),
];

/// RFC 4475 §3: over UDP, every torture message gets the answer that the RFC asks for, where its Via says.
/// RFC 5118 §4: over UDP, every IPv6 torture message gets the answer that the RFC asks for.
#[test]
fn datagrams() {
    let mut node = node();
    let server = node.proxy_address("udp", false);
    // Most of the messages ask for their answer at the port that their Via names.
    let own = own_ipv4();
    let mut client = Raw::udp_at((own, 5060).into(), server);
    let elsewhere = [5050, 5070, 6050, 19_823].map(|port| {
        let socket = UdpSocket::bind(SocketAddr::from((own, port))).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    });
    for (rfc, name, expected, _) in ANSWERS {
        // Those of RFC 5118 have one branch between them: as they stand, one would be the retransmission of the other.
        let message =
            String::from_utf8_lossy(&bytes(rfc, name)).replace("z9hG4bKas3-111", &format!("z9hG4bK{name}"));
        match *rfc {
            "rfc5118" => client.send_bytes(message.as_bytes()),
            _ => client.send_bytes(&bytes(rfc, name)),
        }
        let mut answers = client.settle().unwrap();
        let mut buffer = [0; 65_535];
        for socket in &elsewhere {
            while let Ok(length) = socket.recv(&mut buffer) {
                answers.push(Message::parse(&buffer[..length]).unwrap());
            }
        }
        check(name, &answers, expected);
    }
    node.assert_alive();
}

/// RFC 4475 §3: over TCP, every torture message gets the answer that the RFC asks for, and the connection lives on where it can.
/// RFC 5118 §4: over TCP, every IPv6 torture message gets the answer that the RFC asks for.
#[test]
fn streams() {
    let mut node = node();
    let server = node.proxy_tcp;
    over_streams(|| Raw::tcp(server));
    node.assert_alive();
}

/// RFC 4475 §3: over TLS, every torture message gets the answer that the RFC asks for, and the connection lives on where it can.
/// RFC 5118 §4: over TLS, every IPv6 torture message gets the answer that the RFC asks for.
#[test]
fn streams_under_tls() {
    let certificates = Certificates::new();
    let mut node = node_with(certificates.setup());
    let server = node.listener("registrar_proxy", "tls");
    over_streams(|| certificates.phone(server));
    node.assert_alive();
}

fn over_streams(connect: impl Fn() -> Raw) {
    for (rfc, name, in_datagram, on_stream) in ANSWERS {
        let (expected, lives) = on_stream.unwrap_or((in_datagram, true));
        let mut client = connect();
        client.send_bytes(&bytes(rfc, name));
        if *name == "baddn" {
            client.send_bytes(b"\r\n");
        }
        // More body is awaited, and an OPTIONS would be part of it.
        let answers = match (*name == "clerr", lives) {
            (true, _) => {
                client.finish();
                client.until_end()
            }
            (false, true) => client.settle().unwrap_or_else(|| panic!("{name}: the connection ended")),
            (false, false) => client.until_end(),
        };
        check(name, &answers, expected);
    }
}

/// RFC 4475 §3: no torture message harms the translator, from whichever side it comes.
#[test]
fn the_translator_bears_them_too() {
    let mut node = node();
    for target in [node.translator, node.trunk_side] {
        let mut datagrams = Raw::udp(target);
        for (rfc, name, ..) in ANSWERS {
            datagrams.send_bytes(&bytes(rfc, name));
            let mut stream = Raw::tcp(target);
            stream.send_bytes(&bytes(rfc, name));
            stream.finish();
            stream.until_end();
        }
    }
    node.assert_alive();
    Raw::udp(node.proxy).expect_nothing();
}

fn node() -> Node {
    node_with(Setup::new().set("REGISTRAR_PROXY__LISTEN", "udp:[::1]:0,tcp:[::1]:0,udp:127.0.0.1:0"))
}

fn node_with(setup: Setup) -> Node {
    let node = setup
        .set("NODE__WORKERS", "1")
        .set("SIP__REALM", "registrar.example.com")
        .set("REGISTRAR_PROXY__ADVERTISE", r#"["[2001:db8::10]", "[2001:db8::10]:5070"]"#)
        .start();
    for (code, domain) in [("801", "example.com"), ("802", "example.net"), ("803", "example.org")] {
        node.cli(&["site", "add", "--name", domain, "--code", code, "--domain", domain]);
    }
    node
}

fn check(name: &str, answers: &[Message], expected: &[u16]) {
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status().unwrap().0).collect();
    assert_eq!(statuses, expected, "{name}: {answers:#?}");
    for answer in answers {
        assert!(answer.header("Via").is_some() && answer.header("CSeq").is_some(), "{name}: {answer:#?}");
    }
    // RFC 3261 §16.3, step 5: all that is not supported is named.
    if name == "bext01" {
        let unsupported = answers[0].values("Unsupported");
        assert_eq!(unsupported, ["noProxiesSupportThis", "norDoAnyProxiesSupportThis"]);
    }
}

fn bytes(rfc: &str, name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sip-core/torture");
    std::fs::read(folder.join(rfc).join(name).with_extension("sip")).unwrap()
}
