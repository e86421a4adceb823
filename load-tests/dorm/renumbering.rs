//! The provider gives a dorm another IPv4 address during a call: the audio comes back after the IAD's next login.

use load_tests::lab::Party;
use load_tests::lab::plan::Access;

use crate::support::{PATIENCE, Readable, account, await_tunnel, dorms, up};

#[test]
fn a_call_outlives_a_renumbering() {
    let Some(mut lab) = up(&dorms(2, 1, Access::Own)) else { return };
    let address = lab.station(Party::Phone(1, 1)).good().state().address;
    let call = lab.call(Party::Phone(1, 1), Party::Phone(2, 1)).good();
    call.await_audio(25, PATIENCE).good();
    let (old, new) = lab.renumber(1).good();
    assert_eq!(account(&lab, 1)["lease"]["client"], old.to_string());
    await_tunnel(&lab, 1, &new.to_string());
    // What was under way at the moment of the change does not count: so many packets take longer than that.
    call.await_audio(100, PATIENCE).good();
    assert!(call.is_up());
    assert_eq!(lab.station(Party::Phone(1, 1)).good().state().address, address, "the phones notice nothing");
    let report = call.hang_up().good();
    eprintln!(
        "renumbered from {old} to {new}: {} packets of {} lost there, {} of {} back, longest gaps {:.0?} ms",
        report.there.lost, report.there.sent, report.back.lost, report.back.sent, report.longest_gaps_ms
    );
    for way in [&report.there, &report.back] {
        assert!(way.received >= 100 && way.corrupted == 0 && way.from_sender, "{report:?}");
    }
    assert_eq!(account(&lab, 1)["lease"]["previous_client"], old.to_string());
    let again = lab.call(Party::Phone(2, 1), Party::Phone(1, 1)).good();
    again.await_audio(25, PATIENCE).good();
    assert!(again.hang_up().good().is_intact());
}
