//! An IAD that logs in inside TLS, where the broker proves who it is.

use load_tests::lab::Party;
use load_tests::lab::plan::BROKER;
use node::tls::testing::Authority;

use crate::support::{PATIENCE, Readable, account, one_dorm, up};

#[test]
fn a_dorm_comes_up_inside_tls() {
    let folder = tempfile::Builder::new().prefix("centrex6-certificates-").tempdir().unwrap();
    let authority = Authority::new("Carrier");
    let ca = authority.write_own(folder.path(), "ca");
    let (certificate, key) = authority.write(folder.path(), "broker", &[&BROKER.to_string()]);
    let setup = one_dorm(1)
        // No site gets in by plain DTCP.
        .centre("TUNNEL_BROKER__LISTEN", "127.0.0.1:0")
        .centre("TUNNEL_BROKER__TLS_LISTEN", &format!("{BROKER}:20201"))
        .centre("TUNNEL_BROKER__TLS_CERTIFICATE", &certificate.display().to_string())
        .centre("TUNNEL_BROKER__TLS_KEY", &key.display().to_string())
        .agent("--tls")
        .agent("--ca")
        .agent(&ca.display().to_string());
    let Some(mut lab) = up(&setup) else { return };
    assert_eq!(account(&lab, 1)["lease"]["up"], true);
    let checked = lab.iad(1).good().check_steps(&[]).good();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}");
    let call = lab.call(Party::Phone(1, 1), Party::Gateway).good();
    call.await_audio(25, PATIENCE).good();
    assert!(call.hang_up().good().is_intact());
}
