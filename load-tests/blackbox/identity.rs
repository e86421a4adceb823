//! What a carrier and a called party learn of the caller.

use user_agent::CallOptions;

use crate::support::{Credentials, Node, gateway, soon, unregistered};

#[tokio::test(flavor = "multi_thread")]
async fn a_carrier_sees_the_lines_number_and_privacy_is_kept() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    node.add_number("+81355550101", &line);
    let open = received(&node, &line, &[("P-Preferred-Identity", "<sip:110@example.org>")]).await;
    let asserted = open.header("P-Asserted-Identity").unwrap();
    assert!(open.header("From").unwrap().contains("sip:+81355550101@127.0.0.1"), "{open:?}");
    assert!(asserted.contains("sip:+81355550101@127.0.0.1"), "{asserted}");
    assert_eq!(open.header("Privacy"), None);
    assert_eq!(open.request_uri().unwrap().split('@').next(), Some("sip:+81312345678"));

    let hidden = received(&node, &line, &[("Privacy", "id")]).await;
    assert!(hidden.header("From").unwrap().contains("anonymous.invalid"), "{hidden:?}");
    // The carrier is trusted and must know.
    assert!(hidden.header("P-Asserted-Identity").unwrap().contains("+81355550101"), "{hidden:?}");
    assert!(hidden.header("Privacy").unwrap().contains("id"), "{hidden:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_cannot_call_as_another() {
    let node = Node::start();
    let [line, other] = node.add_lines(["101", "102"]);
    node.add_number("+81355550101", &line);
    node.add_number("+81355550102", &other);
    let spoofed = [
        ("P-Asserted-Identity", "<sip:102@s01.example.net>"),
        ("Remote-Party-ID", "<sip:102@s01.example.net>"),
    ];
    let invite = received(&node, &line, &spoofed).await;
    let text = format!("{invite:?}");
    assert!(text.contains("+81355550101") && !text.contains("+81355550102"), "{text}");
}

/// What a gateway receives when the line calls with these header fields.
async fn received(node: &Node, line: &Credentials, headers: &[(&str, &str)]) -> user_agent::Message {
    let gateway = gateway(node);
    let name = format!("carrier {}", gateway.local_addr().port());
    for route in node.cli(&["route", "list"]).as_array().unwrap() {
        node.cli(&["route", "remove", &route["id"].to_string()]);
    }
    node.add_trunk(&name, &[gateway.local_addr()]);
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let options = CallOptions { headers, ..CallOptions::default() };
    let phone = unregistered(node, line);
    let call = soon("the call begins", phone.call("0312345678", options)).await.unwrap();
    soon("the gateway answers", call.answered()).await.unwrap();
    soon("the call ends", call.hangup()).await.unwrap();
    gateway.received().remove(0).message
}
