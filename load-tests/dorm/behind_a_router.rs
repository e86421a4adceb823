//! A dorm whose IAD is behind a broadband router that does NAT and forwards protocol 41.

use load_tests::lab::Party;
use load_tests::lab::plan::Access;

use crate::support::{PATIENCE, Readable, account, await_tunnel, dorms, up};

#[test]
fn a_dorm_behind_nat_calls_and_outlives_a_renumbering() {
    let Some(mut lab) = up(&dorms(2, 1, Access::Router)) else { return };
    let public = lab.plan().dorm(2).unwrap().public_address(0);
    assert_eq!(account(&lab, 2)["lease"]["client"], public.to_string(), "the broker sees the router");
    let call = lab.call(Party::Phone(1, 1), Party::Phone(2, 1)).good();
    call.await_audio(25, PATIENCE).good();
    let (old, new) = lab.renumber(2).good();
    assert_eq!(old, public);
    await_tunnel(&lab, 2, &new.to_string());
    call.await_audio(100, PATIENCE).good();
    assert!(call.is_up());
    let report = call.hang_up().good();
    eprintln!(
        "renumbered from {old} to {new}: {} packets of {} lost there",
        report.there.lost, report.there.sent
    );
    for (from, to) in [(Party::Phone(2, 1), Party::Gateway), (Party::Gateway, Party::Phone(2, 1))] {
        let call = lab.call(from, to).good();
        call.await_audio(25, PATIENCE).good();
        let report = call.hang_up().good();
        assert!(report.is_intact(), "{report:?}");
    }
}
