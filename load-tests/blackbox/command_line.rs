//! The command line: exit codes, sentences, and the same results with and without a running node.

use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Node, Setup};

#[test]
fn usage_errors_are_64() {
    let offline = Offline::new();
    for words in [
        &[][..],
        &["nonsense"],
        &["site"],
        &["site", "add"],
        &["site", "add", "--name", "x", "--code", "801", "--domain", "d.example", "--colour", "red"],
        &["site", "add", "--name", "x", "--code", "801", "--domain", "d.example", "--prefix", "fe80::/999"],
        &["trunk", "add", "--name", "x"],
        &["trunk", "add", "--name", "x", "--gateway", "nowhere"],
        &["route", "show", "first"],
        &["call", "list", "--result", "lost"],
        &["config"],
    ] {
        let output = offline.say(words);
        assert_eq!(output.status.code(), Some(64), "{words:?}: {}", shown(&output));
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{words:?}: {}", shown(&output));
    }
    // The nearest right word is named.
    assert!(shown(&offline.say(&["sites", "list"])).contains("site"));
    for words in [&["--help"][..], &["--version"], &["line", "add", "--help"]] {
        let output = offline.say(words);
        assert!(output.status.success() && !output.stdout.is_empty(), "{words:?}: {}", shown(&output));
    }
}

#[test]
fn configuration_errors_are_78() {
    let offline = Offline::new();
    offline.configure(
        "[node]\nname = \"n1\"\n\n[registrar_proxy]\nlissen = [\"udp:[::1]:0\"]\n[sip]\nt1_ms = \"fast\"\n",
    );
    for words in [&["config", "check"][..], &["run"], &["site", "list"]] {
        let output = offline.say(words);
        let text = shown(&output);
        assert_eq!(output.status.code(), Some(78), "{words:?}: {text}");
        // Every error at once, with file, line and the nearest right key.
        for part in ["centrex6.toml", "5", "lissen", "listen", "7", "t1_ms"] {
            assert!(text.contains(part), "{words:?}: {part:?} is not in {text}");
        }
    }
    offline.configure("[node\n");
    assert_eq!(offline.say(&["config", "check"]).status.code(), Some(78));
    std::fs::remove_file(offline.folder.path().join("centrex6.toml")).unwrap();
    let output = offline.say(&["config", "check"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(shown(&output).contains("centrex6.toml"), "{}", shown(&output));
}

#[test]
fn a_wrong_environment_variable_is_78() {
    let offline = Offline::with(Setup::new().set("SIP__T1_MSS", "100"));
    let output = offline.say(&["config", "check"]);
    assert_eq!(output.status.code(), Some(78), "{}", shown(&output));
    assert!(shown(&output).contains("T1_MSS"), "{}", shown(&output));
    let offline = Offline::with(Setup::new().set("SIP__T1_MS", "soon"));
    let output = offline.say(&["config", "check"]);
    assert_eq!(output.status.code(), Some(78), "{}", shown(&output));
}

#[test]
fn the_default_configuration_is_good() {
    let offline = Offline::new();
    let default = offline.say(&["config", "default"]);
    assert!(default.status.success());
    offline.configure(&String::from_utf8(default.stdout).unwrap());
    let check = offline.say(&["config", "check"]);
    assert!(check.status.success(), "{}", shown(&check));
}

#[test]
fn a_node_that_cannot_start_says_why() {
    let node = Node::start();
    // The same folder: the admin socket and the store are another node's.
    let second = node.say(&["run"]);
    assert_eq!(second.status.code(), Some(1), "{}", shown(&second));
    assert!(shown(&second).contains("is in use by process"), "{}", shown(&second));
    let taken = std::net::UdpSocket::bind("[::1]:0").unwrap();
    let address = taken.local_addr().unwrap();
    let offline = Offline::with(Setup::new().set("REGISTRAR_PROXY__LISTEN", &format!("udp:{address}")));
    let output = offline.say(&["run"]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(shown(&output).contains(&address.to_string()), "{}", shown(&output));
}

#[test]
fn with_and_without_a_node_the_results_are_the_same() {
    let node = Node::start();
    let offline = Offline::new();
    for (words, code) in SCRIPT {
        let mut results = [node.command(words).output().unwrap(), offline.json(words)].map(|output| {
            assert_eq!(output.status.code(), Some(*code), "{words:?}: {}", shown(&output));
            match code {
                0 => comparable(serde_json::from_slice(&output.stdout).unwrap()),
                // A clear sentence.
                _ => {
                    assert!(output.stdout.is_empty(), "{words:?}: {}", shown(&output));
                    json!(String::from_utf8(output.stderr).unwrap())
                }
            }
        });
        let offline = results[1].take();
        assert_eq!(results[0], offline, "{words:?}");
        if let Value::String(sentence) = offline {
            assert!(sentence.starts_with("centrex6: ") && sentence.len() > 20, "{words:?}: {sentence}");
            assert!(!sentence.contains("SQL") && !sentence.contains("constraint"), "{words:?}: {sentence}");
        }
    }
}

#[test]
fn commands_at_the_same_time_wait_for_each_other() {
    let offline = Offline::new();
    let sites: Vec<String> = (1..=8).map(|number| format!("80{number}")).collect();
    std::thread::scope(|scope| {
        for code in &sites {
            let domain = format!("s{code}.example.net");
            let words =
                ["site", "add", "--name", code, "--code", code, "--domain", &domain].map(str::to_owned);
            let offline = &offline;
            scope.spawn(move || {
                let output = offline.say(&words.each_ref().map(String::as_str));
                assert!(output.status.success(), "{}", shown(&output));
            });
        }
    });
    let listed: Value = serde_json::from_slice(&offline.json(&["site", "list"]).stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), sites.len());
}

#[test]
fn every_listing_is_there_for_people_and_for_programs() {
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    node.add_number("+81355550101", &line);
    node.add_trunk("carrier", &["127.0.0.1:9".parse().unwrap()]);
    node.cli(&["account", "add", "--site", &line.domain]);
    for (noun, heading, cell) in [
        ("site", "DOMAIN", "s01.example.net"),
        ("line", "ADDRESS", "sip:101@s01.example.net"),
        ("number", "NUMBER", "+81355550101"),
        ("trunk", "GATEWAYS", "udp:127.0.0.1:9"),
        ("route", "TRUNK", "carrier"),
        ("account", "TUNNEL", "never"),
    ] {
        assert_eq!(node.cli(&[noun, "list"]).as_array().unwrap().len(), 1, "{noun}");
        let output = node.say(&[noun, "list"]);
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text.lines();
        assert!(lines.next().unwrap().contains(heading) && lines.next().unwrap().contains(cell), "{text}");
    }
    assert_eq!(node.cli(&["call", "list"]), json!([]));
    let status = String::from_utf8(node.say(&["node", "status"]).stdout).unwrap();
    assert!(status.contains("n1") && status.contains("up"), "{status}");
    // Secrets are not in any of them.
    let shown = node.cli(&["line", "show", &line.auth_user]).to_string();
    assert!(!shown.contains(&line.password) && !shown.contains("ha1"), "{shown}");
}

#[test]
fn a_password_may_come_from_standard_input() {
    use std::io::Write;
    let node = Node::start();
    let domain = node.add_site(1);
    let words = ["line", "add", "--site", &domain, "--extension", "101", "--password-stdin"];
    let mut child = node
        .command(&words)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"open sesame\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(!String::from_utf8(output.stdout).unwrap().contains("sesame"));
    let phone = crate::support::Credentials {
        extension: "101".to_owned(),
        domain,
        auth_user: "s01-101".to_owned(),
        password: "open sesame".to_owned(),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { crate::support::phone(&node, &phone).await });
    assert_eq!(node.registered(), 1);
}

/// A folder with a configuration and without a running node.
struct Offline {
    setup: Setup,
    folder: TempDir,
}

impl Offline {
    fn new() -> Offline {
        Offline::with(Setup::new())
    }

    fn with(setup: Setup) -> Offline {
        Offline { folder: setup.folder(), setup }
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.folder.path().join("centrex6.toml"), text).unwrap();
    }

    fn say(&self, words: &[&str]) -> Output {
        self.setup.plain_command(&self.folder, words).output().unwrap()
    }

    fn json(&self, words: &[&str]) -> Output {
        self.setup.command(&self.folder, words).output().unwrap()
    }
}

/// Without what differs by nature.
fn comparable(mut value: Value) -> Value {
    if let Some(password) = value.get_mut("password") {
        assert!(password.as_str().unwrap().len() >= 12, "{password}");
        *password = Value::Null;
    }
    value
}

fn shown(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Commands and their exit codes, in order.
const SCRIPT: &[(&[&str], i32)] = &[
    (&["site", "list"], 0),
    (
        &[
            "site",
            "add",
            "--name",
            "Sakura",
            "--code",
            "801",
            "--domain",
            "s1.example.net",
            "--prefix",
            "2001:db8:1::/48",
        ],
        0,
    ),
    (
        &["site", "add", "--name", "Ume", "--code", "802", "--domain", "s2.example.net", "--region", "Tokyo"],
        0,
    ),
    // The code, the domain: each once.
    (&["site", "add", "--name", "X", "--code", "801", "--domain", "s3.example.net"], 1),
    (&["site", "add", "--name", "X", "--code", "803", "--domain", "s1.example.net"], 1),
    (&["site", "add", "--name", "X", "--code", "eight", "--domain", "s3.example.net"], 1),
    (&["site", "add", "--name", "X", "--code", "803", "--domain", "no domain"], 1),
    (&["site", "list"], 0),
    (&["site", "show", "801"], 0),
    (&["site", "show", "S1.Example.NET"], 0),
    (&["site", "show", "899"], 1),
    (&["line", "add", "--site", "801", "--extension", "101"], 0),
    (
        &[
            "line",
            "add",
            "--site",
            "s2.example.net",
            "--extension",
            "201",
            "--name",
            "Room 201",
            "--international",
        ],
        0,
    ),
    (&["line", "add", "--site", "801", "--extension", "101", "--auth-user", "other"], 1),
    (&["line", "add", "--site", "801", "--extension", "102", "--auth-user", "s1-101"], 1),
    (&["line", "add", "--site", "801", "--extension", "1O1"], 1),
    (&["line", "add", "--site", "899", "--extension", "101"], 1),
    (&["line", "list"], 0),
    (&["line", "list", "--site", "802"], 0),
    (&["line", "show", "s1-101"], 0),
    (&["line", "show", "s1-999"], 1),
    (&["number", "add", "+81355550101", "--line", "s1-101"], 0),
    (&["number", "add", "0355550101", "--line", "s1-101"], 1),
    (&["number", "add", "+81355550102", "--line", "s1-999"], 1),
    (&["number", "list"], 0),
    (&["number", "show", "+81355550101"], 0),
    (&["number", "show", "+81355550109"], 1),
    // A number moves.
    (&["number", "add", "+81355550101", "--line", "s2-201"], 1),
    (&["number", "add", "+81355550101", "--line", "s2-201", "--move"], 0),
    (&["line", "show", "s2-201"], 0),
    (
        &[
            "trunk",
            "add",
            "--name",
            "carrier",
            "--gateway",
            "192.0.2.1",
            "--gateway",
            "tcp:192.0.2.2:5080",
            "--max-calls",
            "30",
        ],
        0,
    ),
    (&["trunk", "add", "--name", "carrier", "--gateway", "192.0.2.3"], 1),
    (&["trunk", "add", "--name", "mixed", "--gateway", "192.0.2.3", "--gateway", "[2001:db8::1]:5060"], 1),
    (&["trunk", "list"], 0),
    (&["trunk", "show", "carrier"], 0),
    (&["trunk", "show", "other"], 1),
    (
        &[
            "route",
            "add",
            "--prefix",
            "+81",
            "--trunk",
            "carrier",
            "--priority",
            "1",
            "--strip",
            "3",
            "--prepend",
            "0",
        ],
        0,
    ),
    (&["route", "add", "--prefix", "x", "--trunk", "carrier"], 1),
    (&["route", "add", "--trunk", "other"], 1),
    (&["route", "list"], 0),
    (&["route", "show", "1"], 0),
    (&["route", "show", "99"], 1),
    (&["call", "list"], 0),
    (&["call", "show", "none"], 1),
    (&["call", "list", "--trunk", "other"], 1),
    (&["site", "set", "802", "--prefix", "2001:db8:2::/48"], 0),
    (&["site", "set", "802", "--prefix", "2001:db8:2::/48"], 0),
    (&["site", "set", "802", "--prefix", "2001:db8:1::/48"], 1),
    (&["site", "set", "802", "--from-pool"], 1),
    (&["site", "set", "899", "--no-prefix"], 1),
    (&["site", "set", "802", "--no-prefix"], 0),
    (&["account", "add", "--site", "801"], 0),
    (&["account", "add", "--site", "801", "--name", "second"], 1),
    (&["account", "add", "--site", "802", "--name", "s1"], 1),
    (&["account", "add", "--site", "802", "--name", "no blank"], 1),
    (&["account", "bar", "s1"], 0),
    (&["account", "list"], 0),
    (&["account", "show", "s1"], 0),
    (&["account", "password", "s9"], 1),
    (&["account", "remove", "s1"], 0),
    // What is in use stays.
    (&["site", "remove", "802"], 1),
    (&["line", "remove", "s2-201"], 1),
    (&["trunk", "remove", "carrier"], 1),
    (&["route", "remove", "1"], 0),
    (&["trunk", "remove", "carrier"], 0),
    (&["number", "remove", "+81355550101"], 0),
    (&["number", "remove", "+81355550101"], 1),
    (&["line", "remove", "s2-201"], 0),
    (&["site", "remove", "802"], 0),
    (&["site", "list"], 0),
    (&["line", "list"], 0),
];
