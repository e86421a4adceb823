//! A second login of an account takes its tunnel over, even while the first session hangs half open.

use crate::old_client::Client;
use crate::support::{PATIENCE, Readable, account, await_tunnel, have, one_dorm, until, up};

#[test]
fn the_newest_login_wins() {
    if !have("python3", "python3") {
        return;
    }
    let Some(mut lab) = up(&one_dorm(1)) else { return };
    let own = lab.plan().dorm(1).unwrap().public_address(0).to_string();
    let provisioned = lab.provisioned(1).good().clone();
    let (host, address) = lab.add_host().good();
    // The site's line is cut: neither end of its session is told.
    lab.set_line(1, false).good();
    let mut client = Client::log_in(&host, &provisioned.account, &provisioned.password, "network");
    let granted = client.hear();
    assert!(granted.starts_with(&format!("+OK {address} ")), "{granted}");
    // The lease is written a moment later.
    let lease = until("the lease tells of it", PATIENCE, || {
        let lease = account(&lab, 1)["lease"].clone();
        (lease["client"] == address.to_string()).then_some(lease)
    });
    assert_eq!((&lease["takeovers"], &lease["up"]), (&1.into(), &true.into()), "{lease:#}");
    assert_eq!(lease["previous_client"], own);
    // The site comes back and takes its tunnel in turn; the other one's session is closed.
    lab.set_line(1, true).good();
    await_tunnel(&lab, 1, &own);
    until("the other client is told", PATIENCE, || (client.ping() == "closed").then_some(()));
}
