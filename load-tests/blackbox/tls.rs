//! Phones over TLS.

use user_agent::CallOptions;

use crate::support::raw::{contact_uri, in_dialog};
use crate::support::{Certificates, Persona, have, phone, soon, until};

/// RFC 3261 §26.2.1: a phone registers over TLS, is called over the same connection, and hangs up over it.
#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_called_over_the_connection_that_it_opened() {
    let certificates = Certificates::new();
    let node = certificates.setup().start();
    let [caller, called] = node.add_lines(["101", "102"]);
    let mut secure = certificates.phone(node.listener("registrar_proxy", "tls"));
    let contact = format!("<sip:102@{};transport=tls>", secure.local);
    secure.register(&called, &contact, &[]);
    let caller = phone(&node, &caller).await;

    let call = soon("the call begins", caller.call("102", CallOptions::default())).await.unwrap();
    let secure = tokio::task::spawn_blocking(move || {
        let invite = secure.expect_request("INVITE");
        assert!(invite.header("Via").unwrap().starts_with("SIP/2.0/TLS "), "{invite:#?}");
        // RFC 5658 §3: each side finds a hop that it can reach.
        let routes = invite.values("Record-Route");
        assert_eq!(routes.len(), 2, "{routes:?}");
        assert!(routes[0].contains("transport=tls") && !routes[1].contains("transport="), "{routes:?}");
        let sdp = String::from_utf8(invite.body.clone()).unwrap();
        let mut answer = secure.response(&invite, 200, "callee", &[("Content-Type", "application/sdp")]);
        answer.body = sdp.into_bytes();
        secure.send(&answer);
        secure.expect_request("ACK");
        let target = contact_uri(&invite);
        // The callee's view: the request's own From and To, with our tag in To.
        let bye = in_dialog(&secure, "BYE", 1, &answer, false, &target);
        secure.send(&bye);
        secure.expect(200);
        secure
    });
    soon("the phone answers", call.answered()).await.unwrap();
    soon("the phone hangs up", call.ended()).await.unwrap();
    drop(secure.await.unwrap());
    assert_eq!(node.call_record()["ended_by"], "callee");
}

/// Certificates are changed while a phone is connected: by SIGHUP, and by the files alone.
#[test]
fn certificates_change_without_dropping_a_connection() {
    let certificates = Certificates::new();
    let node = certificates.setup().set("TLS__CHECK_S", "1").start();
    let [line] = node.add_lines(["101"]);
    let server = node.listener("registrar_proxy", "tls");
    let mut phone = certificates.phone(server);
    let contact = format!("<sip:101@{};transport=tls>", phone.local);
    phone.register(&line, &contact, &[]);
    let before = certificates.shown_by(server);
    assert_eq!(before, certificates.of_node());

    certificates.issue_to_node();
    node.signal("HUP");
    until(
        || "the new certificate is shown".to_owned(),
        || (certificates.shown_by(server) == certificates.of_node()).then_some(()),
    );
    phone.expect_nothing();

    certificates.issue_to_node();
    until(
        || "the newest certificate is shown".to_owned(),
        || (certificates.shown_by(server) == certificates.of_node()).then_some(()),
    );
    assert_ne!(before, certificates.of_node());
    phone.register(&line, &contact, &[]);

    // A file that cannot be used changes nothing but the log.
    std::fs::write(certificates.path().join("node.key"), "no key").unwrap();
    node.await_log(&["certificates were not read again", "holds no private key"]);
    phone.register(&line, &contact, &[]);
    drop(certificates.phone(server));
}

/// baresip checks our certificate, and registers and calls over TLS.
#[test]
fn baresip_calls_over_tls() {
    if !have("baresip") {
        return;
    }
    let certificates = Certificates::new();
    let node = certificates.setup().start();
    let [line] = node.add_lines(["101"]);
    let mut gateway = Persona::gateway("+81312345678", node.trunk_side, 1_000).start();
    node.add_trunk("carrier", &[gateway.local]);
    let server = node.listener("registrar_proxy", "tls");
    let mut phone = Persona::tls_phone(&line, server, 440, &certificates.path().join("ca.pem")).start();
    until(|| format!("baresip registers\n{}", node.log()), || (node.registered() == 1).then_some(()));
    phone.order("dial", &format!("sip:0312345678@{}", line.domain));
    phone.await_event("CALL_ESTABLISHED");
    assert_eq!((phone.await_heard(2.0), gateway.await_heard(2.0)), (1_000.0, 440.0));
    gateway.order("hangup", "");
    phone.await_event("CALL_CLOSED");
    assert_eq!(node.call_record()["result"], "answered");
}
