//! Faults at the peers, in the network and in the configuration: `call explain` names the cause of each.
//!
//! [`table`] is the table. A fault stands on a stage, a node with what is around it, which those of one kind share.

mod gateway;
mod table;

use std::cell::RefCell;

use crate::support::{Node, until};

use table::{Fault, GATEWAY};

/// Injects each fault and reads the sentence.
fn play<S>(stage: &mut S, node: impl Fn(&S) -> &Node, faults: &[Fault<S>]) {
    for fault in faults {
        let call_id = (fault.inject)(stage);
        explained(node(stage), &call_id, fault);
    }
}

/// Waits until the sentence names the cause: a record is written a moment after the call.
fn explained<S>(node: &Node, call_id: &str, fault: &Fault<S>) {
    let last = RefCell::new(String::new());
    until(
        || format!("{}: the sentence names {:?}; it is {}", fault.name, fault.says, last.borrow()),
        || {
            let output = node.say(&["call", "explain", call_id]);
            let text = [output.stdout, output.stderr].concat();
            last.replace(String::from_utf8_lossy(&text).into_owned());
            let said = last.borrow();
            fault.says.iter().all(|word| said.contains(word)).then_some(())
        },
    );
}

#[test]
fn faults_at_the_gateway() {
    play(&mut crate::support::Legs::start(), |legs| &legs.node, GATEWAY);
}
