//! The way of a dialog's later requests: between transports, between address families, and past strict routers.

use user_agent::{Message, StartLine};

use crate::support::raw::{aor, contact_uri, in_dialog, registered, set, slow_and_steady};
use crate::support::{Credentials, Node, Raw};

/// A call from `caller` to `callee` through `Record-Route`, and a request in each direction.
fn both_ways(node: &Node, line: &Credentials, to: &Credentials, mut caller: Raw, mut callee: Raw) {
    caller.invite(line, &aor(to), &[]);
    let invite = callee.expect_request("INVITE");
    assert_eq!(invite.values("Record-Route").len(), 2, "{invite:#?}");
    callee.respond(&invite, 200, "callee", &[]);
    let ok = caller.expect(200);
    caller.send(&in_dialog(&caller, "ACK", 2, &ok, true, &contact_uri(&ok)));
    callee.expect_request("ACK");
    let info = in_dialog(&callee, "INFO", 1, &ok, false, &contact_uri(&invite));
    callee.send(&info);
    let info = caller.expect_request("INFO");
    assert!(info.header("Route").is_none(), "{info:#?}");
    caller.respond(&info, 200, "", &[]);
    callee.expect(200);
    caller.send(&in_dialog(&caller, "BYE", 3, &ok, true, &contact_uri(&ok)));
    let bye = callee.expect_request("BYE");
    assert!(bye.header("Route").is_none(), "{bye:#?}");
    callee.respond(&bye, 200, "", &[]);
    caller.expect(200);
    drop((caller, callee));
    assert_eq!(node.call_records(1).len(), 1);
}

/// RFC 5658 §3: between UDP and TCP each side gets a Record-Route of its own transport.
#[test]
fn between_transports() {
    let node = slow_and_steady().start();
    let [line, other] = node.add_lines(["101", "102"]);
    let mut callee = Raw::tcp(node.proxy_tcp);
    callee.register(&other, &format!("<sip:102@{};transport=tcp>", callee.local), &[]);
    both_ways(&node, &line, &other, Raw::udp(node.proxy), callee);
}

/// RFC 5658 §3: between IPv6 and IPv4 each side gets a Record-Route of its own family.
#[test]
fn between_families() {
    let node =
        slow_and_steady().set("REGISTRAR_PROXY__LISTEN", "udp:[::1]:0,tcp:[::1]:0,udp:127.0.0.1:0").start();
    let [line, other] = node.add_lines(["101", "102"]);
    let mut callee = Raw::udp(node.proxy_address("udp", false));
    callee.register(&other, &format!("<sip:102@{}>", callee.local), &[]);
    both_ways(&node, &line, &other, Raw::udp(node.proxy), callee);
}

/// RFC 3261 §16.4: what a strict router before us has done to the Request-URI is undone.
/// RFC 3261 §16.6: a strict router after us finds itself in the Request-URI, and the target behind the last Route.
#[test]
fn past_strict_routers() {
    let node = slow_and_steady().start();
    let [line, other] = node.add_lines(["101", "102"]);
    let mut callee = registered(&node, &other);
    let mut caller = Raw::udp(node.proxy);
    let mut router = Raw::udp(node.proxy);
    caller.invite(&line, &aor(&other), &[]);
    let invite = callee.expect_request("INVITE");
    // A strict router between us and the callee has recorded itself, too.
    let mut ok = callee.response(&invite, 200, "callee", &[]);
    let own = ok.header("Record-Route").unwrap().to_owned();
    set(&mut ok, "Record-Route", &format!("<sip:{}>", router.local));
    ok.push("Record-Route", own.clone());
    callee.send(&ok);
    let ok = caller.expect(200);
    let target = contact_uri(&ok);
    caller.send(&in_dialog(&caller, "ACK", 2, &ok, true, &target));
    let ack = router.expect_request("ACK");
    assert_eq!(ack.request_uri(), Some(format!("sip:{}", router.local).as_str()));
    assert_eq!(ack.values("Route"), [format!("<{target}>")]);
    // And one before us puts us into the Request-URI.
    let mut bye: Message = in_dialog(&caller, "BYE", 3, &ok, true, &target);
    let own = own.trim_matches(['<', '>']).to_owned();
    bye.start = StartLine::Request { method: "BYE".into(), uri: own };
    set(&mut bye, "Route", &format!("<{target}>"));
    caller.send(&bye);
    let bye = callee.expect_request("BYE");
    assert_eq!((bye.request_uri(), bye.header("Route")), (Some(target.as_str()), None));
}
