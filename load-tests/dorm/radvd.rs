//! A router of another make advertises the prefix: radvd in place of our advertiser.

use load_tests::lab::{Advertiser, Party};

use crate::support::{PATIENCE, Readable, have, one_dorm, up};

#[test]
fn phones_take_their_prefix_from_radvd_too() {
    if !have("radvd", "radvd") {
        return;
    }
    let Some(mut lab) = up(&one_dorm(2).advertiser(Advertiser::Radvd)) else { return };
    let checked = lab.iad(1).good().check_steps(&[]).good();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}");
    for (from, to) in [(Party::Phone(1, 1), Party::Phone(1, 2)), (Party::Phone(1, 1), Party::Gateway)] {
        let call = lab.call(from, to).good();
        call.await_audio(25, PATIENCE).good();
        let report = call.hang_up().good();
        assert!(report.is_intact(), "{report:?}");
    }
}
