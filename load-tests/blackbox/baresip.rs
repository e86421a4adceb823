//! baresip as an IPv6 phone and as an IPv4 gateway: each sends a tone, and the other records it.

use crate::support::{Node, Persona, have, until};

#[test]
fn tones_cross_the_translator_both_ways() {
    if !have("baresip") {
        return;
    }
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let mut gateway = Persona::gateway("+81312345678", node.trunk_side, 1_000).start();
    node.add_trunk("carrier", &[gateway.local]);
    let mut phone = Persona::phone(&line, node.proxy, 440).start();
    registered(&node);
    phone.order("dial", &format!("sip:0312345678@{}", line.domain));
    phone.await_event("CALL_ESTABLISHED");
    gateway.await_event("CALL_ESTABLISHED");
    assert_eq!((phone.await_heard(2.0), gateway.await_heard(2.0)), (1_000.0, 440.0));
    phone.order("hangup", "");
    gateway.await_event("CALL_CLOSED");
    let record = node.call_record();
    assert_eq!(
        (&record["result"], &record["ended_by"]),
        (&"answered".into(), &"caller".into()),
        "{record:#}"
    );
}

#[test]
fn a_gateway_calls_the_phone() {
    if !have("baresip") {
        return;
    }
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    node.add_number("+81355550101", &line);
    let mut gateway = Persona::gateway("+819012345678", node.trunk_side, 1_000).start();
    node.add_trunk("carrier", &[gateway.local]);
    let mut phone = Persona::phone(&line, node.proxy, 440).start();
    registered(&node);
    gateway.order("dial", &format!("sip:0355550101@{}", node.trunk_side.ip()));
    phone.await_event("CALL_ESTABLISHED");
    assert_eq!((phone.await_heard(2.0), gateway.await_heard(2.0)), (1_000.0, 440.0));
    phone.order("hangup", "");
    gateway.await_event("CALL_CLOSED");
    assert_eq!(node.call_record()["ended_by"], "callee");
}

fn registered(node: &Node) {
    until(|| format!("baresip registers\n{}", node.log()), || (node.registered() == 1).then_some(()));
}
