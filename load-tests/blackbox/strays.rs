//! Messages that belong to nothing, or come too late.

use user_agent::Message;

use crate::support::Raw;
use crate::support::raw::{ack_of_failure, aor, cancel_of, registered, set, slow_and_steady};

/// RFC 3261 §9.2: a CANCEL that matches nothing is answered with 481.
/// RFC 3261 §17.1.1.3: an ACK that belongs to nothing is dropped without a word.
/// RFC 6026 §8.9: a response that belongs to nothing is dropped.
#[test]
fn that_belong_to_nothing() {
    let node = slow_and_steady().start();
    let [line] = node.add_lines(["101"]);
    let mut phone = registered(&node, &line);
    let mut stranger = Raw::udp(node.proxy);
    let invite = stranger.request("INVITE", &aor(&line), "x@example.org");
    stranger.send(&cancel_of(&invite));
    stranger.expect(481);
    let mut ack = stranger.request("ACK", &aor(&line), "x@example.org");
    stranger.send(&ack);
    set(&mut ack, "To", &format!("<{}>;tag=nobody", aor(&line)));
    set(&mut ack, "Route", &format!("<sip:{};lr>", node.proxy));
    stranger.send(&ack);
    for status in [180, 200, 486] {
        let request = stranger.request("INVITE", &aor(&line), "x@example.org");
        let mut response = Message::response_to(&request, status, "t");
        // With the phone as the next hop, as if the proxy had added a Via.
        response
            .headers
            .insert(0, ("Via".into(), format!("SIP/2.0/UDP {};branch=z9hG4bKc6w00-1", node.proxy)));
        set(&mut response, "Via", &format!("SIP/2.0/UDP {}", phone.local));
        stranger.send(&response);
    }
    stranger.expect_nothing();
    phone.expect_nothing();
}

/// RFC 6026 §8.9: what comes after a call has failed changes nothing; a final response that comes again is acknowledged again.
/// RFC 3261 §9.2: a CANCEL after the final response is answered and has no effect.
#[test]
fn that_come_too_late() {
    let node = slow_and_steady().start();
    let [line, callee] = node.add_lines(["101", "102"]);
    let mut phone = registered(&node, &callee);
    let mut caller = Raw::udp(node.proxy);
    let sent = caller.invite(&line, &aor(&callee), &[]);
    let invite = phone.expect_request("INVITE");
    phone.respond(&invite, 486, "callee", &[]);
    phone.expect_request("ACK");
    let busy = caller.expect(486);
    caller.send(&ack_of_failure(&sent, &busy));
    for status in [180, 183] {
        phone.respond(&invite, status, "callee", &[]);
    }
    phone.respond(&invite, 486, "callee", &[]);
    phone.expect_request("ACK");
    // Nor does a 2xx: the caller has been told otherwise.
    phone.respond(&invite, 200, "callee", &[]);
    phone.expect_nothing();
    caller.send(&cancel_of(&sent));
    caller.expect(200);
    phone.expect_nothing();
    caller.expect_nothing();
}

/// RFC 3261 §8.2.2.2: a request that arrives a second time by another path is answered with 482; one that comes again is not.
#[test]
fn that_come_twice() {
    let node = slow_and_steady().start();
    let [line] = node.add_lines(["101"]);
    let mut phone = Raw::udp(node.proxy);
    let mut register = phone.request("REGISTER", "sip:s01.example.net", "101@s01.example.net");
    set(&mut register, "To", &format!("<{}>", aor(&line)));
    phone.send(&register);
    phone.expect(401);
    phone.send(&register);
    phone.expect(401);
    let via = register.header("Via").unwrap().replace("z9hG4bK", "z9hG4bKother");
    set(&mut register, "Via", &via);
    phone.send(&register);
    phone.expect(482);
}
