//! A phone at the wrong site is refused, and the platform remembers where it was.

use serde_json::Value;

use crate::support::{Credentials, Node, soon, unregistered, until};

#[tokio::test(flavor = "multi_thread")]
async fn where_a_phone_was_refused_is_remembered() {
    let mut node = Node::start();
    let site =
        ["--name", "Ume", "--code", "801", "--domain", "s01.example.net", "--prefix", "2001:db8:1::/48"];
    node.cli(&[&["site", "add"][..], &site].concat());
    let line = node.add_line("s01.example.net", "101");
    let seen = |node: &Node| node.cli(&["line", "show", &line.auth_user])["seen_outside"].clone();
    let guessed = Credentials { password: "guessed".to_owned(), ..line.clone() };
    assert!(soon("a stranger is refused", unregistered(&node, &guessed).register()).await.is_err());
    node.await_log(&["wrong credentials", &line.auth_user]);
    assert_eq!(seen(&node), Value::Null);
    let phone = unregistered(&node, &line);
    assert!(soon("the phone is refused", phone.register()).await.is_err());
    let first = until(|| "the sighting is stored".to_owned(), || Some(seen(&node)).filter(Value::is_object));
    assert_eq!(first["source"], "::1");
    // Again within ten minutes: nothing new, on whichever worker it is.
    assert!(soon("the phone is refused", phone.register()).await.is_err());
    assert!(soon("the phone is refused", unregistered(&node, &line).register()).await.is_err());
    node.restart();
    assert_eq!(seen(&node), first, "it outlives the process");
    assert_eq!(node.registered(), 0);
    node.cli(&["line", "remove", &line.auth_user]);
}
