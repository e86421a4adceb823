//! sipsak, as carriers use it to look whether a server lives.

use std::process::Command;

use crate::support::{Node, have};

/// RFC 3261 §11: OPTIONS is answered, and says what we can do. (sipsak 0.9.8 takes no IPv6 address.)
#[test]
fn options_are_answered() {
    let Some((node, text)) = sipsak(&["-vv", "-s"]) else { return };
    assert!(text.contains("SIP/2.0 200") && text.contains("Allow:"), "{text}\n{}", node.log());
}

/// RFC 3261 §11: a user agent server answers OPTIONS with Max-Forwards 0 as any other: the trace is one hop long.
#[test]
fn a_trace_ends_here() {
    let Some((node, text)) = sipsak(&["-T", "-s"]) else { return };
    assert!(text.contains("0:") && text.contains("SIP/2.0 200 OK"), "{text}\n{}", node.log());
    assert_eq!(text.matches("SIP/2.0").count(), 1, "{text}");
}

/// Runs sipsak against the side of the translator that a carrier sees; gives what it printed.
fn sipsak(arguments: &[&str]) -> Option<(Node, String)> {
    if !have("sipsak") {
        return None;
    }
    let node = Node::start();
    node.add_trunk("carrier", &["127.0.0.1:9".parse().unwrap()]);
    let place = format!("sip:carrier@{}", node.trunk_side);
    let output = Command::new("sipsak").args(arguments).arg(place).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    Some((node, text))
}
