//! Tunnel accounts on the command line.

use std::io::Write;
use std::process::{Output, Stdio};

use schema::Directory;
use schema::secret::KeyFile;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Node, Setup};

#[test]
fn an_account_lives_and_dies_on_the_command_line() {
    let node = Node::start();
    let said = |words: &[&str]| {
        let output = node.say(words);
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let domain = node.add_site(1);
    node.cli(&[
        "site",
        "add",
        "--name",
        "Ume",
        "--code",
        "802",
        "--domain",
        "s02.example.net",
        "--prefix",
        "2001:db8:2::/48",
    ]);
    let (code, text) = said(&["account", "add", "--site", "801"]);
    assert!(
        code == Some(0) && text.starts_with("added account s01 of site s01.example.net\npassword "),
        "{text}"
    );
    assert!(text.contains("warning: site 801 has no prefix"), "{text}");
    let link = ["--link-client", "2001:db8:f::2", "--link-server", "2001:db8:f::1"];
    let words =
        [&["account", "add", "--site", "s02.example.net", "--name", "dorm-2@feel6"][..], &link].concat();
    let added = node.cli(&words);
    assert_eq!(added["link"]["client"], "2001:db8:f::2");
    assert_eq!((&added["warning"], added["password"].as_str().unwrap().len()), (&Value::Null, 20));
    let (code, text) = said(&["account", "add", "--site", &domain, "--name", "other"]);
    assert!(
        code == Some(1) && text.contains("site 801 has the account s01: `centrex6 account password s01`"),
        "{text}"
    );
    let (_, text) = said(&["account", "list"]);
    let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["dorm-2@feel6", "802", "2001:db8:2::/48", "never", "-", "no"], "{text}");
    assert_eq!(said(&["account", "bar", "s01"]).0, Some(0));
    let shown = node.cli(&["account", "show", "s01"]);
    assert_eq!(
        (&shown["barred"], &shown["lease"], &shown["site_code"]),
        (&true.into(), &Value::Null, &"801".into())
    );
    let again = node.cli(&["account", "password", "s01"]);
    let password = again["password"].as_str().unwrap();
    assert!(!shown.to_string().contains("password") && !node.log().contains(password), "{shown}");
    assert_eq!(again["barred"], true, "a new password does not let it in");
    node.cli(&["account", "unbar", "s01"]);
    assert_eq!(node.cli(&["account", "show", "s01"])["barred"], false);
    assert_eq!(node.cli(&["site", "show", "801"])["account"], "s01");
    let (code, text) = said(&["site", "remove", "801"]);
    assert!(code == Some(1) && text.contains("site 801 still has 1 account"), "{text}");
    assert_eq!(said(&["account", "remove", "s01"]).0, Some(0));
    let (code, text) = said(&["account", "show", "s01"]);
    assert!(code == Some(1) && text.contains("`centrex6 account list`"), "{text}");
    assert_eq!(said(&["site", "remove", "801"]).0, Some(0));
    for wrong in [&["--name", "a b"][..], &["--link-client", "fe80::1", "--link-server", "2001:db8::1"]] {
        node.cli(&["account", "remove", "dorm-2@feel6"]);
        let refused = said(&[&["account", "add", "--site", "802"][..], wrong].concat());
        assert!(refused.0 == Some(1) && refused.1.contains("is not valid: use "), "{refused:?}");
        node.cli(&words);
    }
    let half = said(&["account", "add", "--site", "802", "--link-client", "2001:db8:f::2"]);
    assert_eq!(half.0, Some(64), "{half:?}");
}

#[test]
fn an_accounts_password_is_kept_under_seal() {
    let setup = Setup::new();
    let folder = setup.folder();
    let done = |output: Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let site = ["site", "add", "--name", "x", "--code", "801", "--domain", "s01.example.net"];
    done(setup.command(&folder, &site).output().unwrap());
    let add = ["account", "add", "--site", "801", "--password-stdin"];
    let shown = done(typed(&setup, &folder, &add, "open sesame\n"));
    assert!(!shown.contains("sesame") && !shown.contains("\"password\""), "{shown}");
    assert_eq!(stored(&folder), "open sesame");
    done(typed(&setup, &folder, &["account", "password", "s01", "--password-stdin"], "changed"));
    assert_eq!(stored(&folder), "changed");
    let made = done(setup.command(&folder, &["account", "password", "s01"]).output().unwrap());
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(stored(&folder), made["password"].as_str().unwrap());
    let nothing = typed(&setup, &folder, &["account", "password", "s01", "--password-stdin"], "\n");
    assert_eq!(nothing.status.code(), Some(1));
    let database = std::fs::read(folder.path().join("centrex6.db")).unwrap();
    assert!(!database.windows(6).any(|bytes| bytes == b"sesame"), "the password is in the file");
}

fn typed(setup: &Setup, folder: &TempDir, words: &[&str], text: &str) -> Output {
    let mut command = setup.command(folder, words);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The password as the broker reads it.
fn stored(folder: &TempDir) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let contents = runtime.block_on(async {
        let store = schema::open(folder.path().join("centrex6.db").to_str().unwrap()).await.unwrap();
        let contents = store.load().await.unwrap();
        store.close().await;
        contents
    });
    let key = KeyFile::open(&folder.path().join("key")).unwrap();
    let account = Directory::from(&contents).account_by_name("s01").unwrap();
    account.password(&key).unwrap().reveal().to_owned()
}
