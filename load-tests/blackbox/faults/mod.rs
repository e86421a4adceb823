//! Faults at the peers, in the network and in the configuration: `call explain` names the cause of each.
//!
//! [`table`] is the table. A fault stands on a stage, a node with what is around it, which those of one kind share.

mod gateway;
mod inside;
mod outside;
mod table;
mod unreachable;

use std::cell::RefCell;

use crate::support::raw::slow_and_steady;
use crate::support::{Legs, Node, until};

use inside::Inside;
use outside::Limited;
use table::{Fault, GATEWAY, INSIDE, LIMITED, OUTSIDE, PATIENT, QUICK};
use unreachable::Quick;

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
            (output.status.success() && fault.says.iter().all(|word| said.contains(word))).then_some(())
        },
    );
}

#[test]
fn faults_at_the_gateway() {
    play(&mut Legs::start(), |legs| &legs.node, GATEWAY);
}

#[test]
fn faults_inside() {
    play(&mut Inside::start(), |inside| &inside.node, INSIDE);
}

#[test]
fn faults_of_calls_from_outside() {
    play(&mut Legs::start(), |legs| &legs.node, OUTSIDE);
}

#[test]
fn faults_of_limits() {
    play(&mut Limited::start(), |limited| &limited.legs.node, LIMITED);
}

#[test]
fn faults_of_reach() {
    play(&mut Quick::start(), |quick| &quick.node, QUICK);
}

/// Two that take their time, each on a node of its own.
#[test]
fn faults_that_take_their_time() {
    std::thread::scope(|scope| {
        for fault in PATIENT {
            scope.spawn(move || {
                let setup = slow_and_steady()
                    .set("TRANSLATOR__MEDIA_SILENCE_S", "5")
                    .set("TRANSLATOR__MIN_SESSION_EXPIRES_S", "5")
                    .set("REGISTRAR_PROXY__SESSION_EXPIRES_S", "0");
                let mut legs = Legs::on(setup);
                let call_id = (fault.inject)(&mut legs);
                explained(&legs.node, &call_id, fault);
            });
        }
    });
}

#[test]
fn the_table_has_forty_faults_and_more() {
    let names: Vec<&str> = [
        GATEWAY.iter().map(|fault| fault.name).collect::<Vec<_>>(),
        INSIDE.iter().map(|fault| fault.name).collect(),
        OUTSIDE.iter().map(|fault| fault.name).collect(),
        LIMITED.iter().map(|fault| fault.name).collect(),
        QUICK.iter().map(|fault| fault.name).collect(),
        PATIENT.iter().map(|fault| fault.name).collect(),
    ]
    .concat();
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    assert!(once.len() == names.len() && names.len() >= 40, "{} faults: {names:?}", names.len());
}
