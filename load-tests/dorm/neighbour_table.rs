//! The router's neighbour table overflows: every phone past a certain number goes dead, and the alarm says why.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Readable, one_dorm, until, up};

#[test]
fn the_alarm_names_the_full_table() {
    let setup = [
        ("WATCH__PHONE_EVERY_S", "2"),
        ("WATCH__IAD_EVERY_S", "2"),
        ("WATCH__RETRY_EVERY_S", "1"),
        ("WATCH__SURVEY_EVERY_S", "3"),
        ("WATCH__GRACE_S", "2"),
    ];
    let setup = setup.iter().fold(one_dorm(6), |setup, (key, value)| setup.centre(key, value));
    let Some(mut lab) = up(&setup) else { return };
    let alarms = |lab: &load_tests::lab::Lab| -> Vec<Value> {
        lab.centre().good().cli(&["alarm", "list"]).good().as_array().unwrap().clone()
    };
    let full = |lab: &load_tests::lab::Lab| {
        let mut found = alarms(lab).into_iter();
        found.find(|alarm| alarm["kind"] == "neighbour_table_full" && alarm["cleared_at"].is_null())
    };
    assert_eq!(full(&lab), None);
    // Six phones need twelve entries.
    lab.limit_neighbours(1, 8).good();
    let alarm = until("the alarm is raised", LONG, || full(&lab));
    let text = |name: &str| alarm[name].as_str().unwrap().to_owned();
    assert!(text("cause").contains("neighbour table of the router at site"), "{alarm:#}");
    assert!(text("cause").contains('8'), "with the numbers: {alarm:#}");
    assert!(text("remedy").contains("two VLANs"), "{alarm:#}");
    // It is one alarm: the mute phones have none of their own.
    let open: Vec<_> = alarms(&lab).into_iter().filter(|alarm| alarm["cleared_at"].is_null()).collect();
    assert_eq!(open.len(), 1, "{open:#?}");
    lab.limit_neighbours(1, 0).good();
    until("the alarm is cleared", LONG, || full(&lab).is_none().then_some(()));
}

/// The watch looks at several rounds before it says anything.
const LONG: Duration = Duration::from_secs(90);
