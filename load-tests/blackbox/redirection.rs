//! A phone that points elsewhere.

use crate::support::Raw;
use crate::support::raw::{aor, registered, set, slow_and_steady};

/// RFC 3261 §16.7: a redirection to another line is followed by the proxy, one to the outside is left to the caller.
#[test]
fn to_a_line_and_to_the_outside() {
    let node = slow_and_steady().start();
    let [line, callee, other] = node.add_lines(["101", "102", "103"]);
    let (mut phone, mut elsewhere) = (registered(&node, &callee), registered(&node, &other));
    let mut caller = Raw::udp(node.proxy);
    caller.invite(&line, &aor(&callee), &[]);
    let invite = phone.expect_request("INVITE");
    let mut moved = phone.response(&invite, 302, "moved", &[]);
    set(&mut moved, "Contact", &format!("<{}>", aor(&other)));
    phone.send(&moved);
    phone.expect_request("ACK");
    let invite = elsewhere.expect_request("INVITE");
    elsewhere.respond(&invite, 486, "busy", &[]);
    elsewhere.expect_request("ACK");
    caller.expect(486);
    // Money is not spent on a phone's word.
    let mut caller = Raw::udp(node.proxy);
    caller.invite(&line, &aor(&callee), &[]);
    let invite = phone.expect_request("INVITE");
    let mut moved = phone.response(&invite, 302, "moved", &[]);
    set(&mut moved, "Contact", "<sip:0312345678@s01.example.net>");
    phone.send(&moved);
    phone.expect_request("ACK");
    let moved = caller.expect(302);
    assert_eq!(moved.header("Contact"), Some("<sip:0312345678@s01.example.net>"));
}
