//! A dorm's line is cut: one alarm names it, not one for each phone behind it, and it is cleared when the line is back.

use load_tests::lab::Lab;
use load_tests::lab::plan::Access;
use serde_json::Value;

use crate::support::{LONG, Readable, alarms, dorms, open_alarms, until, up, watched};

#[test]
fn an_iad_without_power_is_one_alarm() {
    let Some(mut lab) = up(&watched(dorms(2, 3, Access::Own))) else { return };
    await_state(&lab, 1, "up");
    await_state(&lab, 2, "up");
    lab.power_off(1).good();
    let alarm = await_alarm(&lab, "tunnel_down");
    assert_eq!(alarm["subject"], lab.plan().dorm(1).unwrap().code(), "{alarm:#}");
    assert_eq!(alarm["details"]["phones"], 3, "{alarm:#}");
    await_state(&lab, 1, "tunnel_down");
    let id = alarm["id"].to_string();
    let acked = lab.centre().good().cli(&["alarm", "ack", &id, "--by", "duty", "--comment", "called them"]);
    assert_eq!(acked.good()["acked_by"], "duty");
    lab.power_on(1).good();
    await_state(&lab, 1, "up");
    await_one_past(&lab);
    assert_eq!(alarms(&lab)[0]["comment"], "called them");
}

#[test]
fn a_cut_cable_is_one_alarm_that_says_more_when_more_is_known() {
    // A broker that was restarted gives a silent site up after ten seconds, and not after 300.
    let setup = watched(dorms(2, 3, Access::Own)).centre("TUNNEL_BROKER__ADOPTION_S", "10");
    let Some(mut lab) = up(&setup) else { return };
    await_state(&lab, 1, "up");
    await_state(&lab, 2, "up");
    lab.set_line(1, false).good();
    let first = await_alarm(&lab, "iad_unreachable");
    let cause = first["cause"].as_str().unwrap();
    assert!(cause.contains("nor any of its 3 phones answers"), "{first:#}");
    await_state(&lab, 1, "iad_unreachable");
    // The watch begins anew, too: it knows what was open.
    lab.restart_centre(false).good();
    let second = await_alarm(&lab, "tunnel_down");
    assert_eq!(second["id"], first["id"], "it is the same alarm");
    lab.set_line(1, true).good();
    await_state(&lab, 1, "up");
    await_one_past(&lab);
}

/// Waits for the only open alarm to be of this kind.
fn await_alarm(lab: &Lab, kind: &str) -> Value {
    let mut last = Vec::new();
    let found = load_tests::lab::await_that(LONG, || {
        last = open_alarms(lab);
        assert!(last.len() <= 1, "{last:#?}");
        last.first().filter(|alarm| alarm["kind"] == kind).cloned()
    });
    found.unwrap_or_else(|| panic!("no alarm {kind}: {last:#?}\n{:#}", status(lab, 1)))
}

fn await_state(lab: &Lab, site: u8, state: &str) {
    let mut last = Value::Null;
    let seen = load_tests::lab::await_that(LONG, || {
        last = status(lab, site);
        (last["state"] == state).then_some(())
    });
    assert!(seen.is_some(), "site {site} is not {state}: {last:#}");
}

/// Waits until no alarm is open; one was, and no more.
fn await_one_past(lab: &Lab) {
    until("the alarm is cleared", LONG, || open_alarms(lab).is_empty().then_some(()));
    assert_eq!(alarms(lab).len(), 1, "{:#?}", alarms(lab));
}

fn status(lab: &Lab, site: u8) -> Value {
    lab.centre().good().cli(&["site", "status", &lab.plan().dorm(site).unwrap().code()]).good()
}
