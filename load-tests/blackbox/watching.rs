//! The watch asks phones whether they live, raises an alarm when one does not, and remembers who took note of it.

use serde_json::Value;

use crate::support::{Node, Setup, phone, soon, unregistered, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_falls_silent_is_an_alarm_until_it_is_back() {
    let mut node = watched().start();
    let lines = node.add_lines(["101", "102", "103"]);
    let mut phones = Vec::new();
    for line in &lines {
        phones.push(phone(&node, line).await);
    }
    await_status(&node, |site| site["state"] == "up" && site["phones"]["answering"] == 3);
    assert_eq!(open(&node), Vec::<Value>::new());
    // Its power is gone: it says nothing any more, not even goodbye.
    drop(phones.pop());
    let alarm = await_alarm(&node, |alarm| alarm["kind"] == "phones_missing");
    assert_eq!((&alarm["subject"], &alarm["site_code"]), (&"801".into(), &"801".into()));
    let cause = alarm["cause"].as_str().unwrap();
    assert!(cause.contains("1 phone does not answer, of 3 that have lived: 103."), "{alarm:#}");
    assert!(alarm["remedy"].as_str().unwrap().contains("switch"), "{alarm:#}");
    let status = await_status(&node, |site| site["state"] == "phones_missing");
    assert_eq!(status["phones"]["mute"], serde_json::json!(["103"]));
    let id = alarm["id"].to_string();
    let acked = node.cli(&["alarm", "ack", &id, "--by", "night shift", "--comment", "ticket 4711"]);
    assert_eq!((&acked["acked_by"], &acked["comment"]), (&"night shift".into(), &"ticket 4711".into()));
    // What is known of it outlives the process.
    node.restart();
    let shown = node.cli(&["alarm", "show", &id]);
    assert_eq!((&shown["state"], &shown["acked_by"]), (&"open".into(), &"night shift".into()));
    // The power is back, and with it the phone, on another port than before.
    let _back = phone(&node, &lines[2]).await;
    until(|| format!("the alarm is cleared: {:#?}", open(&node)), || open(&node).is_empty().then_some(()));
    let all = node.cli(&["alarm", "list", "--all", "--site", "801"]);
    assert_eq!(all.as_array().unwrap().len(), 1, "{all:#}");
    assert_eq!((&all[0]["state"], &all[0]["comment"]), (&"cleared".into(), &"ticket 4711".into()));
    let text = String::from_utf8(node.say(&["site", "status"]).stdout).unwrap();
    let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(&row[..3], ["801", "s01.example.net", "up"], "{text}");
    node.assert_alive();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_at_the_wrong_site_is_named_with_both_sites() {
    let node = watched().start();
    for (name, code, domain, prefix) in [
        ("Ume", "801", "s01.example.net", "2001:db8:1::/48"),
        ("Sakura", "802", "s02.example.net", "::1/128"),
    ] {
        node.cli(&["site", "add", "--name", name, "--code", code, "--domain", domain, "--prefix", prefix]);
    }
    let line = node.add_line("s01.example.net", "101");
    assert!(soon("it is refused", unregistered(&node, &line).register()).await.is_err());
    let alarm = await_alarm(&node, |alarm| alarm["kind"] == "wrong_site");
    assert_eq!(alarm["subject"], line.auth_user.as_str());
    let cause = alarm["cause"].as_str().unwrap();
    assert!(cause.contains("site 801 Ume) is used at site 802 (Sakura): it sends from ::1"), "{alarm:#}");
    // Without the line nothing is wrong any more.
    node.cli(&["line", "remove", &line.auth_user]);
    until(|| format!("it is cleared: {:#?}", open(&node)), || open(&node).is_empty().then_some(()));
}

#[test]
fn without_the_role_nobody_is_asked_and_the_status_says_so() {
    let node = Node::start();
    node.add_site(1);
    let status = node.cli(&["site", "status", "801"]);
    assert_eq!(status["state"], "not_watched_here");
    assert!(status["note"].as_str().unwrap().contains("no node plays the role watch"), "{status:#}");
    assert_eq!(open(&node), Vec::<Value>::new());
    let unknown = node.say(&["alarm", "show", "7"]);
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert!(unknown.status.code() == Some(1) && said.contains("`centrex6 alarm list`"), "{said}");
}

/// A node whose watch looks often and is not patient.
fn watched() -> Setup {
    Setup::new()
        .set("NODE__ROLES", "registrar-proxy,translator,watch")
        .set("WATCH__PHONE_INTERVAL_S", "1")
        .set("WATCH__SURVEY_INTERVAL_S", "1")
        .set("WATCH__RETRY_INTERVAL_MS", "200")
        .set("WATCH__ANSWER_WITHIN_MS", "1000")
        .set("WATCH__TRIES", "2")
        .set("WATCH__GRACE_S", "1")
}

fn open(node: &Node) -> Vec<Value> {
    node.cli(&["alarm", "list"]).as_array().unwrap().clone()
}

/// Waits for an alarm that is meant, and gives it; no other may be open.
fn await_alarm(node: &Node, is_meant: impl Fn(&Value) -> bool) -> Value {
    let open = until(
        || format!("the alarm is raised: {:#}", node.cli(&["site", "status"])),
        || Some(open(node)).filter(|open| open.iter().any(&is_meant)),
    );
    assert_eq!(open.len(), 1, "{open:#?}");
    open[0].clone()
}

fn await_status(node: &Node, is_meant: impl Fn(&Value) -> bool) -> Value {
    let status = || node.cli(&["site", "status", "801"]);
    until(|| format!("the site's state: {:#}", status()), || Some(status()).filter(&is_meant))
}
