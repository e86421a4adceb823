//! An IAD loses its power and gets it back.

use load_tests::lab::Party;
use load_tests::lab::plan::Access;

use crate::support::{PATIENCE, Readable, account, dorms, until, up};

#[test]
fn a_dorm_is_back_after_a_power_cut() {
    let Some(mut lab) = up(&dorms(2, 2, Access::Own)) else { return };
    let address = lab.station(Party::Phone(1, 1)).good().state().address;
    lab.power_off(1).good();
    // The kernel of the dead IAD closes its session for it, as the provider's line would not: the broker takes the tunnel down.
    until("the broker has taken the tunnel down", PATIENCE, || {
        (account(&lab, 1)["lease"]["up"] == false).then_some(())
    });
    // A phone calls another one of its dorm in vain: SIP is at the centre.
    lab.power_on(1).good();
    until("the tunnel is up again", PATIENCE, || (account(&lab, 1)["lease"]["up"] == true).then_some(()));
    for (from, to) in [((1, 1), (1, 2)), ((1, 1), (2, 1)), ((2, 2), (1, 2))] {
        let call = lab.call(Party::Phone(from.0, from.1), Party::Phone(to.0, to.1)).good();
        call.await_audio(25, PATIENCE).good();
        let report = call.hang_up().good();
        assert!(report.is_intact(), "{report:?}");
    }
    assert_eq!(
        lab.station(Party::Phone(1, 1)).good().state().address,
        address,
        "the prefix is the site's own"
    );
}
