use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{DeviceId, InvalidRow, LineId, Mac, SiteId, UnknownWord, check_id, check_text, ensure};

/// A phone or router of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The row's number.
    pub id: DeviceId,
    /// Where it is.
    pub site: SiteId,
    /// Its MAC; unique.
    pub mac: Mac,
    /// What it is, as its maker calls it.
    pub model: String,
    /// The VLAN that it is in; 0 when the site does not tag.
    pub vlan: u16,
    /// How it comes by its IPv6 address.
    pub addressing: Addressing,
    /// The address that it was given by hand, when it is [`Addressing::Static`] and the address is known.
    pub static_address: Option<Ipv6Addr>,
    /// The line that it registers.
    pub line: Option<LineId>,
    /// How many entries a router's neighbour table holds, which makes the device a router; nothing for phones.
    pub neighbours: Option<u32>,
}

/// How a device comes by its IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addressing {
    /// Stateless, its interface identifier made from the MAC (RFC 4862, RFC 4291 appendix A).
    #[default]
    Slaac,
    /// Stateless, its interface identifier opaque and stable (RFC 7217).
    Opaque,
    /// By hand.
    Static,
    /// From a DHCPv6 server (RFC 8415).
    Dhcpv6,
}

impl Device {
    /// A new device with the fields that every device needs.
    ///
    /// # Errors
    /// As [`check`](Device::check).
    pub fn new(site: SiteId, mac: Mac, model: &str, vlan: u16) -> Result<Device, InvalidRow> {
        let device = Device {
            id: DeviceId::NEW,
            site,
            mac,
            model: model.to_owned(),
            vlan,
            addressing: Addressing::default(),
            static_address: None,
            line: None,
            neighbours: None,
        };
        device.check().map(|()| device)
    }

    /// Whether the device may be stored.
    ///
    /// # Errors
    /// The first field that is not valid, with what to give instead.
    pub fn check(&self) -> Result<(), InvalidRow> {
        check_id("device id", self.id.0)?;
        check_text("device model", &self.model, 64)?;
        ensure(
            self.vlan <= MAX_VLAN,
            "device VLAN",
            &self.vlan.to_string(),
            "use 1 to 4094, or 0 when the site does not tag",
        )?;
        if let Some(address) = self.static_address {
            ensure(
                self.addressing == Addressing::Static,
                "device static address",
                &address.to_string(),
                "give one to devices with static addressing only",
            )?;
            ensure(
                !address.is_multicast() && !address.is_unspecified() && !address.is_unicast_link_local(),
                "device static address",
                &address.to_string(),
                "use a unicast address that the centre can reach",
            )?;
        }
        ensure(
            self.neighbours != Some(0),
            "device neighbour table",
            "0",
            "use the number of entries that the router's table holds",
        )
    }
}

impl Addressing {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Addressing::Slaac => "slaac",
            Addressing::Opaque => "opaque",
            Addressing::Static => "static",
            Addressing::Dhcpv6 => "dhcpv6",
        }
    }
}

impl fmt::Display for Addressing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Addressing {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let all = [Addressing::Slaac, Addressing::Opaque, Addressing::Static, Addressing::Dhcpv6];
        all.into_iter().find(|one| one.as_str() == word).ok_or_else(|| UnknownWord {
            word: word.chars().take(32).collect(),
            expected: "slaac opaque static dhcpv6",
        })
    }
}

/// IEEE 802.1Q: 4095 is reserved.
const MAX_VLAN: u16 = 4094;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_says_what_is_wrong_with_it() {
        let mac = "00:1a:2b:3c:4d:5e".parse().expect("a MAC");
        assert!(Device::new(SiteId(1), mac, "T31P", 4095).is_err());
        let device = Device::new(SiteId(1), mac, "T31P", 24).expect("valid");
        let fixed = Device { static_address: "2001:db8::7".parse().ok(), ..device.clone() };
        assert!(fixed.check().is_err(), "a device that makes its own address has none given");
        assert!(Device { addressing: Addressing::Static, ..fixed.clone() }.check().is_ok());
        let local = "fe80::7".parse().ok();
        let unreachable = Device { addressing: Addressing::Static, static_address: local, ..fixed };
        assert!(unreachable.check().is_err());
        assert!(Device { neighbours: Some(0), ..device }.check().is_err());
    }
}
