//! Pool, regions, prefixes and devices on the command line, and what a REGISTER teaches about addresses.

use crate::admin_port::{get, start};
use crate::support::{Node, phone};

#[test]
fn sites_get_their_prefix_from_the_pool() {
    let node = Node::start();
    let said = |words: &[&str]| {
        let output = node.say(words);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let site = |code: &str, more: &[&str]| {
        let domain = format!("s{code}.example.net");
        said(&[&["site", "add", "--name", "Dorm", "--code", code, "--domain", &domain][..], more].concat())
    };
    assert_eq!(said(&["region", "add", "Kanto"]).0, Some(1));
    assert_eq!(site("800", &[]).0, Some(0), "without a pool everything is as it was");
    let (code, text) = said(&["pool", "set", "2001:db8::/32", "--block-length", "46"]);
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "the pool is 2001:db8::/32: 16384 blocks of /46 with 4 sites of /48 each\n")
    );
    let (code, text) = site("801", &[]);
    assert!(code == Some(1) && text.contains("`centrex6 region add` makes the first region"), "{text}");
    assert_eq!(
        said(&["region", "add", "Kanto", "--sites", "5"]).1,
        "added region Kanto with 2001:db8::/46 and 2001:db8:4::/46\n"
    );
    assert_eq!(said(&["region", "add", "Kansai"]).1, "added region Kansai with 2001:db8:8000::/46\n");
    let (code, text) = site("801", &[]);
    assert!(code == Some(1) && text.contains("--region takes one from the pool (Kanto, Kansai)"), "{text}");
    let (code, text) = site("801", &["--region", "Tokyo"]);
    assert!(code == Some(1) && text.contains("there is no region \"Tokyo\""), "{text}");
    assert_eq!(node.cli(&["site", "list"]).as_array().unwrap().len(), 1, "a refusal leaves nothing behind");
    assert_eq!(
        site("801", &["--region", "Kanto"]).1,
        "added site Dorm (s801.example.net, code 801) with 2001:db8::/48\n"
    );
    assert_eq!(site("802", &["--prefix", "2001:db8:1::/48", "--region", "anything"]).0, Some(0));
    assert_eq!(site("803", &["--no-prefix"]).0, Some(0));
    assert!(site("804", &["--region", "Kanto"]).1.contains("with 2001:db8:2::/48"));
    // A freed prefix rests, whether it came from the pool or by hand.
    assert_eq!(said(&["site", "remove", "801"]).0, Some(0));
    assert_eq!(said(&["site", "remove", "802"]).0, Some(0));
    assert!(site("805", &["--region", "Kanto"]).1.contains("with 2001:db8:3::/48"));
    assert!(site("806", &["--region", "Kansai"]).1.contains("with 2001:db8:8000::/48"));
    node.cli(&[
        "device",
        "add",
        "--site",
        "804",
        "--mac",
        "00-1A-2B-3C-4D-5E",
        "--model",
        "T31P",
        "--vlan",
        "24",
    ]);
    let (_, tree) = said(&["prefix", "tree"]);
    for line in [
        "2001:db8::/32  pool, 3 of 16384 blocks given",
        "├─ 2001:db8::/46  Kanto, 2 of 4 sites",
        "│  ├─ 2001:db8::/48  former site 2, rests until 2",
        "│  ├─ 2001:db8:1::/48  former site 3, rests until 2",
        "│  │  └─ 2001:db8:2:18::/64  VLAN 24, 1 device",
        "└─ 2001:db8:8000::/46  Kansai, 1 of 4 sites",
    ] {
        assert!(tree.lines().any(|shown| shown.starts_with(line)), "{line:?} is not in\n{tree}");
    }
    assert_eq!(node.cli(&["prefix", "tree"])["pool"]["children"][0]["title"], "Kanto");
    assert_eq!(node.cli(&["region", "list"])[1]["sites"], 2);
    // The pool widens, and does not leave its sites behind.
    assert_eq!(said(&["pool", "set", "2001:db8::1/31"]).0, Some(1), "bits after the prefix");
    assert_eq!(said(&["pool", "set", "2001:db9::/32"]).0, Some(1));
    assert_eq!(
        said(&["pool", "set", "2001:db8::/33", "--rest-days", "7"]).0,
        Some(1),
        "Kansai would be outside"
    );
    assert_eq!(said(&["pool", "set", "2001:db8::/30"]).0, Some(0));
    assert_eq!(node.cli(&["pool", "show"])["rest_days"], 30);
    assert_eq!(node.cli(&["pool", "show"])["block_length"], 46);
}

#[test]
fn sites_that_are_added_at_once_get_prefixes_of_their_own() {
    let node = Node::start();
    node.cli(&["pool", "set", "2001:db8::/32", "--block-length", "46"]);
    node.cli(&["region", "add", "Kanto"]);
    std::thread::scope(|scope| {
        for code in 800..812 {
            let (node, code) = (&node, code.to_string());
            scope.spawn(move || {
                let domain = format!("s{code}.example.net");
                let words = ["--name", "Dorm", "--code", &code, "--domain", &domain, "--region", "Kanto"];
                node.cli(&[&["site", "add"][..], &words].concat());
            });
        }
    });
    let sites = node.cli(&["site", "list"]);
    let prefixes: std::collections::BTreeSet<_> =
        sites.as_array().unwrap().iter().map(|site| site["prefix"].as_str().unwrap()).collect();
    assert_eq!(prefixes.len(), 12, "{sites:#}");
    // Twelve sites fill three blocks of four: nothing was lost on the way.
    assert_eq!(node.cli(&["pool", "show"])["blocks_given"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn register_teaches_the_real_address() {
    let (node, admin) = start();
    // A site around the loopback address, so that phones of this machine are inside.
    node.cli(&[
        "site",
        "add",
        "--name",
        "Sakura",
        "--code",
        "801",
        "--domain",
        "s01.example.net",
        "--prefix",
        "::/48",
    ]);
    let lines = ["101", "102", "103"].map(|extension| node.add_line("s01.example.net", extension));
    let device = |mac: &str, line: &str, more: &[&str]| {
        let words = [
            "device", "add", "--site", "801", "--model", "T31P", "--vlan", "24", "--mac", mac, "--line", line,
        ];
        node.cli(&[&words[..], more].concat())
    };
    let item = device("00:1a:2b:00:00:01", &lines[0].auth_user, &[]);
    assert_eq!((&item["predicted"], &item["learned"]), (&"::18:21a:2bff:fe00:1".into(), &().into()));
    device("001a.2b00.0002", &lines[1].auth_user, &["--addressing", "static", "--address", "::1"]);
    device("001a2b000003", &lines[2].auth_user, &["--addressing", "opaque"]);
    let mut phones = Vec::new();
    for line in &lines {
        phones.push(phone(&node, line).await);
    }
    let listed = node.cli(&["device", "list", "--site", "801"]);
    let verdicts: Vec<_> =
        listed.as_array().unwrap().iter().map(|row| row["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["mismatch", "match", "unknown"]);
    let shown = node.cli(&["device", "show", "00-1a-2b-00-00-01"]);
    assert_eq!((&shown["predicted"], &shown["learned"]), (&"::18:21a:2bff:fe00:1".into(), &"::1".into()));
    node.await_log(&["another address than predicted", "801", "s01-101", "fe00:1", "::1"]);
    let metrics = get(admin, "/metrics").1;
    assert!(metrics.contains("centrex6_address_mismatches_total{cause=\"elsewhere\"} 1"), "{metrics}");
}

#[test]
fn a_router_that_is_too_small_is_named_when_the_site_is_designed() {
    let node = Node::start();
    let domain = node.add_site(1);
    for extension in ["101", "102", "103"] {
        node.add_line(&domain, extension);
    }
    let router = [
        "device",
        "add",
        "--site",
        &domain,
        "--mac",
        "00:1a:2b:00:00:ff",
        "--model",
        "small",
        "--neighbours",
        "4",
    ];
    let text = String::from_utf8(node.say(&router).stdout).unwrap();
    assert!(text.contains("warning: 3 phones need 6 entries in the router's neighbour table"), "{text}");
    assert!(node.cli(&["site", "show", &domain])["warning"].as_str().unwrap().contains("small holds 4"));
    for wrong in [
        &["--mac", "00:1a:2b:00:00:0g"][..],
        &["--mac", "01:00:5e:00:00:01"],
        &["--mac", "00:1a:2b:00:00:01", "--addressing", "magic"],
    ] {
        let words = [&["device", "add", "--site", &domain, "--model", "x"][..], wrong].concat();
        assert_eq!(node.say(&words).status.code(), Some(64), "{wrong:?}");
    }
    let other = node.add_site(2);
    let line = node.add_line(&other, "201").auth_user;
    let words =
        ["device", "add", "--site", &domain, "--model", "x", "--mac", "00:1a:2b:00:00:01", "--line", &line];
    let output = node.say(&words);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("is not at site 801"));
    node.cli(&["device", "remove", "001a2b0000ff"]);
    assert!(node.cli(&["site", "show", &domain])["warning"].is_null());
}
