//! The way to a phone behind an edge proxy, the way that phones are told to take, and the flows that they keep.

use crate::support::Raw;
use crate::support::raw::{ack_of_failure, aor, slow_and_steady};

/// RFC 3327 §5.3: the Path of a REGISTER is stored and told.
/// RFC 3327 §5.4: requests to the phone take it.
#[test]
fn a_phone_behind_an_edge_proxy() {
    let node = slow_and_steady().start();
    let [line, callee] = node.add_lines(["101", "102"]);
    let mut edge = Raw::udp(node.proxy);
    let path = format!("<sip:edge@{};lr>", edge.local);
    let ok = edge.register(
        &callee,
        "<sip:102@[2001:db8::102]:5060>",
        &[("Supported", "path"), ("Path", &path), ("Path", "<sip:inner.example.net;lr>")],
    );
    assert_eq!(ok.values("Path"), [path.as_str(), "<sip:inner.example.net;lr>"]);
    let mut caller = Raw::udp(node.proxy);
    caller.invite(&line, &aor(&callee), &[]);
    let invite = edge.expect_request("INVITE");
    assert_eq!(invite.request_uri(), Some("sip:102@[2001:db8::102]:5060"));
    assert_eq!(invite.values("Route"), [path.as_str(), "<sip:inner.example.net;lr>"]);
    edge.respond(&invite, 486, "edge", &[]);
    edge.expect_request("ACK");
    caller.expect(486);
}

/// RFC 3608 §6.3: the registrar tells phones by which way their requests shall come.
/// RFC 3608 §6.1: and requests that come so are served.
#[test]
fn the_way_that_phones_are_told() {
    let node = slow_and_steady()
        .set("REGISTRAR_PROXY__ADVERTISE", "proxy.example.net")
        .set("REGISTRAR_PROXY__SERVICE_ROUTE", "<sip:proxy.example.net;lr>")
        .start();
    let [line, callee] = node.add_lines(["101", "102"]);
    let mut phone = Raw::udp(node.proxy);
    let contact = format!("<sip:101@{}>", phone.local);
    let ok = phone.register(&line, &contact, &[]);
    assert_eq!(ok.values("Service-Route"), ["<sip:proxy.example.net;lr>"]);
    let mut invite = phone.request("INVITE", &aor(&callee), "101@s01.example.net");
    invite.push("Route", "<sip:proxy.example.net;lr>");
    let sent = phone.send_as(&line, &invite);
    let refused = phone.expect(480);
    phone.send(&ack_of_failure(&sent, &refused));
}

/// RFC 5626 §6: a phone registers several flows, which are one phone.
/// RFC 5626 §7: a call takes one of them, and the other when that one is gone; with none left the phone is not there.
#[test]
fn a_phone_with_two_flows() {
    let node = slow_and_steady().start();
    let [line, callee] = node.add_lines(["101", "102"]);
    let mut flows: Vec<Raw> = ["1", "2"]
        .map(|number| {
            let mut flow = Raw::tcp(node.proxy_tcp);
            let contact = format!(
                "<sip:102@{};transport=tcp;ob>;reg-id={number};+sip.instance=\"<urn:x:7>\"",
                flow.local
            );
            let ok = flow.register(&callee, &contact, &[("Supported", "path, outbound")]);
            assert!(ok.values("Require").contains(&"outbound".to_owned()), "{ok:#?}");
            flow
        })
        .into();
    let mut caller = Raw::udp(node.proxy);
    // Over either of them, but over one only.
    let sent = caller.invite(&line, &aor(&callee), &[]);
    let mut rung = Vec::new();
    for (at, flow) in flows.iter_mut().enumerate() {
        let before = flow.settle().unwrap();
        if let Some(invite) = before.iter().find(|message| message.method() == Some("INVITE")) {
            flow.respond(invite, 486, "busy", &[]);
            flow.expect_request("ACK");
            rung.push(at);
        }
    }
    assert_eq!(rung.len(), 1, "the phone rings once");
    let busy = caller.expect(486);
    caller.send(&ack_of_failure(&sent, &busy));
    drop(flows.remove(rung[0]));
    let sent = caller.invite(&line, &aor(&callee), &[]);
    let mut last = flows.remove(0);
    let invite = last.expect_request("INVITE");
    last.respond(&invite, 486, "busy", &[]);
    last.expect_request("ACK");
    let busy = caller.expect(486);
    caller.send(&ack_of_failure(&sent, &busy));
    drop(last);
    let invite = caller.request("INVITE", &aor(&callee), "101@s01.example.net");
    caller.send_as(&line, &invite);
    let mut answer = caller.receive();
    if answer.status().is_some_and(|(status, _)| status == 100) {
        answer = caller.receive();
    }
    assert_eq!(answer.status().map(|(status, _)| status), Some(480), "{answer:#?}");
}
