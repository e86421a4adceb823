//! The eight steps by which a dorm comes up, each looked at by itself.

use load_tests::lab::Errand;
use load_tests::lab::plan::Access;
use serde_json::Value;

use crate::support::{PATIENCE, Readable, account, dorms, up};

#[test]
fn a_dorm_comes_up_by_itself() {
    let Some(mut lab) = up(&dorms(2, 2, Access::Own)) else { return };
    for site in [1, 2] {
        let dorm = lab.plan().dorm(site).unwrap().clone();
        // 1 to 3: the IAD is on the internet, has logged in, and has been given the site's prefix.
        let account = account(&lab, site);
        assert_eq!(account["lease"]["client"], dorm.public_address(0).to_string(), "{account:#}");
        assert_eq!(account["lease"]["up"], true, "{account:#}");
        let prefix = lab.provisioned(site).good().prefix.clone();
        // 4 to 6: the prefix is advertised, and each phone has made its own address from it: the one that its MAC predicts.
        let devices = lab.centre().good().cli(&["device", "list", "--site", &dorm.code()]).good();
        // The IAD is a device too, and registers no line.
        let is_phone = |device: &&Value| device["auth_user"].is_string();
        let devices: Vec<&Value> = devices.as_array().unwrap().iter().filter(is_phone).collect();
        assert_eq!(devices.len(), 2);
        for (phone, device) in dorm.phones.iter().zip(&devices) {
            let state = lab.station(phone.party()).good().state();
            let address = state.address.unwrap().to_string();
            assert!(address.starts_with(prefix.trim_end_matches("::/48")), "{address} is not in {prefix}");
            assert_eq!(
                (&device["predicted"], &device["verdict"]),
                (&address.as_str().into(), &"match".into())
            );
            // 7: it has registered through the tunnel.
            assert_eq!(device["learned"], address, "{device:#}");
            assert!(state.registered);
        }
        // And the installer is told so.
        let checked = lab.iad(site).good().check_steps(&[]).good();
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "{said}");
    }
    // 8: calls, of every kind.
    for errand in Errand::tour(lab.plan()).good() {
        let call = lab.call(errand.from, errand.to).good();
        call.await_audio(25, PATIENCE).good();
        let report = call.hang_up().good();
        assert!(report.is_intact(), "{report:?}");
    }
}
