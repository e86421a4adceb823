//! What a node remembers of a call: its messages drawn, and copied to a Homer server.

use std::net::UdpSocket;
use std::time::Duration;

use crate::support::{Node, Setup, gateway, phone, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_drawn_from_end_to_end_and_copied_to_homer() {
    let homer = UdpSocket::bind("127.0.0.1:0").unwrap();
    homer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let node = Setup::new().set("TRACE__HOMER", &homer.local_addr().unwrap().to_string()).start();
    let [line] = node.add_lines(["101"]);
    let gateway = gateway(&node);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    let call = soon("the call begins", phone.call("0312345678", Default::default())).await.unwrap();
    soon("the gateway answers", call.answered()).await.unwrap();
    soon("the call ends", call.hangup()).await.unwrap();

    let id = node.call_record()["id"].as_str().unwrap().to_owned();
    let ladder = node.cli(&["call", "ladder", &id, "--messages"]);
    let went = |method: &str, from: &str, to: &str| {
        let rows = ladder["messages"].as_array().unwrap();
        rows.iter().any(|row| {
            let is = |key: &str, wanted: &str| row[key].as_str().is_some_and(|text| text.starts_with(wanted));
            is("summary", method) && is("from", from) && is("to", to) && row["message"].is_string()
        })
    };
    for (from, to) in [("line s01-101", "proxy"), ("proxy", "translator"), ("translator", "trunk carrier")] {
        assert!(went("INVITE", from, to) && went("200 OK (INVITE)", to, from), "{from} {to}: {ladder:#}");
        assert!(went("ACK", from, to) && went("BYE", from, to), "{from} {to}: {ladder:#}");
    }
    let drawn = String::from_utf8(node.say(&["call", "ladder", &id]).stdout).unwrap();
    assert!(drawn.contains("trunk carrier") && drawn.contains("|- INVITE, SDP ---"), "{drawn}");

    // The registration came first.
    let mut buffer = [0; 65_536];
    let count = homer.recv(&mut buffer).unwrap();
    let copy = String::from_utf8_lossy(&buffer[..count]).into_owned();
    assert!(copy.starts_with("HEP3") && copy.contains("OPTIONS ") || copy.contains("REGISTER "), "{copy}");
}

#[test]
fn what_is_not_remembered_is_said() {
    let node = Node::start();
    let output = node.say(&["call", "ladder", "nobody@example.net"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("there is no call"), "{error}");
}
