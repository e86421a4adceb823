//! The picture of what there is to watch, taken from what the node holds in memory.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use dorm_provisioning::identity::{self, Comparison};
use dorm_provisioning::neighbours;
use registrar::Locations;
use schema::{Addressing, Binding, Device, Directory, Lease, Line, LineId, Sighting, Site, SiteId};
use sip_core::flow::Transport;
use sip_core::wire::Uri;

use crate::picture::{
    ClearedAlarm, DevicePicture, LeasePicture, LinePicture, Mismatch, PhonePicture, Picture, Place, Report,
    SitePicture, TunnelPicture,
};

/// Takes a picture. `unix_now` is the time since 1970: lapsed bindings are not in it.
pub fn gather(directory: &Directory, locations: &Locations, unix_now: Duration) -> Picture {
    let mut lines: HashMap<SiteId, Vec<Arc<Line>>> = HashMap::new();
    for line in directory.lines() {
        lines.entry(line.site).or_default().push(line);
    }
    let sites = directory.sites().into_iter().map(|site| {
        let lines = lines.remove(&site.id).unwrap_or_default();
        SiteGatherer { directory, locations, unix_now, devices: directory.devices_of_site(site.id), site }
            .gather(&lines)
    });
    let sites = sites.collect();
    let (mut open, mut cleared) = (Vec::new(), Vec::new());
    for alarm in directory.alarms() {
        match alarm.cleared_at {
            None => open.push((*alarm).clone()),
            Some(cleared_at) => cleared.push(ClearedAlarm { id: alarm.id, cleared_at }),
        }
    }
    Picture { sites, open, cleared }
}

/// The binding by which a device of a line is known: of several the one that comes from the predicted address, else one whose address is made
/// from the device's MAC, else the newest. Bindings behind an edge proxy are passed over: their source is the proxy's.
pub fn learned<'b>(
    device: &Device,
    predicted: Option<Ipv6Addr>,
    bindings: &'b [Arc<Binding>],
) -> Option<(IpAddr, &'b Binding)> {
    direct(bindings).max_by_key(|(address, binding)| (rank(device, predicted, *address), binding.expires_at))
}

struct SiteGatherer<'d> {
    directory: &'d Directory,
    locations: &'d Locations,
    unix_now: Duration,
    site: Arc<Site>,
    devices: Vec<Arc<Device>>,
}

impl SiteGatherer<'_> {
    fn gather(&self, lines: &[Arc<Line>]) -> SitePicture {
        let bindings: HashMap<LineId, Vec<Arc<Binding>>> =
            lines.iter().map(|line| (line.id, self.locations.lookup(line.id, self.unix_now))).collect();
        let none = Vec::new();
        let of = |line: LineId| bindings.get(&line).unwrap_or(&none).as_slice();
        let phones = self.devices.iter().filter(|device| table_of(device).is_none());
        let by_id: HashMap<LineId, &Arc<Line>> = lines.iter().map(|line| (line.id, line)).collect();
        let phone = |device: &Arc<Device>| {
            let line = device.line.and_then(|line| by_id.get(&line).copied());
            self.phone(device, line, line.map_or(&[], |line| of(line.id)))
        };
        let mut phones: Vec<PhonePicture> = phones.map(phone).collect();
        let with_device: HashSet<LineId> = self.devices.iter().filter_map(|device| device.line).collect();
        let bare = lines.iter().filter(|line| !with_device.contains(&line.id));
        phones.extend(bare.filter(|line| !line.anywhere).map(|line| bare_phone(line, of(line.id))));
        let account = self.directory.account_of_site(self.site.id);
        let router = self
            .devices
            .iter()
            .filter_map(|device| Some((table_of(device)?, device)))
            .min_by_key(|(table, _)| *table);
        SitePicture {
            id: self.site.id,
            code: self.site.code.clone(),
            name: self.site.name.clone(),
            prefix: self.site.prefix,
            tunnel: account.map(|account| TunnelPicture {
                account: account.name.clone(),
                lease: self.directory.lease(account.id).map(|lease| lease_picture(&lease)),
            }),
            iad: self.iad(router.map(|(_, router)| router.vlan)),
            table: router.map(|(table, _)| table),
            phones,
            lines: lines.iter().map(|line| self.line(line, of(line.id))).collect(),
        }
    }

    fn phone(&self, device: &Device, line: Option<&Arc<Line>>, bindings: &[Arc<Binding>]) -> PhonePicture {
        let predicted = identity::predicted(device, self.site.prefix);
        let binding = line.and_then(|line| {
            let (address, binding) = learned(device, predicted, bindings)?;
            // A roaming line's phone is somewhere else, and a binding that is another device's for sure is not this one's.
            let others =
                self.directory.devices_of_line(line.id).into_iter().filter(|other| other.id != device.id);
            let better = others
                .map(|other| rank(&other, identity::predicted(&other, self.site.prefix), address))
                .max();
            let away = line.anywhere && !self.is_local(address);
            (!away && better.unwrap_or(0) <= rank(device, predicted, address)).then_some(binding)
        });
        PhonePicture {
            name: line.map_or_else(|| device.mac.to_string(), |line| line.extension.clone()),
            line: line.map(|line| line.id),
            address: binding
                .and_then(askable)
                .or(predicted.map(|address| SocketAddrV6::new(address, SIP_PORT, 0, 0))),
            registered_until: binding.map(|binding| binding.expires_at),
            takes_udp: binding.is_some_and(|binding| over(binding) == Some(Transport::Udp)),
        }
    }

    fn line(&self, line: &Line, bindings: &[Arc<Binding>]) -> LinePicture {
        let devices = self.directory.devices_of_line(line.id);
        let place = |(_, binding): (IpAddr, &Binding)| {
            Some(Place { address: place_of(binding)?, time: binding.expires_at })
        };
        LinePicture {
            id: line.id,
            user: line.auth_user.clone(),
            extension: line.extension.clone(),
            anywhere: line.anywhere,
            mismatch: self.mismatch(line, &devices, bindings),
            devices: devices
                .iter()
                .map(|device| DevicePicture {
                    mac: device.mac,
                    from_mac: device.addressing == Addressing::Slaac,
                })
                .collect(),
            bindings: direct(bindings).filter_map(place).collect(),
            sighting: self.directory.sighting(line.id).and_then(|sighting| sighted(&sighting)),
        }
    }

    /// What was expected, when none of the line's devices has the address that it registered from last. A device of which nothing is known
    /// beforehand may have any.
    fn mismatch(&self, line: &Line, devices: &[Arc<Device>], bindings: &[Arc<Binding>]) -> Option<Mismatch> {
        if line.anywhere {
            return None;
        }
        let (learned, _) = direct(bindings).max_by_key(|(_, binding)| binding.expires_at)?;
        let mut found = None;
        for device in devices {
            match identity::compare(device, self.site.prefix, Some(learned)) {
                Comparison::Match | Comparison::Unknown => return None,
                Comparison::Mismatch { predicted, cause } => {
                    found.get_or_insert(Mismatch { predicted, learned, cause });
                }
            }
        }
        found
    }

    /// The IAD's own address: the first of its VLAN's /64. Where no router is declared, it is looked for where most phones are.
    fn iad(&self, router_vlan: Option<u16>) -> Option<Ipv6Addr> {
        let mut counts: HashMap<u16, usize> = HashMap::new();
        self.devices.iter().for_each(|device| *counts.entry(device.vlan).or_default() += 1);
        let most = counts.into_iter().max_by_key(|(vlan, count)| (*count, std::cmp::Reverse(*vlan)));
        let vlan = router_vlan.or(most.map(|(vlan, _)| vlan)).unwrap_or(0);
        let subnet = identity::vlan_prefix(self.site.prefix?, vlan).ok()?;
        Some(Ipv6Addr::from_bits(subnet.network().to_bits() | 1))
    }

    fn is_local(&self, address: IpAddr) -> bool {
        match (self.site.prefix, address) {
            (Some(prefix), IpAddr::V6(address)) => prefix.contains(&address),
            (None, _) => true,
            (Some(_), IpAddr::V4(_)) => false,
        }
    }
}

/// The entries of a router's neighbour table; nothing for what is no router.
fn table_of(device: &Device) -> Option<u32> {
    device.neighbours.or_else(|| neighbours::table_of(&device.model).filter(|_| device.line.is_none()))
}

fn bare_phone(line: &Line, bindings: &[Arc<Binding>]) -> PhonePicture {
    let newest = direct(bindings).max_by_key(|(_, binding)| binding.expires_at).map(|(_, binding)| binding);
    PhonePicture {
        name: line.extension.clone(),
        line: Some(line.id),
        address: newest.and_then(askable),
        registered_until: newest.map(|binding| binding.expires_at),
        takes_udp: newest.is_some_and(|binding| over(binding) == Some(Transport::Udp)),
    }
}

fn lease_picture(lease: &Lease) -> LeasePicture {
    LeasePicture {
        up: lease.up,
        client: lease.client,
        server: lease.server,
        changed_at: lease.changed_at,
        takeovers: lease.takeovers,
        previous_client: lease.previous_client,
        report: lease.neighbours.zip(lease.reported_at).map(|(entries, at)| Report {
            entries,
            capacity: lease.neighbour_capacity.filter(|capacity| *capacity > 0),
            at,
        }),
    }
}

/// How surely an address is a device's.
fn rank(device: &Device, predicted: Option<Ipv6Addr>, address: IpAddr) -> u8 {
    match address {
        IpAddr::V6(address) if Some(address) == predicted => 2,
        IpAddr::V6(address) if identity::mac_of(address) == Some(device.mac) => 1,
        _ => 0,
    }
}

fn direct(bindings: &[Arc<Binding>]) -> impl Iterator<Item = (IpAddr, &Binding)> {
    let direct = bindings.iter().filter(|binding| binding.path.is_empty());
    direct.filter_map(|binding| Some((binding.source?.ip().to_canonical(), &**binding)))
}

/// Where a registered phone can be asked; nothing for a page in a browser, which is no phone that could go missing (RFC 7118).
fn askable(binding: &Binding) -> Option<SocketAddrV6> {
    place_of(binding).filter(|_| !matches!(over(binding), Some(Transport::Ws | Transport::Wss)))
}

/// The transport that a phone registered over.
fn over(binding: &Binding) -> Option<Transport> {
    binding.received.split_ascii_whitespace().next()?.parse().ok()
}

/// Where a registered phone takes SIP over UDP: where it registered from, or, when that was over a stream, the port that its contact names.
fn place_of(binding: &Binding) -> Option<SocketAddrV6> {
    let SocketAddr::V6(source) = binding.source? else { return None };
    if source.ip().to_ipv4_mapped().is_some() {
        return None;
    }
    let port = match over(binding) {
        Some(Transport::Udp) => source.port(),
        _ => contact_port(&binding.contact).unwrap_or(SIP_PORT),
    };
    Some(SocketAddrV6::new(*source.ip(), port, 0, 0))
}

fn contact_port(contact: &str) -> Option<u16> {
    match contact.parse() {
        Ok(Uri::Sip(uri)) => uri.host_port.port,
        _ => None,
    }
}

fn sighted(sighting: &Sighting) -> Option<Place> {
    let IpAddr::V6(address) = sighting.source.to_canonical() else { return None };
    Some(Place { address: SocketAddrV6::new(address, SIP_PORT, 0, 0), time: sighting.seen_at })
}

/// RFC 3261 §19.1.2.
const SIP_PORT: u16 = 5060;

#[cfg(test)]
mod tests {
    use schema::secret::{Ha1Set, Password, Sealed};
    use schema::{Account, AccountId, Contents, DeviceId, Mac};

    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);
    const LATER: i64 = 1_700_000_600;

    /// A dorm with an IAD, a phone for each of the lines 1 to 3, and a line 4 without a device.
    fn contents() -> Contents {
        let site = SiteId(1);
        let device = |id: i64, model: &str, line: Option<i64>| Device {
            id: DeviceId(id),
            line: line.map(LineId),
            ..Device::new(site, format!("02:00:00:00:00:{id:02x}").parse().expect("a MAC"), model, 24).expect("a device")
        };
        let line = |id: i64| Line {
            id: LineId(id),
            ..Line::new(site, &format!("10{id}"), &format!("s01-10{id}"), ha1(), sealed())
                .expect("a line")
        };
        let iad = Device { neighbours: Some(64), ..device(9, "a router", None) };
        Contents {
            sites: vec![Site {
                id: site,
                prefix: Some("2001:db8:1::/48".parse().expect("a prefix")),
                ..Site::new("Ume", "801", "s01.example.net").expect("a site")
            }],
            lines: (1..=4).map(line).collect(),
            devices: (1..=3).map(|id| device(id, "a phone", Some(id))).chain([iad]).collect(),
            accounts: vec![Account { id: AccountId(7), ..Account::new("s01", site, sealed()).expect("an account") }],
            leases: vec![Lease { up: true, neighbours: Some(6), reported_at: Some(1), ..Lease::new(AccountId(7)) }],
            ..Contents::default()
        }
    }

    fn ha1() -> Ha1Set {
        Ha1Set::of("s01", "realm", &Password::new("secret"))
    }

    fn sealed() -> Sealed {
        Sealed::from_stored(String::new())
    }

    fn binding(line: i64, over: &str, source: &str, contact: &str) -> Binding {
        Binding {
            line: LineId(line),
            contact: contact.to_owned(),
            call_id: "call".to_owned(),
            cseq: 1,
            q: 1000,
            expires_at: LATER,
            stored_until: LATER,
            path: Vec::new(),
            received: format!("{over} [::1]:5060 {source} n1"),
            user_agent: None,
            instance: None,
            reg_id: None,
            source: Some(source.parse().expect("an address")),
        }
    }

    fn picture(contents: &Contents, bindings: impl IntoIterator<Item = Binding>) -> SitePicture {
        let locations = Locations::new();
        bindings.into_iter().for_each(|binding| locations.put(binding));
        gather(&Directory::from(contents), &locations, NOW).sites.remove(0)
    }

    fn phone<'p>(picture: &'p SitePicture, name: &str) -> &'p PhonePicture {
        picture.phones.iter().find(|phone| phone.name == name).expect("a phone")
    }

    #[test]
    fn what_is_not_registered_is_asked_where_its_mac_predicts() {
        let picture = picture(&contents(), []);
        assert_eq!(picture.phones.len(), 4, "the IAD is no phone");
        let expected = "[2001:db8:1:18:0:ff:fe00:1]:5060".parse().ok();
        assert_eq!(phone(&picture, "101").address, expected);
        assert_eq!(phone(&picture, "104").address, None, "nothing is known of it");
        assert_eq!(picture.iad, "2001:db8:1:18::1".parse().ok());
        assert_eq!(picture.table, Some(64));
        let lease = picture.tunnel.and_then(|tunnel| tunnel.lease).expect("a lease");
        assert_eq!(lease.report, Some(Report { entries: 6, capacity: None, at: 1 }));
    }

    #[test]
    fn what_is_registered_is_asked_where_it_registered_from() {
        let home = "[2001:db8:1:18:0:ff:fe00:1]";
        let bindings = [
            binding(1, "udp", &format!("{home}:5062"), "sip:101@[2001:db8:1:18:0:ff:fe00:1]:5999"),
            binding(2, "tls", "[2001:db8:1:18::2]:40000", "sips:102@[2001:db8:1:18::2]:5071;transport=tcp"),
            binding(3, "wss", "[2001:db8:1:18::3]:40001", "sip:x@page.invalid;transport=ws"),
            Binding { expires_at: 1, ..binding(4, "udp", "[2001:db8:1:18::4]:5060", "sip:104@lapsed") },
        ];
        let picture = picture(&contents(), bindings);
        let seen = |name| {
            let phone = phone(&picture, name);
            (phone.address.map(|address| address.to_string()), phone.takes_udp, phone.registered_until)
        };
        assert_eq!(seen("101"), (Some(format!("{home}:5062")), true, Some(LATER)));
        assert_eq!(seen("102"), (Some("[2001:db8:1:18::2]:5071".to_owned()), false, Some(LATER)));
        // A page in a browser; the phone of the same line may be where it should be.
        assert_eq!(seen("103"), (Some("[2001:db8:1:18:0:ff:fe00:3]:5060".to_owned()), false, Some(LATER)));
        assert_eq!(seen("104"), (None, false, None), "lapsed");
        assert!(picture.lines[1].mismatch.is_some() && picture.lines[0].mismatch.is_none());
    }

    #[test]
    fn a_phone_of_a_roaming_line_is_not_asked_abroad() {
        let mut contents = contents();
        contents.lines[0].anywhere = true;
        let abroad = binding(1, "udp", "[2001:db8:ffff::1]:5060", "sip:101@[2001:db8:ffff::1]");
        let proxied = Binding {
            path: vec!["<sip:edge.example.net;lr>".to_owned()],
            ..binding(2, "udp", "[2001:db8:eeee::1]:5060", "sip:102@[2001:db8:1:18::2]")
        };
        let picture = picture(&contents, [abroad, proxied]);
        let home = |name| phone(&picture, name).address.is_some_and(|at| picture.prefix.unwrap_or_default().contains(at.ip()));
        assert!(home("101") && home("102"), "{:#?}", picture.phones);
        assert_eq!(phone(&picture, "101").registered_until, None);
        assert_eq!(picture.lines[1].bindings, [], "an edge proxy's address is no phone's");
    }
}
