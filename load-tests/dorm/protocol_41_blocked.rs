//! A broadband router that lets no protocol 41 through: the most usual fault of all, and `centrex6 iad check` names it.

use load_tests::lab::plan::Access;

use crate::support::{PATIENCE, Readable, account, dorms, until, up};

#[test]
fn the_installer_is_told_what_is_wrong() {
    let Some(mut lab) = up(&dorms(1, 1, Access::RouterWithout41).without_waiting()) else { return };
    // The login itself is TCP and comes through.
    until("the IAD logs in", PATIENCE, || (account(&lab, 1)["lease"]["up"] == true).then_some(()));
    let checked = lab.iad(1).good().check_steps(&[]).good();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{said}");
    assert!(said.contains("protocol 41 does not come through your broadband router"), "{said}");
}
