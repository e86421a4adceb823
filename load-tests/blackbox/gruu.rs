//! Calls to one phone of a line by its GRUU.

use user_agent::Message;

use crate::support::raw::{ack_of_failure, in_dialog, slow_and_steady};
use crate::support::{Credentials, Node, Raw};

/// A phone of the line with this instance, and what it was given.
fn phone(node: &Node, line: &Credentials, instance: &str) -> (Raw, Message) {
    let mut phone = Raw::udp(node.proxy);
    let contact = format!("<sip:{}@{}>;+sip.instance=\"<{instance}>\"", line.extension, phone.local);
    let ok = phone.register(line, &contact, &[("Supported", "gruu")]);
    (phone, ok)
}

/// A GRUU of the contact at this phone's address.
fn gruu(phone: &Raw, ok: &Message, kind: &str) -> String {
    let contact = ok.values("Contact").into_iter().find(|value| value.contains(&phone.local.to_string()));
    let contact = contact.unwrap_or_else(|| panic!("{ok:#?}"));
    let value = contact.split(&format!("{kind}=\"")).nth(1).unwrap_or_else(|| panic!("{contact}"));
    value.split('"').next().unwrap().to_owned()
}

/// RFC 5627 §5.2: a phone is given a public and a temporary GRUU.
/// RFC 5627 §6.1: a call to either reaches that phone alone, and so do later requests of the dialog.
/// RFC 5627 §6.1: a GRUU of no phone is answered with 480, and one that is not good with 404.
#[test]
fn one_phone_of_a_line() {
    let node = slow_and_steady().start();
    let [line, callee] = node.add_lines(["101", "102"]);
    let (one, other) = ("urn:uuid:00000000-0000-1000-8000-000A95A0E128", "urn:x:2");
    let (mut first, _) = phone(&node, &callee, one);
    let (mut second, ok) = phone(&node, &callee, other);
    let public = gruu(&first, &ok, "pub-gruu");
    assert_eq!(public, format!("sip:102@s01.example.net;gr={one}"));
    let temporary = gruu(&second, &ok, "temp-gruu");
    assert!(!temporary.contains("102@"), "{temporary}");
    let mut caller = Raw::udp(node.proxy);
    caller.invite(&line, &temporary, &[]);
    let invite = second.expect_request("INVITE");
    second.respond(&invite, 486, "busy", &[]);
    second.expect_request("ACK");
    caller.expect(486);
    // The callee gives its GRUU as its Contact.
    caller.invite(&line, &public, &[]);
    let invite = first.expect_request("INVITE");
    let mut answer = first.response(&invite, 200, "callee", &[]);
    crate::support::raw::set(&mut answer, "Contact", &format!("<{public}>"));
    first.send(&answer);
    let ok = caller.expect(200);
    caller.send(&in_dialog(&caller, "ACK", 2, &ok, true, &public));
    first.expect_request("ACK");
    caller.send(&in_dialog(&caller, "BYE", 3, &ok, true, &public));
    let bye = first.expect_request("BYE");
    first.respond(&bye, 200, "", &[]);
    caller.expect(200);
    for (uri, status) in [
        ("sip:102@s01.example.net;gr=urn:x:3".to_owned(), 480),
        (format!("sip:199@s01.example.net;gr={one}"), 404),
        (temporary.replace("tgruu.", "tgruu.0"), 404),
    ] {
        let request = caller.request("INVITE", &uri, "101@s01.example.net");
        let sent = caller.send_as(&line, &request);
        let refused = caller.expect(status);
        caller.send(&ack_of_failure(&sent, &refused));
    }
    second.expect_nothing();
}
