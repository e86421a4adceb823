//! Two nodes on one PostgreSQL.

use user_agent::CallOptions;

use crate::support::{Node, Setup, gateway, phone, soon, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_at_one_node_is_reached_through_the_other() {
    let Some(cluster) = schema::testing::shared() else { return };
    let database = cluster.database().await.unwrap();
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("key").display().to_string();
    let start =
        |name: &str| Setup::new().name(name).set("STORE__URL", &database).set("NODE__KEY_FILE", &key).start();
    let (one, two) = (start("n1"), start("n2"));
    let [caller, called] = one.add_lines(["101", "102"]);
    one.add_number("+81355550102", &called);
    let gateway = gateway(&two);
    one.add_trunk("carrier", &[gateway.local_addr()]);
    until(|| "the second node learns of the numbers".to_owned(), || listed(&two, "number", 1).then_some(()));
    until(|| "the second node learns of the route".to_owned(), || listed(&two, "route", 1).then_some(()));

    let called = phone(&one, &called).await;
    let caller = phone(&two, &caller).await;
    until(|| "the second node learns of the binding".to_owned(), || (two.registered() == 2).then_some(()));
    until(|| "the first node learns of the binding".to_owned(), || (one.registered() == 2).then_some(()));

    let call = soon("the call begins", caller.call("102", CallOptions::default())).await.unwrap();
    soon("the phone at the first node answers", call.answered()).await.unwrap();
    soon("media flows", call.media().await_received(10)).await;
    soon("the call ends", call.hangup()).await.unwrap();
    soon("the phone had the call", called.next_call()).await;

    let call = soon("the gateway calls", gateway.call("+81355550102", CallOptions::default())).await.unwrap();
    soon("the phone at the first node answers", call.answered()).await.unwrap();
    soon("media flows", call.media().await_received(10)).await;
    let other = soon("the phone has the call", called.next_call()).await;
    soon("the phone hangs up", other.hangup()).await.unwrap();
    soon("the gateway is told", call.ended()).await.unwrap();

    // Each node shows the records of both, and both nodes.
    for node in [&one, &two] {
        let records = node.call_records(2);
        assert!(
            records.iter().all(|record| record["node"] == "n2" && record["result"] == "answered"),
            "{records:#?}"
        );
        assert!(listed(node, "site", 1));
        assert_eq!(node.cli(&["node", "status"]).as_array().unwrap().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_survive_a_restart() {
    let Some(cluster) = schema::testing::shared() else { return };
    let database = cluster.database().await.unwrap();
    let mut node = Setup::new().set("STORE__URL", &database).start();
    let [line, caller] = node.add_lines(["101", "102"]);
    let (called, caller) = (phone(&node, &line).await, phone(&node, &caller).await);
    node.restart();
    let call = soon("the call begins", caller.call("101", CallOptions::default())).await.unwrap();
    soon("the phone answers", call.answered()).await.unwrap();
    soon("the call ends", call.hangup()).await.unwrap();
    soon("the phone had the call", called.next_call()).await;
    assert_eq!(node.call_record()["result"], "answered");
}

fn listed(node: &Node, noun: &str, count: usize) -> bool {
    node.cli(&[noun, "list"]).as_array().unwrap().len() == count
}
