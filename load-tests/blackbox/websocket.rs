//! Browsers as phones: SIP over WebSocket (RFC 7118).

use tokio_tungstenite::tungstenite;

use crate::support::raw::{aor, contact_uri, in_dialog, registered};
use crate::support::{Certificates, Credentials, Node, Raw, Setup};

/// RFC 7118 §5: a page registers, is called over the WebSocket that it opened although its Contact leads nowhere, and hears the
/// caller hang up.
#[test]
fn a_page_is_called() {
    let node = Setup::new().set("REGISTRAR_PROXY__LISTEN", "udp:[::1]:0,tcp:[::1]:0,ws:[::1]:0").start();
    let [caller, called] = node.add_lines(["101", "102"]);
    let page = Raw::browser(node.listener("registrar_proxy", "ws"), "https://phone.example.net").unwrap();
    is_called(&node, &caller, &called, page, "SIP/2.0/WS ");
}

/// RFC 7118 §5: the same under TLS, where the Contact says `transport=ws` all the same.
#[test]
fn a_page_is_called_under_tls() {
    let certificates = Certificates::new();
    let node = certificates
        .setup()
        .set("REGISTRAR_PROXY__LISTEN", "udp:[::1]:0,tcp:[::1]:0,tls:[::1]:0,wss:[::1]:0")
        .start();
    let [caller, called] = node.add_lines(["101", "102"]);
    let page = certificates.browser(node.listener("registrar_proxy", "wss"));
    is_called(&node, &caller, &called, page, "SIP/2.0/WSS ");
}

fn is_called(node: &Node, caller: &Credentials, called: &Credentials, mut page: Raw, via: &str) {
    let contact = format!("<sip:102@{}>", page.contact());
    page.register(called, &contact, &[]);
    let mut phone = registered(node, caller);
    phone.invite(caller, &aor(called), &[]);
    let invite = page.expect_request("INVITE");
    assert!(invite.header("Via").unwrap().starts_with(via), "{invite:#?}");
    page.respond(&invite, 200, "callee", &[]);
    let ok = phone.expect(200);
    let target = contact_uri(&ok);
    assert!(target.contains(".invalid"), "{target}");
    let ack = in_dialog(&phone, "ACK", ok.cseq().unwrap().0, &ok, true, &target);
    phone.send(&ack);
    page.expect_request("ACK");
    let bye = in_dialog(&phone, "BYE", 9, &ok, true, &target);
    phone.send(&bye);
    let bye = page.expect_request("BYE");
    page.respond(&bye, 200, "callee", &[]);
    phone.expect(200);
    assert_eq!(node.call_record()["ended_by"], "caller");
}

/// RFC 7118 §5.2: what answers a page, and what the other side asks later in the dialog, comes over the same WebSocket.
#[test]
fn a_page_calls_and_the_other_side_hangs_up() {
    let node = Setup::new().set("REGISTRAR_PROXY__LISTEN", "udp:[::1]:0,tcp:[::1]:0,ws:[::1]:0").start();
    let [called, caller] = node.add_lines(["101", "102"]);
    let mut page = Raw::browser(node.listener("registrar_proxy", "ws"), "https://phone.example.net").unwrap();
    let mut phone = registered(&node, &called);
    page.invite(&caller, &aor(&called), &[]);
    let invite = phone.expect_request("INVITE");
    phone.respond(&invite, 200, "callee", &[]);
    let ok = page.expect(200);
    let ack = in_dialog(&page, "ACK", ok.cseq().unwrap().0, &ok, true, &contact_uri(&ok));
    page.send(&ack);
    phone.expect_request("ACK");
    let answer = phone.response(&invite, 200, "callee", &[]);
    let bye = in_dialog(&phone, "BYE", 1, &answer, false, &contact_uri(&invite));
    assert!(bye.request_uri().unwrap().contains(".invalid"), "{bye:#?}");
    phone.send(&bye);
    let bye = page.expect_request("BYE");
    page.respond(&bye, 200, "caller", &[]);
    phone.expect(200);
    assert_eq!(node.call_record()["ended_by"], "callee");
}

/// RFC 6455 §10.2: pages of strangers are kept out where the carrier names its own.
#[test]
fn a_strangers_page_is_refused() {
    let node = Setup::new()
        .set("REGISTRAR_PROXY__LISTEN", "udp:[::1]:0,tcp:[::1]:0,ws:[::1]:0")
        .set("SIP__WEBSOCKET_ORIGINS", "https://phone.example.net")
        .start();
    let server = node.listener("registrar_proxy", "ws");
    match Raw::browser(server, "https://evil.example").map(drop) {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 403),
        other => panic!("{other:?}"),
    }
    Raw::browser(server, "https://phone.example.net").unwrap().expect_nothing();
}
