//! Requests that go round, and the bounds that end them.

use crate::support::Raw;
use crate::support::raw::{ack_of_failure, aor, registered, registered_as, slow_and_steady};
use user_agent::StartLine;

/// RFC 5393 §4.2: a request that comes back to be routed alike is answered with 482.
/// RFC 5393 §4.2: one that comes back for another target is a spiral, and goes on.
#[test]
fn a_loop_ends_and_a_spiral_does_not() {
    let node = slow_and_steady().start();
    let [line, callee, other] = node.add_lines(["101", "102", "103"]);
    let mut phone = registered(&node, &callee);
    let mut other_phone = registered(&node, &other);
    let mut caller = Raw::udp(node.proxy);
    caller.invite(&line, &aor(&callee), &[]);
    let invite = phone.expect_request("INVITE");
    // The phone sends it back, as a proxy would that has nowhere else to go.
    let back = |uri: &str, branch: &str| {
        let mut again = invite.clone();
        again.start = StartLine::Request { method: "INVITE".into(), uri: uri.to_owned() };
        let via = format!("SIP/2.0/UDP {};branch=z9hG4bK{branch};rport", phone.local);
        again.headers.insert(0, ("Via".into(), via));
        again
    };
    let (looped, spiral) = (back(&aor(&callee), "loop"), back(&aor(&other), "spiral"));
    phone.send(&looped);
    let ended = phone.expect(482);
    phone.send(&ack_of_failure(&looped, &ended));
    phone.send_as(&callee, &spiral);
    phone.expect(100);
    assert_eq!(other_phone.expect_request("INVITE").headers("Via").count(), 4);
}

/// RFC 3261 §16.3: a request without hops left is answered with 483.
/// RFC 5393 §5.3.3: a request is forked no broader than its Max-Breadth, and with none left it is answered with 440.
#[test]
fn hops_and_breadth() {
    let node = slow_and_steady().start();
    let [line, callee] = node.add_lines(["101", "102"]);
    let (mut one, mut two) = (registered(&node, &callee), registered_as(&node, &callee, ";q=0.9"));
    let mut caller = Raw::udp(node.proxy);
    for (name, value, status) in [("Max-Forwards", "0", 483), ("Max-Breadth", "0", 440)] {
        let mut invite = caller.request("INVITE", &aor(&callee), "101@s01.example.net");
        crate::support::raw::set(&mut invite, name, value);
        let sent = caller.send_as(&line, &invite);
        let refused = caller.expect(status);
        caller.send(&ack_of_failure(&sent, &refused));
    }
    one.expect_nothing();
    // With one branch at a time they ring one after the other, and each branch says so.
    caller.invite(&line, &aor(&callee), &[("Max-Breadth", "1")]);
    let invite = one.expect_request("INVITE");
    assert_eq!(invite.header("Max-Breadth"), Some("1"));
    two.expect_nothing();
    one.respond(&invite, 486, "one", &[]);
    one.expect_request("ACK");
    let invite = two.expect_request("INVITE");
    assert_eq!(invite.header("Max-Breadth"), Some("1"));
    two.respond(&invite, 486, "two", &[]);
    two.expect_request("ACK");
    caller.expect(486);
}
