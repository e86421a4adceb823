//! Malformed and oversized input: an answer or silence, never a crash, and good calls go on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use user_agent::CallOptions;

use crate::support::{Node, gateway, phone, soon};

#[tokio::test(flavor = "multi_thread")]
async fn datagrams() {
    let mut node = prepared().await;
    for target in [node.node.proxy, node.node.translator, node.node.trunk_side] {
        let socket = UdpSocket::bind((target.ip(), 0)).unwrap();
        for datagram in nasty_messages(target) {
            // The kernel refuses what is longer than any datagram can be.
            let _ = socket.send_to(&datagram, target);
        }
        for seed in 0..500 {
            let _ = socket.send_to(&mutated(target, seed), target);
        }
    }
    node.serves_a_call().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams() {
    let mut node = prepared().await;
    for target in [node.node.proxy_tcp, node.node.translator, node.node.trunk_side] {
        for bytes in nasty_messages(target) {
            let mut stream = TcpStream::connect(target).unwrap();
            // It may have hung up on us half-way.
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut answer = Vec::new();
            let ended = stream.take(1 << 20).read_to_end(&mut answer);
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
            // Bounded: it closes the connection once we have ended our side.
            let still_open = matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
            assert!(!still_open, "{target}: {text:?}");
        }
    }
    node.serves_a_call().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_without_end_closes_its_connection() {
    let mut node = prepared().await;
    let mut stream = TcpStream::connect(node.node.proxy_tcp).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"INVITE sip:101@s01.example.net SIP/2.0\r\nX-Endless: ").unwrap();
    let piece = [b'x'; 16 * 1024];
    let mut sent = 0_usize;
    while stream.write_all(&piece).is_ok() {
        sent += piece.len();
        assert!(sent < 64 << 20, "it takes a header of {sent} bytes and more");
    }
    node.serves_a_call().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_that_say_nothing() {
    let mut node = prepared().await;
    let silent: Vec<_> = (0..300).map(|_| TcpStream::connect(node.node.proxy_tcp).unwrap()).collect();
    for (index, mut stream) in silent.iter().enumerate() {
        // Half a line each.
        stream.write_all(&b"REGISTER sip:s01.example.net SIP/2.0\r\nVia"[..index % 40]).unwrap();
    }
    node.serves_a_call().await;
}

#[test]
fn a_good_request_after_bad_ones_gets_its_answer() {
    let node = Node::start();
    let socket = UdpSocket::bind("[::1]:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for datagram in nasty_messages(node.proxy) {
        let _ = socket.send_to(&datagram, node.proxy);
    }
    socket.send_to(&options(node.proxy, "good-one", ""), node.proxy).unwrap();
    let mut buffer = [0; 65_535];
    loop {
        let length = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]);
        assert!(text.starts_with("SIP/2.0 "), "{text}");
        if text.contains("good-one") {
            assert!(text.contains(";received=") || text.contains("rport="), "{text}");
            return;
        }
    }
}

/// A node with a phone and a gateway that prove that it works.
struct Prepared {
    node: Node,
    phone: user_agent::Phone,
    gateway: user_agent::Gateway,
}

async fn prepared() -> Prepared {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let gateway = gateway(&node);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    Prepared { node, phone, gateway }
}

impl Prepared {
    async fn serves_a_call(&mut self) {
        soon("the phone registers again", self.phone.register()).await.unwrap();
        let call =
            soon("the call begins", self.phone.call("0312345678", CallOptions::default())).await.unwrap();
        soon("the gateway answers", call.answered()).await.unwrap();
        soon("media flows", call.media().await_received(10)).await;
        soon("the call ends", call.hangup()).await.unwrap();
        assert_eq!(self.gateway.received().len(), 1);
        self.node.assert_alive();
    }
}

/// An OPTIONS that is all right but for what `extra` adds: whole header lines.
fn options(target: SocketAddr, call_id: &str, extra: &str) -> Vec<u8> {
    let via = if target.is_ipv6() { "[::1]" } else { "127.0.0.1" };
    format!(
        "OPTIONS sip:101@{target} SIP/2.0\r\nVia: SIP/2.0/UDP {via}:9;branch=z9hG4bK{call_id};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@{via}>;tag=1\r\nTo: <sip:101@{target}>\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 OPTIONS\r\n{extra}Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn nasty_messages(target: SocketAddr) -> Vec<Vec<u8>> {
    let good = options(target, "nasty", "");
    let text = String::from_utf8(good.clone()).unwrap();
    let replaced = |from: &str, to: &str| {
        assert!(text.contains(from), "{from:?}");
        text.replace(from, to).into_bytes()
    };
    let filled = |line: &str, count: usize| options(target, "filled", &line.repeat(count));
    let mut messages = vec![
        Vec::new(),
        b"\r\n\r\n".to_vec(),
        b"\0".to_vec(),
        vec![0; 1000],
        vec![0xff; 65_000],
        vec![b'A'; 65_000],
        vec![b'\n'; 65_000],
        b"\r\n".repeat(30_000),
        b"SIP/2.0".to_vec(),
        b"SIP/2.0 \r\n\r\n".to_vec(),
        b"SIP/2.0 99999999999999999999 X\r\n\r\n".to_vec(),
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP [::1]:1;branch=z9hG4bK1\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"INVITE\r\n\r\n".to_vec(),
        b"INVITE sip: SIP/2.0\r\n\r\n".to_vec(),
        b"INVITE sip:a@b SIP/3.0\r\n\r\n".to_vec(),
        b": : :\r\n:\r\n\r\n".to_vec(),
        // Counts and sizes.
        filled("X-Many: 1\r\n", 5_000),
        filled("Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\n", 1_000),
        filled("Route: <sip:192.0.2.1;lr>\r\n", 1_000),
        filled("Record-Route: <sip:[::1]:1;lr>,<sip:[::1]:2;lr>\r\n", 500),
        filled("Contact: *\r\n", 2_000),
        options(target, "long", &format!("X-Long: {}\r\n", "a".repeat(60_000))),
        options(target, "comma", &format!("Route: {}\r\n", ",".repeat(60_000))),
        options(target, "fold", &format!("Subject: a{}\r\n", "\r\n ".repeat(10_000))),
        options(target, "quote", "Contact: \"unclosed <sip:a@b>\r\n"),
        options(target, "escape", "Contact: \"\\\r\n"),
        options(target, "nul", "Subject: a\0b\r\n"),
        options(target, "utf", "Subject: \u{202e}\u{0}\u{fffd}\r\n"),
        options(target, "two-lengths", "Content-Length: 5\r\n"),
        options(target, "auth", &format!("Authorization: Digest {}\r\n", "a=\"b\",".repeat(5_000))),
        options(target, "auth2", "Proxy-Authorization: Digest username=\"\\\r\n"),
        // Single fields.
        replaced("Max-Forwards: 70", "Max-Forwards: -1"),
        replaced("Max-Forwards: 70", "Max-Forwards: 99999999999999999999999"),
        replaced("CSeq: 1 OPTIONS", "CSeq: 1"),
        replaced("CSeq: 1 OPTIONS", "CSeq: 99999999999999 OPTIONS"),
        replaced("CSeq: 1 OPTIONS", "CSeq: 1 INVITE"),
        replaced("Content-Length: 0", "Content-Length: -1"),
        replaced("Content-Length: 0", "Content-Length: 18446744073709551616"),
        replaced("Content-Length: 0", "Content-Length: 4294967295"),
        replaced("Content-Length: 0", "Content-Length: zero"),
        replaced("Content-Length: 0", "l: 0\r\nl: 1"),
        replaced("Call-ID: nasty\r\n", ""),
        replaced("Call-ID: nasty", "Call-ID: "),
        replaced(";branch=z9hG4bKnasty", ";branch="),
        replaced(";branch=z9hG4bKnasty", &format!(";branch=z9hG4bK{}", "b".repeat(20_000))),
        replaced(";tag=1", &format!(";tag={}", "t".repeat(20_000))),
        replaced("Via: SIP/2.0/UDP", "Via: SIP/2.0/XYZ"),
        replaced("Via: SIP/2.0/UDP", "Via: "),
        replaced("sip:101@", "sip:%00%ff@"),
        replaced("sip:101@", "sip:1@[::ffff:1.2.3.4%25lo]:99999;a@"),
        replaced("OPTIONS sip:", "REGISTER sip:"),
        replaced("OPTIONS", "CANCEL"),
        replaced("OPTIONS", "ACK"),
        replaced("OPTIONS", "BYE"),
        replaced("OPTIONS", &"M".repeat(30_000)),
        replaced("SIP/2.0\r\nVia", "SIP/2.0\rVia"),
        // To itself: a loop must end.
        options(target, "loop", &format!("Route: <sip:{target};lr>\r\nRoute: <sip:{target};lr>\r\n")),
    ];
    let invite = replaced("OPTIONS", "INVITE");
    for sdp in [
        "v=0\r\n",
        "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio 99999 RTP/AVP 0\r\n",
        "v=0\r\nm=audio -1 RTP/AVP 0\r\nc=IN IP9 x\r\n",
        "\0\0\0\0",
    ] {
        let body = sdp.repeat(200);
        let head = String::from_utf8(invite.clone()).unwrap();
        let length = format!("Content-Type: application/sdp\r\nContent-Length: {}", body.len());
        messages.push((head.replace("Content-Length: 0", &length) + &body).into_bytes());
    }
    // Cut off at every place of the head.
    messages.extend((0..good.len()).step_by(7).map(|end| good[..end].to_vec()));
    messages
}

/// A good request with some bytes changed, by seed.
fn mutated(target: SocketAddr, seed: u64) -> Vec<u8> {
    let mut bytes = options(
        target,
        &format!("mutated{seed}"),
        "Route: <sip:[::1]:1;lr>\r\nContact: \"a\" <sip:a@[::1]>;q=0.5\r\n",
    );
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for _ in 0..=next() % 6 {
        let at = next() % bytes.len();
        match next() % 4 {
            0 => bytes[at] = next() as u8,
            1 => bytes.truncate(at.max(1)),
            2 => bytes.insert(at, b"\r\n:;,<>\"\\[]@ \0%"[next() % 15]),
            _ => {
                let piece = bytes[at..].to_vec();
                bytes.extend(piece);
            }
        }
    }
    bytes.truncate(60_000);
    bytes
}
