//! One call rings at several phones: early dialogs begin, end one by one, and end all together.

use user_agent::Message;

use crate::support::raw::{aor, contact_uri, in_dialog, registered, slow_and_steady};
use crate::support::{Credentials, Node, Raw};

/// A caller and two phones of one line.
struct Forked {
    node: Node,
    caller: Raw,
    line: Credentials,
    callee: Credentials,
    phones: [Raw; 2],
}

impl Forked {
    fn new(setup: crate::support::Setup) -> Forked {
        let node = setup.start();
        let [line, callee] = node.add_lines(["101", "102"]);
        let phones = [registered(&node, &callee), registered(&node, &callee)];
        let caller = Raw::udp(node.proxy);
        Forked { node, caller, line, callee, phones }
    }

    /// Calls; gives the INVITE as each phone got it.
    fn call(&mut self, extra: &[(&str, &str)]) -> [Message; 2] {
        self.caller.invite(&self.line, &aor(&self.callee), extra);
        self.phones.each_mut().map(|phone| phone.expect_request("INVITE"))
    }
}

/// RFC 3261 §16.7: every early dialog of a fork reaches the caller, and the first answer ends the others.
/// RFC 6228 §6: the caller is told which early dialog is over.
#[test]
fn they_begin_and_end_one_by_one() {
    let mut forked = Forked::new(slow_and_steady());
    let [one, two] = forked.call(&[("Supported", "199")]);
    let Forked { caller, phones: [first, second], node, .. } = &mut forked;
    first.respond(&one, 180, "tag-one", &[]);
    assert_eq!(caller.expect(180).tag("To"), Some("tag-one"));
    second.respond(&two, 183, "tag-two", &[]);
    assert_eq!(caller.expect(183).tag("To"), Some("tag-two"));
    first.respond(&one, 486, "tag-one", &[]);
    first.expect_request("ACK");
    let ended = caller.expect(199);
    assert_eq!(ended.tag("To"), Some("tag-one"));
    assert!(ended.header("Reason").unwrap().starts_with("SIP;cause=486"), "{ended:#?}");
    second.respond(&two, 200, "tag-two", &[]);
    let ok = caller.expect(200);
    caller.send(&in_dialog(caller, "ACK", 2, &ok, true, &contact_uri(&ok)));
    second.expect_request("ACK");
    caller.send(&in_dialog(caller, "BYE", 3, &ok, true, &contact_uri(&ok)));
    let bye = second.expect_request("BYE");
    second.respond(&bye, 200, "", &[]);
    caller.expect(200);
    first.expect_nothing();
    node.assert_alive();
}

/// RFC 3261 §16.7: a 6xx cancels everything that rings, and is what the caller hears.
#[test]
fn a_refusal_for_all_ends_them_all() {
    let mut forked = Forked::new(slow_and_steady());
    let [one, two] = forked.call(&[]);
    let Forked { caller, phones: [first, second], .. } = &mut forked;
    first.respond(&one, 180, "tag-one", &[]);
    caller.expect(180);
    second.respond(&two, 603, "tag-two", &[]);
    second.expect_request("ACK");
    let cancel = first.expect_request("CANCEL");
    assert!(cancel.header("Reason").unwrap().starts_with("SIP;cause=603"), "{cancel:#?}");
    first.respond(&cancel, 200, "tag-one", &[]);
    first.respond(&one, 487, "tag-one", &[]);
    first.expect_request("ACK");
    caller.expect(603);
}

/// RFC 3261 §16.8: a call that nobody answers is cancelled everywhere and ends with 408.
#[test]
fn nobody_answers() {
    let mut forked = Forked::new(slow_and_steady().set("REGISTRAR_PROXY__RING_TIMEOUT_S", "1"));
    let [one, two] = forked.call(&[]);
    let Forked { caller, phones: [first, second], .. } = &mut forked;
    let mut ringing = [(first, one, "tag-one"), (second, two, "tag-two")];
    for (phone, invite, tag) in &mut ringing {
        phone.respond(invite, 180, tag, &[]);
        caller.expect(180);
    }
    for (phone, invite, tag) in &mut ringing {
        let cancel = phone.expect_request("CANCEL");
        phone.respond(&cancel, 200, tag, &[]);
        phone.respond(invite, 487, tag, &[]);
        phone.expect_request("ACK");
    }
    caller.expect(408);
}
