//! The admin port: liveness, readiness and metrics over HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use user_agent::CallOptions;

use crate::support::{Node, Setup, gateway, phone, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_node_is_alive_and_not_ready() {
    let (mut node, admin) = start();
    assert_eq!((get(admin, "/live").0, get(admin, "/ready").0), (200, 200));
    assert_eq!(get(admin, "/nonsense").0, 404);
    let [line] = node.add_lines(["101"]);
    let gateway = gateway(&node);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let phone = phone(&node, &line).await;
    let call = soon("the call begins", phone.call("0312345678", CallOptions::default())).await.unwrap();
    soon("the gateway answers", call.answered()).await.unwrap();
    soon("media flows", call.media().await_received(10)).await;
    let metrics = get(admin, "/metrics").1;
    assert!(metrics.lines().any(|line| line.starts_with("# TYPE centrex6_")), "{metrics}");
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        assert!(line.starts_with("centrex6_"), "{line}");
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(
            !line.contains("312345678") && !line.contains("s01-101"),
            "a label for each subscriber: {line}"
        );
    }
    node.terminate();
    node.await_log(&["draining"]);
    assert_eq!((get(admin, "/live").0, get(admin, "/ready").0), (200, 503));
    soon("the call ends", call.hangup()).await.unwrap();
    assert!(node.await_end().success());
}

/// A node whose admin port is known.
pub(crate) fn start() -> (Node, SocketAddr) {
    // The node takes port 0 too, but says nowhere what it got.
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    (Setup::new().set("NODE__ADMIN_LISTEN", &admin.to_string()).start(), admin)
}

/// The status and the body.
pub(crate) fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(admin).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status.unwrap_or_else(|| panic!("{answer}")), body.to_owned())
}
