//! REGISTER and challenged INVITE against a registrar that computes the digest itself.

use user_agent::{CallOptions, Phone, Registered, UaError};

use crate::{
    FAMILIES, phone_config,
    server::{Script, Server, field, param},
    soon,
};

async fn server(algorithms: &[&'static str]) -> Server {
    Server::start("[::1]:0", Script { algorithms: algorithms.to_vec(), ..Script::default() }).await
}

fn phone(server: &Server) -> Phone {
    Phone::bind(phone_config(server.addr)).expect("a socket")
}

#[tokio::test]
async fn every_algorithm_and_the_first_known_of_several() {
    for (offered, expected) in [
        (&["MD5"][..], "MD5"),
        (&["SHA-256", "MD5"], "SHA-256"),
        (&["SHA-512-256"], "SHA-512-256"),
        (&["SHA-1024", "MD5"], "MD5"),
    ] {
        let server = server(offered).await;
        let phone = phone(&server);
        let granted = soon(phone.register()).await.expect("registered");
        assert_eq!(granted, Registered { expires: 1800, status: 200 });
        let seen = server.seen();
        assert_eq!(seen.len(), 2);
        let given = field(&seen[1], "Authorization").expect("credentials");
        assert_eq!(param(given, "algorithm").as_deref(), Some(expected));
        assert_eq!(field(&seen[0], "Call-ID"), field(&seen[1], "Call-ID"));
        assert_eq!(field(&seen[1], "CSeq"), Some("2 REGISTER"));
    }
}

#[tokio::test]
async fn both_families_and_unregister() {
    for family in FAMILIES {
        let server = Server::start(family, Script { algorithms: vec!["MD5"], ..Script::default() }).await;
        let phone = phone(&server);
        soon(phone.register()).await.expect("registered");
        let gone = soon(phone.unregister()).await.expect("unregistered");
        assert_eq!(gone, Registered { expires: 0, status: 200 });
        // The nonce is used again, with a higher count, so there is no second challenge.
        let seen = server.seen();
        assert_eq!(seen.len(), 3);
        let given = field(&seen[2], "Authorization").expect("credentials");
        assert_eq!(param(given, "nc").as_deref(), Some("00000002"));
        assert!(seen[2].contains(&format!("Contact: <sip:101@{}>;expires=0", phone.local_addr())));
    }
}

#[tokio::test]
async fn a_stale_nonce_is_replaced_but_not_for_ever() {
    let server = server(&["MD5"]).await;
    let phone = phone(&server);
    soon(phone.register()).await.expect("registered");
    server.script.lock().expect("not poisoned").nonce += 1;
    soon(phone.register()).await.expect("registered");
    assert_eq!(server.seen().len(), 4);
    server.script.lock().expect("not poisoned").stale = u32::MAX;
    let refused = soon(phone.register()).await;
    assert!(matches!(refused, Err(UaError::Rejected { status: 401, .. })), "{refused:?}");
    assert!(server.seen().len() < 10);
}

#[tokio::test]
async fn a_wrong_password_is_refused_once() {
    let server = server(&["MD5"]).await;
    let mut config = phone_config(server.addr);
    config.password = "wrong".to_owned();
    assert!(!format!("{config:?}").contains("wrong"));
    let phone = Phone::bind(config).expect("a socket");
    let refused = soon(phone.register()).await;
    assert!(matches!(refused, Err(UaError::Rejected { status: 403, .. })), "{refused:?}");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn an_interval_too_brief_is_raised() {
    let script = Script { algorithms: vec!["MD5"], least: 5000, ..Script::default() };
    let server = Server::start("[::1]:0", script).await;
    let granted = soon(phone(&server).register()).await.expect("registered");
    assert_eq!(granted.expires, 2500);
}

#[tokio::test]
async fn a_challenged_invite_is_sent_again() {
    let server = server(&["SHA-256"]).await;
    let phone = phone(&server);
    let call = phone.call("102", CallOptions::default()).await.expect("a call");
    let refused = soon(call.answered()).await;
    assert!(matches!(refused, Err(UaError::Rejected { status: 486, .. })), "{refused:?}");
    let seen = server.seen();
    let of = |method: &str| -> Vec<&String> { seen.iter().filter(|text| text.starts_with(method)).collect() };
    let invites = of("INVITE");
    assert_eq!(invites.len(), 2);
    assert_eq!(field(invites[1], "CSeq"), Some("2 INVITE"));
    assert_eq!(field(invites[0], "Call-ID"), field(invites[1], "Call-ID"));
    assert_eq!(field(invites[0], "From"), field(invites[1], "From"));
    assert_ne!(field(invites[0], "Via"), field(invites[1], "Via"));
    let acknowledged = of("ACK");
    assert_eq!(field(acknowledged.first().expect("an ACK"), "CSeq"), Some("1 ACK"));
}

#[tokio::test]
async fn a_registrar_that_is_not_there_is_a_time_out() {
    // A socket that nobody reads.
    let silent = std::net::UdpSocket::bind("[::1]:0").expect("a socket");
    let mut config = phone_config(silent.local_addr().expect("an address"));
    config.t1 = std::time::Duration::from_millis(5);
    let phone = Phone::bind(config).expect("a socket");
    assert!(matches!(soon(phone.register()).await, Err(UaError::Timeout)));
}
