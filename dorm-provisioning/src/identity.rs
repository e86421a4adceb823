//! The address that a device will make, and whether it is the one that it has.
//!
//! A predicted address is a hint, not an identity: newer stacks make opaque identifiers (RFC 7217, RFC 8064), and people set addresses by
//! hand. So both are kept, and a difference is told.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::Ipv6Net;
pub use schema::{Addressing, BadMac, Device, Mac};
use serde::Serialize;

/// Why no /64 can be made for a VLAN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoSubnet {
    /// The VLAN's number does not fit between the site's prefix and the 64th bit.
    #[error("VLAN {vlan} has no /64 of its own in {site}: a site of /{} has VLANs 0 to {}", site.prefix_len(), largest_vlan(*site))]
    TooLarge {
        /// The site's prefix.
        site: Ipv6Net,
        /// The VLAN.
        vlan: u16,
    },
    /// The site's prefix is longer than a /64.
    #[error("{site} is longer than a /64: phones cannot make addresses in it (RFC 4862 §5.5.3)")]
    NoRoom {
        /// The site's prefix.
        site: Ipv6Net,
    },
}

/// What the predicted address says about the learned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Comparison {
    /// They are the same.
    Match,
    /// They differ.
    Mismatch {
        /// What was expected.
        predicted: Ipv6Addr,
        /// What it looks like.
        cause: Cause,
    },
    /// There is nothing to compare: no prediction can be made, or nothing was learned yet.
    Unknown,
}

/// What a mismatch looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The right identifier in another /64 of the site: the device is in another VLAN.
    OtherVlan,
    /// The right identifier outside the site: the device was carried to another site.
    OtherSite,
    /// In the right /64 the identifier of another MAC: the line's credentials are in another device.
    OtherDevice,
    /// In the right /64 an identifier that is made from no MAC: RFC 7217, a temporary address (RFC 8981), or set by hand.
    OtherIdentifier,
    /// Nothing fits.
    Elsewhere,
}

/// The /64 of a site's VLAN: the VLAN's number is the subnet's, and VLAN 0, an untagged LAN, is the first.
///
/// # Errors
/// [`NoSubnet`] when the site's prefix has no such /64.
pub fn vlan_prefix(site: Ipv6Net, vlan: u16) -> Result<Ipv6Net, NoSubnet> {
    if site.prefix_len() > 64 {
        return Err(NoSubnet::NoRoom { site });
    }
    if vlan > largest_vlan(site) {
        return Err(NoSubnet::TooLarge { site, vlan });
    }
    let bits = site.network().to_bits() | u128::from(vlan) << 64;
    Ok(Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), 64))
}

/// The address that a device with this MAC makes by stateless autoconfiguration (RFC 4862 §5.5.3).
///
/// # Errors
/// As [`vlan_prefix`].
pub fn predict(site: Ipv6Net, vlan: u16, mac: Mac) -> Result<Ipv6Addr, NoSubnet> {
    let subnet = vlan_prefix(site, vlan)?.network().to_bits();
    Ok(Ipv6Addr::from_bits(subnet | u128::from(interface_id(mac))))
}

/// The modified EUI-64 identifier of a MAC (RFC 4291 appendix A).
pub fn interface_id(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac.octets();
    u64::from_be_bytes([a ^ UNIVERSAL_BIT, b, c, 0xff, 0xfe, d, e, f])
}

/// The MAC from which an address's identifier was made; nothing when it was made otherwise.
pub fn mac_of(address: Ipv6Addr) -> Option<Mac> {
    match address.octets() {
        [_, _, _, _, _, _, _, _, a, b, c, 0xff, 0xfe, d, e, f] => {
            Mac::new([a ^ UNIVERSAL_BIT, b, c, d, e, f]).ok()
        }
        _ => None,
    }
}

/// The address that a device should have: made from its MAC, or given by hand. Nothing when none can be told beforehand.
pub fn predicted(device: &Device, site: Option<Ipv6Net>) -> Option<Ipv6Addr> {
    match device.addressing {
        Addressing::Slaac => predict(site?, device.vlan, device.mac).ok(),
        Addressing::Static => device.static_address,
        Addressing::Opaque | Addressing::Dhcpv6 => None,
    }
}

/// Compares the address that a device should have with the one it was seen to send from.
pub fn compare(device: &Device, site: Option<Ipv6Net>, learned: Option<IpAddr>) -> Comparison {
    let (Some(predicted), Some(learned)) = (predicted(device, site), learned) else {
        return Comparison::Unknown;
    };
    // An IPv4 packet on an IPv6 socket.
    let learned = match learned.to_canonical() {
        IpAddr::V6(learned) if learned == predicted => return Comparison::Match,
        IpAddr::V6(learned) => learned,
        IpAddr::V4(_) => return Comparison::Mismatch { predicted, cause: Cause::Elsewhere },
    };
    Comparison::Mismatch { predicted, cause: cause(predicted, learned, site) }
}

impl Cause {
    /// One word for metrics and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::OtherVlan => "other_vlan",
            Cause::OtherSite => "other_site",
            Cause::OtherDevice => "other_device",
            Cause::OtherIdentifier => "other_identifier",
            Cause::Elsewhere => "elsewhere",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::OtherVlan => "the device is in another VLAN",
            Cause::OtherSite => "the device is at another site",
            Cause::OtherDevice => "another device uses the line",
            Cause::OtherIdentifier => {
                "the device does not make its address from its MAC: declare it opaque, static or dhcpv6"
            }
            Cause::Elsewhere => "the address has nothing in common with the predicted one",
        })
    }
}

fn cause(predicted: Ipv6Addr, learned: Ipv6Addr, site: Option<Ipv6Net>) -> Cause {
    let same_subnet = predicted.to_bits() >> 64 == learned.to_bits() >> 64;
    let same_identifier = predicted.to_bits() as u64 == learned.to_bits() as u64;
    match (same_subnet, same_identifier) {
        (false, true) if site.is_some_and(|site| site.contains(&learned)) => Cause::OtherVlan,
        (false, true) => Cause::OtherSite,
        (true, _) if mac_of(learned).is_some() => Cause::OtherDevice,
        (true, _) => Cause::OtherIdentifier,
        (false, false) => Cause::Elsewhere,
    }
}

fn largest_vlan(site: Ipv6Net) -> u16 {
    // Widths of 16 bits and more hold every VLAN.
    let width = 64_u8.saturating_sub(site.prefix_len()).min(16);
    u16::try_from((1_u32 << width) - 1).unwrap_or(u16::MAX)
}

/// The bit that says "given by the maker", inverted in the identifier so that short ones made by hand are easy to write.
const UNIVERSAL_BIT: u8 = 0x02;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schema::SiteId;

    use super::*;

    fn net(text: &str) -> Ipv6Net {
        text.parse().expect("a prefix")
    }

    fn device(addressing: Addressing, static_address: Option<&str>) -> Device {
        let mac = "00:1a:2b:3c:4d:5e".parse().expect("a MAC");
        Device {
            addressing,
            static_address: static_address.map(|text| text.parse().expect("an address")),
            ..Device::new(SiteId(1), mac, "T31P", 24).expect("a device")
        }
    }

    #[test]
    fn the_address_is_made_as_the_rfc_says() {
        // RFC 4291 appendix A, with the MAC written out.
        let mac = "34-56-78-9A-BC-DE".parse().expect("a MAC");
        assert_eq!(interface_id(mac), 0x3656_78ff_fe9a_bcde);
        let address = predict(net("2001:db8:42::/48"), 24, mac).expect("an address");
        assert_eq!(address.to_string(), "2001:db8:42:18:3656:78ff:fe9a:bcde");
        assert_eq!(mac_of(address), Some(mac));
    }

    #[test]
    fn a_vlan_needs_room_in_the_sites_prefix() {
        assert_eq!(vlan_prefix(net("2001:db8:42:ab00::/56"), 255), Ok(net("2001:db8:42:abff::/64")));
        let error = vlan_prefix(net("2001:db8:42:ab00::/56"), 256).expect_err("too large").to_string();
        assert_eq!(
            error,
            "VLAN 256 has no /64 of its own in 2001:db8:42:ab00::/56: a site of /56 has VLANs 0 to 255"
        );
        assert_eq!(vlan_prefix(net("2001:db8::/64"), 0), Ok(net("2001:db8::/64")));
        assert!(
            vlan_prefix(net("2001:db8::/64"), 1).is_err() && vlan_prefix(net("2001:db8::/65"), 0).is_err()
        );
        assert!(vlan_prefix(net("::/0"), 4094).is_ok());
    }

    #[test]
    fn a_difference_says_what_it_looks_like() {
        let site = Some(net("2001:db8:42::/48"));
        let verdict = |learned: &str| match compare(
            &device(Addressing::Slaac, None),
            site,
            Some(learned.parse().expect("an address")),
        ) {
            Comparison::Mismatch { predicted, cause } => {
                assert_eq!(predicted.to_string(), "2001:db8:42:18:21a:2bff:fe3c:4d5e");
                cause.as_str()
            }
            Comparison::Match => "match",
            Comparison::Unknown => "unknown",
        };
        assert_eq!(verdict("2001:db8:42:18:21a:2bff:fe3c:4d5e"), "match");
        assert_eq!(verdict("2001:db8:42:19:21a:2bff:fe3c:4d5e"), "other_vlan");
        assert_eq!(verdict("2001:db8:43:18:21a:2bff:fe3c:4d5e"), "other_site");
        assert_eq!(verdict("2001:db8:42:18:21a:2bff:fe3c:4d5f"), "other_device");
        assert_eq!(verdict("2001:db8:42:18:bead:21:4242:1"), "other_identifier");
        assert_eq!(verdict("2001:db8:43:18::7"), "elsewhere");
        assert_eq!(verdict("192.0.2.7"), "elsewhere");
        assert_eq!(verdict("::ffff:192.0.2.7"), "elsewhere");
    }

    #[test]
    fn what_cannot_be_foretold_is_unknown() {
        let site = Some(net("2001:db8:42::/48"));
        let learned = Some("2001:db8:42:18::7".parse().expect("an address"));
        for addressing in [Addressing::Opaque, Addressing::Dhcpv6, Addressing::Static] {
            assert_eq!(compare(&device(addressing, None), site, learned), Comparison::Unknown);
        }
        let fixed = device(Addressing::Static, Some("2001:db8:42:18::7"));
        assert_eq!(compare(&fixed, None, learned), Comparison::Match);
        assert_eq!(compare(&device(Addressing::Slaac, None), None, learned), Comparison::Unknown);
        assert_eq!(compare(&device(Addressing::Slaac, None), site, None), Comparison::Unknown);
    }

    proptest! {
        #[test]
        fn a_prediction_leads_back_to_its_mac(octets: [u8; 6], bits: u128, len in 0_u8..=64, vlan in 0_u16..=4094) {
            let Ok(mac) = Mac::new(octets) else { return Ok(()) };
            let site = Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), len).trunc();
            if let Ok(address) = predict(site, vlan, mac) {
                prop_assert!(site.contains(&address));
                prop_assert_eq!(mac_of(address), Some(mac));
                prop_assert_eq!(mac.to_string().parse::<Mac>().ok(), Some(mac));
            }
        }

        #[test]
        fn no_text_makes_the_mac_reader_fall(text in "\\PC{0,40}") {
            let _ = text.parse::<Mac>();
        }
    }
}
