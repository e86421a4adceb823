//! What REGISTER teaches about addresses: the one that a device was predicted to have against the one that it sends from.

use std::net::IpAddr;
use std::sync::Arc;

use dorm_provisioning::identity::{Cause, Comparison, compare};
use node::telemetry::Mask;
use schema::{Directory, Line};

/// Compares the source of a registration with what the line's devices should have.
#[derive(Debug)]
pub(crate) struct AddressCheck {
    directory: Arc<Directory>,
    mask: Mask,
}

impl AddressCheck {
    pub(crate) fn new(directory: Arc<Directory>, mask: Mask) -> AddressCheck {
        AddressCheck { directory, mask }
    }

    /// Tells a mismatch: a count and a line in the log.
    pub(crate) fn learn(&self, line: &Line, source: IpAddr) {
        let Some((predicted, cause)) = self.mismatch(line, source) else { return };
        metrics::counter!("centrex6_address_mismatches_total", "cause" => cause.as_str()).increment(1);
        let site = self.directory.site(line.site).map(|site| site.code.clone()).unwrap_or_default();
        tracing::info!(
            %site,
            line = %self.mask.number(&line.auth_user),
            predicted = %self.mask.ip(predicted),
            learned = %self.mask.ip(source),
            "a phone has another address than predicted: {cause}"
        );
    }

    /// What was expected, when the line has devices of which an address is known beforehand and none of them has this one. A device of
    /// which nothing is known beforehand may have any. A line that may register from anywhere has no address that could be wrong.
    fn mismatch(&self, line: &Line, source: IpAddr) -> Option<(IpAddr, Cause)> {
        if line.anywhere {
            return None;
        }
        let mut found = None;
        for device in self.directory.devices_of_line(line.id) {
            let prefix = self.directory.site(device.site).and_then(|site| site.prefix);
            match compare(&device, prefix, Some(source)) {
                Comparison::Match | Comparison::Unknown => return None,
                Comparison::Mismatch { predicted, cause } => {
                    found.get_or_insert((predicted.into(), cause));
                }
            }
        }
        found
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use schema::secret::{Ha1Set, Password, Sealed};
    use schema::{Addressing, Change, Device, DeviceId, LineId, Site, SiteId};

    use super::*;

    /// A directory with site 1 and, for line 1, one device an addressing.
    pub(crate) fn directory(devices: &[(&str, Addressing)]) -> Arc<Directory> {
        let directory = Directory::default();
        let prefix = "2001:db8:42::/48".parse().ok();
        let site = Site { id: SiteId(1), prefix, ..Site::new("Sakura", "42", "s42.example.net").unwrap() };
        directory.apply(&Change::PutSite(site));
        for (id, (mac, addressing)) in (1..).zip(devices) {
            let device = Device::new(SiteId(1), mac.parse().unwrap(), "T31P", 24).unwrap();
            let line = Some(LineId(1));
            let device = Device { id: DeviceId(id), line, addressing: *addressing, ..device };
            directory.apply(&Change::PutDevice(device));
        }
        Arc::new(directory)
    }

    fn line(anywhere: bool) -> Line {
        let ha1 = Ha1Set::of("s1-101", "centrex6", &Password::new("secret"));
        let line = Line::new(SiteId(1), "101", "s1-101", ha1, Sealed::from_stored("x".into())).unwrap();
        Line { id: LineId(1), anywhere, ..line }
    }

    fn cause(devices: &[(&str, Addressing)], anywhere: bool, source: &str) -> Option<Cause> {
        let check = AddressCheck::new(directory(devices), Mask::default());
        check.mismatch(&line(anywhere), source.parse().unwrap()).map(|(_, cause)| cause)
    }

    #[test]
    fn one_of_the_lines_devices_must_have_the_address() {
        let (first, second) = ("00:1a:2b:00:00:01", "00:1a:2b:00:00:02");
        let own = "2001:db8:42:18:21a:2bff:fe00:1";
        let other = "2001:db8:42:18:21a:2bff:fe00:7";
        let slaac = [(first, Addressing::Slaac), (second, Addressing::Slaac)];
        assert_eq!(cause(&slaac, false, own), None);
        assert_eq!(cause(&slaac, false, "2001:db8:42:18:21a:2bff:fe00:2"), None);
        assert_eq!(cause(&slaac, false, other), Some(Cause::OtherDevice));
        assert_eq!(cause(&slaac, true, other), None, "a line that roams");
        assert_eq!(cause(&[(first, Addressing::Slaac), (second, Addressing::Opaque)], false, other), None);
        assert_eq!(cause(&[], false, other), None);
    }
}
