//! The broker goes away and comes back while tunnels are up: they stand, because the tunnel server is another process.

use load_tests::lab::Party;
use load_tests::lab::plan::Access;

use crate::support::{PATIENCE, Readable, account, dorms, until, up};

#[test]
fn a_call_does_not_notice_that_the_broker_restarts() {
    let Some(mut lab) = up(&dorms(2, 1, Access::Own)) else { return };
    let logins = |lab: &load_tests::lab::Lab, site| account(lab, site)["lease"]["logins"].as_i64().unwrap();
    let before = [1, 2].map(|site| logins(&lab, site));
    let call = lab.call(Party::Phone(1, 1), Party::Phone(2, 1)).good();
    call.await_audio(25, PATIENCE).good();
    lab.restart_centre(false).good();
    for (site, before) in [1, 2].into_iter().zip(before) {
        until(&format!("the IAD of site {site} logs in again"), PATIENCE, || {
            (logins(&lab, site) > before && account(&lab, site)["lease"]["up"] == true).then_some(())
        });
    }
    call.await_audio(50, PATIENCE).good();
    assert!(call.is_up());
    let [caller, callee] = call.media();
    assert_eq!((caller.lost, callee.lost), (0, 0), "the tunnels stood all the time");
    let report = call.hang_up().good();
    assert!(report.is_intact(), "{report:?}");
    let again = lab.call(Party::Phone(2, 1), Party::Phone(1, 1)).good();
    again.await_audio(25, PATIENCE).good();
    assert!(again.hang_up().good().is_intact());
}
