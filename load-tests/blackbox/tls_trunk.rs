//! Trunks over TLS: both sides show certificates, and both look at them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use user_agent::{CallOptions, Message};

use crate::support::raw::{contact_uri, in_dialog};
use crate::support::{Certificates, Door, Identity, Node, Raw, phone, soon};

const GATEWAY: Identity = Identity::Named(&["gw.example.net"]);

/// RFC 5922 §7: the gateway's certificate must have the trunk's name, and the gateway gets to see ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_a_gateway_over_tls() {
    let certificates = Certificates::new();
    let node = certificates.setup().start();
    let [line] = node.add_lines(["101"]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    add_trunk(&node, listener.local_addr().unwrap());
    let phone = phone(&node, &line).await;
    let gateway = std::thread::spawn(move || {
        let mut gateway = certificates.accept(&listener, &GATEWAY).unwrap();
        let invite = await_request(&mut gateway, "INVITE");
        assert!(invite.header("Via").unwrap().starts_with("SIP/2.0/TLS "), "{invite:#?}");
        assert!(contact_uri(&invite).ends_with(";transport=tls"), "{invite:#?}");
        let mut answer = gateway.response(&invite, 200, "gateway", &[("Content-Type", "application/sdp")]);
        answer.body = invite.body.clone();
        gateway.send(&answer);
        await_request(&mut gateway, "ACK");
        let bye = await_request(&mut gateway, "BYE");
        gateway.respond(&bye, 200, "gateway", &[]);
        // Until the node has read it.
        gateway.until_end();
    });
    let call = soon("the call begins", phone.call("0312345678", CallOptions::default())).await.unwrap();
    soon("the gateway answers", call.answered()).await.unwrap();
    soon("the call ends", call.hangup()).await.unwrap();
    assert_eq!(node.call_record()["result"], "answered");
    drop(node);
    gateway.join().unwrap();
}

/// RFC 5922 §7.3: a gateway that cannot prove its name gets no call, and the log says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_certificate_is_no_good_gets_no_call() {
    for (identity, reason) in [
        (Identity::Expired(&["gw.example.net"]), "expired"),
        (Identity::Named(&["other.example.net"]), "not valid for"),
    ] {
        let certificates = Certificates::new();
        let node = certificates.setup().start();
        let [line] = node.add_lines(["101"]);
        // Each attempt to connect meets the same certificate.
        let door = Door::open(move |listener| drop(certificates.accept(listener, &identity)));
        add_trunk(&node, door.address);
        let phone = phone(&node, &line).await;
        let call = soon("the call begins", phone.call("0312345678", CallOptions::default())).await.unwrap();
        let refused = soon("the call fails", call.answered()).await;
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(node.call_record()["result"], "failed");
        node.await_log(&["no TLS connection", reason]);
    }
}

/// A trunk with a certificate's name is known by its source and that name together.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_from_a_gateway_over_tls() {
    let certificates = Certificates::new();
    let node = certificates.setup().start();
    let [line] = node.add_lines(["101"]);
    node.add_number("+81355550101", &line);
    // Its calls come from the gateway's address, and another port.
    add_trunk(&node, SocketAddr::from((Ipv4Addr::LOCALHOST, 5061)));
    let server = node.listener("translator_ipv4", "tls");
    let phone = phone(&node, &line).await;

    for identity in
        [Identity::Nobody, Identity::Named(&["other.example.net"]), Identity::Named(&["*.example.net"])]
    {
        let mut stranger = certificates.connect(server, &identity).unwrap();
        stranger.send(&invite(&stranger));
        stranger.expect(403);
    }
    let mut plain = Raw::tcp(node.listener("translator_ipv4", "tcp"));
    plain.send(&invite(&plain));
    plain.expect(403);

    let mut gateway = certificates.connect(server, &GATEWAY).unwrap();
    let gateway = tokio::task::spawn_blocking(move || {
        gateway.send(&invite(&gateway));
        let answer = loop {
            let response = gateway.receive();
            match response.status().unwrap().0 {
                100..=199 => {}
                200 => break response,
                other => panic!("{other}: {response:#?}"),
            }
        };
        let target = contact_uri(&answer);
        gateway.send(&in_dialog(&gateway, "ACK", 1, &answer, true, &target));
        gateway.send(&in_dialog(&gateway, "BYE", 2, &answer, true, &target));
        gateway.expect(200);
    });
    let call = soon("the phone has the call", phone.next_call()).await;
    soon("the gateway hangs up", call.ended()).await.unwrap();
    gateway.await.unwrap();
    assert_eq!(node.call_record()["direction"], "inbound");
}

fn add_trunk(node: &Node, gateway: SocketAddr) {
    let gateway = format!("tls:{gateway}");
    node.cli(&[
        "trunk",
        "add",
        "--name",
        "carrier",
        "--gateway",
        &gateway,
        "--certificate-name",
        "gw.example.net",
    ]);
    node.cli(&["route", "add", "--trunk", "carrier"]);
}

fn invite(from: &Raw) -> Message {
    let mut invite =
        from.request("INVITE", &format!("sip:+81355550101@{}", from.server), "+819012345678@gw.example.net");
    invite.push("Content-Type", "application/sdp");
    invite.body = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n".to_vec();
    invite
}

/// The next request of a method; the translator's OPTIONS are answered meanwhile.
fn await_request(gateway: &mut Raw, method: &str) -> Message {
    loop {
        let request = gateway.receive();
        if request.method() == Some("OPTIONS") {
            gateway.respond(&request, 200, "gateway", &[]);
            continue;
        }
        assert_eq!(request.method(), Some(method), "{request:#?}");
        return request;
    }
}
