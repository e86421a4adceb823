//! What the proxy refuses, and calls between phones.

use user_agent::Message;

use super::gateway::{acknowledge_cancel, call_id};
use crate::support::raw::{ack_of_failure, cancel_of, contact_uri, in_dialog, registered, slow_and_steady};
use crate::support::{Credentials, Node, Raw};

/// A node with lines of all sorts; 102 has a phone.
pub(super) struct Inside {
    pub(super) node: Node,
    caller: Credentials,
    barred: Credentials,
    elsewhere: Credentials,
    phone: Raw,
}

impl Inside {
    pub(super) fn start() -> Inside {
        let node = slow_and_steady().start();
        let [caller, called, _absent] = node.add_lines(["101", "102", "104"]);
        let barred = Credentials { extension: "103".to_owned(), ..caller.clone() };
        let words = ["line", "add", "--site", &barred.domain, "--extension", "103", "--internal-only"];
        let item = node.cli(&words);
        let field = |name: &str| item[name].as_str().unwrap().to_owned();
        let barred = Credentials { auth_user: field("auth_user"), password: field("password"), ..barred };
        let site =
            ["--name", "Ume", "--code", "802", "--domain", "s02.example.net", "--prefix", "2001:db8:2::/48"];
        node.cli(&[&["site", "add"][..], &site].concat());
        let elsewhere = node.add_line("s02.example.net", "201");
        // Nobody is called there: those who could be are refused.
        node.cli(&["trunk", "add", "--name", "carrier", "--gateway", "udp:127.0.0.1:9"]);
        node.cli(&["route", "add", "--trunk", "carrier", "--prefix", "+8131"]);
        let phone = registered(&node, &called);
        Inside { node, caller, barred, elsewhere, phone }
    }

    /// An INVITE of a line to a user part at its site, from a socket of its own.
    fn invite(&self, line: &Credentials, user: &str) -> (Raw, Message) {
        let raw = Raw::udp(self.node.proxy);
        let from = format!("{}@{}", line.extension, line.domain);
        let mut invite = raw.request("INVITE", &format!("sip:{user}@{}", line.domain), &from);
        invite.push("Content-Type", "application/sdp");
        invite.body = OFFER.as_bytes().to_vec();
        (raw, invite)
    }

    /// The phone 102 gets a call; gives the caller's end and both INVITEs.
    fn ring(&mut self) -> (Raw, Message, Message) {
        let (mut raw, invite) = self.invite(&self.caller, "102");
        let sent = raw.send_as(&self.caller, &invite);
        raw.expect(100);
        let received = self.phone.expect_request("INVITE");
        (raw, sent, received)
    }
}

/// A line calls, and is refused.
pub(super) fn call(stage: &mut Inside, who: &str, user: &str, headers: &[(&str, &str)]) -> String {
    let line = if who == "barred" { &stage.barred } else { &stage.caller };
    let (mut raw, mut invite) = stage.invite(line, user);
    for (name, value) in headers {
        crate::support::raw::set(&mut invite, name, value);
    }
    if headers.iter().any(|(name, _)| *name == "Proxy-Require") {
        // Refused before anybody is asked who it is.
        raw.send(&invite);
        return is_refused(&mut raw, &invite);
    }
    let sent = raw.send_as(line, &invite);
    is_refused(&mut raw, &sent)
}

pub(super) fn no_credential(stage: &mut Inside) -> String {
    let (mut raw, invite) = stage.invite(&stage.caller, "102");
    raw.send(&invite);
    is_refused(&mut raw, &invite)
}

pub(super) fn wrong_password(stage: &mut Inside) -> String {
    let guessed = Credentials { password: "guessed".to_owned(), ..stage.caller.clone() };
    let (mut raw, invite) = stage.invite(&guessed, "102");
    let sent = raw.send_as(&guessed, &invite);
    is_refused(&mut raw, &sent)
}

pub(super) fn wrong_site(stage: &mut Inside) -> String {
    let (mut raw, invite) = stage.invite(&stage.elsewhere, "102");
    let sent = raw.send_as(&stage.elsewhere, &invite);
    is_refused(&mut raw, &sent)
}

pub(super) fn foreign_host(stage: &mut Inside) -> String {
    let mut raw = Raw::udp(stage.node.proxy);
    let invite = raw.request("INVITE", "sip:102@example.org", "101@s01.example.net");
    raw.send(&invite);
    is_refused(&mut raw, &invite)
}

/// The called phone says this.
pub(super) fn answered_with(stage: &mut Inside, status: u16) -> String {
    let (mut raw, sent, received) = stage.ring();
    stage.phone.respond(&received, status, "phone", &[]);
    stage.phone.expect_request("ACK");
    is_refused(&mut raw, &sent)
}

pub(super) fn cancelled(stage: &mut Inside) -> String {
    let (mut raw, sent, received) = stage.ring();
    stage.phone.respond(&received, 180, "phone", &[]);
    raw.expect(180);
    raw.send(&cancel_of(&sent));
    let cancel = stage.phone.expect_request("CANCEL");
    stage.phone.respond(&cancel, 200, "phone", &[]);
    stage.phone.respond(&received, 487, "phone", &[]);
    stage.phone.expect_request("ACK");
    acknowledge_cancel(&mut raw, &sent);
    call_id(&sent)
}

pub(super) fn hung_up(stage: &mut Inside) -> String {
    let (mut raw, sent, received) = stage.ring();
    stage.phone.respond(&received, 200, "phone", &[]);
    let ok = raw.expect(200);
    let number = sent.cseq().unwrap().0;
    raw.send(&in_dialog(&raw, "ACK", number, &ok, true, &contact_uri(&ok)));
    stage.phone.expect_request("ACK");
    let mut dialog = ok.clone();
    dialog.headers.retain(|(name, _)| name != "Record-Route");
    received.headers("Record-Route").for_each(|route| dialog.push("Record-Route", route));
    let bye = in_dialog(&stage.phone, "BYE", 1, &dialog, false, &contact_uri(&received));
    stage.phone.send(&bye);
    let bye = raw.expect_request("BYE");
    raw.respond(&bye, 200, "", &[]);
    stage.phone.expect(200);
    call_id(&sent)
}

fn is_refused(raw: &mut Raw, sent: &Message) -> String {
    let refusal = loop {
        let response = raw.receive();
        if response.status().is_some_and(|(status, _)| status >= 200) {
            break response;
        }
    };
    assert!(refusal.status().unwrap().0 >= 400, "{refusal:#?}");
    raw.send(&ack_of_failure(sent, &refusal));
    call_id(sent)
}

pub(super) const OFFER: &str =
    "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";
