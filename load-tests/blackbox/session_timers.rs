//! Sessions that end when nobody refreshes them, and the proxy's part in that.

use crate::support::Raw;
use crate::support::raw::{ack_of_failure, aor, contact_uri, in_dialog, registered, slow_and_steady};

/// RFC 4028 §8.1: the proxy asks for a session timer, refuses what is too short, and lowers what is too long.
/// RFC 4028 §8.2: it answers for a callee that knows no session timer.
#[test]
fn the_proxy_takes_part() {
    let node = slow_and_steady().set("REGISTRAR_PROXY__SESSION_EXPIRES_S", "600").start();
    let [line, callee] = node.add_lines(["101", "102"]);
    let mut phone = registered(&node, &callee);
    let mut caller = Raw::udp(node.proxy);
    let mut short = caller.request("INVITE", &aor(&callee), "101@s01.example.net");
    short.push("Supported", "timer");
    short.push("Session-Expires", "60");
    let sent = caller.send_as(&line, &short);
    let refused = caller.expect(422);
    assert_eq!(refused.header("Min-SE"), Some("90"));
    caller.send(&ack_of_failure(&sent, &refused));

    caller.invite(&line, &aor(&callee), &[("Supported", "timer")]);
    let invite = phone.expect_request("INVITE");
    assert_eq!(invite.header("Session-Expires"), Some("600"));
    phone.respond(&invite, 200, "callee", &[]);
    let ok = caller.expect(200);
    assert_eq!(ok.header("Session-Expires"), Some("600;refresher=uac"));
    assert_eq!(ok.header("Require"), Some("timer"));
    caller.send(&in_dialog(&caller, "ACK", 2, &ok, true, &contact_uri(&ok)));
    phone.expect_request("ACK");
    // The callee refreshes: its interval is lowered, and its own answer stands.
    let mut update = in_dialog(&phone, "UPDATE", 1, &ok, false, &contact_uri(&invite));
    update.push("Supported", "timer");
    update.push("Session-Expires", "7200;refresher=uac");
    phone.send(&update);
    let update = caller.expect_request("UPDATE");
    assert_eq!(update.header("Session-Expires"), Some("600;refresher=uac"));
    caller.respond(&update, 200, "", &[("Session-Expires", "300;refresher=uac"), ("Require", "timer")]);
    assert_eq!(phone.expect(200).header("Session-Expires"), Some("300;refresher=uac"));
}
