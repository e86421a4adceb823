//! What an operator does to an account reaches a live tunnel at once.

use load_tests::lab::plan::Access;
use load_tests::lab::{Lab, Namespace};
use serde_json::{Value, json};

use crate::old_client::Client;
use crate::support::{PATIENCE, Readable, dorms, have, one_dorm, until, up};

const FAILED: &str = "-ERR authentication failed.";

#[test]
fn a_barred_account_loses_its_tunnel_at_once() {
    if !have("python3", "python3") {
        return;
    }
    let Some(mut lab) = up(&dorms(1, 0, Access::Own).without_agents()) else { return };
    let iad = Namespace::named(&lab.plan().dorm(1).unwrap().iad);
    let provisioned = lab.provisioned(1).good().clone();
    let (user, mut password) = (provisioned.account, provisioned.password);
    for cut in ["bar", "password", "remove"] {
        let mut client = Client::log_in(&iad, &user, &password, "network");
        let granted = client.hear();
        assert!(granted.starts_with("+OK "), "{granted}");
        assert_eq!(tunnels(&mut lab)[0]["state"], "up");
        let item = lab.centre().good().cli(&["account", cut, &user]).good();
        let last_word = until("the client is told", PATIENCE, || {
            let said = client.ping();
            (said != "+OK pong").then_some(said)
        });
        assert_eq!(last_word, FAILED, "{cut}");
        until("its tunnel is gone", PATIENCE, || {
            let tunnels = tunnels(&mut lab);
            tunnels.as_array().unwrap().iter().all(|tunnel| tunnel["state"] == "down").then_some(())
        });
        let mut again = Client::log_in(&iad, &user, &password, "network");
        assert_eq!(again.hear(), FAILED, "{cut}");
        match cut {
            "bar" => drop(lab.centre().good().cli(&["account", "unbar", &user]).good()),
            "password" => password = item["password"].as_str().unwrap().to_owned(),
            _ => {}
        }
    }
}

#[test]
fn a_site_with_another_prefix_fetches_it_at_once() {
    let Some(mut lab) = up(&one_dorm(1)) else { return };
    let code = lab.plan().dorm(1).unwrap().code();
    let old = lab.provisioned(1).good().prefix.clone();
    let new = "2001:db8:ff00::/48";
    let item = lab.centre().good().cli(&["site", "set", &code, "--prefix", new]).good();
    assert_eq!((&item["prefix"], &item["former_prefix"]), (&json!(new), &json!(old)));
    until("the tunnel carries the new prefix", PATIENCE, || {
        let tunnels = tunnels(&mut lab);
        (tunnels[0]["prefix"] == new && tunnels[0]["state"] == "up").then_some(())
    });
    let phone = Namespace::named(&lab.plan().dorm(1).unwrap().phones[0].namespace);
    // The agent advertises the new one, and that the old one is not to be used any more.
    until("the phone has made its new address and given the old one up", PATIENCE, || {
        let shown = phone.run("ip", &["-6", "addr", "show", "scope", "global"]).good();
        let line = |prefix: &str| shown.lines().find(|line| line.contains(prefix)).map(str::to_owned);
        let given_up = line(old.trim_end_matches("::/48"))?.contains("deprecated");
        (given_up && !line("2001:db8:ff00:")?.contains("deprecated")).then_some(())
    });
}

fn tunnels(lab: &mut Lab) -> Value {
    lab.centre().unwrap().cli(&["tunnel", "list"]).unwrap()
}
