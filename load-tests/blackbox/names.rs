//! Gateways that are known by name (RFC 3263), with a name server of the test's own.

use node::dns::testing::Zone;

use crate::support::raw::{own_ipv4, registered, slow_and_steady};
use crate::support::{Credentials, Node, Raw};

/// A node whose only trunk is `gw.example.net`, and a line.
fn node(zone: &Zone) -> (Node, Credentials) {
    let node = slow_and_steady().set("DNS__SERVERS", &zone.addr.to_string()).start();
    let [line] = node.add_lines(["101"]);
    let media = ["--media-network", "127.0.0.0/8"];
    node.cli(&[&["trunk", "add", "--name", "carrier", "--gateway", "gw.example.net"], &media[..]].concat());
    node.cli(&["route", "add", "--trunk", "carrier"]);
    node.await_log(&["the gateway's name was looked up"]);
    (node, line)
}

fn dial(node: &Node, line: &Credentials) -> Raw {
    let mut phone = registered(node, line);
    let sdp = "v=0\r\no=a 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";
    let mut invite =
        phone.request("INVITE", &format!("sip:0312345678@{}", line.domain), &format!("101@{}", line.domain));
    invite.push("Content-Type", "application/sdp");
    invite.body = sdp.as_bytes().to_vec();
    phone.send_as(line, &invite);
    phone.expect(100);
    phone
}

/// RFC 3263 §4.1: NAPTR leads to SRV, and SRV to addresses and ports.
/// RFC 3263 §4.3: a server that answers 503 is left for the next one, with the same request in a new branch.
#[test]
fn the_servers_behind_a_name_are_tried_by_priority() {
    let node_side = "127.0.0.1:0".parse().unwrap();
    let (first_ip, second_ip) = (own_ipv4(), own_ipv4());
    let mut first = Raw::udp_at((first_ip, 0).into(), node_side);
    let mut second = Raw::udp_at((second_ip, 0).into(), node_side);
    let zone = Zone::serve(&format!(
        "gw.example.net NAPTR 10 10 s SIP+D2U _sip._udp.carrier.example.net\n\
         gw.example.net NAPTR 20 10 s SIP+D2T _sip._tcp.carrier.example.net\n\
         _sip._udp.carrier.example.net SRV 20 0 {} two.example.net\n\
         _sip._udp.carrier.example.net SRV 10 0 {} one.example.net\n\
         one.example.net A {first_ip}\ntwo.example.net A {second_ip}\n",
        second.local.port(),
        first.local.port(),
    ));
    let (node, line) = node(&zone);
    (first.server, second.server) = (node.trunk_side, node.trunk_side);
    let mut phone = dial(&node, &line);
    let one = first.expect_request("INVITE");
    assert!(one.request_uri().unwrap().contains("@gw.example.net"), "{one:#?}");
    first.respond(&one, 503, "first", &[]);
    first.expect_request("ACK");
    let two = second.expect_request("INVITE");
    assert_eq!(one.request_uri(), two.request_uri());
    assert_ne!(one.header("Via"), two.header("Via"));
    second.respond(&two, 486, "second", &[]);
    phone.expect(486);
    assert_eq!(node.call_record()["result"], "busy");
}

/// RFC 3263 §4.3: a server that cannot be reached is left for the next one.
#[test]
fn a_server_that_is_not_there_is_passed_over() {
    let gone = std::net::UdpSocket::bind((own_ipv4(), 0)).unwrap().local_addr().unwrap();
    let mut there = Raw::udp_at((own_ipv4(), 0).into(), "127.0.0.1:0".parse().unwrap());
    let zone = Zone::serve(&format!(
        "_sip._udp.gw.example.net SRV 10 0 {} one.example.net\n\
         _sip._udp.gw.example.net SRV 20 0 {} two.example.net\n\
         one.example.net A {}\ntwo.example.net A {}\n",
        gone.port(),
        there.local.port(),
        gone.ip(),
        there.local.ip(),
    ));
    let (node, line) = node(&zone);
    there.server = node.trunk_side;
    let mut phone = dial(&node, &line);
    let invite = there.expect_request("INVITE");
    there.respond(&invite, 404, "there", &[]);
    phone.expect(404);
}
