//! Who tries what it may not is slowed, and then not heard any more; nobody else is.

use serde_json::Value;
use user_agent::Message;

use crate::support::raw::{own_ipv4, registered, slow_and_steady};
use crate::support::{Credentials, Node, Raw, Setup, until};

/// A node that bears little, also from IPv4 and from the loopback.
fn strict() -> Setup {
    slow_and_steady()
        .set("REGISTRAR_PROXY__LISTEN", "udp:[::1]:0,tcp:[::1]:0,udp:127.0.0.1:0")
        .set("ADMISSION__TRUSTED", "")
        .set("ADMISSION__SCANNER_SLOW_AFTER", "50")
        .set("ADMISSION__SCANNER_DROP_AFTER", "100")
}

/// What the node says of a source, once it is so.
fn source(node: &Node, scanner: &Raw, is_so: impl Fn(&Value) -> bool) -> Value {
    let address = scanner.local.ip().to_string();
    let list = || node.cli(&["source", "list"]);
    let found = || {
        list().as_array().unwrap().iter().find(|row| row["source"] == address.as_str() && is_so(row)).cloned()
    };
    until(|| format!("{address}\n{:#}\n{}", list(), node.log()), found)
}

fn for_somebody_else(scanner: &Raw) -> Message {
    scanner.request("INVITE", "sip:100@example.org", "100@example.org")
}

/// It is forgiven, and heard again.
fn forgiven(node: &Node, scanner: &mut Raw) {
    let before = source(node, scanner, |row| row["state"] == "dropped")["dropped"].as_u64().unwrap();
    scanner.send(&for_somebody_else(scanner));
    // It was not looked at.
    source(node, scanner, |row| row["dropped"].as_u64() > Some(before));
    node.cli(&["source", "forgive", &scanner.local.ip().to_string()]);
    let again = for_somebody_else(scanner);
    scanner.send(&again);
    let heard = until(
        || "the scanner is heard again".to_owned(),
        || Some(scanner.receive()).filter(|answer| answer.header("Call-ID") == again.header("Call-ID")),
    );
    assert_eq!(heard.status().unwrap().0, 403, "{heard:#?}");
}

#[test]
fn unknown_users_bad_passwords_and_sweeps() {
    let node = strict().start();
    let [line] = node.add_lines(["101"]);
    let over_ipv4 = node.proxy_address("udp", false);
    let mut phone = registered(&node, &line);
    let mut scanner = Raw::udp_at((own_ipv4(), 0).into(), over_ipv4);
    for (user, password) in [(line.auth_user.as_str(), "wrong"), ("s01-999", "guess")] {
        let wrong = Credentials { auth_user: user.into(), password: password.into(), ..line.clone() };
        let request = scanner.request("REGISTER", "sip:s01.example.net", "101@s01.example.net");
        scanner.send_as(&wrong, &request);
        scanner.expect(403);
    }
    for _ in 0..200 {
        let options = scanner.request("OPTIONS", &format!("sip:{over_ipv4}"), "100@example.org");
        scanner.send(&options);
    }
    for _ in 0..60 {
        scanner.send(&for_somebody_else(&scanner));
    }
    let row = source(&node, &scanner, |row| row["state"] == "dropped");
    assert!(row["offences"].as_u64() >= Some(4) && row["free_in_seconds"].as_u64() > Some(0), "{row:#}");
    forgiven(&node, &mut scanner);
    // Nobody else noticed.
    phone.expect_nothing();
    assert!(node.cli(&["source", "list"]).as_array().unwrap().iter().all(|row| row["source"] != "::1"));
}

#[test]
fn strangers_at_the_translator() {
    let node = strict().start();
    let [line] = node.add_lines(["101"]);
    node.add_number("+81355550101", &line);
    let mut phone = registered(&node, &line);
    let mut gateway = Raw::udp(node.trunk_side);
    node.add_trunk("carrier", &[gateway.local]);
    let mut scanner = Raw::udp_at((own_ipv4(), 0).into(), node.trunk_side);
    for _ in 0..120 {
        let uri = format!("sip:+81355550101@{}", node.trunk_side);
        let invite = scanner.request("INVITE", &uri, "100@example.org");
        scanner.send(&invite);
    }
    source(&node, &scanner, |row| row["state"] == "dropped" && row["last_offence"] == "stranger");
    forgiven(&node, &mut scanner);
    // The trunk calls as before.
    let invite = gateway.request("INVITE", &format!("sip:+81355550101@{}", node.trunk_side), "1@127.0.0.1");
    gateway.send(&invite);
    phone.expect_request("INVITE");
}

/// A phone that is registered from there is no scanner, whatever it does, and one that mistyped its password may register.
#[test]
fn a_phone_is_never_locked_out() {
    let node = strict().start();
    let [line] = node.add_lines(["101"]);
    let mut phone = Raw::udp_at((own_ipv4(), 0).into(), node.proxy_address("udp", false));
    let wrong = Credentials { password: "mistyped".to_owned(), ..line.clone() };
    for _ in 0..3 {
        let request = phone.request("REGISTER", "sip:s01.example.net", "101@s01.example.net");
        phone.send_as(&wrong, &request);
        phone.expect(403);
    }
    let contact = format!("<sip:101@{}>", phone.local);
    phone.register(&line, &contact, &[]);
    for _ in 0..20 {
        phone.send(&for_somebody_else(&phone));
        phone.expect(403);
    }
}

#[test]
fn one_source_sends_too_much() {
    let node = strict().set("ADMISSION__SOURCE_REQUESTS_PER_SECOND", "1").start();
    let [line] = node.add_lines(["101"]);
    let phone = registered(&node, &line);
    let mut source = Raw::udp_at((own_ipv4(), 0).into(), node.proxy_address("udp", false));
    let invites: Vec<Message> =
        (0..60).map(|_| source.request("INVITE", "sip:101@s01.example.net", "x@example.org")).collect();
    let limited = invites.iter().find_map(|invite| {
        source.send(invite);
        let answer = source.receive();
        source.send(&crate::support::raw::ack_of_failure(invite, &answer));
        (answer.status().unwrap().0 == 503).then_some(answer)
    });
    assert!(limited.is_some_and(|answer| answer.header("Retry-After").is_some()));
    let help = source.request("INVITE", "sip:119@s01.example.net", "x@example.org");
    source.send(&help);
    source.expect(407);
    drop(phone);
}
