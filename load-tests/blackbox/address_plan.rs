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
    // Nobody gets by hand what another site has or had until lately.
    let (code, text) = site("807", &["--prefix", "2001:db8:1:42::/64"]);
    assert!(code == Some(1) && text.contains("which site 3 had and which rests until 2"), "{text}");
    let (code, text) = site("807", &["--prefix", "2001:db8:2:42::/64"]);
    assert!(code == Some(1) && text.contains("2001:db8:2::/48, which another site has"), "{text}");
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
    // A region without sites gives its blocks back, and what rests there rests on.
    let (code, text) = said(&["region", "remove", "Kansai"]);
    assert!(code == Some(1) && text.contains("region Kansai still has 1 site: remove them first"), "{text}");
    assert_eq!(said(&["site", "remove", "806"]).0, Some(0));
    assert_eq!(said(&["region", "remove", "Kansai"]).1, "removed region Kansai\n");
    assert!(said(&["region", "remove", "Kansai"]).1.contains("there is no region \"Kansai\""));
    let (code, text) = site("807", &["--prefix", "2001:db8:8000::/48"]);
    assert!(code == Some(1) && text.contains("which site"), "{text}");
    said(&["region", "add", "Kansai"]);
    assert!(site("806", &["--region", "Kansai"]).1.contains("with 2001:db8:8001::/48"));
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
fn a_site_is_given_another_prefix() {
    let node = Node::start();
    let said = |words: &[&str]| {
        let output = node.say(words);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let set = |code: &str, more: &[&str]| said(&[&["site", "set", code][..], more].concat());
    let refused = |code: &str, more: &[&str], words: &str| {
        let (status, text) = set(code, more);
        assert!(status == Some(1) && text.contains(words), "{text}");
    };
    let given = |code: &str, more: &[&str], words: &str| {
        let (status, text) = set(code, more);
        assert!(status == Some(0) && text.contains(words), "{text}");
    };
    for code in ["800", "801", "802"] {
        let domain = format!("s{code}.example.net");
        node.cli(&["site", "add", "--name", "Dorm", "--code", code, "--domain", &domain]);
    }
    assert_eq!(set("800", &[]).0, Some(64), "to what?");
    assert_eq!(set("800", &["--no-prefix", "--region", "Kanto"]).0, Some(64));
    refused("899", &["--no-prefix"], "there is no site \"899\"");
    refused("800", &["--from-pool"], "there is no pool of prefixes");
    node.cli(&["pool", "set", "2001:db8::/32", "--block-length", "46"]);
    refused("800", &["--from-pool"], "`centrex6 region add` makes the first region");
    node.cli(&["region", "add", "Kanto"]);
    refused("800", &["--from-pool", "--region", "Tokyo"], "there is no region \"Tokyo\"");
    let kanto = ["--from-pool", "--region", "Kanto"];
    given("800", &kanto, "site Dorm has 2001:db8::/48 from now on; it had no prefix");
    given("800", &["--from-pool"], "site Dorm has 2001:db8::/48 already");
    given("801", &kanto, "has 2001:db8:1::/48 from now on");
    // Nobody gets what another site has.
    refused("801", &["--prefix", "2001:db8:0:42::/64"], "2001:db8::/48, which another site has");
    // What a site gave up rests; the site itself may have it back.
    given(
        "801",
        &["--prefix", "2001:db8:2::9/48"],
        "has 2001:db8:2::/48 from now on; it had 2001:db8:1::/48",
    );
    refused("802", &["--prefix", "2001:db8:1::/48"], "which site 2 had and which rests until 2");
    given("802", &kanto, "has 2001:db8:3::/48 from now on");
    given("801", &["--prefix", "2001:db8:1::/48"], "it had 2001:db8:2::/48");
    refused("802", &["--prefix", "2001:db8:2::/48"], "which site 2 had and which rests until 2");
    // Elsewhere the operator is free, but for other sites.
    given("802", &["--prefix", "2001:db9::/48"], "warning: 2001:db9::/48 is outside the pool 2001:db8::/32");
    refused("801", &["--prefix", "2001:db9::/48"], "2001:db9::/48, which another site has");
    given("802", &["--no-prefix"], "site Dorm has no prefix from now on; it had 2001:db9::/48");
    let (_, tree) = said(&["prefix", "tree"]);
    for line in [
        "└─ 2001:db8::/46  Kanto, 2 of 4 sites",
        "   ├─ 2001:db8::/48  800 Dorm",
        "   ├─ 2001:db8:1::/48  801 Dorm (by hand)",
        "   ├─ 2001:db8:2::/48  801 Dorm, rests until 2",
        "   └─ 2001:db8:3::/48  802 Dorm, rests until 2",
    ] {
        assert!(tree.lines().any(|shown| shown.starts_with(line)), "{line:?} is not in\n{tree}");
    }
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
    // The phone that is one too many is told of, as device and as line.
    let small = node.add_site(3);
    let add = |mac: &str, more: &[&str]| {
        node.cli(&[&["device", "add", "--site", &small, "--model", "T31P", "--mac", mac][..], more].concat())
    };
    add("00:1a:2b:00:03:ff", &["--neighbours", "4"]);
    assert!(add("00:1a:2b:00:03:01", &[])["warning"].is_null());
    assert!(add("00:1a:2b:00:03:02", &[])["warning"].is_null());
    assert!(add("00:1a:2b:00:03:03", &[])["warning"].as_str().unwrap().contains("3 phones need 6 entries"));
    for extension in ["301", "302", "303"] {
        node.add_line(&small, extension);
    }
    let line = node.cli(&["line", "add", "--site", &small, "--extension", "304"]);
    assert!(line["warning"].as_str().unwrap().contains("4 phones need 8 entries"), "{line}");
    let set = node.cli(&["device", "set", "00:1a:2b:00:03:ff", "--neighbours", "8"]);
    assert!(set["warning"].is_null() && set["neighbours"] == 8, "{set}");
    node.cli(&["device", "remove", "001a2b0000ff"]);
    assert!(node.cli(&["site", "show", &domain])["warning"].is_null());
}

#[test]
fn a_device_changes_in_the_fields_that_are_named() {
    let node = Node::start();
    let words =
        ["--name", "Ume", "--code", "801", "--domain", "s01.example.net", "--prefix", "2001:db8:1::/48"];
    node.cli(&[&["site", "add"][..], &words].concat());
    let line = node.add_line("s01.example.net", "101").auth_user;
    let mac = "00:1a:2b:00:00:01";
    node.cli(&["device", "add", "--site", "801", "--mac", mac, "--model", "T31P", "--vlan", "24"]);
    let set = |more: &[&str]| node.cli(&[&["device", "set", mac][..], more].concat());
    let device = set(&["--vlan", "25", "--line", &line]);
    assert_eq!(
        (&device["model"], &device["vlan"], &device["auth_user"]),
        (&"T31P".into(), &25.into(), &line.into())
    );
    assert_eq!(device["predicted"], "2001:db8:1:19:21a:2bff:fe00:1");
    let device = set(&["--addressing", "static", "--address", "2001:db8:1:19::7", "--model", "T33G"]);
    assert_eq!((&device["predicted"], &device["model"]), (&"2001:db8:1:19::7".into(), &"T33G".into()));
    let device = set(&["--address", "2001:db8:1:19::8"]);
    assert_eq!(device["predicted"], "2001:db8:1:19::8");
    let device = set(&["--addressing", "slaac", "--no-line"]);
    assert!(device["static_address"].is_null() && device["auth_user"].is_null(), "{device}");
    assert_eq!(node.cli(&["device", "list"]).as_array().unwrap().len(), 1);
    let text = String::from_utf8(node.say(&["device", "set", mac, "--vlan", "24"]).stdout).unwrap();
    assert_eq!(
        text,
        "changed device 00:1a:2b:00:00:01 at site Ume, expected at 2001:db8:1:18:21a:2bff:fe00:1\n"
    );
    for (wrong, code) in [
        (&[][..], 64),
        (&["--line", "x", "--no-line"], 64),
        (&["--address", "2001:db8:1::9"], 1),
        (&["--vlan", "4095"], 1),
        (&["--line", "nobody"], 1),
    ] {
        let output = node.say(&[&["device", "set", mac][..], wrong].concat());
        assert_eq!(output.status.code(), Some(code), "{wrong:?}");
    }
    assert_eq!(node.say(&["device", "set", "00:1a:2b:00:00:02", "--vlan", "1"]).status.code(), Some(1));
}
