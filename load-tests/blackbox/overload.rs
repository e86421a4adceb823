//! Too many calls: what the translator tells the proxy, who is refused, and who is not.

use user_agent::Message;

use crate::support::raw::{ack_of_failure, aor, contact_uri, in_dialog, registered, set, slow_and_steady};
use crate::support::{Credentials, Legs, Node, Raw, Setup};

/// The INVITE of a line, and its final answer or the request that the other side got.
fn refused(caller: &mut Raw, line: &Credentials, uri: &str) -> Message {
    let invite = caller.request("INVITE", uri, &format!("{}@{}", line.extension, line.domain));
    let sent = caller.send_as(line, &invite);
    let mut answer = caller.receive();
    while answer.status().is_some_and(|(status, _)| status < 200) {
        answer = caller.receive();
    }
    caller.send(&ack_of_failure(&sent, &answer));
    answer
}

fn status(message: &Message) -> u16 {
    message.status().unwrap().0
}

/// A socket that stands in for a part of the platform, and a node that is told of it.
fn beside(setup: Setup, key: &str) -> (Node, Raw) {
    let nowhere = "[::1]:9".parse().unwrap();
    let mut part = Raw::udp(nowhere);
    let node = setup.set(key, &format!("udp:{}", part.local)).start();
    part.server = node.proxy;
    (node, part)
}

/// RFC 7339 §5.1: who understands overload control is told of it, and nobody else.
/// RFC 7339 §5.3: a translator without places for calls tells the proxy to keep all back.
#[test]
fn a_translator_tells_its_load() {
    let setup = slow_and_steady().set("TRANSLATOR__MAX_CALLS", "1");
    let (node, mut proxy) = beside(setup, "TRANSLATOR__PROXY");
    proxy.server = node.translator;
    let mut gateway = Raw::udp(node.trunk_side);
    node.add_trunk("carrier", &[gateway.local]);
    let invite = |proxy: &Raw, number: &str, oc: &str| {
        let mut invite =
            proxy.request("INVITE", &format!("sip:{number}@{}", proxy.server), "101@s01.example.net");
        let via = format!("{}{oc}", invite.header("Via").unwrap());
        set(&mut invite, "Via", &via);
        invite.headers.rotate_right(1);
        invite
    };
    let offered = ";oc;oc-algo=\"loss\"";
    let first = invite(&proxy, "+81312345678", offered);
    proxy.send(&first);
    let trying = proxy.expect(100);
    let via = trying.header("Via").unwrap().to_owned();
    assert!(via.contains(";oc=0;") && via.contains(";oc-validity=0;") && via.contains(";oc-seq="), "{via}");
    gateway.expect_request("INVITE");
    for (oc, told) in [(offered, true), ("", false)] {
        let second = invite(&proxy, "+81312345678", oc);
        proxy.send(&second);
        let busy = proxy.expect(503);
        assert!(busy.header("Retry-After").is_some(), "{busy:#?}");
        assert_eq!(busy.header("Via").unwrap().contains(";oc=100;"), told, "{busy:#?}");
        proxy.send(&ack_of_failure(&second, &busy));
    }
    // There is no place left, and yet there is one for a call for help.
    proxy.send(&invite(&proxy, "119", offered));
    proxy.expect(100);
    assert!(gateway.expect_request("INVITE").request_uri().unwrap().starts_with("sip:119@"));
}

/// RFC 7339 §5.4: the proxy keeps calls back from a translator that says so.
/// RFC 7339 §5.9: calls for help are never kept back.
#[test]
fn the_proxy_keeps_calls_back() {
    let (node, mut translator) = beside(slow_and_steady(), "REGISTRAR_PROXY__TRANSLATORS");
    let [line] = node.add_lines(["101"]);
    // A route, so that numbers lead outside.
    node.add_trunk("carrier", &["127.0.0.77:5060".parse().unwrap()]);
    let mut caller = registered(&node, &line);
    let uri = "sip:0312345678@s01.example.net";
    let sent = caller.invite(&line, uri, &[]);
    let invite = translator.expect_request("INVITE");
    let via = invite.header("Via").unwrap().to_owned();
    assert!(via.contains(";oc;oc-algo=\"loss\""), "{via}");
    let mut busy = translator.response(&invite, 486, "t", &[]);
    let told = via.replace(";oc;", ";oc=100;oc-validity=60000;oc-seq=1.5;");
    let top = busy.headers.iter_mut().find(|(name, _)| name == "Via").unwrap();
    top.1 = told;
    translator.send(&busy);
    translator.expect_request("ACK");
    let busy = caller.expect(486);
    caller.send(&ack_of_failure(&sent, &busy));
    let refusal = refused(&mut caller, &line, uri);
    assert_eq!((status(&refusal), refusal.header("Retry-After").is_some()), (503, true), "{refusal:#?}");
    caller.invite(&line, "sip:119@s01.example.net", &[]);
    let help = translator.expect_request("INVITE");
    assert!(help.request_uri().unwrap().starts_with("sip:119@"), "{help:#?}");
}

/// A translator that is full: the call that is up goes on, and help is called.
#[test]
fn a_call_that_is_up_goes_on() {
    let mut legs = Legs::on(slow_and_steady().set("TRANSLATOR__MAX_CALLS", "1"));
    legs.call_up(&[], &[]);
    let mut other = Raw::udp(legs.node.proxy);
    for _ in 0..3 {
        assert_eq!(status(&refused(&mut other, &legs.line, "sip:0312345678@s01.example.net")), 503);
    }
    other.invite(&legs.line, "sip:119@s01.example.net", &[]);
    let help = legs.gateway.expect_request("INVITE");
    assert!(help.request_uri().unwrap().starts_with("sip:119@"), "{help:#?}");
    legs.phone.request("BYE", &[], None);
    legs.phone.expect(200);
    legs.gateway.expect_request("BYE");
}

/// Calls of one site beyond its rate get 503; other sites, calls that are up and emergency numbers do not.
#[test]
fn one_site_calls_too_much() {
    let node = slow_and_steady().set("ADMISSION__SITE_CALLS_PER_SECOND", "1").start();
    let [line, callee] = node.add_lines(["101", "102"]);
    let domain = node.add_site(2);
    let other = node.add_line(&domain, "201");
    let mut gateway = Raw::udp(node.trunk_side);
    node.add_trunk("carrier", &[gateway.local]);
    let mut phone = registered(&node, &callee);
    let mut caller = Raw::udp(node.proxy);
    caller.invite(&line, &aor(&callee), &[]);
    let invite = phone.expect_request("INVITE");
    phone.respond(&invite, 200, "callee", &[]);
    let ok = caller.expect(200);
    caller.send(&in_dialog(&caller, "ACK", 2, &ok, true, &contact_uri(&ok)));
    phone.expect_request("ACK");
    // Two at once are borne, and one more each second.
    let limited = (0..60).map(|_| refused(&mut caller, &line, "sip:199@s01.example.net"));
    let limited = limited.into_iter().find(|answer| status(answer) != 404).unwrap();
    assert_eq!((status(&limited), limited.header("Retry-After").is_some()), (503, true), "{limited:#?}");
    assert_eq!(status(&refused(&mut caller, &other, "sip:299@s02.example.net")), 404);
    caller.invite(&line, "sip:119@s01.example.net", &[]);
    let help = gateway.expect_request("INVITE");
    assert!(help.request_uri().unwrap().starts_with("sip:119@"), "{help:#?}");
    caller.send(&in_dialog(&caller, "BYE", 3, &ok, true, &contact_uri(&ok)));
    phone.expect_request("BYE");
}

/// Calls of one trunk beyond its rate get 503, over IPv4; the other trunk does not.
#[test]
fn one_trunk_calls_too_much() {
    let node = slow_and_steady().set("ADMISSION__TRUNK_CALLS_PER_SECOND", "1").start();
    let (mut one, mut two) = (Raw::udp(node.trunk_side), Raw::udp(node.trunk_side));
    node.add_trunk("one", &[one.local]);
    node.add_trunk("two", &[two.local]);
    let call = |gateway: &mut Raw| {
        let uri = format!("sip:+81355559999@{}", gateway.server);
        let invite = gateway.request("INVITE", &uri, "+819012345678@127.0.0.1");
        gateway.send(&invite);
        let mut answer = gateway.receive();
        while answer.status().is_some_and(|(status, _)| status < 200) {
            answer = gateway.receive();
        }
        gateway.send(&ack_of_failure(&invite, &answer));
        answer
    };
    let limited = (0..60).map(|_| call(&mut one)).find(|answer| status(answer) == 503).unwrap();
    assert!(limited.header("Retry-After").is_some(), "{limited:#?}");
    assert_ne!(status(&call(&mut two)), 503);
}
