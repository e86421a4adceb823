//! Extensions between user agents, to which the proxy only lends its way.

use crate::support::Raw;
use crate::support::raw::{aor, contact_uri, in_dialog, registered, slow_and_steady};

/// RFC 3262 §3: reliable provisional responses and PRACK pass.
/// RFC 3311 §5: UPDATE passes in an early dialog, from either side.
#[test]
fn prack_and_update() {
    let node = slow_and_steady().start();
    let [line, other] = node.add_lines(["101", "102"]);
    let mut callee = registered(&node, &other);
    let mut caller = Raw::udp(node.proxy);
    caller.invite(&line, &aor(&other), &[("Require", "100rel"), ("Supported", "100rel")]);
    let invite = callee.expect_request("INVITE");
    assert_eq!(invite.header("Require"), Some("100rel"));
    callee.respond(&invite, 183, "callee", &[("Require", "100rel"), ("RSeq", "7")]);
    let progress = caller.expect(183);
    assert_eq!(progress.header("RSeq"), Some("7"));
    let target = contact_uri(&progress);
    let mut prack = in_dialog(&caller, "PRACK", 3, &progress, true, &target);
    prack.push("RAck", "7 2 INVITE");
    caller.send(&prack);
    let prack = callee.expect_request("PRACK");
    assert_eq!(prack.header("RAck"), Some("7 2 INVITE"));
    callee.respond(&prack, 200, "", &[]);
    caller.expect(200);
    let update = in_dialog(&callee, "UPDATE", 1, &progress, false, &contact_uri(&invite));
    callee.send(&update);
    let update = caller.expect_request("UPDATE");
    caller.respond(&update, 200, "", &[]);
    callee.expect(200);
    callee.respond(&invite, 200, "callee", &[]);
    caller.expect(200);
}

/// RFC 3891 §3: an INVITE with Replaces passes as it stands.
/// RFC 3911 §4: an INVITE with Join passes as it stands.
#[test]
fn replaces_and_join() {
    let node = slow_and_steady().start();
    let [line, other] = node.add_lines(["101", "102"]);
    let mut callee = registered(&node, &other);
    for (name, value, tag) in [
        ("Replaces", "98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff", "replaces"),
        ("Join", "12adf2f34456gs5;to-tag=12345;from-tag=54321", "join"),
    ] {
        let mut caller = Raw::udp(node.proxy);
        caller.invite(&line, &aor(&other), &[(name, value), ("Require", tag)]);
        let invite = callee.expect_request("INVITE");
        assert_eq!((invite.header(name), invite.header("Require")), (Some(value), Some(tag)));
        callee.respond(&invite, 481, "callee", &[]);
        callee.expect_request("ACK");
        caller.expect(481);
    }
}
