//! Calls from the trunk, and bounds that are reached.

use std::cell::RefCell;
use std::net::UdpSocket;

use super::gateway::{call_id, rejected_at, rejected_with, up};
use super::inside::OFFER;
use crate::support::legs::End;
use crate::support::raw::{ack_of_failure, registered, set, slow_and_steady};
use crate::support::{Legs, Raw, until};

/// A call that the node does not take.
fn refused(gateway: &mut Raw, to: &str, headers: &[(&str, &str)]) -> String {
    let uri = format!("sip:{to}@{}", gateway.server);
    let mut invite = gateway.request("INVITE", &uri, "+819012345678@127.0.0.1");
    headers.iter().for_each(|(name, value)| set(&mut invite, name, value));
    invite.push("Content-Type", "application/sdp");
    invite.body =
        b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n".to_vec();
    gateway.send(&invite);
    loop {
        let response = gateway.receive();
        match response.status() {
            Some((status, _)) if status >= 200 => {
                assert!(status >= 400, "{response:#?}");
                gateway.send(&ack_of_failure(&invite, &response));
                return call_id(&invite);
            }
            _ => {}
        }
    }
}

/// From where no trunk is.
pub(super) fn stranger(legs: &mut Legs) -> String {
    let mut stranger = Raw::udp_at("127.0.0.3:0".parse().unwrap(), legs.node.trunk_side);
    refused(&mut stranger, "+81355550101", &[])
}

pub(super) fn dialled(legs: &mut Legs, number: &str) -> String {
    refused(&mut legs.gateway.raw, number, &[])
}

pub(super) fn no_hops(legs: &mut Legs) -> String {
    refused(&mut legs.gateway.raw, "+81355550101", &[("Max-Forwards", "0")])
}

pub(super) fn phone_is_busy(legs: &mut Legs) -> String {
    let offer = legs.gateway.sdp("");
    let (sent, received) = legs.dial_in(&[], Some(&offer));
    legs.phone.respond(&received, 486, &[], None);
    legs.phone.expect_request("ACK");
    let refusal = legs.gateway.expect(486);
    legs.gateway.raw.send(&ack_of_failure(&sent, &refusal));
    call_id(&sent)
}

/// A node on which one call is up over the trunk `narrow`, which carries no more, and another over `wide` is the last one that it takes.
pub(super) struct Limited {
    pub(super) legs: Legs,
}

impl Limited {
    pub(super) fn start() -> Limited {
        let first = free_ports(4);
        let setup = slow_and_steady()
            .set("TRANSLATOR__MAX_CALLS", "2")
            .set("TRANSLATOR__MEDIA_PORTS", &format!("{first}-{}", first + 3));
        let node = setup.start();
        let [line] = node.add_lines(["101"]);
        let phone = End::new(registered(&node, &line), "phone");
        let gateway = End::new(Raw::udp(node.trunk_side), "gateway");
        let address = format!("udp:{}", gateway.raw.local);
        node.cli(&["trunk", "add", "--name", "narrow", "--gateway", &address, "--max-calls", "1"]);
        node.cli(&["route", "add", "--trunk", "narrow", "--prefix", "+8131"]);
        node.cli(&["trunk", "add", "--name", "wide", "--gateway", &address]);
        node.cli(&["route", "add", "--trunk", "wide", "--prefix", "+8144"]);
        let mut legs = Legs { node, line, phone, gateway };
        up(&mut legs, NARROW);
        Limited { legs }
    }
}

/// The trunk carries one call already.
pub(super) fn trunk_is_full(stage: &mut Limited) -> String {
    rejected_at(&mut stage.legs, NARROW, &[], OFFER)
}

/// With a second call the node has all that it takes.
pub(super) fn too_many_calls(stage: &mut Limited) -> String {
    up(&mut stage.legs, WIDE);
    refused_by(&mut stage.legs, |reason| reason != HELD_BACK)
}

/// While it has all that it takes, the translator asks the proxy to keep calls back. Then the second call ends.
pub(super) fn held_back(stage: &mut Limited) -> String {
    let legs = &mut stage.legs;
    let refused = refused_by(legs, |reason| reason == HELD_BACK);
    legs.phone.request("BYE", &[], None);
    legs.phone.expect(200);
    let bye = legs.gateway.expect_request("BYE");
    legs.gateway.respond(&bye, 200, &[], None);
    refused
}

/// The ports of the second call rest for a while.
pub(super) fn no_ports(stage: &mut Limited) -> String {
    let legs = &mut stage.legs;
    until(
        || "the second call is over".to_owned(),
        || {
            let records = legs.node.cli(&["call", "list"]);
            records.as_array().unwrap().iter().any(|record| record["result"] == "answered").then_some(())
        },
    );
    refused_by(legs, |reason| reason != HELD_BACK)
}

/// A call that is refused with such a reason: what the proxy was told to keep back holds for a second.
fn refused_by(legs: &mut Legs, is_it: impl Fn(&str) -> bool) -> String {
    let last = RefCell::new(String::new());
    until(
        || format!("the last refusal said {:?}", last.borrow()),
        || {
            let (call_id, reason) = rejected_with(legs, WIDE, &[], OFFER);
            last.replace(reason);
            is_it(&last.borrow()).then_some(call_id)
        },
    )
}

/// The first of so many ports, all free a moment ago on both families, of which nobody gets one by asking the system for any port.
fn free_ports(count: u16) -> u16 {
    let free =
        |port: u16| UdpSocket::bind(("::1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok();
    let start = std::process::id() as u16 % 30;
    let mut candidates = (0..30).map(|step| 32_100 + (start + step) % 30 * 20);
    candidates.find(|first| (*first..first + count).all(free)).unwrap()
}

/// What the proxy says for a translator that has asked for fewer calls.
const HELD_BACK: &str = "Translators Overloaded";
const NARROW: &str = "0312345678";
const WIDE: &str = "0441234567";
