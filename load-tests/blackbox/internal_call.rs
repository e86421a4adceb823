//! Calls from line to line, IPv6 to IPv6.

use crate::support::{Credentials, Node, Running, Sipp, have, until};

#[test]
fn the_caller_hangs_up() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [caller, called] = node.add_lines(["101", "102"]);
    let phone = at_phone(&node, &called, "answer.xml");
    Sipp::call("call.xml", &caller, "102", node.proxy).pause(100).run();
    let trace = phone.succeed();
    assert_eq!(trace.received("ACK").len(), 1);
    let record = node.call_record();
    assert_eq!(
        (&record["direction"], &record["result"], &record["status"], &record["ended_by"]),
        (&"internal".into(), &"answered".into(), &200.into(), &"caller".into()),
        "{record:#}"
    );
    assert!(record["caller"].as_str().unwrap().contains("101"), "{record:#}");
    assert!(record["callee"].as_str().unwrap().contains("102"), "{record:#}");
    assert!(record["answered_at"].as_i64() <= record["ended_at"].as_i64(), "{record:#}");
}

#[test]
fn the_called_hangs_up() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [caller, called] = node.add_lines(["101", "102"]);
    let phone = at_phone(&node, &called, "answer_and_hang_up.xml");
    Sipp::call("call_hung_up.xml", &caller, "102", node.proxy).run();
    phone.succeed();
    let record = node.call_record();
    assert_eq!(
        (&record["result"], &record["ended_by"]),
        (&"answered".into(), &"callee".into()),
        "{record:#}"
    );
}

#[test]
fn a_phone_on_tcp_calls_another_site() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [caller] = node.add_lines(["101"]);
    let called = node.add_line(&node.add_site(2), "201");
    let phone = at_phone(&node, &called, "answer.xml");
    Sipp::call("call.xml", &caller, "802201", node.proxy_tcp).tcp().run();
    phone.succeed();
    assert_eq!(node.call_record()["direction"], "internal");
}

#[test]
fn a_phone_on_tcp_is_called_on_its_own_connection() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [caller, called] = node.add_lines(["101", "102"]);
    let stays =
        Sipp::new("register_and_stay.xml", node.proxy_tcp).row(&called.row("3600")).auth_uri(&called.domain);
    let phone = stays.tcp().answers("answer.xml").pause(2_000).start();
    until(|| "the phone registers".to_owned(), || (node.registered() == 1).then_some(()));
    Sipp::call("call.xml", &caller, "102", node.proxy).run();
    let trace = phone.succeed();
    assert_eq!((trace.calls_with("INVITE"), trace.calls_with("BYE")), (1, 1));
    assert_eq!(node.call_record()["result"], "answered");
}

#[test]
fn what_the_proxy_need_not_touch_stays_as_it_is() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [caller, called] = node.add_lines(["101", "102"]);
    let phone = at_phone(&node, &called, "answer.xml");
    let sent = Sipp::call("call.xml", &caller, "102", node.proxy).run();
    let came = phone.succeed();
    let (sent, came) = (sent.sent("INVITE"), came.received("INVITE"));
    let (sent, came) = (sent.last().unwrap(), came.last().unwrap());
    assert_eq!(sent.body(), came.body());
    for name in ["From", "To", "Call-ID", "CSeq", "Contact", "Content-Type"] {
        assert_eq!(sent.message.header(name), came.message.header(name));
    }
    assert_eq!(came.message.header("Max-Forwards"), Some("69"));
    // Credentials are for us alone (RFC 3261 §22.3).
    assert_eq!(came.message.header("Proxy-Authorization"), None);
}

/// A phone that has registered and runs this scenario.
fn at_phone(node: &Node, line: &Credentials, scenario: &str) -> Running {
    let registering = Sipp::register(line, node.proxy).start();
    let port = registering.local.port();
    registering.succeed();
    Sipp::phone(scenario).port(port).start()
}
