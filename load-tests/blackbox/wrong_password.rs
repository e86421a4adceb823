//! Who does not know the password gets nothing.

use crate::support::{Credentials, Node, Sipp, have, phone};

#[test]
fn no_binding_is_made() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [line, other] = node.add_lines(["101", "102"]);
    let wrong = Credentials { password: "guessed".to_owned(), ..line.clone() };
    let unknown = Credentials { auth_user: "nobody".to_owned(), ..line.clone() };
    // With valid credentials, but for another line's address.
    let foreign = Credentials { extension: other.extension.clone(), ..line.clone() };
    for credentials in [wrong, unknown, foreign] {
        let refused = Sipp::new("register_refused.xml", node.proxy);
        let trace = refused.row(&credentials.row("3600")).auth_uri(&line.domain).run();
        assert_eq!(trace.final_status(), 403, "{credentials:?}");
        assert!(trace.received("200").is_empty());
    }
    assert_eq!(node.registered(), 0);
    Sipp::register(&line, node.proxy).run();
    assert_eq!(node.registered(), 1);
    let log = node.log();
    assert!(log.contains("wrong credentials") && !log.contains(&line.password), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_phone_rings() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [caller, called] = node.add_lines(["101", "102"]);
    let phone = phone(&node, &called).await;
    let wrong = Credentials { password: "guessed".to_owned(), ..caller };
    let trace = Sipp::call("call_refused.xml", &wrong, "102", node.proxy).run();
    assert_eq!(trace.final_status(), 403);
    assert!(phone.received().is_empty());
}
