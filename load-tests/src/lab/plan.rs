//! The lab as data: which namespaces there are, and every address in them. Nothing here touches the system.
//!
//! ```text
//!   phones ─┐
//!   phones ─┼ switch ─ IAD ───────────────┐
//!   phones ─┘                             │ access lines, point to point
//!   phones ── switch ─ IAD ───────────────┤ 203.0.113.0/24
//!   phones ── switch ─ IAD ── router ─────┤
//!                      192.168.1.0/24     │     198.51.100.0/24     192.0.2.0/24
//!                                      internet ──────────── centre ──── gateway
//!                                         │                    │ 2001:db8:c::/64
//!                                         └────────── tunnel server
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

use super::error::LabError;
use super::party::Party;

/// What somebody wants of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// Tells labs on one machine apart: 1 to 16 lower-case letters and digits.
    pub name: String,
    /// Dorms, 1 to 50.
    pub sites: u8,
    /// Phones in each dorm, 0 to 90.
    pub phones: u8,
    /// What stands between the last dorm's IAD and its access line.
    pub last_access: Access,
}

/// How an IAD joins the IPv4 internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It holds the public address itself.
    Own,
    /// A broadband router holds it, does NAT, and forwards protocol 41 to the IAD.
    Router,
    /// The same, but the router lets no protocol 41 through, as many do.
    RouterWithout41,
}

/// The whole picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The lab's name.
    pub name: String,
    /// The IPv4 internet: one router.
    pub internet: String,
    /// Broker, proxy, translator and watch.
    pub centre: String,
    /// The tunnel server: another machine, between the internet and the centre's IPv6 network.
    pub tunnel: String,
    /// The carrier's gateway.
    pub gateway: String,
    /// The dorms; the first is site 1.
    pub dorms: Vec<Dorm>,
}

/// One dorm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dorm {
    /// From 1.
    pub number: u8,
    /// The IAD's namespace; its interfaces are [`WAN`] and [`LAN`].
    pub iad: String,
    /// How it joins the internet.
    pub access: Access,
    /// The broadband router's namespace, if there is one.
    pub router: Option<String>,
    /// The switch's namespace.
    pub switch: String,
    /// The phones; the first has extension 101.
    pub phones: Vec<PhonePlan>,
}

/// One phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhonePlan {
    /// Its dorm.
    pub site: u8,
    /// From 1.
    pub number: u8,
    /// Its namespace; its interface is [`PHONE`].
    pub namespace: String,
    /// `02:c6:00:00:SS:PP`.
    pub mac: String,
}

impl Wishes {
    /// A lab of one dorm with two phones.
    pub fn new(name: &str) -> Wishes {
        Wishes { name: name.to_owned(), sites: 1, phones: 2, last_access: Access::Own }
    }

    /// The picture.
    ///
    /// # Errors
    /// When the name or a number is out of bounds.
    pub fn plan(&self) -> Result<Plan, LabError> {
        let refuse = |what: &str| Err(LabError::Wish { what: what.to_owned() });
        if !is_name(&self.name) {
            return refuse("a lab's name is 1 to 16 lower-case letters and digits");
        }
        if !(1..=MAX_SITES).contains(&self.sites) {
            return refuse("a lab has 1 to 50 sites");
        }
        if self.phones > MAX_PHONES {
            return refuse("a lab's site has at most 90 phones");
        }
        let namespace = |what: &str| format!("{}{what}", prefix(&self.name));
        let dorm = |number: u8| {
            let access = if number == self.sites { self.last_access } else { Access::Own };
            let phone = |phone: u8| PhonePlan {
                site: number,
                number: phone,
                namespace: namespace(&format!("s{number}p{phone}")),
                mac: format!("02:c6:00:00:{number:02x}:{phone:02x}"),
            };
            Dorm {
                number,
                iad: namespace(&format!("s{number}iad")),
                access,
                router: (access != Access::Own).then(|| namespace(&format!("s{number}router"))),
                switch: namespace(&format!("s{number}lan")),
                phones: (1..=self.phones).map(phone).collect(),
            }
        };
        Ok(Plan {
            name: self.name.clone(),
            internet: namespace("internet"),
            centre: namespace("centre"),
            tunnel: namespace("tunnel"),
            gateway: namespace("gateway"),
            dorms: (1..=self.sites).map(dorm).collect(),
        })
    }
}

impl Plan {
    /// Every namespace, the backbone first.
    pub fn namespaces(&self) -> Vec<&str> {
        let mut all = vec![self.internet.as_str(), &self.centre, &self.tunnel, &self.gateway];
        for dorm in &self.dorms {
            all.extend([dorm.iad.as_str(), &dorm.switch]);
            all.extend(dorm.router.as_deref());
            all.extend(dorm.phones.iter().map(|phone| phone.namespace.as_str()));
        }
        all
    }

    /// A dorm by its number.
    ///
    /// # Errors
    /// When there is none.
    pub fn dorm(&self, number: u8) -> Result<&Dorm, LabError> {
        self.dorms.iter().find(|dorm| dorm.number == number).ok_or_else(|| LabError::Wish {
            what: format!("there is no site {number}: this lab has 1 to {}", self.dorms.len()),
        })
    }
}

impl Dorm {
    /// The namespace at the dorm's end of its access line: the router's, or the IAD's.
    pub fn edge(&self) -> &str {
        self.router.as_deref().unwrap_or(&self.iad)
    }

    /// The interface of the internet's router toward this dorm.
    pub fn line(&self) -> String {
        format!("site{}", self.number)
    }

    /// Its public address, at first and after each renumbering. Addresses come back after four of them.
    pub fn public_address(&self, renumbered: u32) -> Ipv4Addr {
        let step = u8::try_from(renumbered % 4).unwrap_or(0);
        Ipv4Addr::new(203, 0, 113, 10 + self.number + 60 * step)
    }

    /// The dorm's code, dialled from another dorm before the extension.
    pub fn code(&self) -> String {
        format!("{}", 8000 + u16::from(self.number))
    }

    /// The domain of its lines.
    pub fn domain(&self) -> String {
        format!("s{:03}.example.net", self.number)
    }

    /// The IAD's MAC on its LAN.
    pub fn iad_mac(&self) -> String {
        format!("02:c6:00:00:{:02x}:fe", self.number)
    }

    /// The DTCP account of its IAD.
    pub fn account(&self) -> String {
        format!("dorm{:02}", self.number)
    }
}

impl PhonePlan {
    /// How people name it: `1/2` is the second phone of the first dorm.
    pub fn label(&self) -> String {
        self.party().to_string()
    }

    /// The phone as one end of a call.
    pub fn party(&self) -> Party {
        Party::Phone(self.site, self.number)
    }

    /// What is dialled inside the dorm.
    pub fn extension(&self) -> String {
        format!("{}", 100 + u16::from(self.number))
    }

    /// The number that rings it from outside.
    pub fn e164(&self) -> String {
        format!("+8131234{:02}{:02}", self.site, self.number)
    }
}

/// Whether this can be a lab's name.
pub fn is_name(name: &str) -> bool {
    (1..=16).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// What the names of a lab's namespaces begin with. A name has no dash, so no prefix begins another one.
pub fn prefix(name: &str) -> String {
    format!("cx6-{name}-")
}

/// A phone's interface.
pub const PHONE: &str = "eth0";
/// An IAD's interface toward the phones, and a router's toward the IAD.
pub const LAN: &str = "lan";
/// The interface toward the internet.
pub const WAN: &str = "wan";
/// The bridge in a switch.
pub const BRIDGE: &str = "bridge";
/// The centre's IPv6 network, at both its ends.
pub const INSIDE: &str = "inside";
/// The centre's interface toward the carrier.
pub const CARRIER: &str = "trunk";

/// The internet's router on every access line.
pub const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The internet's router toward broker and tunnel server.
pub const INTERNET_CENTRE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The broker.
pub const BROKER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// The tunnels' end.
pub const TUNNEL_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
/// The centre's address in the carrier's network.
pub const TRUNK_SIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The carrier's gateway.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The broadband router inside the dorm.
pub const ROUTER_LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
/// The IAD behind a broadband router.
pub const IAD_BEHIND_ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
/// Proxy and translator on the IPv6 side.
pub const CENTRE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 5);
/// The tunnel server in the centre's IPv6 network.
pub const TUNNEL_INSIDE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1);
/// What the dorms' prefixes come from; [`CENTRE`] lies outside.
pub const POOL: &str = "2001:db8:8000::/33";

const MAX_SITES: u8 = 50;
const MAX_PHONES: u8 = 90;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_addresses_are_all_different() {
        let wishes = Wishes { sites: 50, phones: 90, last_access: Access::Router, ..Wishes::new("x") };
        let plan = wishes.plan().unwrap();
        let names = plan.namespaces();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert_eq!(names.len(), 4 + 50 * 2 + 1 + 50 * 90);
        assert!(names.iter().all(|name| name.starts_with("cx6-x-")));
        let public = plan.dorms.iter().flat_map(|dorm| (0..4).map(|step| dorm.public_address(step)));
        assert_eq!(public.collect::<BTreeSet<_>>().len(), 200);
        let phones = plan.dorms.iter().flat_map(|dorm| &dorm.phones);
        assert_eq!(phones.map(PhonePlan::e164).collect::<BTreeSet<_>>().len(), 50 * 90);
    }

    #[test]
    fn only_the_last_dorm_is_behind_a_router() {
        let wishes = Wishes { sites: 3, last_access: Access::Router, ..Wishes::new("x") };
        let plan = wishes.plan().unwrap();
        let routers: Vec<_> = plan.dorms.iter().map(|dorm| dorm.router.is_some()).collect();
        assert_eq!(routers, [false, false, true]);
        assert_eq!(plan.dorm(3).unwrap().edge(), "cx6-x-s3router");
        assert!(plan.dorm(4).is_err());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for name in ["", "Lab", "a-b", "seventeenletters1"] {
            assert!(Wishes::new(name).plan().is_err(), "{name}");
        }
        assert!(Wishes { sites: 0, ..Wishes::new("x") }.plan().is_err());
        assert!(Wishes { phones: 91, ..Wishes::new("x") }.plan().is_err());
    }
}
