//! A peer made of strings: what phone and gateway put on the wire, and how they take what is rare.

use std::{net::SocketAddr, time::Duration};

use tokio::net::UdpSocket;
use user_agent::{CallOptions, EndedBy, Gateway, GatewayConfig, Phone, UaError};

use crate::{gateway, phone_config, server::field, soon};

/// The peer's socket.
struct Peer(UdpSocket);

impl Peer {
    async fn bind() -> Self {
        Self(UdpSocket::bind("[::1]:0").await.expect("a socket"))
    }

    fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    /// The next message that begins so; others are passed over.
    async fn expect(&self, start: &str) -> (String, SocketAddr) {
        let mut buffer = [0; 4000];
        loop {
            let (length, from) = soon(self.0.recv_from(&mut buffer)).await.expect("received");
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(start) {
                return (text, from);
            }
        }
    }

    async fn send(&self, text: &str, to: SocketAddr) {
        self.0.send_to(text.as_bytes(), to).await.expect("sent");
    }

    /// A response to a request, with these further lines.
    fn response(request: &str, line: &str, tag: &str, more: &str) -> String {
        let copied: String = ["Via", "From", "Call-ID", "CSeq"]
            .iter()
            .filter_map(|name| Some(format!("{name}: {}\r\n", field(request, name)?)))
            .collect();
        let to = field(request, "To").unwrap_or_default();
        let tag = if to.contains("tag=") { String::new() } else { format!(";tag={tag}") };
        format!("SIP/2.0 {line}\r\n{copied}To: {to}{tag}\r\n{more}")
    }

    fn sdp(&self, ip: &str) -> String {
        let family = if ip.contains(':') { "IP6" } else { "IP4" };
        format!(
            "Content-Type: application/sdp\r\n\r\nv=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\n\
             t=0 0\r\nm=audio {} RTP/AVP 0\r\n",
            self.addr().port()
        )
    }

    fn invite(&self, branch: &str, more: &str) -> String {
        format!(
            "INVITE sip:100@[::1] SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bK{branch};rport\r\n\
             From: <sip:peer@x>;tag=p\r\nTo: <sip:100@x>\r\nCall-ID: {branch}\r\nCSeq: 7 INVITE\r\n\
             Contact: <sip:peer@{addr}>\r\n{more}",
            addr = self.addr()
        )
    }
}

fn phone(peer: &Peer) -> Phone {
    let mut config = phone_config(peer.addr());
    config.t1 = Duration::from_millis(20);
    Phone::bind(config).expect("a socket")
}

#[tokio::test]
async fn requests_in_the_dialog_follow_the_route_set() {
    let (proxy, callee) = (Peer::bind().await, Peer::bind().await);
    let phone = phone(&proxy);
    let call = phone.call("sip:102@[2001:db8::5]:5070", CallOptions::default()).await.expect("a call");
    let (invite, from) = proxy.expect("INVITE sip:102@[2001:db8::5]:5070 SIP/2.0").await;
    assert_eq!(from, phone.local_addr());
    let via = field(&invite, "Via").expect("a Via");
    assert!(via.starts_with(&format!("SIP/2.0/UDP {};branch=z9hG4bK", phone.local_addr())), "{via}");
    let contact = format!("<sip:101@{}>", phone.local_addr());
    assert_eq!(field(&invite, "Contact"), Some(contact.as_str()));
    let more = format!(
        "Record-Route: <sip:[2001:db8::1]:5070;lr>\r\nRecord-Route: <sip:{};lr>\r\nContact: <sip:102@{}>\r\n{}",
        proxy.addr(),
        callee.addr(),
        proxy.sdp("::1")
    );
    let answer = Peer::response(&invite, "200 OK", "c", &more);
    proxy.send(&answer, from).await;
    let (ack, _) = proxy.expect(&format!("ACK sip:102@{} SIP/2.0", callee.addr())).await;
    let routes: Vec<&str> = ack.lines().filter_map(|line| line.strip_prefix("Route: ")).collect();
    assert_eq!(routes, [format!("<sip:{};lr>", proxy.addr()).as_str(), "<sip:[2001:db8::1]:5070;lr>"]);
    assert_eq!(field(&ack, "CSeq"), Some("1 ACK"));

    // The ACK is repeated whenever the 200 is.
    proxy.send(&answer, from).await;
    let (again, _) = proxy.expect("ACK").await;
    assert_eq!(again, ack);
    soon(call.answered()).await.expect("an answer");

    // Another branch answers too: it is acknowledged and ended.
    proxy.send(&answer.replace(";tag=c", ";tag=other"), from).await;
    let (ack, _) = proxy.expect("ACK").await;
    assert!(field(&ack, "To").is_some_and(|to| to.ends_with(";tag=other")));
    let (bye, _) = proxy.expect("BYE").await;
    assert!(field(&bye, "To").is_some_and(|to| to.ends_with(";tag=other")));
    proxy.send(&Peer::response(&bye, "200 OK", "", "\r\n"), from).await;

    let (hangup, ()) = tokio::join!(call.hangup(), async {
        let (bye, _) = proxy.expect("BYE").await;
        assert_eq!(field(&bye, "CSeq"), Some("2 BYE"));
        assert!(field(&bye, "To").is_some_and(|to| to.ends_with(";tag=c")));
        proxy.send(&Peer::response(&bye, "200 OK", "", "\r\n"), from).await;
    });
    hangup.expect("an answer to BYE");
}

#[tokio::test]
async fn an_answer_of_the_other_family_fails_the_call() {
    let proxy = Peer::bind().await;
    let phone = phone(&proxy);
    let call = phone.call("102", CallOptions::default()).await.expect("a call");
    let (invite, from) = proxy.expect("INVITE").await;
    let more = format!("Contact: <sip:102@{}>\r\n{}", proxy.addr(), proxy.sdp("192.0.2.1"));
    proxy.send(&Peer::response(&invite, "200 OK", "c", &more), from).await;
    proxy.expect("ACK").await;
    proxy.expect("BYE").await;
    assert!(matches!(soon(call.answered()).await, Err(UaError::Rejected { status: 488, .. })));
}

#[tokio::test]
async fn what_a_gateway_refuses() {
    let gateway = gateway("[::1]:0");
    let peer = Peer::bind().await;
    for (branch, more, status) in [
        ("ext", "Require: 100rel\r\n\r\n".to_owned(), "420"),
        ("fam", peer.sdp("192.0.2.1"), "488"),
        ("cod", peer.sdp("::1").replace("AVP 0", "AVP 18"), "488"),
    ] {
        peer.send(&peer.invite(branch, &more), gateway.local_addr()).await;
        let (answer, _) = peer.expect("SIP/2.0 ").await;
        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{answer}");
        let to = field(&answer, "To").expect("To");
        let ack = peer.invite(branch, "\r\n").replace("INVITE", "ACK").replace("<sip:100@x>", to);
        peer.send(&ack, gateway.local_addr()).await;
    }
    for (branch, method, to, status) in
        [("bye", "BYE", ";tag=none", "481"), ("can", "CANCEL", "", "481"), ("sub", "SUBSCRIBE", "", "405")]
    {
        let request =
            peer.invite(branch, "\r\n").replace("INVITE", method).replace("100@x>", &format!("100@x>{to}"));
        peer.send(&request, gateway.local_addr()).await;
        let (answer, _) = peer.expect(&format!("SIP/2.0 {status} ")).await;
        assert_eq!(field(&answer, "Call-ID"), Some(branch));
    }
}

#[tokio::test]
async fn an_answer_without_ack_is_repeated_and_ended_with_bye() {
    let local = "[::1]:0".parse().expect("an address");
    let mut config = GatewayConfig::new(local, local);
    config.t1 = Duration::from_millis(10);
    let gateway = Gateway::bind(config).expect("a socket");
    let peer = Peer::bind().await;
    let route = "Record-Route: <sip:[::1]:9;lr>\r\n";
    peer.send(&peer.invite("noack", &format!("{}\r\n", peer.sdp("::1"))), gateway.local_addr()).await;
    let (first, _) = peer.expect("SIP/2.0 200").await;
    let (second, _) = peer.expect("SIP/2.0 200").await;
    assert_eq!(first, second);
    let call = soon(gateway.next_call()).await;
    peer.expect(&format!("BYE sip:peer@{}", peer.addr())).await;
    assert_eq!(soon(call.ended()).await.expect("an end"), EndedBy::Network);

    // Record-Route goes back in the answer as it came.
    peer.send(&peer.invite("route", &format!("{route}{}", peer.sdp("::1"))), gateway.local_addr()).await;
    let (answer, _) = peer.expect("SIP/2.0 200").await;
    assert!(answer.contains(route), "{answer}");
}
