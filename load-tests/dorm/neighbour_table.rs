//! The router's neighbour table overflows: every phone past a certain number goes dead, and the alarm says why.

use serde_json::Value;

use crate::support::{LONG, Readable, alarms, one_dorm, open_alarms, until, up, watched};

#[test]
fn the_alarm_names_the_full_table() {
    let Some(mut lab) = up(&watched(one_dorm(6))) else { return };
    until("every phone is seen to live", LONG, || {
        let status = lab.centre().good().cli(&["site", "status", &lab.plan().dorm(1).unwrap().code()]).good();
        (status["phones"]["answering"] == 6).then_some(())
    });
    assert_eq!(open_alarms(&lab), Vec::<Value>::new());
    // Six phones need twelve entries.
    lab.limit_neighbours(1, 8).good();
    let alarm = until("the alarm is raised", LONG, || {
        open_alarms(&lab).into_iter().find(|alarm| alarm["kind"] == "neighbour_table_full")
    });
    let text = |name: &str| alarm[name].as_str().unwrap().to_owned();
    assert!(text("cause").contains("neighbour table of the router at site"), "{alarm:#}");
    assert!(text("cause").contains("6 phones need 12 entries (2 a phone), the table holds 8"), "{alarm:#}");
    assert!(text("remedy").contains("two VLANs"), "{alarm:#}");
    // It is one alarm: the mute phones have none of their own, neither now nor before.
    assert_eq!(alarms(&lab).len(), 1, "{:#?}", alarms(&lab));
    lab.limit_neighbours(1, 0).good();
    until("the alarm is cleared", LONG, || open_alarms(&lab).is_empty().then_some(()));
    assert_eq!(alarms(&lab).len(), 1, "{:#?}", alarms(&lab));
}
