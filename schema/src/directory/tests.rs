use super::*;
use crate::rows::{Pool, Region, RegionId};
use crate::secret::{Ha1Set, Password, Sealed};

fn site(id: i64, code: &str) -> Site {
    Site { id: SiteId(id), ..Site::new("Dorm", code, &format!("s{code}.example.net")).expect("valid") }
}

fn line(id: i64, site: i64, extension: &str) -> Line {
    let user = format!("s{site}-{extension}");
    let ha1 = Ha1Set::of(&user, "r", &Password::new("p"));
    let line =
        Line::new(SiteId(site), extension, &user, ha1, Sealed::from_stored(String::new())).expect("valid");
    Line { id: LineId(id), ..line }
}

fn route(id: i64, prefix: &str, priority: u16) -> Route {
    Route { id: RouteId(id), ..Route::new(prefix, priority, TrunkId(id)).expect("valid") }
}

fn ids(routes: &[Arc<Route>]) -> Vec<i64> {
    routes.iter().map(|route| route.id.0).collect()
}

#[test]
fn the_longest_code_takes_what_was_dialled() {
    let directory = Directory::default();
    directory.apply(&Change::PutSite(site(1, "4")));
    directory.apply(&Change::PutSite(site(2, "42")));
    let reached =
        |dialled: &'static str| directory.site_by_code_prefix(dialled).map(|(site, rest)| (site.id.0, rest));
    assert_eq!(reached("42101"), Some((2, "101")));
    assert_eq!(reached("43101"), Some((1, "3101")));
    assert_eq!(reached("42"), Some((2, "")));
    assert_eq!(reached("5"), None);
    assert_eq!(reached(""), None);
    assert_eq!(reached("４２"), None, "other scripts' digits do not split a character");
    assert_eq!(directory.site_by_domain("S42.Example.NET").map(|site| site.id.0), Some(2));
}

#[test]
fn indexes_follow_a_changed_row() {
    let directory = Directory::default();
    directory.apply(&Change::PutLine(line(1, 1, "101")));
    directory.apply(&Change::PutLine(line(2, 1, "102")));
    // The two swap their extensions, as one sees them after the fact: one after the other.
    directory.apply(&Change::PutLine(Line { auth_user: "a".to_owned(), ..line(1, 1, "102") }));
    directory.apply(&Change::PutLine(Line { auth_user: "b".to_owned(), ..line(2, 1, "101") }));
    assert_eq!(directory.line_at(SiteId(1), "101").map(|line| line.id.0), Some(2));
    assert_eq!(directory.line_at(SiteId(1), "102").map(|line| line.id.0), Some(1));
    assert!(directory.line_by_auth_user("s1-101").is_none());
    assert_eq!(directory.line_by_auth_user("a").map(|line| line.id.0), Some(1));
    directory.apply(&Change::RemoveLine(LineId(1)));
    assert!(directory.line_at(SiteId(1), "102").is_none() && directory.line_by_auth_user("a").is_none());
    assert_eq!(directory.line_count(), 1);
}

#[test]
fn a_number_moves_from_line_to_line() {
    let directory = Directory::default();
    directory.apply(&Change::PutLine(line(1, 1, "101")));
    directory.apply(&Change::PutLine(line(2, 1, "102")));
    directory.apply(&Change::PutNumber(Number::new("+8131", LineId(1)).expect("valid")));
    directory.apply(&Change::PutNumber(Number::new("+8131", LineId(2)).expect("valid")));
    assert_eq!(directory.line_of_number("+8131").map(|line| line.id.0), Some(2));
    assert!(directory.numbers_of_line(LineId(1)).is_empty());
    assert_eq!(directory.numbers_of_line(LineId(2)).len(), 1);
    directory.apply(&Change::RemoveNumber("+8131".to_owned()));
    assert!(directory.number("+8131").is_none() && directory.numbers_of_line(LineId(2)).is_empty());
}

#[test]
fn routes_go_by_prefix_then_priority() {
    let directory = Directory::default();
    for row in
        [route(1, "", 0), route(2, "+81", 20), route(3, "+81", 10), route(4, "+813", 99), route(5, "110", 0)]
    {
        directory.apply(&Change::PutRoute(row));
    }
    assert_eq!(ids(&directory.routes_for("+81312345678")), [4, 3, 2, 1]);
    assert_eq!(ids(&directory.routes_for("+81612345678")), [3, 2, 1]);
    assert_eq!(ids(&directory.routes_for("110")), [5, 1]);
    assert_eq!(ids(&directory.routes_for("")), [1]);
    directory.apply(&Change::PutRoute(route(4, "+49", 0)));
    directory.apply(&Change::RemoveRoute(RouteId(1)));
    assert_eq!(ids(&directory.routes_for("+81312345678")), [3, 2]);
    assert_eq!(ids(&directory.routes()), [4, 3, 2, 5]);
}

#[test]
fn replacing_forgets_what_is_gone() {
    let directory = Directory::default();
    directory.apply(&Change::PutSite(site(1, "41")));
    directory.apply(&Change::PutLine(line(1, 1, "101")));
    directory.apply(&Change::PutNumber(Number::new("+8131", LineId(1)).expect("valid")));
    directory.apply(&Change::PutRoute(route(1, "", 0)));
    let contents =
        Contents { sites: vec![site(2, "42")], lines: vec![line(2, 2, "101")], ..Contents::default() };
    directory.replace(&contents);
    assert_eq!(directory.sites().len(), 1);
    assert!(directory.site_by_code("41").is_none() && directory.line_by_auth_user("s1-101").is_none());
    assert!(directory.number("+8131").is_none() && directory.routes().is_empty());
    assert!(directory.line_by_auth_user("s2-101").is_some());
}

#[test]
fn devices_follow_their_line_site_and_mac() {
    let mac = |text: &str| text.parse::<Mac>().expect("a MAC");
    let device = |id, site, text: &str, line| Device {
        id: DeviceId(id),
        line,
        ..Device::new(SiteId(site), mac(text), "T31P", 24).expect("valid")
    };
    let directory = Directory::default();
    let (first, second) = ("00:1a:2b:00:00:01", "00:1a:2b:00:00:02");
    directory.apply(&Change::PutDevice(device(1, 1, first, Some(LineId(1)))));
    directory.apply(&Change::PutDevice(device(2, 1, second, None)));
    assert_eq!(directory.devices_of_line(LineId(1)).len(), 1);
    // The two swap their MACs, and the first moves to another site without its line.
    directory.apply(&Change::PutDevice(device(1, 2, second, None)));
    directory.apply(&Change::PutDevice(device(2, 1, first, Some(LineId(1)))));
    let ids = |devices: Vec<Arc<Device>>| devices.iter().map(|device| device.id.0).collect::<Vec<_>>();
    assert_eq!(ids(directory.devices_of_line(LineId(1))), [2]);
    assert_eq!(
        (ids(directory.devices_of_site(SiteId(1))), ids(directory.devices_of_site(SiteId(2)))),
        (vec![2], vec![1])
    );
    assert_eq!(directory.device_by_mac(mac(second)).map(|device| device.id.0), Some(1));
    directory.replace(&Contents { devices: vec![device(2, 1, first, None)], ..Contents::default() });
    assert!(directory.device(DeviceId(1)).is_none() && directory.device_by_mac(mac(second)).is_none());
    assert!(directory.devices_of_line(LineId(1)).is_empty());
    assert_eq!(ids(directory.devices_of_site(SiteId(1))), [2]);
}

#[test]
fn the_address_plan_follows_its_rows() {
    let directory = Directory::default();
    let prefix = "2001:db8::/32".parse().expect("a prefix");
    directory.apply(&Change::PutPool(Pool::new(prefix).expect("valid")));
    let region = Region { id: RegionId(1), ..Region::new("Kanto").expect("valid") };
    directory.apply(&Change::PutRegion(region));
    let before = directory.address_plan();
    assert!(before.region_by_name("Kanto").is_some());
    directory.apply(&Change::RemoveRegion(RegionId(1)));
    assert!(
        directory.address_plan().regions.is_empty() && before.regions.len() == 1,
        "a plan in hand stays as it is"
    );
    directory.replace(&Contents::default());
    assert_eq!(*directory.address_plan(), AddressPlan::default());
}

#[test]
fn accounts_follow_their_name_and_site() {
    let account = |id, name: &str, site| Account {
        id: AccountId(id),
        ..Account::new(name, SiteId(site), Sealed::from_stored(String::new())).expect("valid")
    };
    let directory = Directory::default();
    directory.apply(&Change::PutAccount(account(1, "a", 1)));
    directory.apply(&Change::PutAccount(account(2, "b", 2)));
    // The two swap their names and sites.
    directory.apply(&Change::PutAccount(account(1, "b", 2)));
    directory.apply(&Change::PutAccount(account(2, "a", 1)));
    let id = |found: Option<Arc<Account>>| found.map(|account| account.id.0);
    assert_eq!(
        (id(directory.account_by_name("a")), id(directory.account_of_site(SiteId(2)))),
        (Some(2), Some(1))
    );
    directory.apply(&Change::PutLease(Lease::new(AccountId(1))));
    directory.apply(&Change::PutLease(Lease::new(AccountId(2))));
    directory.apply(&Change::RemoveAccount(AccountId(1)));
    assert!(directory.account_by_name("b").is_none() && directory.account_of_site(SiteId(2)).is_none());
    assert!(directory.lease(AccountId(1)).is_none() && directory.lease(AccountId(2)).is_some());
    let contents = Contents { accounts: vec![account(2, "c", 3)], ..Contents::default() };
    directory.replace(&contents);
    assert!(directory.account_by_name("a").is_none() && directory.leases().is_empty());
    assert_eq!(id(directory.account_of_site(SiteId(3))), Some(2));
}

#[test]
fn sightings_and_alarms_are_kept_the_newest_first() {
    let directory = Directory::default();
    let source = "192.0.2.1".parse().expect("an address");
    for (line, seen_at) in [(1, 10), (2, 30), (3, 20), (1, 40)] {
        directory.apply(&Change::PutSighting(Sighting { line: LineId(line), source, seen_at }));
        let alarm = Alarm::new(crate::AlarmKind::WrongSite, "s042-101", "", "", seen_at);
        directory.apply(&Change::PutAlarm(Alarm { id: AlarmId(line), ..alarm }));
    }
    assert_eq!(directory.sightings().iter().map(|row| row.line.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(directory.alarms().iter().map(|row| row.id.0).collect::<Vec<_>>(), [1, 2, 3]);
    directory.apply(&Change::PutLine(line(2, 1, "102")));
    directory.apply(&Change::RemoveLine(LineId(2)));
    directory.apply(&Change::RemoveAlarm(AlarmId(2)));
    assert!(directory.sighting(LineId(2)).is_none() && directory.alarm(AlarmId(2)).is_none());
    directory.replace(&Contents::default());
    assert!(directory.sightings().is_empty() && directory.alarms().is_empty());
}
