//! Whatever comes in, nothing breaks: messages with bytes changed, cut and doubled, from everywhere.

use bytes::Bytes;
use sip_core::core::{Core, Input};
use sip_core::flow::{Flow, Transport};
use sip_core::ids::{IdSource, WorkerId};
use sip_core::wire::{Message, Method, Name};

use super::harness::*;

/// Messages of every kind that a call has.
fn samples(harness: &mut Harness) -> Vec<Message> {
    let invite = harness.call(A, "s1-101", "sip:102@s1.example.net");
    let received = harness.expect_request(B, &Method::Invite);
    let ringing = answer(&received, 180, B);
    let ok = answer(&received, 200, B);
    harness.deliver(B, &ok);
    let ok_upstream = harness.expect(A, 200);
    let register = harness.request(&Method::Register, A, "101@s1.example.net", "sip:s1.example.net");
    let options = harness.request(&Method::Options, A, "x@y", "sip:[2001:db8::1]");
    let bye = in_dialog(&Method::Bye, 3, A, &ok_upstream, true, "sip:phone@[2001:db8:1::102]:5060");
    let ack = in_dialog(&Method::Ack, 2, A, &ok_upstream, true, "sip:phone@[2001:db8:1::102]:5060");
    let strange =
        invite.edit().append(Name::Route, "<tel:110>, <sip:a@b>;x, <sip:[2001:db8::1];lr>").finish();
    vec![cancel_of(&invite), invite, ringing, ok, register, options, ack, bye, strange]
}

#[test]
fn changed_bytes_break_nothing() {
    let mut harness = Harness::new();
    let samples = samples(&mut harness);
    let mut random = IdSource::new(WorkerId(0), [11; 32]);
    let mut below = |bound: usize| (random.next_u64() % bound.max(1) as u64) as usize;
    let sources = [A, B, C, STRANGER, TRANSLATOR_1];
    for round in 0..4000 {
        let mut bytes = samples[below(samples.len())].bytes().to_vec();
        for _ in 0..=below(4) {
            let (at, length) = (below(bytes.len()), below(24));
            let piece: Vec<u8> = bytes.iter().skip(at).take(length).copied().collect();
            match below(4) {
                0 => bytes[at] = below(256) as u8,
                1 => drop(bytes.drain(at..(at + length).min(bytes.len()))),
                2 => drop(bytes.splice(at..at, piece)),
                _ => bytes[at] = b"\r\n;,:<>@ \"%+0"[below(13)],
            }
            if bytes.is_empty() {
                break;
            }
        }
        let remote = addr(sources[below(sources.len())]);
        let flow = Flow { transport: Transport::Udp, local: addr(PROXY), remote, connection: None };
        harness.input(Input::Received { flow, bytes: Bytes::from(bytes) });
        if round % 100 == 0 {
            harness.wait(1.0);
            harness.forget();
        }
    }
    harness.wait(400.0);
    harness.forget();
    // Everything has ended but calls whose BYE never came.
    assert!(
        harness.core.contexts.is_empty()
            && harness.core.by_server.is_empty()
            && harness.core.by_client.is_empty()
    );
    assert_eq!(harness.core.active(), harness.core.calls.len());
}
